//! Keeps other processes from reading the node's token and secrets.

use nix::sys::prctl;

/// Forbids core files of this process, and lets only root read its memory and environment: not a
/// job that runs as the same user. An exec undoes this, so bash and its children are not affected.
pub fn hide_memory() {
    if let Err(error) = prctl::set_dumpable(false) {
        tracing::warn!("this process's memory can't be hidden from other processes: {error}");
    }
}
