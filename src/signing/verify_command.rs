//! The command with which anybody verifies a signature by OpenSSH's own program, without a file.

use hyprbox_signing::{JOB_NAMESPACE, SshSignature};

/// A line for bash that prints `Good …` if the key that the signature names has made it over these
/// bytes. `identity` is the name that the line gives to the key. `None` if the signature can't be
/// read.
pub fn verify_command(identity: &str, envelope: &str, armored: &str) -> Option<String> {
    let key = SshSignature::parse(armored).ok()?.key().to_line();
    let lines: Vec<String> = armored.lines().map(quote).collect();
    Some(format!(
        "printf %s {} | ssh-keygen -Y verify -f <(echo {}) -I {identity} -n {JOB_NAMESPACE} -s <(printf '%s\\n' {})",
        quote(envelope),
        quote(&format!("{identity} {key}")),
        lines.join(" ")
    ))
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
