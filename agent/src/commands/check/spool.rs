//! Shows how much output can wait on this node's disk.

use hyprbox_protocol::size_text;

use super::Finding;
use crate::config::Config;
use crate::spool::{RESERVED_PERCENT, free_for_output};

/// The state folder's own check reports a disk that is full, so there is nothing to fix here.
pub(super) fn check(config: &Config) -> Finding {
    let max = size_text(config.spool_max);
    let limit = format!(
        "up to {max} of a job's output can wait on this disk if the server archives output"
    );
    let dir = &config.state_dir;
    // A folder that does not exist yet is judged by the one in which it would be created.
    let nearest = dir.ancestors().find(|folder| folder.exists());
    let free = free_for_output(nearest.unwrap_or(dir)).ok();
    let message = match free.filter(|free| *free < config.spool_max) {
        Some(free) => format!(
            "{limit}; {} MiB are free for that now, because the last {RESERVED_PERCENT} % of the disk stay free",
            free >> 20
        ),
        None => limit,
    };
    Finding::good("spool", message)
}
