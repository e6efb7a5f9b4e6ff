//! Jobs: the record, the changes of state, and the queries.

mod change;
mod history;
mod hold;
mod list;
mod query;
mod record;

pub use change::{
    Ending, NewJob, cancel_all_queued, cancel_everything, cancel_queued, cover, expire, fail,
    finish, insert, insert_script, insert_secrets, lose, prune, prune_scripts, release_due,
    request_cancel, request_confirm, require_signatures, set_confirm_wait, set_pid, set_step,
    set_still_running, sign, time_out,
};
pub use history::{
    PastFilter, PastJob, count_ended, count_unfinished_of, failed_since, last_steps, past,
    past_outcomes,
};
pub use hold::{HoldKind, Holds};
pub use list::{FoundJobs, JobFilter, JobSearch, JobWord, id_of_time, list, owners, search};
pub use query::{
    JobToSign, RecentWork, RunningJob, StoredSignatures, count_queued, count_queued_on,
    count_unfinished, find, find_locked, finished_since, list_of_run, next_due, nodes_with_work,
    oldest_claimable, recent_work, running, running_on, running_since, runs_with_expired, script,
    signatures, still_running, still_running_on, unfinished, waiting_for_signature,
};
pub use record::{CheckResult, Job, JobKind, JobStatus, OutputProof, PresetSource, StreamCounts};
pub(in crate::store) use record::{job_columns, job_of_row};
