//! Reaps orphans that the kernel has made children of the agent. That happens if the agent is
//! process 1 of a container: what a killed supervisor leaves behind becomes the agent's child.

use std::collections::BTreeSet;
use std::io;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpid};
use tokio::signal::unix::{SignalKind, signal};

use super::process::zombie_children;

/// Children that the agent started itself. Their [`Child`] reaps them.
static STARTED_HERE: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn started_here() -> MutexGuard<'static, BTreeSet<i32>> {
    STARTED_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child that is not reaped here.
pub(super) fn spawn_own(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    // Locked before the start, so that no child is mistaken for an orphan.
    let mut own = started_here();
    let child = spawn()?;
    own.insert(child.id().cast_signed());
    Ok(child)
}

/// Reaps orphans for as long as the agent runs.
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
    // The pid of a reaped child may be reused by an orphan.
    own.retain(|pid| is_child(*pid));
    for pid in zombies {
        if !own.contains(&pid) {
            // The process has ended, so this returns at once.
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Whether the process is a child that has not been reaped.
fn is_child(pid: i32) -> bool {
    use nix::sys::wait::{Id, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(Pid::from_raw(pid)), peek).is_ok()
}
