//! The signals that ask a program to stop, and what its starter did to signals.

use std::io;

/// Undoes what the starter of this program did to its signals: a blocked signal would never arrive,
/// and with SIGCHLD ignored nobody would know how a process ended. Must be called before the first
/// thread starts.
#[cfg(unix)]
pub fn accept_signals() {
    use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
    // SAFETY: the default action installs no handler.
    #[expect(unsafe_code, reason = "nix can't know that no handler is set")]
    let _cannot_fail = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    let _cannot_fail = SigSet::empty().thread_set_mask();
}

#[cfg(not(unix))]
pub fn accept_signals() {}

/// Returns a future that ends when the process receives SIGTERM, SIGINT or, unless it was started
/// with `nohup`, SIGHUP.
#[cfg(unix)]
pub fn requested() -> io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = if ignores_hangup() {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = hung_up => {}
        }
    })
}

/// Whether this process was started with SIGHUP ignored.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    const SIGHUP_BIT: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SIGHUP_BIT != 0)
}

/// Returns a future that ends when the process is asked to stop.
#[cfg(not(unix))]
pub fn requested() -> io::Result<impl Future<Output = ()> + Send> {
    Ok(async {
        // On an error Ctrl-C can't be received, and the process must be ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
