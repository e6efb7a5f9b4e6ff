//! The node reboots or a supervisor is killed: the job's true end is reported.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Field, Person, Server, Setup, eventually};
use crate::node::Node;
use crate::processes::marked;
use crate::script::{Tally, write_tally};

struct World {
    // Dropped first.
    node: Node,
    server: Server,
    admin: Person,
}

fn world() -> World {
    let setup = Setup::new().with("HYPRBOX_LEASE_SECONDS", "3");
    write_tally(&setup.presets_dir());
    let mut server = setup.start();
    let admin = server.admin();
    let mut node = Node::new(server.url(), &admin.add_node("n1"));
    boot(&mut node, "one");
    World {
        node,
        server,
        admin,
    }
}

/// Starts the agent with another boot id.
fn boot(node: &mut Node, id: &str) {
    let file = node.folder().join("boot-id");
    std::fs::write(&file, id).expect("writes");
    node.set("HYPRBOX_BOOT_ID_FILE", file.to_str().expect("UTF-8"));
    node.start();
}

impl World {
    /// Queues a job that writes its lines and then waits for a gate that never opens.
    fn start_waiting_job(&self) -> (String, Tally) {
        let tally = Tally {
            file: self.node.folder().join("ran"),
            word: "waiting".to_owned(),
            lines: 100,
            gate: Some(self.node.folder().join("gate")),
            ..Tally::default()
        };
        let id = tally.queue(&self.admin, "n1");
        let all = tally.stderr().len() as u64;
        eventually("its output", || {
            (self.admin.job(&id).count("stderrBytes") == all).then_some(())
        });
        (id, tally)
    }

    fn wait_for_job(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let job = self.admin.job(id);
            is_so(&job).then_some(job)
        })
    }

    fn run_next_job(&self) {
        let next = self.admin.queue("n1");
        self.wait_for_job(&next, "the next job", |job| job["status"] == "SUCCEEDED");
    }

    /// Waits until the agent has removed the folder of the job, whose end the server already knows.
    fn wait_for_cleanup(&self) {
        eventually("no job folders", || {
            self.node.job_folders().is_empty().then_some(())
        });
    }
}

const RESTARTED: &str = "node restarted while the job was running";

#[test]
fn a_reboot_fails_the_job_in_the_contracts_words() {
    let mut world = world();
    let (id, tally) = world.start_waiting_job();
    world.node.power_off();
    boot(&mut world.node, "two");
    let job = world.wait_for_job(&id, "its end", |job| job["status"] != "RUNNING");
    assert_eq!(job["status"], "FAILED", "{job}");
    assert_eq!(job["errorMsg"], RESTARTED, "{job}");
    assert_eq!(
        (&job["exitCode"], &job["recoveredAt"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(world.admin.log(&id, "stderr"), tally.stderr());
    assert_eq!(tally.runs(), 1);
    world.run_next_job();
    assert_eq!(tally.runs(), 1);
    world.wait_for_cleanup();
}

/// A power loss may destroy what was not synced in a job's folder. The start log still has the
/// start.
fn assert_started_once_after_power_loss(damage: impl Fn(&std::path::Path)) {
    let mut world = world();
    let (id, tally) = world.start_waiting_job();
    world.node.power_off();
    for folder in world.node.job_folders() {
        damage(&folder);
    }
    boot(&mut world.node, "two");
    let job = world.wait_for_job(&id, "its end", |job| job["status"] != "RUNNING");
    assert_eq!(job["status"], "FAILED", "{job}");
    assert_eq!(job["errorMsg"], RESTARTED, "{job}");
    assert_eq!(world.admin.log(&id, "stderr"), tally.stderr());
    world.run_next_job();
    assert_eq!(tally.runs(), 1);
    world.wait_for_cleanup();
    // The job does not start after a second power loss either.
    world.node.power_off();
    boot(&mut world.node, "three");
    world.run_next_job();
    assert_eq!(world.node.times_logged("found again"), 1);
}

#[test]
fn a_job_whose_folder_was_lost_never_starts_again() {
    assert_started_once_after_power_loss(|folder| {
        std::fs::remove_dir_all(folder).expect("removes");
    });
}

#[test]
fn a_job_whose_files_were_emptied_never_starts_again() {
    assert_started_once_after_power_loss(|folder| {
        for entry in std::fs::read_dir(folder).expect("reads") {
            let entry = entry.expect("reads");
            if entry.file_type().expect("reads").is_file() {
                std::fs::write(entry.path(), "").expect("writes");
            }
        }
    });
}

#[test]
fn a_reboot_that_outlasts_the_lease_is_reported_late() {
    let mut world = world();
    let (id, tally) = world.start_waiting_job();
    world.node.power_off();
    let job = world.wait_for_job(&id, "the end of the lease", |job| {
        job["status"] != "RUNNING"
    });
    assert_eq!(job["status"], "FAILED", "{job}");
    assert_eq!(job["errorMsg"], "agent disappeared", "{job}");
    boot(&mut world.node, "two");
    let job = world.wait_for_job(&id, "the truth", |job| !job["recoveredAt"].is_null());
    assert_eq!(job["status"], "FAILED", "{job}");
    assert_eq!(job["errorMsg"], RESTARTED, "{job}");
    assert_eq!(tally.runs(), 1);
    world.run_next_job();
}

#[test]
fn the_script_of_a_killed_supervisor_is_killed_and_the_job_says_so() {
    let world = world();
    let (id, tally) = world.start_waiting_job();
    let supervisors = world.node.supervisors();
    assert_eq!(supervisors.len(), 1);
    kill(Pid::from_raw(supervisors[0]), Signal::SIGKILL).expect("it runs");
    let job = world.wait_for_job(&id, "its end", |job| job["status"] != "RUNNING");
    assert_eq!(job["status"], "FAILED", "{job}");
    let words = job.field("errorMsg");
    assert!(
        words.starts_with("the job's supervisor was killed"),
        "{words}"
    );
    assert_eq!(
        (&job["exitCode"], &job["signal"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(
        world.admin.log(&id, "stdout").len() as u64,
        job.count("stdoutBytes")
    );
    assert_eq!(world.admin.log(&id, "stderr"), tally.stderr());
    assert!(
        marked(&format!("HYPRBOX_JOB_ID={id}")).is_empty(),
        "a process is left"
    );
    assert_eq!(tally.runs(), 1);
    world.run_next_job();
    assert!(world.server.database().integrity() == ["ok"]);
}

#[test]
fn a_supervisor_killed_while_no_agent_runs_is_detected() {
    let mut world = world();
    let (id, tally) = world.start_waiting_job();
    world.node.kill9();
    for pid in world.node.supervisors() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    }
    world.node.start();
    let job = world.wait_for_job(&id, "its end", |job| job["status"] != "RUNNING");
    assert_eq!(job["status"], "FAILED", "{job}");
    let words = job.field("errorMsg");
    assert!(
        words.starts_with("the job's supervisor was killed"),
        "{words}"
    );
    eventually("the end of all processes", || {
        marked(&format!("HYPRBOX_JOB_ID={id}"))
            .is_empty()
            .then_some(())
    });
    assert_eq!(tally.runs(), 1);
    world.run_next_job();
}
