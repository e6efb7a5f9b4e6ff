//! Agents that are killed or restarted in the middle of a job, and nodes that are rebooted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{
    Agent, Node, end_jobs, has_open, marked, once_within, supervisor_ahead, supervisors, wait_until,
};
use crate::server::{Fault, Server};

/// A script that records each of its starts, and waits for the file `go` before it exits.
fn counted(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "echo started >> {dir}/starts; echo ready\n\
         until [ -e {dir}/go ]; do sleep 0.01; done; echo done; exit 7"
    )
}

/// A job with a script as above, which has started.
fn with_counted_job() -> (Server, Node, Agent, String) {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let id = server.queue(&counted(node.dir.path()));
    server.wait_output(&id, "ready");
    (server, node, agent, id)
}

/// A node that reads this boot id from the file.
fn with_boot_id(first: &str) -> (Server, Node, PathBuf) {
    let server = Server::start();
    let mut node = Node::new(&server);
    let boot = node.dir.path().join("boot");
    std::fs::write(&boot, first).expect("written");
    node.set("HYPRBOX_BOOT_ID_FILE", boot.display().to_string());
    (server, node, boot)
}

fn starts(dir: &Path) -> usize {
    let text = std::fs::read_to_string(dir.join("starts")).unwrap_or_default();
    text.lines().count()
}

#[test]
fn a_killed_agent_finds_its_job_again() {
    let (server, node, mut agent, id) = with_counted_job();
    let dir = node.dir.path();
    for _ in 0..3 {
        agent.kill9();
        agent = node.start();
        agent.wait_log("found again");
    }
    std::fs::write(dir.join("go"), "").unwrap();
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(7));
    assert_eq!(end.error_msg, None);
    assert_eq!(server.stdout(&id), "ready\ndone\n");
    assert_eq!(starts(dir), 1);
    assert_eq!(server.world().jobs[&id].claims, 1);
}

#[test]
fn the_end_of_a_job_without_an_agent_is_reported_later() {
    let server = Server::start();
    let node = Node::new(&server);
    let dir = node.dir.path().to_owned();
    let agent = node.start();
    let id = server.queue(&format!(
        "{}; seq 1 1000000",
        counted(&dir).replace("; exit 7", "")
    ));
    server.wait_output(&id, "ready");
    agent.kill9();
    std::fs::write(dir.join("go"), "").unwrap();
    wait_until("the supervisor ends", || {
        supervisors(&node.state()).is_empty()
    });
    let _agent = node.start();
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(0));
    let expected: String = (1..=1_000_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(server.stdout(&id), format!("ready\ndone\n{expected}"));
    // The next job runs as usual.
    let next = server.queue("echo next");
    assert_eq!(server.wait_end(&next).exit_code, Some(0));
}

#[test]
fn an_agent_exits_on_sigterm_and_leaves_its_job_running() {
    let (server, node, agent, id) = with_counted_job();
    let dir = node.dir.path();
    // The job can't have ended: it waits for `go`.
    assert_eq!(agent.term().code(), Some(0));
    assert_eq!(supervisors(&node.state()).len(), 1);
    let _agent = node.start();
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(server.wait_end(&id).exit_code, Some(7));
    assert_eq!(starts(dir), 1);
}

#[test]
fn a_supervisor_ignores_sigterm() {
    let (server, node, _agent, id) = with_counted_job();
    let dir = node.dir.path();
    for pid in supervisors(&node.state()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(server.wait_end(&id).exit_code, Some(7));
}

#[test]
fn the_job_of_a_killed_supervisor_is_killed() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("(setsid sleep 300 &); sleep 300 & echo ready; sleep 300");
    server.wait_output(&id, "ready");
    for pid in supervisors(&node.state()) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, None);
    let why = end.error_msg.unwrap();
    assert!(why.contains("supervisor was killed"), "{why}");
    assert_eq!(server.stdout(&id), "ready\n");
    assert_eq!(end.stdout_bytes, Some(6));
    assert!(marked(&format!("HYPRBOX_JOB_ID={id}")).is_empty());
    let next = server.queue("exit 0");
    assert_eq!(server.wait_end(&next).exit_code, Some(0));
}

