//! One run of bash: reads what it writes, ends it when asked, and sees that nothing is left of it.

mod end;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hyprbox_protocol::{Secrets, Stream};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pipe2};
use zeroize::{Zeroize, Zeroizing};

use super::mask::Mask;
use super::{Start, never_ran, tree};
use crate::spool::{SpoolWriter, slot};
use crate::state::job_dir::{ACKNOWLEDGED, EndedBy, Exit, JobDir, Spec};
use crate::supervisor::process::bash::{Bash, start_bash};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How long children that bash left behind may still write.
const LINGER: Duration = Duration::from_secs(2);
/// One read of a pipe, at first.
const READ_BYTES: usize = 16 * 1024;
/// One read of a pipe that is full again and again.
const FLOOD_READ_BYTES: usize = 256 * 1024;
/// What the kernel keeps of a pipe that we are slow to read: fewer and larger reads in a flood.
const PIPE_BYTES: i32 = 256 * 1024;
/// After this much new output the agent is told that a batch is full.
const FULL_BYTES: usize = 256 * 1024;
/// The least time between two words of new output to the agent.
const POKE_EVERY: Duration = Duration::from_millis(2);
/// After a spell of this much silence, the first word waits a moment: what a short script writes
/// then goes to the server in one call with its end, and a longer one's first line comes no later
/// than anybody could see.
const QUIET: Duration = Duration::from_millis(50);
/// That moment.
const GATHER: Duration = Duration::from_millis(2);
/// What is still read of a pipe when all is over, should somebody outside of the job go on writing
/// into it.
const LAST_READS: usize = 16;

/// In the comments at a script's head: its preset has `keepProcesses: true`.
const KEEP_PROCESSES: &[u8] = b"# hyprbox: keep-processes";
/// More than the comments at a script's head take.
const HEAD_BYTES: u64 = 64 * 1024;

/// To the agent: there is new output.
const DATA: u8 = b'd';
/// To the agent: there is so much of it that it need not wait for more.
pub(crate) const FULL: u8 = b'f';
/// To the agent: the exit record is there.
pub(crate) const ENDED: u8 = b'e';

/// A job's pipes, spool and signals.
pub(super) struct Run {
    job: JobDir,
    spool: SpoolWriter,
    wake: File,
    control: File,
    signals: SignalFd,
    /// Our ends of bash's pipes, until they are at their end.
    pipes: [Option<File>; 2],
    masks: [Option<Mask>; 2],
    /// The secrets as the script reads them, each with a NUL, in the order of their names; and our
    /// end of the pipe.
    secrets: Zeroizing<Vec<u8>>,
    /// How much of them bash's pipe has taken.
    secrets_written: usize,
    secrets_pipe: Option<File>,
    buffer: Vec<u8>,
    masked: Vec<u8>,
    last_poke: Option<Instant>,
    /// When the agent is to be told of new output, where there is some.
    poke_at: Option<Instant>,
    pid_written: bool,
    since_full: usize,
    last_stderr_byte: u8,
    at_shutdown: bool,
    bash: Pid,
    /// How bash ended, once it has.
    bash_end: Option<WaitStatus>,
    /// True once no child of any kind is left.
    childless: bool,
    ended_by: EndedBy,
    /// When whatever is left is killed.
    kill_at: Option<Instant>,
    /// Whether the script's preset lets live what the script leaves behind.
    keeps_processes: bool,
    /// What became of the processes that outlived bash.
    rest: tree::Rest,
    over: bool,
}

