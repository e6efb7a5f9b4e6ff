//! Questions on the terminal. Secrets are typed without echo.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};

use super::args::Sure;
use super::error::{CliError, exit};
use super::safe;
use super::screen::Screen;

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_U: u8 = 21;

/// Maximum bytes read from standard input: far more than any value may have.
const STDIN_MAX: u64 = 1 << 20;

/// The controlling terminal, if there is one.
pub(super) fn terminal() -> Option<File> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()
        .filter(|tty| tty.is_terminal())
}

/// Asks for a line, with echo.
pub(super) fn line(question: &str) -> Result<String, CliError> {
    Ok(answer(question, true)?.trim().to_owned())
}

/// Asks before a command does what can't be undone, if somebody is there to answer. Without a
/// terminal nothing is asked, so that scripts run as before.
pub(super) fn confirm(
    screen: &Screen,
    sure: &Sure,
    question: &str,
    otherwise: &str,
) -> Result<(), CliError> {
    if sure.yes || !screen.has_person() {
        return Ok(());
    }
    let question = safe::line(&format!("{question} [y/N] "));
    match line(&question)?.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::failed(otherwise)
            .hint("answer y to go on, or use --yes to skip the question")),
    }
}

/// Asks for a secret, without echo.
pub(super) fn secret(question: &str) -> Result<String, CliError> {
    answer(question, false)
}

/// Asks twice for a new password if standard input is a terminal; otherwise reads it from there.
pub(super) fn new_password(whose: &str) -> Result<String, CliError> {
    let question = format!("New password for {whose} (at least 10 characters): ");
    new_secret("password", &question)
}

/// Asks twice for something secret if standard input is a terminal; otherwise reads it from there.
pub(super) fn new_secret(what: &str, question: &str) -> Result<String, CliError> {
    if !std::io::stdin().is_terminal() {
        return stdin(&format!("the {what}"));
    }
    loop {
        let typed = secret(question)?;
        if secret(&format!("Repeat the {what}: "))? == typed {
            return Ok(typed);
        }
        super::screen::print_note(&format!("The {what}s differ. Try again."));
    }
}

/// Standard input, without its last newline.
pub(super) fn stdin(what: &str) -> Result<String, CliError> {
    let mut text = Vec::new();
    std::io::stdin()
        .take(STDIN_MAX)
        .read_to_end(&mut text)
        .map_err(|error| CliError::failed(format!("standard input: {error}")))?;
    let text = String::from_utf8(text)
        .map_err(|_| CliError::failed(format!("{what} on standard input is not UTF-8 text")))?;
    Ok(without_last_newline(text))
}

/// Removes the newline that editors and `echo` add at the end.
pub(super) fn without_last_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

fn no_terminal(question: &str) -> CliError {
    let what = question.trim_end_matches([':', ' ']);
    CliError::failed(format!("no terminal to ask for this: {what}"))
}

/// Restores the terminal's settings when dropped.
struct Restore<'t> {
    tty: &'t File,
    before: Termios,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // Nothing can be done if the terminal was closed.
        let _gone = tcsetattr(self.tty, SetArg::TCSADRAIN, &self.before);
    }
}

/// Asks, and reads the answer key by key, so that Ctrl-C also restores the terminal: a program that
/// is killed while echo is off leaves a shell without echo.
fn answer(question: &str, echo: bool) -> Result<String, CliError> {
    let tty = terminal().ok_or_else(|| no_terminal(question))?;
    let wrong = |error: nix::Error| CliError::failed(format!("the terminal: {error}"));
    let before = tcgetattr(&tty).map_err(wrong)?;
    let mut raw = before.clone();
    raw.local_flags -= LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
    raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    let mut out = tty
        .try_clone()
        .map_err(|error| CliError::failed(error.to_string()))?;
    tcsetattr(&tty, SetArg::TCSADRAIN, &raw).map_err(wrong)?;
    let restore = Restore { tty: &tty, before };
    // Only now: whoever sees the question may type at once, and the terminal must not echo it.
    out.write_all(question.as_bytes())?;
    let typed = read_keys(restore.tty, &mut out, echo);
    drop(restore);
    out.write_all(b"\n")?;
    typed
}

fn read_keys(mut tty: &File, out: &mut File, echo: bool) -> Result<String, CliError> {
    let mut typed = Vec::new();
    let mut key = [0];
    loop {
        let length = tty
            .read(&mut key)
            .map_err(|error| CliError::failed(format!("the terminal: {error}")))?;
        match key[0] {
            _ if length == 0 => return Err(CliError::failed("the terminal was closed")),
            b'\r' | b'\n' => break,
            CTRL_C => {
                return Err(CliError::new(
                    exit::INTERRUPTED,
                    "interrupted; nothing was changed",
                ));
            }
            CTRL_D if typed.is_empty() => {
                return Err(CliError::failed("nothing was entered; nothing was changed"));
            }
            CTRL_U => while erase(&mut typed, out, echo)? {},
            8 | 127 => {
                erase(&mut typed, out, echo)?;
            }
            0..=31 => {}
            byte => {
                typed.push(byte);
                if echo {
                    out.write_all(&key)?;
                }
            }
        }
    }
    String::from_utf8(typed).map_err(|_| CliError::failed("the input is not UTF-8 text"))
}

/// Deletes the last character; returns false if there is none.
fn erase(typed: &mut Vec<u8>, out: &mut File, echo: bool) -> Result<bool, CliError> {
    let Some(mut last) = typed.pop() else {
        return Ok(false);
    };
    while last & 0b1100_0000 == 0b1000_0000 {
        last = typed.pop().unwrap_or_default();
    }
    if echo {
        out.write_all(b"\x08 \x08")?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::without_last_newline;

    #[test]
    fn one_newline_is_not_meant() {
        for (text, meant) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a", "a"),
            ("\n", ""),
        ] {
            assert_eq!(without_last_newline(text.to_owned()), meant);
        }
    }
}
