//! Output and state changes pushed to viewers as they happen.

pub(in crate::jobs) mod board;
pub(in crate::jobs) mod cursor;
pub(in crate::jobs) mod dashboard_stream;
pub(in crate::jobs) mod exact;
pub(in crate::jobs) mod follow;
pub(in crate::jobs) mod frame;
pub(in crate::jobs) mod recent;
pub(in crate::jobs) mod resume_point;
pub(in crate::jobs) mod stream;
pub(in crate::jobs) mod tail;
pub(in crate::jobs) mod viewers;
