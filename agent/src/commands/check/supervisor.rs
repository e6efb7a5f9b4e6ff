//! The supervisor that each job runs under: whether one can be started here.

use std::path::Path;

use super::Finding;
use crate::supervisor::handle;

const WHAT: &str = "supervisor";

/// Starts a real one, which ends as no job comes.
pub(super) fn look() -> Finding {
    let tried = handle::start_ahead(Path::new("/")).and_then(|mut child| {
        drop(child.stdin.take());
        child.wait()
    });
    match tried {
        Ok(status) if status.success() => {
            Finding::good(WHAT, "one was started, and ended as it should")
        }
        Ok(status) => Finding::wrong(
            WHAT,
            format!("one was started, but ended with {status}"),
            "look at what this user may not do here: seccomp and resource limits of the unit or container",
        ),
        Err(error) => Finding::wrong(
            WHAT,
            format!("/proc/self/exe can't be started: {error}"),
            "mount /proc, without noexec, and let this user start processes",
        ),
    }
}
