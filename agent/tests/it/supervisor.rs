//! A supervisor that waits for its job, without an agent: what it does if the agent's messages are
//! missing or report an error.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

/// A job folder as an agent creates it, and the supervisor that got the job.
struct HandedOver {
    state: TempDir,
    supervisor: Child,
}

impl HandedOver {
    /// Hands over a job whose start the agent claims to have recorded. The script writes to the
    /// file `ran` if the start is in the start log, or if the agent `has_synced` it.
    fn new(has_synced: bool) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let job = state.path().join("jobs/0197-aaaa");
        std::fs::create_dir_all(&job).expect("a folder");
        std::fs::write(state.path().join("starts"), [0; 4096]).expect("writes");
        for pipe in ["wake", "control"] {
            mkfifo(&job.join(pipe), Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
        }
        let ran = state.path().join("ran");
        let is_recorded = if has_synced {
            "true".to_owned()
        } else {
            format!(
                "grep -q 0197-aaaa {}",
                state.path().join("starts").display()
            )
        };
        let script = format!("{is_recorded} && echo ran >>{}\n", ran.display());
        std::fs::write(job.join("script"), script).expect("writes");
        let spec = r#"{"id":"0197-aaaa","preset":"p","timeoutSeconds":60,"env":{},"bootId":"one"}"#;
        std::fs::write(job.join("job.json"), spec).expect("writes");
        let supervisor = Command::new(env!("CARGO_BIN_EXE_hyprbox-agent"))
            .arg("supervise")
            .arg(state.path().join("jobs/.next"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("the agent's program");
        let order = serde_json::json!({ "dir": job, "secrets": {}, "start_recorded": true });
        let mut handed_over = Self { state, supervisor };
        handed_over.send(&format!("{order}\n"));
        handed_over
    }

    fn send(&mut self, line: &str) {
        let pipe = self.supervisor.stdin.as_mut().expect("a pipe");
        pipe.write_all(line.as_bytes())
            .expect("the supervisor reads");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    fn start_log_has_the_job(&self) -> bool {
        let start_log = std::fs::read(self.path("starts")).expect("reads");
        String::from_utf8_lossy(&start_log).contains("0197-aaaa")
    }

    /// Closes the pipe to the supervisor, and waits for its successful exit.
    fn close_and_wait(&mut self) {
        drop(self.supervisor.stdin.take());
        assert!(
            self.supervisor
                .wait()
                .expect("the supervisor exits")
                .success()
        );
    }
}

fn times_run(ran: &Path) -> usize {
    std::fs::read_to_string(ran).map_or(0, |text| text.lines().count())
}

#[test]
fn the_supervisor_records_the_start_if_the_agent_dies_before_its_sync() {
    let mut handed_over = HandedOver::new(false);
    handed_over.close_and_wait();
    assert_eq!(times_run(&handed_over.path("ran")), 1);
    assert!(handed_over.start_log_has_the_job());
}

#[test]
fn the_supervisor_records_the_start_if_the_agents_sync_fails() {
    let mut handed_over = HandedOver::new(false);
    handed_over.send("not synced\n");
    handed_over.close_and_wait();
    assert_eq!(times_run(&handed_over.path("ran")), 1);
    assert!(handed_over.start_log_has_the_job());
}

#[test]
fn the_supervisor_does_not_record_a_start_that_the_agent_has_synced() {
    let mut handed_over = HandedOver::new(true);
    handed_over.send("synced\n");
    handed_over.close_and_wait();
    assert_eq!(times_run(&handed_over.path("ran")), 1);
    assert!(
        !handed_over.start_log_has_the_job(),
        "no agent has written it"
    );
}

#[test]
fn the_sync_message_of_a_job_that_was_cancelled_before_its_start_is_not_taken_for_a_job() {
    let mut handed_over = HandedOver::new(true);
    let cancel = handed_over.path("jobs/0197-aaaa/cancel");
    std::fs::write(cancel, r#""cancel""#).expect("writes");
    handed_over.send("synced\n");
    handed_over.close_and_wait();
    assert_eq!(times_run(&handed_over.path("ran")), 0);
    let exit =
        std::fs::read_to_string(handed_over.path("jobs/0197-aaaa/exit")).expect("the exit record");
    assert!(exit.contains(r#""endedBy":"cancel""#), "{exit}");
}
