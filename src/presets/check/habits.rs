//! Smaller traps: checks that can't fail, commands that stop the machine or lock everybody out.

use crate::presets::schema::Step;

use super::{Findings, Part};

pub(super) fn check(part: &Part<'_>, steps: &[Step], findings: &mut Findings) {
    never_fails(part, findings);
    ends_the_machine(part, findings);
    untested_sshd(part, &steps[part.step], findings);
    open_to_all(part, findings);
}

/// A condition that can't be false: the step never runs, or never fails.
fn never_fails(part: &Part<'_>, findings: &mut Findings) {
    let text = part.text.trim();
    let is_constant = matches!(text, "true" | ":" | "exit 0");
    let is_excused = !text.contains('\n') && (text.ends_with("|| true") || text.ends_with("|| :"));
    if !is_constant && !is_excused {
        return;
    }
    match part.field {
        "verify" => findings.warning(
            part.at(0),
            "verify-never-fails",
            "this always succeeds, so it verifies nothing",
        ),
        "unless" => findings.error(
            part.at(0),
            "unless-always-holds",
            "this always succeeds, so the step never runs",
        ),
        _ => {}
    }
}

/// A job that stops its machine is reported as failed.
fn ends_the_machine(part: &Part<'_>, findings: &mut Findings) {
    for command in &part.script.commands {
        let words: Vec<&str> = command.literals().collect();
        let ends = match command.program() {
            Some("reboot" | "poweroff" | "halt") => true,
            Some("shutdown") => words.contains(&"now") || words.contains(&"+0"),
            Some("systemctl") => words
                .iter()
                .any(|word| matches!(*word, "reboot" | "poweroff" | "halt" | "kexec")),
            _ => false,
        };
        if ends {
            let message = "this stops the machine while the job is running, so the job fails: use shutdown -r +1, which gives the agent a minute to report success";
            findings.error(part.at(command.at), "ends-the-machine", message);
        }
    }
}

/// A restart with a configuration that sshd refuses locks everybody out.
fn untested_sshd(part: &Part<'_>, step: &Step, findings: &mut Findings) {
    let texts = [
        step.unless.as_deref(),
        Some(step.run.as_str()),
        step.verify.as_deref(),
    ];
    if part.field != "run"
        || texts
            .into_iter()
            .flatten()
            .any(|text| text.contains("sshd -t") || text.contains("sshd -T"))
    {
        return;
    }
    for command in &part.script.commands {
        let words: Vec<&str> = command.literals().collect();
        let is_ssh = |word: &&str| matches!(*word, "ssh" | "sshd" | "ssh.service" | "sshd.service");
        let is_taken_over = |word: &&str| {
            matches!(
                *word,
                "restart" | "reload" | "reload-or-restart" | "try-restart"
            )
        };
        let takes = matches!(command.program(), Some("systemctl" | "service"));
        if takes && words.iter().any(is_ssh) && words.iter().any(is_taken_over) {
            let message =
                "if sshd refuses the configuration, nobody can sign in: run sshd -t before this";
            findings.warning(part.at(command.at), "untested-sshd", message);
        }
    }
}

fn open_to_all(part: &Part<'_>, findings: &mut Findings) {
    for command in part
        .script
        .commands
        .iter()
        .filter(|command| command.program() == Some("chmod"))
    {
        let is_open = |word: &str| {
            matches!(
                word,
                "777"
                    | "0777"
                    | "666"
                    | "0666"
                    | "a+w"
                    | "o+w"
                    | "a+rw"
                    | "o+rw"
                    | "a+rwx"
                    | "o+rwx"
                    | "ugo+rwx"
            )
        };
        if command.literals().any(is_open) {
            let message = "this lets every user of the machine change a file that root may read or run: set narrower permissions";
            findings.warning(part.at(command.at), "open-to-all", message);
        }
    }
}
