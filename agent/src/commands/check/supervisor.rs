//! Checks that the supervisor process, under which each job runs, can be started.

use std::path::Path;

use super::Finding;
use crate::supervisor::handle;

const SUBJECT: &str = "supervisor";

/// Starts a real supervisor, which exits because it gets no job.
pub(super) fn check() -> Finding {
    let result = handle::start_ahead(Path::new("/")).and_then(|mut child| {
        drop(child.stdin.take());
        child.wait()
    });
    match result {
        Ok(status) if status.success() => {
            Finding::good(SUBJECT, "a test supervisor started and exited cleanly")
        }
        Ok(status) => Finding::wrong(
            SUBJECT,
            format!("a test supervisor failed: {status}"),
            "check what the unit or container forbids this user: seccomp rules and resource limits",
        ),
        Err(error) => Finding::wrong(
            SUBJECT,
            format!("/proc/self/exe can't be started: {error}"),
            "mount /proc without noexec, and allow this user to start processes",
        ),
    }
}
