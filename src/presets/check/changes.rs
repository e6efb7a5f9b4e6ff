//! Commands that change the machine: in an `unless`, which a check also runs, and in a `run` whose
//! step has no `undo` although the preset has `confirm`.

use crate::presets::schema::Preset;

use super::lex::Command;
use super::{Findings, Part};

pub(super) fn check(preset: &Preset, part: &Part<'_>, findings: &mut Findings) {
    let lacks_undo = preset.confirm_seconds.is_some() && preset.steps[part.step].undo.is_none();
    match part.field {
        "unless" => {
            for (at, what) in changes(part) {
                let message = format!(
                    "{what} changes the machine, but an unless only asks, also when the preset is just checked: move it to run"
                );
                findings.error(part.at(at), "unless-changes", message);
            }
        }
        "run" if lacks_undo => {
            if let Some((at, what)) = changes(part).into_iter().next() {
                let message = format!(
                    "the preset has confirm, and {what} changes the machine: give the step an undo, or one that says what stays"
                );
                findings.error(part.at(at), "change-without-undo", message);
            }
        }
        _ => {}
    }
}

/// The changes of a text: their positions and names.
fn changes(part: &Part<'_>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for command in &part.script.commands {
        if let Some(program) = command.program().filter(|it| changes_machine(it, command)) {
            found.push((command.at, program.to_owned()));
        }
        for (at, file) in &command.outputs {
            let file = file.trim_matches(['"', '\'']);
            if !file.starts_with("/dev/") {
                found.push((*at, format!(">{file}")));
            }
        }
    }
    found
}

fn changes_machine(program: &str, command: &Command) -> bool {
    let words: Vec<&str> = command.literals().collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let first = words.iter().find(|word| !word.starts_with('-'));
    let first_is = |wanted: &[&str]| first.is_some_and(|word| wanted.contains(word));
    let short = |option: char| {
        words
            .iter()
            .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(option))
    };
    match program {
        "mkdir" | "rmdir" | "rm" | "touch" | "mv" | "cp" | "ln" | "install" | "chmod" | "chown"
        | "chgrp" | "truncate" | "mktemp" | "mkfifo" | "mknod" | "useradd" | "usermod"
        | "userdel" | "groupadd" | "groupmod" | "groupdel" | "adduser" | "deluser" | "addgroup"
        | "gpasswd" | "chpasswd" | "umount" | "swapoff" | "mkswap" => true,
        "tee" => words.iter().any(|word| !word.starts_with(['-', '/'])) || has_file(&words),
        "sed" => words
            .iter()
            .any(|word| word.starts_with("--in-place") || word.starts_with("-i") || *word == "-Ei"),
        "apt" | "apt-get" | "aptitude" | "dnf" | "yum" | "zypper" | "apk" => {
            !has(&["-s", "--simulate", "--dry-run"])
                && first_is(&[
                    "install",
                    "remove",
                    "purge",
                    "upgrade",
                    "full-upgrade",
                    "dist-upgrade",
                    "autoremove",
                    "reinstall",
                    "add",
                    "del",
                    "clean",
                    "update",
                ])
        }
        "dpkg" => has(&[
            "-i",
            "--install",
            "--configure",
            "-r",
            "--remove",
            "-P",
            "--purge",
        ]),
        "systemctl" => first_is(&[
            "start",
            "stop",
            "restart",
            "reload",
            "reload-or-restart",
            "try-restart",
            "enable",
            "disable",
            "mask",
            "unmask",
            "daemon-reload",
            "daemon-reexec",
            "isolate",
            "kill",
            "set-default",
            "set-property",
            "reset-failed",
        ]),
        "service" => has(&["start", "stop", "restart", "reload", "force-reload"]),
        "ufw" => first_is(&[
            "allow", "deny", "reject", "limit", "delete", "enable", "disable", "reload", "reset",
        ]),
        "firewall-cmd" => words.iter().any(|word| {
            word.starts_with("--add-") || word.starts_with("--remove-") || *word == "--reload"
        }),
        "nft" => first_is(&["add", "delete", "flush", "insert", "replace", "destroy"]),
        "iptables" | "ip6tables" => ['A', 'D', 'I', 'R', 'F', 'X', 'N', 'P']
            .into_iter()
            .any(short),
        "sysctl" => short('w') || has(&["--write", "--system"]),
        "git" => first_is(&[
            "clone", "pull", "fetch", "checkout", "reset", "clean", "commit",
        ]),
        "hostnamectl" => first_is(&["set-hostname", "hostname"]) && words.len() > 1,
        "timedatectl" | "localectl" => first.is_some_and(|word| word.starts_with("set-")),
        _ => false,
    }
}

/// Whether a word names a file other than a device.
fn has_file(words: &[&str]) -> bool {
    words
        .iter()
        .any(|word| word.starts_with('/') && !word.starts_with("/dev/"))
}
