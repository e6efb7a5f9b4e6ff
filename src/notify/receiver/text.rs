//! A message in words, for receivers that people read.

use serde_json::Value;

/// A message in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// One line.
    pub(super) title: String,
    /// The reason, and who queued it.
    pub(super) lines: Vec<String>,
    /// The last lines of stderr.
    pub(super) stderr: Option<String>,
    pub(super) url: String,
    /// Whether somebody should look soon.
    pub(super) is_alarm: bool,
}

impl Text {
    /// The words of a webhook's body.
    pub(super) fn of(message: &Value) -> Self {
        let data = &message["data"];
        let event = word(&data["event"]);
        let mut lines = vec![plain(word(&data["reason"]))];
        for object in ["job", "run", "schedule"] {
            let by = word(&data[object]["createdByEmail"]);
            if !by.is_empty() {
                let verb = if object == "schedule" {
                    "Made"
                } else {
                    "Queued"
                };
                lines.push(format!("{verb} by {}", plain(by)));
            }
        }
        let calm = ["job_recovered", "run_finished", "node_online", "test"];
        Self {
            title: plain(&title(event, data)),
            lines,
            stderr: data["stderrTail"].as_str().map(plain),
            url: word(&data["url"]).to_owned(),
            is_alarm: !calm.contains(&event),
        }
    }

    /// Everything but the title, as plain text.
    pub(super) fn body(&self) -> String {
        let mut body = self.lines.join("\n");
        if let Some(stderr) = &self.stderr {
            body.push_str("\n\n");
            body.push_str(stderr);
        }
        body
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Without what a terminal or a mail program would act on.
fn plain(text: &str) -> String {
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(is_shown).collect()
}

fn title(event: &str, data: &Value) -> String {
    let (job, run) = (&data["job"], &data["run"]);
    let what = if run.is_object() {
        let count = run["nodeCount"].as_u64().unwrap_or(0);
        let nodes = if count == 1 { "node" } else { "nodes" };
        format!("{} on {count} {nodes}", word(&run["preset"]))
    } else {
        format!("{} on {}", word(&job["preset"]), word(&job["nodeId"]))
    };
    let node = word(&data["node"]["id"]);
    match event {
        "job_failed" => format!("Failed: {what}"),
        "job_recovered" => format!("Recovered: {what}"),
        "job_lost" => format!("Lost: {what}"),
        "run_finished" if word(&run["status"]) == "CANCELLED" => format!("Run cancelled: {what}"),
        "run_finished" => format!("Run succeeded: {what}"),
        "run_failed" => format!("Run failed: {what}"),
        "schedule_missed" => format!("Did not run: {}", word(&data["schedule"]["name"])),
        "node_offline" => format!("Offline: {node}"),
        "node_online" => format!("Online again: {node}"),
        "drift_found" => format!("Drift: {what}"),
        "waits_for_signature" => format!("Waits for a signature: {what}"),
        "backup_failed" => "The backup failed".to_owned(),
        "history_altered" => "The history was altered".to_owned(),
        _ => "Test message from HyprBox Jobs".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failed_job_has_who_why_and_where() {
        let message = json!({"type": "job.failed", "data": {
            "event": "job_failed",
            "job": {"preset": "backup", "nodeId": "n1", "createdByEmail": "ann@example.org"},
            "reason": "the script ended with exit code 3",
            "stderrTail": "no\u{1b}[31m space\nleft",
            "url": "https://x.example/jobs/1"}});
        let text = Text::of(&message);
        assert_eq!(text.title, "Failed: backup on n1");
        assert_eq!(
            text.body(),
            "the script ended with exit code 3\nQueued by ann@example.org\n\nno[31m space\nleft"
        );
        assert!(text.is_alarm);
    }

    #[test]
    fn a_run_has_its_number_of_nodes() {
        let run = json!({"preset": "backup", "nodeCount": 1, "status": "CANCELLED"});
        let message = json!({"data": {"event": "run_finished", "run": run, "reason": "cancelled"}});
        let text = Text::of(&message);
        assert_eq!(text.title, "Run cancelled: backup on 1 node");
        assert!(!text.is_alarm);
    }
}
