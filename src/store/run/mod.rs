//! Runs: one preset queued for several nodes at once.

mod change;
mod query;
mod record;

pub use change::{
    NewRun, cancel_queued, finish, hold_for_pause, insert, insert_jobs, prune, release,
    release_from_pause, request_cancel, set_cancelled, set_release_at, set_status, set_stopped,
    skip_nodes,
};
pub use query::{
    RunFilter, RunJob, RunProgress, counts, find, find_locked, jobs, last_of_schedule, list,
    lock_of_job, lock_of_node, next_release, progress, queued_nodes, unfinished, waiting_for,
};
pub use record::{Run, RunCounts, RunStatus};