#[test]
fn the_end_of_a_job_that_is_claimed_again_is_reported_again_without_a_start() {
    let server = Server::start();
    let node = Node::new(&server);
    let mut agent = node.start();
    let ran = node.dir.path().join("ran");
    let id = server.queue(&format!("echo x >> {}; echo out; exit 7", ran.display()));
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(7));
    for is_another in [false, true] {
        if is_another {
            agent.kill9();
            agent = node.start();
        }
        // A server does this after a restore from a backup that was taken before the claim.
        server.change(|world| {
            let job = world.jobs.get_mut(&id).unwrap();
            (job.end, job.claimed_by) = (None, None);
            world.queue.push_back(id.clone());
        });
        assert_eq!(server.wait_end(&id), end);
    }
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "x\n");
    assert_eq!(server.world().jobs[&id].claims, 3);
    drop(agent);
}

#[test]
fn a_reboot_fails_the_job() {
    let (server, node, boot) = with_boot_id(
        "first
",
    );
    let agent = node.start();
    let id = server.queue("echo ready; sleep 300");
    server.wait_output(&id, "ready");
    agent.kill9();
    end_jobs(&node.state());
    std::fs::write(&boot, "second\n").unwrap();
    let _agent = node.start();
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, None);
    assert_eq!(
        end.error_msg.as_deref(),
        Some("node restarted while the job was running")
    );
    assert_eq!(server.stdout(&id), "ready\n");
    assert_eq!(server.world().jobs[&id].claims, 1);
}

#[test]
fn a_shutdown_that_ends_the_script_counts_as_a_reboot() {
    let (server, node, boot) = with_boot_id("first");
    let agent = node.start();
    let id = server.queue("echo ready; exec sleep 300");
    server.wait_output(&id, "ready");
    agent.term();
    // A shutdown sends SIGTERM to every process.
    let mut all = supervisors(&node.state());
    all.extend(marked(&format!("HYPRBOX_JOB_ID={id}")));
    for pid in all {
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }
    wait_until("the supervisor ends", || {
        supervisors(&node.state()).is_empty()
    });
    std::fs::write(&boot, "second").unwrap();
    let _agent = node.start();
    assert_eq!(
        server.wait_end(&id).error_msg.as_deref(),
        Some("node restarted while the job was running")
    );
}

#[test]
fn a_job_that_was_accepted_but_not_started_is_claimed_again() {
    let server = Server::start();
    let node = Node::new(&server);
    // This agent dies between writing the job to its folder and starting a supervisor.
    let agent = node.start();
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    agent.kill9();
    let id = server.queue("echo once");
    let dir = node.state().join("jobs").join(&id);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("job.json"), "half of i").unwrap();
    std::fs::create_dir(node.state().join("jobs").join("half.new")).unwrap();
    let _agent = node.start();
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    assert_eq!(server.stdout(&id), "once\n");
    assert!(!node.state().join("jobs").join("half.new").exists());
}

#[test]
fn a_claim_whose_response_was_lost_is_repeated_and_runs_once() {
    let server = Server::start();
    let node = Node::new(&server);
    let dir = node.dir.path().to_owned();
    server.fault("pending", Fault::LoseAnswer);
    std::fs::write(dir.join("go"), "").unwrap();
    let id = server.queue(&counted(&dir));
    let _agent = node.start();
    assert_eq!(server.wait_end(&id).exit_code, Some(7));
    assert_eq!(starts(&dir), 1);
    assert_eq!(server.world().jobs[&id].claims, 2);
}

#[test]
fn a_started_job_never_starts_again_even_if_the_server_sends_it_again() {
    let (server, node, agent, id) = with_counted_job();
    let dir = node.dir.path();
    agent.kill9();
    let agent = node.start();
    agent.wait_log("found again");
    // The server forgets that the job is claimed.
    server.change(|world| world.queue.push_back(id.clone()));
    std::fs::write(dir.join("go"), "").unwrap();
    server.wait_end(&id);
    assert_eq!(starts(dir), 1);
}

