//! The node goes down, or a supervisor does: the job's end is told as it was.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Field, Person, Server, Setup, eventually};
use crate::node::Node;
use crate::processes::marked;
use crate::script::{Tally, write_tally};

struct World {
    // Ends first.
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

/// Gives the node another boot id.
fn boot(node: &mut Node, id: &str) {
    let file = node.folder().join("boot-id");
    std::fs::write(&file, id).expect("writes");
    node.set("HYPRBOX_BOOT_ID_FILE", file.to_str().expect("UTF-8"));
    node.start();
}

impl World {
    /// A job that has written its lines and waits for a gate that never opens.
    fn waiting(&self) -> (String, Tally) {
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

    fn until(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let job = self.admin.job(id);
            is_so(&job).then_some(job)
        })
    }

    fn takes_the_next_job(&self) {
        let next = self.admin.queue("n1");
        self.until(&next, "the next job", |job| job["status"] == "SUCCEEDED");
    }

    /// The server hears of an end before the agent has put the job's folder away.
    fn clears_its_journal(&self) {
        eventually("an empty journal", || {
            self.node.journal().is_empty().then_some(())
        });
    }
}

const RESTARTED: &str = "node restarted while the job was running";

#[test]
fn a_reboot_fails_the_job_in_the_contracts_words() {
    let mut world = world();
    let (id, tally) = world.waiting();
    world.node.power_off();
    boot(&mut world.node, "two");
    let job = world.until(&id, "its end", |job| job["status"] != "RUNNING");
    assert_eq!(job["status"], "FAILED", "{job}");
    assert_eq!(job["errorMsg"], RESTARTED, "{job}");
    assert_eq!(
        (&job["exitCode"], &job["recoveredAt"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(world.admin.log(&id, "stderr"), tally.stderr());
    assert_eq!(tally.runs(), 1);
    world.takes_the_next_job();
    assert_eq!(tally.runs(), 1);
    world.clears_its_journal();
}

/// What of a job's folder was not synced may go with the power: the start is known all the same.
fn starts_once_whatever_the_power_took(take: impl Fn(&std::path::Path)) {
    let mut world = world();
    let (id, tally) = world.waiting();
    world.node.power_off();
    for folder in world.node.journal() {
        take(&folder);
    }
    boot(&mut world.node, "two");
    let job = world.until(&id, "its end", |job| job["status"] != "RUNNING");
    assert_eq!(job["status"], "FAILED", "{job}");
    assert_eq!(job["errorMsg"], RESTARTED, "{job}");
    assert_eq!(world.admin.log(&id, "stderr"), tally.stderr());
    world.takes_the_next_job();
    assert_eq!(tally.runs(), 1);
    world.clears_its_journal();
    // Nor after one more.
    world.node.power_off();
    boot(&mut world.node, "three");
    world.takes_the_next_job();
    assert_eq!(world.node.times_logged("found again"), 1);
}

#[test]
fn a_job_whose_folder_went_with_the_power_never_starts_again() {
    starts_once_whatever_the_power_took(|folder| {
        std::fs::remove_dir_all(folder).expect("removes");
    });
}

#[test]
fn a_job_whose_folder_lost_its_last_words_never_starts_again() {
    starts_once_whatever_the_power_took(|folder| {
        for entry in std::fs::read_dir(folder).expect("reads") {
            let entry = entry.expect("reads");
            if entry.file_type().expect("reads").is_file() {
                std::fs::write(entry.path(), "").expect("writes");
            }
        }
    });
}

#[test]
fn a_reboot_that_outlasts_the_lease_is_told_late() {
    let mut world = world();
    let (id, tally) = world.waiting();
    world.node.power_off();
    let job = world.until(&id, "the end of the lease", |job| {
        job["status"] != "RUNNING"
    });
    assert_eq!(job["status"], "FAILED", "{job}");
    assert_eq!(job["errorMsg"], "agent disappeared", "{job}");
    boot(&mut world.node, "two");
    let job = world.until(&id, "the truth", |job| !job["recoveredAt"].is_null());
    assert_eq!(job["status"], "FAILED", "{job}");
    assert_eq!(job["errorMsg"], RESTARTED, "{job}");
    assert_eq!(tally.runs(), 1);
    world.takes_the_next_job();
}

#[test]
fn a_supervisor_killed_alone_takes_the_script_with_it_and_the_job_says_so() {
    let world = world();
    let (id, tally) = world.waiting();
    let supervisors = world.node.supervisors();
    assert_eq!(supervisors.len(), 1);
    kill(Pid::from_raw(supervisors[0]), Signal::SIGKILL).expect("it runs");
    let job = world.until(&id, "its end", |job| job["status"] != "RUNNING");
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
        "something runs on"
    );
    assert_eq!(tally.runs(), 1);
    world.takes_the_next_job();
    assert!(world.server.database().integrity() == ["ok"]);
}

#[test]
fn a_supervisor_killed_while_the_agent_is_away_is_found_out() {
    let mut world = world();
    let (id, tally) = world.waiting();
    world.node.kill9();
    for pid in world.node.supervisors() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    }
    world.node.start();
    let job = world.until(&id, "its end", |job| job["status"] != "RUNNING");
    assert_eq!(job["status"], "FAILED", "{job}");
    let words = job.field("errorMsg");
    assert!(
        words.starts_with("the job's supervisor was killed"),
        "{words}"
    );
    eventually("nothing to run on", || {
        marked(&format!("HYPRBOX_JOB_ID={id}"))
            .is_empty()
            .then_some(())
    });
    assert_eq!(tally.runs(), 1);
    world.takes_the_next_job();
}
