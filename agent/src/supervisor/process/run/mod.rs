//! One run of bash: reads its output, ends it on request, and makes sure that no process is left.

mod confirm;
mod control;
mod end;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hyprbox_protocol::{PerStream, SCRIPT_HEAD_BYTES, ScriptMarks, Secrets, Stream};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pipe2};
use zeroize::{Zeroize, Zeroizing};

use super::mask::Mask;
use super::{StartRecord, exit_without_start, tree};
use crate::spool::{SpoolWriter, StampWriter};
use crate::state::job_dir::{EndedBy, Exit, JobDir, Spec};
use crate::supervisor::process::bash::{Bash, start_bash};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How long processes that bash left behind may still write.
const LINGER: Duration = Duration::from_secs(2);
/// Size of one read from a pipe, at first.
const READ_BYTES: usize = 16 * 1024;
/// Size of one read from a pipe that keeps filling up.
const FLOOD_READ_BYTES: usize = 256 * 1024;
/// Buffer size of a pipe: a larger one means fewer and larger reads in a flood.
const PIPE_BYTES: i32 = 256 * 1024;
/// After this much new output the agent learns that a batch is full.
const FULL_BYTES: usize = 256 * 1024;
/// The least time between two messages about new output to the agent.
const WAKE_INTERVAL: Duration = Duration::from_millis(2);
/// After this much silence, the first message waits for [`GATHER`]. A short script's output then
/// goes to the server in one call with its end, and a longer script's first line is delayed by less
/// than anybody can see.
const QUIET: Duration = Duration::from_millis(50);
const GATHER: Duration = Duration::from_millis(2);
/// How often a pipe is read after the job has ended, in case a process outside the job keeps
/// writing into it.
const LAST_READS: usize = 16;

/// Message to the agent: there is new output.
const DATA: u8 = b'd';
/// Message to the agent: there is enough output for a full batch.
pub(crate) const FULL: u8 = b'f';
/// Message to the agent: the exit record is written.
pub(crate) const ENDED: u8 = b'e';

/// A job's pipes, spool and signals.
pub(super) struct Run {
    job: JobDir,
    spool: SpoolWriter,
    stamps: StampWriter,
    wake: File,
    control: File,
    signals: SignalFd,
    /// Read ends of bash's stdout and stderr, until end of file.
    pipes: PerStream<Option<File>>,
    masks: PerStream<Option<Mask>>,
    /// The secrets as the script reads them: sorted by name, each followed by a NUL.
    secrets: Zeroizing<Vec<u8>>,
    /// How many bytes of them are written to the pipe.
    secrets_written: usize,
    secrets_pipe: Option<File>,
    buffer: Vec<u8>,
    masked: Vec<u8>,
    last_wake: Option<Instant>,
    /// When to wake the agent because of new output, if there is any.
    wake_at: Option<Instant>,
    pid_written: bool,
    since_full: usize,
    last_bytes: PerStream<u8>,
    at_shutdown: bool,
    bash: Pid,
    /// How bash ended, once it has.
    bash_end: Option<WaitStatus>,
    /// How long bash ran, in milliseconds, once it has ended.
    ran_ms: Option<u64>,
    /// True once this process has no children left.
    childless: bool,
    ended_by: EndedBy,
    /// When the remaining processes are killed.
    kill_at: Option<Instant>,
    /// What the script's head says about it.
    marks: ScriptMarks,
    phase: Phase,
    /// What a waiting job was asked to do.
    request: Option<Request>,
    /// Pipes of an earlier bash that a surviving process still has open.
    old_pipes: Vec<File>,
    leftovers: tree::Leftovers,
    over: bool,
}