impl Run {
    /// Opens everything that needs no bash.
    pub(super) fn prepare(job: &JobDir, secrets: &Secrets) -> io::Result<Self> {
        let fifo = |name| {
            // For both directions, so that neither opening nor writing ever waits for the agent.
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
        // Made in one piece: a vector that grows leaves copies behind.
        let length = secrets.values().map(|value| value.len() + 1).sum();
        let mut values = Vec::with_capacity(length);
        for value in secrets.values() {
            values.extend_from_slice(value.as_bytes());
            values.push(0);
        }
        Ok(Self {
            job: job.clone(),
            spool: SpoolWriter::new(job.path()),
            wake: fifo("wake")?,
            control: fifo("control")?,
            signals: SignalFd::with_flags(&watched, flags)?,
            pipes: [None, None],
            masks: Mask::pair(secrets.values().map(String::as_str)),
            secrets: Zeroizing::new(values),
            secrets_written: 0,
            secrets_pipe: None,
            buffer: vec![0; READ_BYTES],
            masked: Vec::new(),
            last_poke: None,
            poke_at: None,
            pid_written: false,
            since_full: 0,
            last_stderr_byte: b'\n',
            at_shutdown: false,
            bash: Pid::from_raw(0),
            bash_end: None,
            childless: false,
            ended_by: EndedBy::Itself,
            kill_at: None,
            keeps_processes: false,
            rest: tree::Rest::default(),
            over: false,
        })
    }

    /// Runs the script, once its `start` is on the disk for good, and tells how it ended.
    pub(super) fn until_the_end(&mut self, spec: &Spec, start: Start) -> Exit {
        let script = self.job.file("script");
        self.keeps_processes = keeps_processes(&script);
        let bash = self.prepare_bash(&script, spec);
        // As late as can be, since the disk takes its time; and whatever becomes of the job, since
        // a word of the agent's must not be left for the next one.
        let synced = start.sync(&self.job, spec);
        if let Some(by) = self.job.read::<EndedBy>("cancel") {
            return never_ran(by, None);
        }
        if let Err(e) = synced {
            let error = format!("the job's start can't be written down: {e}");
            return never_ran(EndedBy::Itself, Some(error));
        }
        match bash.and_then(|bash| start_bash(&bash)) {
            Ok(pid) => self.bash = pid,
            Err(e) => {
                let error = format!("can't start /bin/bash: {e}");
                return never_ran(EndedBy::Itself, Some(error));
            }
        }
        // A timeout past the end of the clock is none.
        let deadline = Instant::now().checked_add(Duration::from_secs(spec.timeout_seconds));
        while !self.over {
            let now = Instant::now();
            let timeout = deadline.filter(|_| self.kill_at.is_none());
            if timeout.is_some_and(|at| at <= now) {
                self.terminate(EndedBy::Timeout);
            } else if self.kill_at.is_some_and(|at| at <= now) {
                self.kill_all();
            } else {
                if self.poke_at.is_some_and(|at| at <= now) {
                    self.poke(DATA);
                }
                let until = [timeout, self.kill_at, self.poke_at]
                    .into_iter()
                    .flatten()
                    .min();
                self.wait(until.map(|at| at.saturating_duration_since(now)));
            }
        }
        self.exit(spec)
    }

    /// Makes everything that bash needs.
    fn prepare_bash<'a>(&mut self, script: &'a Path, spec: &'a Spec) -> io::Result<Bash<'a>> {
        let (stdout, stdout_end) = self.pipe()?;
        let (stderr, stderr_end) = self.pipe()?;
        let mut secrets_end = None;
        if !self.secrets.is_empty() {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&write, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            self.secrets_pipe = Some(File::from(write));
            secrets_end = Some(read);
        }
        self.pipes = [Some(stdout), Some(stderr)];
        Ok(Bash {
            script,
            env: &spec.env,
            stdout: stdout_end,
            stderr: stderr_end,
            secrets: secrets_end,
        })
    }

    /// A pipe for one stream: our end, which never blocks, and bash's.
    fn pipe(&self) -> io::Result<(File, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Refused where this user has too many pipes already; the usual size works too.
        let _ = fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok((File::from(read), write))
    }

    /// Waits until something happens, and deals with it.
    fn wait(&mut self, time: Option<Duration>) {
        let timeout = match time {
            None => PollTimeout::NONE,
            // Rounded up, so as not to spin through the last millisecond.
            Some(time) => PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX),
        };
        // Pipes come before signals, so that the end of bash is seen after its last words.
        let read = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = Vec::with_capacity(5);
        let mut who = Vec::with_capacity(5);
        for stream in Stream::ALL {
            if let Some(pipe) = &self.pipes[slot(stream)] {
                fds.push(read(pipe.as_fd()));
                who.push(Who::Pipe(stream));
            }
        }
        if let Some(pipe) = &self.secrets_pipe {
            fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLOUT));
            who.push(Who::Secrets);
        }
        fds.push(read(self.control.as_fd()));
        who.push(Who::Control);
        fds.push(read(self.signals.as_fd()));
        who.push(Who::Signals);
        if poll(&mut fds, timeout).is_err() {
            // Interrupted, or the kernel is out of memory for a moment: the loop comes round again.
            return;
        }
        for (fd, who) in fds.iter().zip(&mut who) {
            if fd.any() == Some(false) {
                *who = Who::Nobody;
            }
        }
        for who in who {
            match who {
                Who::Nobody => {}
                Who::Signals => self.hear_signals(),
                Who::Control => self.hear_control(),
                Who::Pipe(stream) => {
                    self.read_once(stream);
                }
                Who::Secrets => self.write_secrets(),
            }
        }
        self.over |=
            self.bash_end.is_some() && self.childless && self.pipes.iter().all(Option::is_none);
    }

    fn hear_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            // SIGTERM comes to every process when the machine shuts down. The job is not ended for
            // it: it gets its own.
            self.at_shutdown |= signal.ssi_signo.cast_signed() == Signal::SIGTERM as i32;
        }
        self.reap();
    }

    fn hear_control(&mut self) {
        let mut words = [0; 64];
        let heard = self.control.read(&mut words).unwrap_or(0);
        let Some(by) = words[..heard]
            .iter()
            .find_map(|word| EndedBy::from_request(*word))
        else {
            return;
        };
        if self.bash_end.is_some() {
            // It ended by itself before; there is only its rest to clear away, and no reason to
            // wait with that.
            self.kill_at = Some(Instant::now());
        } else if self.ended_by == EndedBy::Itself {
            self.terminate(by);
        }
    }

    /// Reads a pipe once; false where there is nothing to read now.
    fn read_once(&mut self, stream: Stream) -> bool {
        let s = slot(stream);
        let Some(pipe) = &mut self.pipes[s] else {
            return false;
        };
        match pipe.read(&mut self.buffer) {
            Ok(0) => self.pipes[s] = None,
            Ok(n) => {
                self.keep(stream, n);
                if n == self.buffer.len() && n < FLOOD_READ_BYTES {
                    self.buffer.resize(FLOOD_READ_BYTES, 0);
                }
                return true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => self.pipes[s] = None,
        }
        false
    }

    /// Puts the first `n` bytes of the buffer into the spool, without the secrets.
    fn keep(&mut self, stream: Stream, n: usize) {
        let bytes = match &mut self.masks[slot(stream)] {
            None => &self.buffer[..n],
            Some(mask) => {
                self.masked.clear();
                mask.push(&self.buffer[..n], &mut self.masked);
                &self.masked
            }
        };
        self.spool.append(stream, bytes);
        if let (Stream::Stderr, Some(last)) = (stream, bytes.last()) {
            self.last_stderr_byte = *last;
        }
        let any = !bytes.is_empty();
        self.since_full += bytes.len();
        if any && self.poke_at.is_none() {
            let now = Instant::now();
            self.poke_at = Some(match self.last_poke {
                Some(last) if now < last + QUIET => last + POKE_EVERY,
                Some(_) | None => now + GATHER,
            });
        }
        if self.since_full >= FULL_BYTES {
            self.since_full = 0;
            self.poke(FULL);
        }
    }

    fn write_secrets(&mut self) {
        let Some(pipe) = &mut self.secrets_pipe else {
            return;
        };
        match pipe.write(&self.secrets[self.secrets_written..]) {
            Ok(n) => self.secrets_written += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            // The script has closed its end without reading.
            Err(_) => self.secrets_written = self.secrets.len(),
        }
        if self.secrets_written == self.secrets.len() {
            self.secrets.zeroize();
            self.secrets_pipe = None;
        }
    }

    /// Wakes the agent. Without one the pipe fills up, which nobody minds.
    pub(super) fn poke(&mut self, word: u8) {
        if !self.pid_written && word != ENDED {
            self.pid_written = true;
            // Only to be shown, of a job that runs: where it can't be written, it is not known.
            let lock = self.job.open_lock();
            let _ = lock.and_then(|mut lock| lock.write_all(self.bash.to_string().as_bytes()));
        }
        let _ = self.wake.write(&[word]);
        self.last_poke = Some(Instant::now());
        self.poke_at = None;
    }

    /// Waits for the agent's word that the server knows the job's end.
    pub(super) fn is_acknowledged_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, timeout);
            let mut words = [0; 64];
            let heard = self.control.read(&mut words).unwrap_or(0);
            if words[..heard].contains(&ACKNOWLEDGED) {
                return true;
            }
            if left.is_zero() || ready.is_err() {
                return false;
            }
        }
    }

    /// Our ends of bash's pipes that something still has open.
    pub(super) fn into_pipes(self) -> [Option<File>; 2] {
        self.pipes
    }

    /// See [`SpoolWriter::sync`].
    pub(super) fn sync(&self) {
        self.spool.sync();
    }
}

/// Whether the comments at the script's head say that what it leaves behind may live. A script that
/// can't be read doesn't run.
fn keeps_processes(script: &Path) -> bool {
    let Ok(script) = File::open(script) else {
        return false;
    };
    let mut head = Vec::new();
    let _ = script.take(HEAD_BYTES).read_to_end(&mut head);
    let lines = head
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    lines
        .take_while(|line| line.is_empty() || line.starts_with(b"#"))
        .any(|line| line == KEEP_PROCESSES)
}

/// What [`Run::wait`] heard of.
enum Who {
    Nobody,
    Signals,
    Control,
    Pipe(Stream),
    Secrets,
}
