//! Bash, as the supervisor starts it: its own session, nothing inherited but what it is given.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, getpid, getppid, setsid};

/// Descriptor on which the script finds its secrets.
const SECRETS_FD: RawFd = 3;

/// Stack of what runs between the clone and the exec: some system calls.
const STACK_BYTES: usize = 16 * 1024;

/// Signals that Linux has, and the bytes of a set of them.
const SIGNALS: libc::c_int = 64;
const SIGNAL_SET_BYTES: usize = 8;
/// More than the kernel's `struct sigaction` has on any machine.
const SIGACTION_WORDS: usize = 8;

/// What bash gets.
pub(crate) struct Bash<'a> {
    pub(crate) script: &'a Path,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Read end of the pipe with the secrets.
    pub(crate) secrets: Option<OwnedFd>,
}

/// Starts `/bin/bash -s` with the script as its standard input: a file, as bash reads a pipe byte
/// by byte.
///
/// With what must happen before the exec here, `Command` would copy all of this process for it,
/// which takes a good part of what bash itself needs to start. This way, which `posix_spawn` goes,
/// the child borrows this process's memory until its exec, and this thread waits meanwhile.
#[expect(
    unsafe_code,
    reason = "no safe call makes a child that borrows this process's memory until its exec"
)]
pub(crate) fn start_bash(bash: &Bash<'_>) -> io::Result<Pid> {
    let script = File::open(bash.script)?;
    let env: Vec<CString> = bash
        .env
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<_, _>>()?;
    let ended_by_null = |pointers: &mut dyn Iterator<Item = *const libc::c_char>| -> Vec<_> {
        pointers.chain([ptr::null()]).collect()
    };
    let args = [c"/bin/bash", c"-s"];
    let args = ended_by_null(&mut args.iter().map(|arg| arg.as_ptr()));
    let env = ended_by_null(&mut env.iter().map(|variable| variable.as_ptr()));
    let supervisor = getpid();
    let mut failed = None;
    let become_bash = || {
        failed = isolate(bash, &script, supervisor).err();
        if failed.is_none() {
            // SAFETY: both lists end with a null pointer and, with the strings in them, outlive the
            // call; it returns only where it failed.
            unsafe { libc::execve(args[0], args.as_ptr(), env.as_ptr()) };
            failed = Some(Errno::last());
        }
        127
    };
    let mut stack = vec![0; STACK_BYTES];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: until the exec the child runs in this thread's memory while the thread is stopped, so
    // neither sees the other at work. What it runs are system calls that need little stack; it
    // takes no lock, allocates nothing, and unwinds nowhere. Its descriptors, working folder and
    // signal actions are its own. This process has no signal handler but Rust's own for faults.
    let child = unsafe {
        clone(
            Box::new(become_bash),
            &mut stack,
            flags,
            Some(libc::SIGCHLD),
        )
    }?;
    match failed {
        None => Ok(child),
        Some(error) => {
            let _ = waitpid(child, None);
            Err(error.into())
        }
    }
}

/// Prepares what must happen in the child before its exec: a session and process group of its own,
/// default signal actions, umask 022, SIGKILL when the supervisor dies (otherwise a killed
/// supervisor would leave bash running, and nobody would read its output), the secrets on
/// descriptor 3, and no other descriptor.
#[expect(
    unsafe_code,
    reason = "nix has no close_range, not all signals, and its dup2 wants to own a descriptor that is a number here"
)]
fn isolate(bash: &Bash<'_>, script: &File, supervisor: Pid) -> Result<(), Errno> {
    setsid()?;
    // What the agent's starter had ignored, as nohup does, would stay ignored in bash; and Rust's
    // programs ignore SIGPIPE.
    let default = [0_u64; SIGACTION_WORDS];
    for number in 1..=SIGNALS {
        // SAFETY: the kernel reads the action, which is larger than its own, and sets no handler.
        // It refuses SIGKILL and SIGSTOP, which can't be ignored. libc's own call would refuse the
        // two signals that libc keeps for itself.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                ptr::null::<u8>(),
                SIGNAL_SET_BYTES,
            );
        }
    }
    SigSet::empty().thread_set_mask()?;
    umask(Mode::from_bits_truncate(0o022));
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != supervisor {
        // The supervisor died before the death signal was set.
        return Err(Errno::EPIPE);
    }
    chdir(c"/")?;
    dup2_stdin(script)?;
    dup2_stdout(&bash.stdout)?;
    dup2_stderr(&bash.stderr)?;
    // SAFETY: marks every descriptor from 3 up close-on-exec; touches no memory. A kernel without
    // the call (before 5.11) leaves what the agent's own parent leaked, which is harmless.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            SECRETS_FD,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
    let Some(secrets) = bash.secrets.as_ref().map(AsRawFd::as_raw_fd) else {
        return Ok(());
    };
    // SAFETY: `secrets` is open, and descriptor 3 is nothing that the child needs. `dup2` of a
    // descriptor onto itself would leave it close-on-exec, so that is cleared.
    let placed = unsafe {
        if secrets == SECRETS_FD {
            libc::fcntl(secrets, libc::F_SETFD, 0)
        } else {
            libc::dup2(secrets, SECRETS_FD)
        }
    };
    Errno::result(placed).map(drop)
}
