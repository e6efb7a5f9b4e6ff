//! Keeps the node's token and secrets inside this process.

use nix::sys::prctl;

/// From here on no core file is written of this process, and only root may read its memory and
/// environment: not a job that runs as the same user. An exec undoes it, so bash and what it starts
/// are as usual.
pub fn close() {
    if let Err(error) = prctl::set_dumpable(false) {
        tracing::warn!("this process can't be made private: {error}");
    }
}
