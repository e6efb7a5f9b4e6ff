//! What the life of a job and the event streams need of runs. The endpoints are in `src/runs`.

pub(super) mod access;
pub(super) mod advance;
mod due;
pub(super) mod plan;
pub(super) mod step;
pub(super) mod view;