/// Runs several jobs, and kills their agents at arbitrary times. `edit` changes the server first.
fn assert_nothing_is_lost(jobs: usize, edit: impl FnOnce(&mut crate::server::World)) {
    let server = Server::start();
    server.change(edit);
    let node = Node::new(&server);
    let log = node.dir.path().join("log");
    let script = format!(
        "echo x >> {}; for i in $(seq 1 40); do echo out $i; echo err $i >&2; sleep 0.005; done; exit 9",
        log.display()
    );
    let ids: Vec<String> = (0..jobs).map(|_| server.queue(&script)).collect();
    let mut agent = node.start();
    let mut kills = 0;
    loop {
        let count = |world: &crate::server::World| world.calls.len() + world.polls.len();
        let calls = count(&server.world());
        let over = server.wait_for("another call", |world| {
            let over = ids.iter().all(|id| world.jobs[id].end.is_some());
            (over || count(world) >= calls + 3 + kills % 5).then_some(over)
        });
        if over {
            break;
        }
        agent.kill9();
        kills += 1;
        agent = node.start();
    }
    eprintln!("{kills} kills, {} calls with a fault", server.world().hurt);
    let out: String = (1..=40).map(|n| format!("out {n}\n")).collect();
    for id in &ids {
        assert_eq!(server.wait_end(id).exit_code, Some(9));
        assert_eq!(server.stdout(id), out);
        assert_eq!(server.stderr(id), out.replace("out", "err"));
    }
    let runs = std::fs::read_to_string(log).expect("the scripts ran");
    assert_eq!(runs, "x\n".repeat(ids.len()), "each script ran once");
}

#[test]
fn agents_that_are_killed_repeatedly_lose_nothing() {
    assert_nothing_is_lost(8, |_| {});
}

#[test]
fn agents_that_are_killed_on_an_unreliable_network_lose_nothing() {
    let seed = std::env::var("HYPRBOX_TEST_SEED").map_or(1, |s| s.parse().expect("a number"));
    eprintln!("HYPRBOX_TEST_SEED={seed}");
    assert_nothing_is_lost(6, |world| world.chaos = Some(seed));
}

#[test]
fn another_machine_id_makes_another_instance() {
    let server = Server::start();
    let mut node = Node::new(&server);
    let machine = node.dir.path().join("machine");
    node.set("HYPRBOX_MACHINE_ID_FILE", machine.display().to_string());
    let mut seen = Vec::new();
    for id in ["one", "one", "two"] {
        std::fs::write(&machine, id).unwrap();
        server.change(|world| world.heartbeats.clear());
        let agent = node.start();
        let first = |world: &mut crate::server::World| world.heartbeats.first()?.instance.clone();
        seen.push(server.wait_for("a heartbeat", first));
        agent.kill9();
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[1], seen[2]);
}

#[test]
fn a_waiting_supervisor_exits_with_its_agent() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    wait_until("a supervisor waits for the next job", || {
        supervisor_ahead(&node.state()).len() == 1
    });
    agent.kill9();
    wait_until("the supervisor exits", || {
        supervisor_ahead(&node.state()).is_empty()
    });
}

#[test]
fn a_job_whose_waiting_supervisor_was_killed_gets_another() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    for number in 0..3 {
        wait_until("a supervisor waits for the next job", || {
            supervisor_ahead(&node.state()).len() == 1
        });
        for pid in supervisor_ahead(&node.state()) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
        let id = server.queue(&format!("echo run {number}"));
        let end = server.wait_end(&id);
        assert_eq!((end.exit_code, end.error_msg), (Some(0), None));
        assert_eq!(server.stdout(&id), format!("run {number}\n"));
    }
}

#[test]
fn a_job_whose_supervisor_died_before_it_read_the_job_starts_at_once_and_only_once() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let ran = tempfile::NamedTempFile::new().unwrap();
    let run_one = |secret: Option<&str>| {
        wait_until("a supervisor waits for the next job", || {
            supervisor_ahead(&node.state()).len() == 1
        });
        let waiting = Pid::from_raw(supervisor_ahead(&node.state())[0]);
        kill(waiting, Signal::SIGSTOP).unwrap();
        let script = format!("echo $HYPRBOX_JOB_ID >> {}", ran.path().display());
        let id = server.queue_with(&script, |job| {
            job.secrets = secret
                .map(|s| ("s".to_owned(), s.to_owned()))
                .into_iter()
                .collect();
        });
        let pipe = node.state().join("jobs").join(&id).join("wake");
        wait_until("the job is handed over and followed", || {
            has_open(agent.pid(), &pipe)
        });
        kill(waiting, Signal::SIGKILL).unwrap();
        let end = server.wait_end(&id);
        assert_eq!((end.exit_code, end.error_msg), (Some(0), None));
        let runs = std::fs::read_to_string(ran.path()).unwrap();
        assert_eq!(runs.lines().filter(|line| *line == id).count(), 1);
    };
    for secret in [None, Some("hush hush")] {
        once_within(
            Duration::from_secs(5),
            "a job that starts before the agent's check every 5 s",
            || run_one(secret),
        );
    }
}
