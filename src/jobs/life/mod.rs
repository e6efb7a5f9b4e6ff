//! The states of a job: queued, claimed, running, ended.

pub(in crate::jobs) mod agent_routes;
pub(in crate::jobs) mod cancel;
pub(in crate::jobs) mod claim;
pub(in crate::jobs) mod claim_times;
pub(in crate::jobs) mod due;
pub(in crate::jobs) mod end;
pub(in crate::jobs) mod finish;
pub(in crate::jobs) mod key;
pub(in crate::jobs) mod milestones;
pub(in crate::jobs) mod output;
pub(in crate::jobs) mod poll;
pub(in crate::jobs) mod poll_fast_path;
mod proof;
pub(in crate::jobs) mod queue;
pub(in crate::jobs) mod render;
pub(in crate::jobs) mod sign;
pub(in crate::jobs) mod sweep;
mod tail_limits;
