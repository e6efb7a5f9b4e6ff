//! Output and state changes pushed to viewers as they happen.
//!
//! What is sent lies below: `events`, `event_id`, `sse`, `frame`, `resume_point`. What sends it
//! lies above: one pump per watched job (`tail`) reads through a `cursor` and shares its frames;
//! one follower per viewer (`follow`, `exact`) sends them; the endpoints are on top.

pub(in crate::jobs) mod board;
pub(in crate::jobs) mod cursor;
pub(in crate::jobs) mod dashboard_stream;
pub(in crate::jobs) mod event_id;
pub(in crate::jobs) mod events;
pub(in crate::jobs) mod exact;
pub(in crate::jobs) mod follow;
pub(in crate::jobs) mod frame;
pub(in crate::jobs) mod recent;
pub(in crate::jobs) mod resume_point;
pub(in crate::jobs) mod sse;
pub(in crate::jobs) mod stream;
pub(in crate::jobs) mod tail;
pub(in crate::jobs) mod viewers;