impl Run {
    /// Opens everything that can be opened before bash starts.
    pub(super) fn prepare(job: &JobDir, spec: &Spec, secrets: &Secrets) -> io::Result<Self> {
        let fifo = |name| {
            // Opened in both directions, so that neither opening nor writing ever waits for the
            // agent.
            File::options()
                .read(true)
                .write(true)
                .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits())
                .open(job.file(name))
        };
        let mut watched = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
        ] {
            watched.add(signal);
        }
        watched.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        // Allocated at its full size: a vector that grows leaves copies of secrets behind.
        let length = secrets.values().map(|value| value.len() + 1).sum();
        let mut values = Vec::with_capacity(length);
        for value in secrets.values() {
            values.extend_from_slice(value.as_bytes());
            values.push(0);
        }
        Ok(Self {
            job: job.clone(),
            spool: SpoolWriter::new(job.path(), spec.spool_max),
            stamps: StampWriter::new(job.path()),
            wake: fifo("wake")?,
            control: fifo("control")?,
            signals: SignalFd::with_flags(&watched, flags)?,
            pipes: PerStream::default(),
            masks: Mask::pair(secrets.values().map(String::as_str)),
            secrets: Zeroizing::new(values),
            secrets_written: 0,
            secrets_pipe: None,
            buffer: vec![0; READ_BYTES],
            masked: Vec::new(),
            last_wake: None,
            wake_at: None,
            pid_written: false,
            since_full: 0,
            last_bytes: PerStream::new(b'\n', b'\n'),
            at_shutdown: false,
            bash: Pid::from_raw(0),
            bash_end: None,
            ran_ms: None,
            childless: false,
            ended_by: EndedBy::Itself,
            kill_at: None,
            marks: ScriptMarks::default(),
            phase: Phase::Steps,
            request: None,
            old_pipes: Vec::new(),
            leftovers: tree::Leftovers::default(),
            over: false,
        })
    }

    /// Runs the script once its start is durably recorded, waits for a confirmation if the script
    /// needs one, and returns the exit record.
    pub(super) fn run_to_end(
        &mut self,
        spec: &Spec,
        start: StartRecord,
    ) -> Result<Exit, Interrupted> {
        let script = self.job.file("script");
        self.marks = marks_of(&script);
        let bash = self
            .script_env(spec)
            .and_then(|env| self.prepare_bash(&script, env));
        // As late as possible, because the disk is slow. It also happens if the job does not start:
        // the agent's message about it must not be left in the pipe for the next job.
        let synced = start.sync(&self.job, spec);
        if let Some(by) = self.job.read::<EndedBy>("cancel") {
            return Ok(exit_without_start(by, None));
        }
        if let Err(e) = synced {
            let error = format!("the job's start can't be recorded: {e}");
            return Ok(exit_without_start(EndedBy::Itself, Some(error)));
        }
        self.stamps.begin();
        match bash.and_then(|bash| start_bash(&bash)) {
            Ok(pid) => self.bash = pid,
            Err(e) => {
                let error = format!("can't start /bin/bash: {e}");
                return Ok(exit_without_start(EndedBy::Itself, Some(error)));
            }
        }
        self.follow_bash(Duration::from_secs(spec.timeout_seconds));
        let exit = self.exit_record(spec);
        self.settle(spec, exit)
    }

    /// Reads bash's output until bash and its processes have ended, at the latest after this time.
    fn follow_bash(&mut self, limit: Duration) {
        // A timeout beyond the range of the clock never comes.
        let deadline = Instant::now().checked_add(limit);
        while !self.over {
            let now = Instant::now();
            let timeout = deadline.filter(|_| self.kill_at.is_none());
            if timeout.is_some_and(|at| at <= now) {
                self.terminate(EndedBy::Timeout);
            } else if self.kill_at.is_some_and(|at| at <= now) {
                self.kill_all();
            } else {
                if self.wake_at.is_some_and(|at| at <= now) {
                    self.wake_agent(DATA);
                }
                let until = [timeout, self.kill_at, self.wake_at]
                    .into_iter()
                    .flatten()
                    .min();
                self.wait(until.map(|at| at.saturating_duration_since(now)));
            }
        }
    }

    /// Creates the pipes for bash.
    fn prepare_bash<'a>(
        &mut self,
        script: &'a Path,
        env: BTreeMap<String, String>,
    ) -> io::Result<Bash<'a>> {
        let (stdout, stdout_end) = self.pipe()?;
        let (stderr, stderr_end) = self.pipe()?;
        let mut secrets_end = None;
        if !self.secrets.is_empty() {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&write, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            self.secrets_pipe = Some(File::from(write));
            secrets_end = Some(read);
        }
        let pipes = PerStream::new(Some(stdout), Some(stderr));
        let old = std::mem::replace(&mut self.pipes, pipes).into_values();
        self.old_pipes.extend(old.into_iter().flatten());
        Ok(Bash {
            script,
            env,
            stdout: stdout_end,
            stderr: stderr_end,
            secrets: secrets_end,
        })
    }

    /// Creates the pipe for one stream: a read end that never blocks, and the write end for bash.
    fn pipe(&self) -> io::Result<(File, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Refused if this user already has too many pipes; the default size also works.
        let _ = fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok((File::from(read), write))
    }

    /// Waits for events, and handles them.
    fn wait(&mut self, time: Option<Duration>) {
        let timeout = match time {
            None => PollTimeout::NONE,
            // Rounded up, to avoid spinning through the last millisecond.
            Some(time) => PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX),
        };
        // Pipes come before signals, so that the last output is read before the end of bash.
        let read = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = Vec::with_capacity(5);
        let mut sources = Vec::with_capacity(5);
        for stream in Stream::ALL {
            if let Some(pipe) = &self.pipes[stream] {
                fds.push(read(pipe.as_fd()));
                sources.push(Source::Pipe(stream));
            }
        }
        if let Some(pipe) = &self.secrets_pipe {
            fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLOUT));
            sources.push(Source::Secrets);
        }
        fds.push(read(self.control.as_fd()));
        sources.push(Source::Control);
        fds.push(read(self.signals.as_fd()));
        sources.push(Source::Signals);
        if poll(&mut fds, timeout).is_err() {
            // Interrupted, or the kernel is briefly out of memory. The caller tries again.
            return;
        }
        // Collected first, because `fds` borrows the pipes that the handlers change.
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() != Some(false)).collect();
        for (source, _) in sources.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            match source {
                Source::Signals => self.handle_signals(),
                Source::Control => self.handle_control(),
                Source::Pipe(stream) => {
                    self.read_once(stream);
                }
                Source::Secrets => self.write_secrets(),
            }
        }
        self.over |= self.bash_end.is_some()
            && self.childless
            && self.pipes.iter().all(|(_, pipe)| pipe.is_none());
    }

    fn handle_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            // When the machine shuts down, every process gets SIGTERM. The supervisor does not pass
            // it on, because the job's processes get their own.
            self.at_shutdown |= signal.ssi_signo.cast_signed() == Signal::SIGTERM as i32;
        }
        self.reap();
    }

    /// Reads a pipe once. Returns false if there is nothing to read now.
    fn read_once(&mut self, stream: Stream) -> bool {
        let Some(pipe) = &mut self.pipes[stream] else {
            return false;
        };
        match pipe.read(&mut self.buffer) {
            Ok(0) => self.pipes[stream] = None,
            Ok(n) => {
                self.keep(stream, n);
                if n == self.buffer.len() && n < FLOOD_READ_BYTES {
                    self.buffer.resize(FLOOD_READ_BYTES, 0);
                }
                return true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => self.pipes[stream] = None,
        }
        false
    }

    /// Appends the first `n` bytes of the buffer to the spool, with the secrets masked.
    fn keep(&mut self, stream: Stream, n: usize) {
        let bytes = match &mut self.masks[stream] {
            None => &self.buffer[..n],
            Some(mask) => {
                self.masked.clear();
                mask.push(&self.buffer[..n], &mut self.masked);
                &self.masked
            }
        };
        if stream == Stream::Stdout && self.phase == Phase::Steps {
            self.stamps.read(self.spool.totals()[stream], bytes);
        }
        self.spool.append(stream, bytes);
        if let Some(last) = bytes.last() {
            self.last_bytes[stream] = *last;
        }
        let any = !bytes.is_empty();
        self.since_full += bytes.len();
        if any && self.wake_at.is_none() {
            let now = Instant::now();
            self.wake_at = Some(match self.last_wake {
                Some(last) if now < last + QUIET => last + WAKE_INTERVAL,
                Some(_) | None => now + GATHER,
            });
        }
        if self.since_full >= FULL_BYTES {
            self.since_full = 0;
            self.wake_agent(FULL);
        }
    }

    fn write_secrets(&mut self) {
        let Some(pipe) = &mut self.secrets_pipe else {
            return;
        };
        match pipe.write(&self.secrets[self.secrets_written..]) {
            Ok(n) => self.secrets_written += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            // The script has closed its end without reading everything.
            Err(_) => self.secrets_written = self.secrets.len(),
        }
        if self.secrets_written == self.secrets.len() {
            self.secrets.zeroize();
            self.secrets_pipe = None;
        }
    }

    /// Returns the read ends of bash's pipes that some process still has open.
    pub(super) fn into_pipes(self) -> Vec<File> {
        let pipes = self.pipes.into_values().into_iter().flatten();
        self.old_pipes.into_iter().chain(pipes).collect()
    }

    /// See [`SpoolWriter::sync`].
    pub(super) fn sync(&self) {
        self.spool.sync();
    }
}

/// The marks of the script in this file. One that can't be read does not run anyway.
fn marks_of(script: &Path) -> ScriptMarks {
    let mut head = Vec::new();
    if let Ok(script) = File::open(script) {
        let _ = script.take(SCRIPT_HEAD_BYTES as u64).read_to_end(&mut head);
    }
    ScriptMarks::read(&head)
}

/// What a run does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Steps,
    /// Waits for a confirmation.
    Waiting,
    Undoing,
}

/// What a waiting job was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Confirm,
    End(EndedBy),
}

/// The machine shuts down while the job waits or is undone. The next agent undoes the job.
#[derive(Debug)]
pub(super) struct Interrupted;

/// An event source of [`Run::wait`].
enum Source {
    Signals,
    Control,
    Pipe(Stream),
    Secrets,
}
