//! Processes that a step leaves running. The agent ends them with the job, unless the preset has
//! `keepProcesses: true`.

use crate::presets::schema::Preset;

use super::lex::Command;
use super::{Findings, Part};

pub(super) fn check(preset: &Preset, part: &Part<'_>, findings: &mut Findings) {
    if preset.keep_processes || part.text.contains("HYPRBOX_KEEP") {
        return;
    }
    let waits = part.has(|command| command.program() == Some("wait"));
    let kills = part.has(|command| matches!(command.program(), Some("kill" | "pkill" | "killall")));
    for command in &part.script.commands {
        let Some(what) = stays(command, waits, kills) else {
            continue;
        };
        let message = format!(
            "the agent ends processes that {what} leaves running when the job ends: start them with systemd, or set keepProcesses: true"
        );
        findings.warning(part.at(command.at), "ended-with-job", message);
    }
}

/// The name of the construct that leaves a process running, if the command does.
fn stays(command: &Command, waits: bool, kills: bool) -> Option<&'static str> {
    let words: Vec<&str> = command.literals().collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let short = |option: char| {
        words
            .iter()
            .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(option))
    };
    let starters: Vec<&str> = command
        .words
        .iter()
        .take(4)
        .filter_map(|word| word.literal.as_deref())
        .collect();
    if starters.contains(&"setsid") && !starters.iter().any(|word| matches!(*word, "-w" | "--wait"))
    {
        return Some("setsid");
    }
    if command.is_background && !waits && starters.contains(&"nohup") {
        return Some("nohup … &");
    }
    match command.program()? {
        "podman"
            if has(&["run", "start"]) && (has(&["start", "--detach"]) || short_detach(&words)) =>
        {
            Some("podman")
        }
        "podman-compose" | "podman" if has(&["up"]) && short('d') => Some("podman"),
        "tmux" if short('d') && has(&["new", "new-session"]) => Some("tmux"),
        "screen" if short('d') => Some("screen"),
        "service" | "rc-service" if has(&["start", "restart"]) => {
            Some("service (on a machine without systemd)")
        }
        // With `--pidfile /dev/null`, the program ends by itself.
        "start-stop-daemon" if has(&["--start", "-S"]) && !has(&["--test", "-t", "/dev/null"]) => {
            Some("start-stop-daemon")
        }
        _ => (command.is_background && !waits && !kills).then_some("&"),
    }
}

/// Whether `podman run` has the option `-d` before the image's name.
fn short_detach(words: &[&str]) -> bool {
    let behind = words.iter().skip_while(|word| **word != "run").skip(1);
    behind
        .take_while(|word| word.starts_with('-'))
        .any(|word| !word.starts_with("--") && word.contains('d'))
}
