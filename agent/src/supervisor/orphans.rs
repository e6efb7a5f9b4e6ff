//! Takes the exit statuses of processes that the kernel gave to the agent as their new parent. That
//! happens if the agent is process 1 of a container: what a killed supervisor leaves behind becomes
//! the agent's child.

use std::collections::BTreeSet;
use std::io;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpid};
use tokio::signal::unix::{SignalKind, signal};

use super::process::zombie_children;

/// Children that the agent started, whose [`Child`] takes the status.
static STARTED_HERE: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn started_here() -> MutexGuard<'static, BTreeSet<i32>> {
    STARTED_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child whose status is not taken here.
pub(super) fn spawn_own(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    // Held from before the start, so that no child is taken for an orphan.
    let mut own = started_here();
    let child = spawn()?;
    own.insert(child.id().cast_signed());
    Ok(child)
}

/// Runs for as long as the agent does.
pub(crate) async fn reap() {
    let adopts = getpid().as_raw() == 1 || prctl::get_child_subreaper().unwrap_or(false);
    let ended = signal(SignalKind::child());
    let (true, Ok(mut ended)) = (adopts, ended) else {
        return std::future::pending().await;
    };
    loop {
        reap_now();
        ended.recv().await;
    }
}

fn reap_now() {
    let zombies = zombie_children(getpid().as_raw());
    let mut own = started_here();
    // A process id whose status was taken may be an orphan's next.
    own.retain(|pid| is_child(*pid));
    for pid in zombies {
        if !own.contains(&pid) {
            // It has ended, so this returns at once.
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Whether the process is a child whose status nobody has taken yet.
fn is_child(pid: i32) -> bool {
    use nix::sys::wait::{Id, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(Pid::from_raw(pid)), peek).is_ok()
}
