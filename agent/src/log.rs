//! The log's output: standard error. It may be closed, on a full disk, or a pipe that nobody reads.
//! Lines that can't be written are dropped.

use std::io::{self, IsTerminal, Write};

/// Returns the writer for [`tracing_subscriber`]'s `with_writer`.
pub fn stderr() -> Stderr {
    Stderr
}

/// Whether lines may have colours: on a terminal that knows them, unless `NO_COLOR` is set.
pub fn has_colours() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Standard error, whose writes never fail and never block for long.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line that can't be written is dropped.
        let _ = system::write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::io::{self, Write};
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::libc::PIPE_BUF;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// How long a line waits for a slow reader. Once a line has waited in vain, lines are dropped
    /// until the reader continues.
    const PATIENCE_MS: u8 = 200;

    static IS_STALLED: AtomicBool = AtomicBool::new(false);

    pub(super) fn write(line: &[u8]) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        // A pipe that is ready accepts this much without blocking.
        for part in line.chunks(PIPE_BUF) {
            if !is_ready(&stderr) {
                break;
            }
            stderr.write_all(part)?;
        }
        Ok(())
    }

    fn is_ready(stderr: &impl AsFd) -> bool {
        let patience = if IS_STALLED.load(Ordering::Relaxed) {
            0
        } else {
            PATIENCE_MS
        };
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        // On an error here, the write fails as well.
        let is_ready = poll(&mut fds, PollTimeout::from(patience)) != Ok(0);
        IS_STALLED.store(!is_ready, Ordering::Relaxed);
        is_ready
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io::{self, Write};

    pub(super) fn write(line: &[u8]) -> io::Result<()> {
        io::stderr().write_all(line)
    }
}
