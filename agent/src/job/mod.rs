//! One job, from the start of its supervisor until the server has acknowledged its completion.

mod body;
mod complete;
pub(crate) mod context;
mod follow;
mod report;
pub(crate) mod script_env;
mod upload;
mod upload_policy;
mod wake;

pub(crate) use complete::complete;
pub(crate) use follow::{Handover, follow};

use crate::state::job_dir::{EndedBy, JobDir};

/// Keeps what a waiting job has changed, because somebody has confirmed it. Returns false if that
/// was done before.
pub(crate) fn confirm(dir: &JobDir) -> bool {
    if dir.is_confirmed() {
        return false;
    }
    tracing::info!("[jobrunner] job {}: confirmed", dir.id());
    if let Err(e) = dir.request_confirm() {
        tracing::error!("[jobrunner] job {}: can't be confirmed: {e}", dir.id());
    }
    true
}

/// Ends a job because the server requested its cancel. Returns false if that was done before.
pub(crate) fn cancel(dir: &JobDir) -> bool {
    if dir.has("cancel") {
        return false;
    }
    tracing::info!("[jobrunner] job {}: cancel requested", dir.id());
    if let Err(e) = dir.request_end(EndedBy::Cancel) {
        tracing::error!("[jobrunner] job {}: can't be cancelled: {e}", dir.id());
    }
    true
}
