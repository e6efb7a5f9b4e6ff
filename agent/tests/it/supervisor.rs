//! A supervisor that waits for its job, without an agent: what it does when the agent's words don't
//! come as they should.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

/// A job as an agent writes it down, and the supervisor that was told of it.
struct Told {
    state: TempDir,
    supervisor: Child,
}

impl Told {
    /// A job that writes `ran` into the state folder where its start is in the journal, or is to be
    /// by an agent that `has_synced` it; and whose start the agent says that it has noted.
    fn new(has_synced: bool) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let job = state.path().join("jobs/0197-aaaa");
        std::fs::create_dir_all(&job).expect("a folder");
        std::fs::write(state.path().join("starts"), [0; 4096]).expect("writes");
        for pipe in ["wake", "control"] {
            mkfifo(&job.join(pipe), Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
        }
        let ran = state.path().join("ran");
        let is_noted = if has_synced {
            "true".to_owned()
        } else {
            format!(
                "grep -q 0197-aaaa {}",
                state.path().join("starts").display()
            )
        };
        let script = format!("{is_noted} && echo ran >>{}\n", ran.display());
        std::fs::write(job.join("script"), script).expect("writes");
        let spec = r#"{"id":"0197-aaaa","preset":"p","timeoutSeconds":60,"env":{},"bootId":"one"}"#;
        std::fs::write(job.join("job.json"), spec).expect("writes");
        let supervisor = Command::new(env!("CARGO_BIN_EXE_hyprbox-agent"))
            .arg("supervise")
            .arg(state.path().join("jobs/.next"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("the agent's program");
        let order = serde_json::json!({ "dir": job, "secrets": {}, "noted": true });
        let mut told = Self { state, supervisor };
        told.hears(&format!("{order}\n"));
        told
    }

    fn hears(&mut self, line: &str) {
        let pipe = self.supervisor.stdin.as_mut().expect("a pipe");
        pipe.write_all(line.as_bytes()).expect("it listens");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    fn is_in_the_journal(&self) -> bool {
        let journal = std::fs::read(self.path("starts")).expect("reads");
        String::from_utf8_lossy(&journal).contains("0197-aaaa")
    }

    /// Says no more to the supervisor, and waits for its end.
    fn ends_well(&mut self) {
        drop(self.supervisor.stdin.take());
        assert!(self.supervisor.wait().expect("it ends").success());
    }
}

fn times_run(ran: &Path) -> usize {
    std::fs::read_to_string(ran).map_or(0, |text| text.lines().count())
}

#[test]
fn a_start_whose_agent_died_before_it_was_synced_is_put_on_the_disk_by_the_supervisor() {
    let mut told = Told::new(false);
    told.ends_well();
    assert_eq!(times_run(&told.path("ran")), 1);
    assert!(told.is_in_the_journal());
}

#[test]
fn a_start_that_the_agent_could_not_sync_is_put_on_the_disk_by_the_supervisor() {
    let mut told = Told::new(false);
    told.hears("not synced\n");
    told.ends_well();
    assert_eq!(times_run(&told.path("ran")), 1);
    assert!(told.is_in_the_journal());
}

#[test]
fn a_start_that_the_agent_has_synced_is_left_to_it() {
    let mut told = Told::new(true);
    told.hears("synced\n");
    told.ends_well();
    assert_eq!(times_run(&told.path("ran")), 1);
    assert!(!told.is_in_the_journal(), "no agent was here to write it");
}

#[test]
fn the_word_on_a_job_that_was_cancelled_before_it_started_is_no_order() {
    let mut told = Told::new(true);
    let cancel = told.path("jobs/0197-aaaa/cancel");
    std::fs::write(cancel, r#""cancel""#).expect("writes");
    told.hears("synced\n");
    told.ends_well();
    assert_eq!(times_run(&told.path("ran")), 0);
    let exit = std::fs::read_to_string(told.path("jobs/0197-aaaa/exit")).expect("it is told");
    assert!(exit.contains(r#""endedBy":"cancel""#), "{exit}");
}
