//! What the agent does before its first poll.

use std::process::Child;

use crate::state::State;
use crate::state::job_dir;
use crate::supervisor::handle;

/// Undoes the jobs that waited for a confirmation, or were being undone, when the machine restarted
/// or their supervisor was killed. First of all, and without the server: the network may be what
/// must be undone.
pub(super) fn undo_interrupted(state: &State) -> Vec<Child> {
    let interrupted = job_dir::interrupted(&state.jobs()).unwrap_or_else(|e| {
        tracing::error!("[jobrunner] interrupted jobs can't be found: {e}");
        Vec::new()
    });
    let mut undoing = Vec::new();
    for dir in interrupted {
        let id = dir.id();
        tracing::warn!("[jobrunner] job {id}: interrupted; undoing it");
        match handle::start_undo(&dir) {
            Ok(child) => undoing.push(child),
            Err(e) => tracing::error!("[jobrunner] job {id}: can't be undone: {e}"),
        }
    }
    undoing
}
