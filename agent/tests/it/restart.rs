//! Agents that are killed, replaced or rebooted in the middle of a job.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Node, end_jobs, has_open, marked, supervisor_ahead, supervisors, wait_until};
use crate::server::{Fault, Server};

/// A script that says how often it was started, then waits for `go` before it ends.
fn counted(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "echo started >> {dir}/starts; echo ready\n\
         until [ -e {dir}/go ]; do sleep 0.01; done; echo done; exit 7"
    )
}

fn starts(dir: &Path) -> usize {
    let text = std::fs::read_to_string(dir.join("starts")).unwrap_or_default();
    text.lines().count()
}

#[test]
fn a_killed_agent_finds_its_job_again() {
    let server = Server::start();
    let node = Node::new(&server);
    let dir = node.dir.path().to_owned();
    let mut agent = node.start();
    let id = server.queue(&counted(&dir));
    server.wait_output(&id, "ready");
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
    assert_eq!(starts(&dir), 1);
    assert_eq!(server.world().jobs[&id].claims, 1);
}

#[test]
fn a_job_that_ended_without_an_agent_is_told_later() {
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
    // The next job comes on time.
    let next = server.queue("echo next");
    assert_eq!(server.wait_end(&next).exit_code, Some(0));
}

#[test]
fn sigterm_hands_over() {
    let server = Server::start();
    let node = Node::new(&server);
    let dir = node.dir.path().to_owned();
    let agent = node.start();
    let id = server.queue(&counted(&dir));
    server.wait_output(&id, "ready");
    let (status, took) = agent.term();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(supervisors(&node.state()).len(), 1);
    let _agent = node.start();
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(server.wait_end(&id).exit_code, Some(7));
    assert_eq!(starts(&dir), 1);
}

#[test]
fn a_supervisor_ignores_sigterm() {
    let server = Server::start();
    let node = Node::new(&server);
    let dir = node.dir.path().to_owned();
    let _agent = node.start();
    let id = server.queue(&counted(&dir));
    server.wait_output(&id, "ready");
    for pid in supervisors(&node.state()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(server.wait_end(&id).exit_code, Some(7));
}

#[test]
fn a_killed_supervisor_takes_its_job_with_it() {
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
fn a_job_that_comes_again_after_its_end_is_told_of_and_does_not_start_again() {
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
        // As a server does that was put back to a backup of before the claim.
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
fn a_reboot_is_told() {
    let server = Server::start();
    let mut node = Node::new(&server);
    let boot = node.dir.path().join("boot");
    std::fs::write(&boot, "first\n").unwrap();
    node.set("HYPRBOX_BOOT_ID_FILE", boot.display().to_string());
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
fn a_shutdown_that_ends_the_script_first_is_a_reboot_too() {
    let server = Server::start();
    let mut node = Node::new(&server);
    let boot = node.dir.path().join("boot");
    std::fs::write(&boot, "first").unwrap();
    node.set("HYPRBOX_BOOT_ID_FILE", boot.display().to_string());
    let agent = node.start();
    let id = server.queue("echo ready; exec sleep 300");
    server.wait_output(&id, "ready");
    agent.term();
    // As a shutdown does it: SIGTERM to everyone.
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
fn a_job_that_was_only_accepted_comes_again() {
    let server = Server::start();
    let node = Node::new(&server);
    // An agent that died between writing a job down and starting its supervisor.
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
fn a_lost_claim_comes_again_and_runs_once() {
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
fn a_started_job_never_starts_again_whatever_the_server_says() {
    let server = Server::start();
    let node = Node::new(&server);
    let dir = node.dir.path().to_owned();
    let agent = node.start();
    let id = server.queue(&counted(&dir));
    server.wait_output(&id, "ready");
    agent.kill9();
    let agent = node.start();
    agent.wait_log("found again");
    // A server that has forgotten whom it gave the job to.
    server.change(|world| world.queue.push_back(id.clone()));
    std::fs::write(dir.join("go"), "").unwrap();
    server.wait_end(&id);
    assert_eq!(starts(&dir), 1);
}

/// Several jobs whose agents die in the middle of whatever they do, over a line as `edit` makes it.
fn nothing_is_lost(jobs: usize, edit: impl FnOnce(&mut crate::server::World)) {
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
    eprintln!("{kills} kills, {} calls hurt", server.world().hurt);
    let out: String = (1..=40).map(|n| format!("out {n}\n")).collect();
    for id in &ids {
        assert_eq!(server.wait_end(id).exit_code, Some(9));
        assert_eq!(server.stdout(id), out);
        assert_eq!(server.stderr(id), out.replace("out", "err"));
    }
    let runs = std::fs::read_to_string(log).expect("they ran");
    assert_eq!(runs, "x\n".repeat(ids.len()), "each once");
}

#[test]
fn agents_killed_all_the_time_lose_nothing() {
    nothing_is_lost(8, |_| {});
}

#[test]
fn agents_killed_over_a_bad_line_lose_nothing() {
    let seed = std::env::var("HYPRBOX_TEST_SEED").map_or(1, |s| s.parse().expect("a number"));
    eprintln!("HYPRBOX_TEST_SEED={seed}");
    nothing_is_lost(6, |world| world.chaos = Some(seed));
}

#[test]
fn another_machine_is_another_instance() {
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
fn a_supervisor_that_waits_for_a_job_ends_with_its_agent() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    wait_until("the next job's supervisor is there", || {
        supervisor_ahead(&node.state()).len() == 1
    });
    agent.kill9();
    wait_until("it has gone", || supervisor_ahead(&node.state()).is_empty());
}

#[test]
fn a_job_whose_waiting_supervisor_was_killed_gets_another() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    for number in 0..3 {
        wait_until("the next job's supervisor is there", || {
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
fn a_job_whose_supervisor_died_before_it_heard_of_it_starts_at_once_and_once() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let ran = tempfile::NamedTempFile::new().unwrap();
    for secret in [None, Some("hush hush")] {
        wait_until("the next job's supervisor is there", || {
            supervisor_ahead(&node.state()).len() == 1
        });
        let waits = Pid::from_raw(supervisor_ahead(&node.state())[0]);
        kill(waits, Signal::SIGSTOP).unwrap();
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
        let killed_at = Instant::now();
        kill(waits, Signal::SIGKILL).unwrap();
        let end = server.wait_end(&id);
        assert_eq!((end.exit_code, end.error_msg), (Some(0), None));
        // Well before the agent's look from time to time, every 5 s.
        assert!(killed_at.elapsed() < Duration::from_secs(4));
        let runs = std::fs::read_to_string(ran.path()).unwrap();
        assert_eq!(runs.lines().filter(|line| *line == id).count(), 1);
    }
}
