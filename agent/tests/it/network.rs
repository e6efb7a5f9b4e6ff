//! Servers that are slow, faulty or unreachable.

use std::time::Duration;

use crate::agent::{Node, once_within};
use crate::server::{Fault, Server};

#[test]
fn failed_calls_change_nothing() {
    let server = Server::start();
    let node = Node::new(&server);
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::Twice,
        Fault::Status(503),
    ] {
        for call in ["pending", "output", "complete"] {
            server.fault(call, fault);
        }
    }
    let _agent = node.start();
    let id =
        server.queue("for i in $(seq 1 50); do echo $i; echo $i >&2; sleep 0.02; done; exit 2");
    assert_eq!(server.wait_end(&id).exit_code, Some(2));
    let expected: String = (1..=50).map(|n| format!("{n}\n")).collect();
    assert_eq!(server.stdout(&id), expected);
    assert_eq!(server.stderr(&id), expected);
    let next = server.queue("exit 0");
    assert_eq!(server.wait_end(&next).exit_code, Some(0));
}

#[test]
fn a_server_that_was_unreachable_gets_all_output_in_order() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let gone = node.dir.path().join("gone");
    let id = server.queue(&format!(
        "echo ready; until [ -e {0} ]; do sleep 0.01; done; seq 1 300000; echo end >&2; touch {0}2; exit 6",
        gone.display()
    ));
    server.wait_output(&id, "ready");
    server.change(|world| world.down = true);
    std::fs::write(&gone, "").unwrap();
    let over = node.dir.path().join("gone2");
    crate::agent::wait_until("the script ends", || over.exists());
    server.change(|world| world.down = false);
    assert_eq!(server.wait_end(&id).exit_code, Some(6));
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(server.stdout(&id), format!("ready\n{expected}"));
    assert_eq!(server.world().jobs[&id].dropped, [0, 0]);
}

#[test]
fn errors_are_logged_in_the_founding_documents_words() {
    let server = Server::start();
    server.fault("pending", Fault::Status(401));
    server.fault("pending", Fault::Status(403));
    server.fault("pending", Fault::Status(500));
    // After the first the agent repeats the call at once, because an idle connection may have been
    // closed.
    server.fault("pending", Fault::LoseRequest);
    server.fault("pending", Fault::LoseRequest);
    let node = Node::new(&server);
    let agent = node.start();
    let id = server.queue("exit 0");
    server.wait_end(&id);
    let log = agent.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|l| l.contains("[jobrunner] poll error: "))
        .collect();
    assert_eq!(lines.len(), 4, "{log}");
    for line in &lines[..2] {
        assert!(line.ends_with("[jobrunner] poll error: unauthorized — check HYPRBOX_NODE_TOKEN"));
    }
    assert!(lines[2].contains("HTTP 500"), "{}", lines[2]);
    assert!(!log.contains("very-secret"));
}

#[test]
fn a_redirect_is_not_followed() {
    let server = Server::start();
    server.fault("pending", Fault::Status(307));
    let node = Node::new(&server);
    let agent = node.start();
    agent.wait_log("a redirect, which is never followed");
}

#[test]
fn the_end_of_a_job_that_the_server_has_given_up_is_sent_once() {
    for status in [404, 409] {
        let server = Server::start();
        let node = Node::new(&server);
        let _agent = node.start();
        let go = node.dir.path().join("go");
        let id = server.queue(&format!(
            "echo ready; until [ -e {} ]; do sleep 0.01; done; echo more",
            go.display()
        ));
        server.wait_output(&id, "ready");
        server.change(|world| world.jobs.get_mut(&id).unwrap().answer = Some(status));
        std::fs::write(&go, "").unwrap();
        let next = server.queue("exit 0");
        assert_eq!(server.wait_end(&next).exit_code, Some(0));
        let world = server.world();
        let completes = world
            .calls
            .iter()
            .filter(|c| **c == format!("complete {id}"))
            .count();
        assert_eq!(completes, 1, "sent once");
    }
}

#[test]
fn a_body_that_is_too_large_is_sent_in_parts() {
    let server = Server::start();
    let node = Node::new(&server);
    for _ in 0..3 {
        server.fault("output", Fault::Status(413));
    }
    let _agent = node.start();
    let id = server.queue("seq 1 200000");
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(server.stdout(&id), expected);
}

#[test]
fn a_running_job_is_polled_every_third_of_its_lease() {
    let server = Server::start();
    server.change(|world| world.lease_seconds = 3);
    let node = Node::new(&server);
    let _agent = node.start();
    let go = node.dir.path().join("go");
    let id = server.queue(&format!(
        "echo ready; until [ -e {} ]; do sleep 0.01; done",
        go.display()
    ));
    server.wait_output(&id, "ready");
    let from = server.world().polls.len();
    // Polls of a running job claim nothing, and name the job.
    server.wait_for("six polls", |world| {
        (world.polls.len() >= from + 6).then_some(())
    });
    let world = server.world();
    let polls = &world.polls[from..from + 6];
    assert!(
        polls
            .iter()
            .all(|p| p.capacity == 0 && p.running == [id.clone()])
    );
    drop(world);
    // Nearer to a third than to the whole of the lease.
    once_within(Duration::from_secs(2), "the next poll", || {
        server.wait_for_poll()
    });
    std::fs::write(go, "").unwrap();
    server.wait_end(&id);
}

#[test]
fn a_server_that_never_waits_is_polled_ever_less_often() {
    let server = Server::start();
    server.change(|world| world.never_wait = true);
    let node = Node::new(&server);
    let _agent = node.start();
    let first = server.wait_for("a poll", |world| world.polls.first().cloned());
    server.wait_for("more polls", |world| (world.polls.len() >= 9).then_some(()));
    let took = server.world().polls[8].at - first.at;
    assert!(took > Duration::from_secs(2), "{took:?}");
    let id = server.queue("exit 0");
    server.wait_end(&id);
}

#[test]
fn while_idle_one_poll_is_open_and_waits() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    for _ in 0..3 {
        let id = server.queue("exit 0");
        server.wait_end(&id);
    }
    // One poll before each job and one after the last: a short job needs no poll for its cancel.
    server.wait_for("the next poll", |world| {
        (world.polls.len() >= 4).then_some(())
    });
    let polls = server.world().polls.len();
    // A job that takes long on a busy machine has some of its own.
    assert!(polls < 30, "{polls}");
}
