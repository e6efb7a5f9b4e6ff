//! Bash, as the supervisor starts it: its own session, nothing inherited but what it is given.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpid, getppid, setsid};

/// Descriptor on which the script finds its secrets.
const SECRETS_FD: RawFd = 3;

/// On [`Bash::go`]: the job's start is on the disk for good.
pub(crate) const GO: u8 = 1;
/// On [`Bash::go`]: it is not, and bash must not run.
pub(crate) const STAY: u8 = 0;

/// What bash gets.
pub(crate) struct Bash<'a> {
    pub(crate) script: &'a Path,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Read end of the pipe with the secrets.
    pub(crate) secrets: Option<OwnedFd>,
    /// Read end of the pipe on which it is told when it may run.
    pub(crate) go: OwnedFd,
}

/// Makes `/bin/bash -s` with the script as its standard input: a file, as bash reads a pipe byte by byte. It runs once it hears
/// [`GO`]; this waits for that, too, as long as the process is not bash yet.
pub(crate) fn start_bash(bash: Bash<'_>) -> io::Result<Pid> {
    let mut command = Command::new("/bin/bash");
    command
        .arg("-s")
        .current_dir("/")
        .env_clear()
        .envs(bash.env)
        .stdin(File::open(bash.script)?)
        .stdout(Stdio::from(bash.stdout))
        .stderr(Stdio::from(bash.stderr));
    isolate(&mut command, bash.secrets, bash.go);
    let child = command.spawn()?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// Prepares what must happen in the child between fork and exec: a session and process group of its own, SIGKILL
/// when the supervisor dies (else a killed supervisor would leave bash running, with nobody to read it), the secrets
/// on descriptor 3, and no other descriptor; and a word that it may go on.
#[expect(
    unsafe_code,
    reason = "pre_exec is the only place where a child can be put into a session and given a death signal"
)]
fn isolate(command: &mut Command, secrets: Option<OwnedFd>, go: OwnedFd) {
    let supervisor = getpid();
    let prepare = move || {
        setsid()?;
        SigSet::empty().thread_set_mask()?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != supervisor {
            // The supervisor died before the death signal was set.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // SAFETY: marks every descriptor from 3 up close-on-exec; touches no memory. A kernel without the call
        // (before 5.11) leaves what the agent's own parent leaked, which is harmless.
        unsafe {
            libc::syscall(
                libc::SYS_close_range,
                SECRETS_FD,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
        }
        let mut word = [STAY];
        let heard = nix::unistd::read(&go, &mut word)?;
        if heard == 0 || word[0] != GO {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Some(fd) = secrets.as_ref().map(AsRawFd::as_raw_fd) {
            // SAFETY: `fd` is open across the fork; descriptor 3 is the supervisor's lock, never the pipe on which
            // `Command` reports a failed exec, so nothing is lost by replacing it in the child. `dup2` of a
            // descriptor onto itself would leave it close-on-exec, so that is cleared.
            let placed = unsafe {
                if fd == SECRETS_FD {
                    libc::fcntl(fd, libc::F_SETFD, 0)
                } else {
                    libc::dup2(fd, SECRETS_FD)
                }
            };
            if placed < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `prepare` makes system calls alone, all of them async-signal-safe; it takes no lock and, on its way to
    // success, allocates nothing.
    unsafe {
        command.pre_exec(prepare);
    }
}
