//! Starts bash in a session of its own, with nothing inherited except what [`Bash`] names.
//!
//! `posix_spawn` can't set the signal that bash gets when its supervisor dies, and a `Command` with
//! `pre_exec` forks; see `docs/decisions/0011-clone-for-bash.md`.

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

/// The descriptor from which the script reads its secrets.
const SECRETS_FD: RawFd = 3;

/// Stack size of the code between clone and exec, which is a few system calls.
const STACK_BYTES: usize = 16 * 1024;

/// The number of signals on Linux, and the size of a set of them.
const SIGNALS: libc::c_int = 64;
const SIGNAL_SET_BYTES: usize = 8;
/// More than the kernel's `struct sigaction` takes on any architecture.
const SIGACTION_WORDS: usize = 8;

/// What bash inherits.
pub(crate) struct Bash<'a> {
    pub(crate) script: &'a Path,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Read end of the pipe with the secrets.
    pub(crate) secrets: Option<OwnedFd>,
}

/// Starts `/bin/bash -s` with the script as its standard input. The script is a file because bash
/// reads pipes byte by byte.
///
/// As in `posix_spawn`, the child uses this process's memory until its exec, and this thread is
/// suspended until then.
#[expect(
    unsafe_code,
    reason = "no safe call starts a child that shares this process's memory until its exec"
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
            // SAFETY: both lists end with a null pointer, and they and their strings outlive the
            // call, which returns only if it fails.
            unsafe { libc::execve(args[0], args.as_ptr(), env.as_ptr()) };
            failed = Some(Errno::last());
        }
        127
    };
    let mut stack = vec![0; STACK_BYTES];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: this thread is suspended until the child's exec, so the two never run at the same
    // time. The child makes system calls that need little stack; it takes no lock, allocates
    // nothing and does not unwind. Its descriptors, working directory and signal actions are its
    // own. This process has no signal handlers except Rust's own for faults.
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

/// Runs in the child before its exec. Sets up a session and process group of its own, default
/// signal actions, umask 022, SIGKILL when the supervisor dies (otherwise a killed supervisor would
/// leave bash running with nobody to read its output), and the secrets on descriptor 3. No other
/// descriptor stays open.
#[expect(
    unsafe_code,
    reason = "nix has no close_range, not all signals, and its dup2 wants to own a descriptor that is a number here"
)]
fn isolate(bash: &Bash<'_>, script: &File, supervisor: Pid) -> Result<(), Errno> {
    setsid()?;
    // Signals that were ignored when the agent was started, as by nohup, would stay ignored in
    // bash; and Rust programs ignore SIGPIPE.
    let default = [0_u64; SIGACTION_WORDS];
    for number in 1..=SIGNALS {
        // SAFETY: the kernel reads the action, which is larger than its own structure, and installs
        // no handler. It refuses SIGKILL and SIGSTOP, which are never ignored. libc's `sigaction`
        // would also refuse the two signals that libc reserves.
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
    // SAFETY: marks every descriptor from 3 up as close-on-exec, and touches no memory. Before
    // Linux 5.11 the call fails, and bash keeps what the agent's own parent leaked, which is
    // harmless.
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
    // SAFETY: `secrets` is open, and the child does not need its old descriptor 3. `dup2` of a
    // descriptor onto itself would leave it close-on-exec, so that case clears the flag.
    let result = unsafe {
        if secrets == SECRETS_FD {
            libc::fcntl(secrets, libc::F_SETFD, 0)
        } else {
            libc::dup2(secrets, SECRETS_FD)
        }
    };
    Errno::result(result).map(drop)
}
