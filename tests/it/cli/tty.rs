//! A terminal with a person at it.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::Cli;
use super::program::Bytes;
use crate::harness::eventually;

/// A command that runs on a terminal of its own. Dropping it kills it.
pub(super) struct Tty {
    child: Child,
    keys: File,
    pub(super) screen: Bytes,
    /// Standard output, where that goes elsewhere.
    pub(super) stdout: Option<Bytes>,
}

impl Drop for Tty {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Tty {
    /// Everything on the terminal.
    pub(super) fn start(cli: &Cli, words: &[&str]) -> Self {
        Self::begin(cli, words, false, 80, None)
    }

    /// On a terminal of this width.
    pub(super) fn sized(cli: &Cli, words: &[&str], columns: u16) -> Self {
        Self::begin(cli, words, false, columns, None)
    }

    /// On a terminal of this kind and width.
    pub(super) fn of_kind(cli: &Cli, words: &[&str], term: &str, columns: u16) -> Self {
        Self::begin(cli, words, false, columns, Some(term))
    }

    /// Standard output goes into a pipe.
    pub(super) fn piped(cli: &Cli, words: &[&str]) -> Self {
        Self::begin(cli, words, true, 80, None)
    }

    fn begin(cli: &Cli, words: &[&str], is_piped: bool, columns: u16, term: Option<&str>) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("a terminal");
        let slave = || Stdio::from(pty.slave.try_clone().expect("a second handle"));
        // Makes the terminal the one that /dev/tty is, and Ctrl-C a signal.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_hyprbox")]);
        cli.dress(&mut command).args(words);
        command.envs(term.map(|term| ("TERM", term)));
        command.stdin(slave()).stderr(slave());
        command.stdout(if is_piped { Stdio::piped() } else { slave() });
        let mut child = command.spawn().expect("setsid is everywhere");
        let stdout = child.stdout.take().map(Bytes::of);
        // Its handles of the terminal go with it, so that the program's end is the terminal's.
        drop(command);
        drop(pty.slave);
        let keys = File::from(pty.master);
        Self {
            screen: Bytes::of(keys.try_clone().expect("a second handle")),
            child,
            keys,
            stdout,
        }
    }

    #[track_caller]
    pub(super) fn shows(&self, words: &str) {
        self.screen.wait_for(words);
    }

    /// Whether the terminal shows what is typed.
    pub(super) fn echoes(&self) -> bool {
        let settings = tcgetattr(&self.keys).expect("the terminal's settings");
        settings.local_flags.contains(LocalFlags::ECHO)
    }

    pub(super) fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("types");
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Its exit code, and all that the terminal showed.
    pub(super) fn ended(mut self) -> (i32, String) {
        let status = eventually("the command's end", || {
            self.child.try_wait().expect("a child")
        });
        let shown = String::from_utf8_lossy(&self.screen.all()).into_owned();
        (status.code().unwrap_or(-1), shown)
    }
}
