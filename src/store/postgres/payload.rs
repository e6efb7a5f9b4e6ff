//! Changes as text for NOTIFY.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

use crate::store::Change;

/// The channel of all notifications.
pub(super) const CHANNEL: &str = "hyprbox";

/// Process ids of the database server's processes behind this program's connections. Their
/// notifications are ignored, since the listener has received these changes already.
#[derive(Debug, Default)]
pub(super) struct OwnPids(Mutex<HashSet<i32>>);

impl OwnPids {
    pub(super) fn locked(&self) -> MutexGuard<'_, HashSet<i32>> {
        crate::sync::lock(&self.0)
    }
}

/// Joins lines into payloads of less than 8,000 bytes, which is PostgreSQL's limit.
pub(super) fn payloads_of(lines: &[String]) -> Vec<String> {
    const PAYLOAD_MAX: usize = 7_900;
    let mut payloads: Vec<String> = Vec::new();
    for line in lines {
        match payloads.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= PAYLOAD_MAX => {
                last.push('\n');
                last.push_str(line);
            }
            _ => payloads.push(line.clone()),
        }
    }
    payloads
}

/// Returns the line for a change: a letter and ids. It consists of letters, digits, `-`, `*` and
/// blanks, so it needs no quoting.
pub(super) fn line_of(change: &Change) -> String {
    let line = |letter: char, ids: &[&str]| {
        // An id made by hand may have other characters; the change is then sent as "anything".
        let is_plain = |id: &&str| {
            (1..=255).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if ids.iter().all(is_plain) {
            format!("{letter} {}", ids.join(" "))
        } else {
            "*".to_owned()
        }
    };
    match change {
        Change::Job { id, node_id } => line('j', &[id, node_id]),
        Change::Output { job_id } => line('o', &[job_id]),
        Change::Watched { job_id } => line('w', &[job_id]),
        Change::Run { id } => line('r', &[id]),
        Change::Progress { job_id } => line('s', &[job_id]),
        Change::Node { id } => line('n', &[id]),
        Change::Due => "d".to_owned(),
        Change::Credentials => "c".to_owned(),
        Change::Foreign => "*".to_owned(),
    }
}

/// Parses a line of a payload. A line of a newer version means "anything".
pub(super) fn change_of(line: &str) -> Change {
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("j"), Some(id), Some(node_id)) => Change::Job {
            id: id.to_owned(),
            node_id: node_id.to_owned(),
        },
        (Some("o"), Some(job_id), None) => Change::Output {
            job_id: job_id.to_owned(),
        },
        (Some("w"), Some(job_id), None) => Change::Watched {
            job_id: job_id.to_owned(),
        },
        (Some("r"), Some(id), None) => Change::Run { id: id.to_owned() },
        (Some("s"), Some(job_id), None) => Change::Progress {
            job_id: job_id.to_owned(),
        },
        (Some("n"), Some(id), None) => Change::Node { id: id.to_owned() },
        (Some("d"), None, None) => Change::Due,
        (Some("c"), None, None) => Change::Credentials,
        _ => Change::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_parsed_back() {
        let job = Change::Job {
            id: "0193-a".into(),
            node_id: "n-1".into(),
        };
        let output = |id: &str| Change::Output { job_id: id.into() };
        let node = Change::Node { id: "n-1".into() };
        let run = Change::Run { id: "r-1".into() };
        let step = Change::Progress { job_id: "a".into() };
        let sent = [
            output("a"),
            job,
            node,
            Change::Due,
            Change::Credentials,
            run,
            step,
        ];
        let lines: Vec<String> = sent.iter().map(line_of).collect();
        let payloads = payloads_of(&lines);
        assert_eq!(payloads, ["o a\nj 0193-a n-1\nn n-1\nd\nc\nr r-1\ns a"]);
        let read: Vec<Change> = payloads[0].lines().map(change_of).collect();
        assert_eq!(read, sent);
        assert_eq!(line_of(&output("it's")), "*");
        assert_eq!(change_of("*"), Change::Foreign);
        assert_eq!(change_of("z 1 2"), Change::Foreign);
    }

    #[test]
    fn many_changes_take_several_payloads() {
        let lines: Vec<String> = (0..1_000)
            .map(|number| format!("o 0193-{number}"))
            .collect();
        let payloads = payloads_of(&lines);
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        let lines: usize = payloads.iter().map(|payload| payload.lines().count()).sum();
        assert_eq!(lines, 1_000);
    }
}
