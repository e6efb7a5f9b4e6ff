//! How jobs end: cancel, timeout, signals, and processes that scripts leave behind.

use std::time::{Duration, Instant};

use crate::agent::{Node, marked, wait_until};
use crate::server::{Fault, Server};

/// A shell line that starts a process which ignores SIGTERM, in a session of its own, and whose
/// parent has exited.
fn runaway(name: &str) -> String {
    format!(
        "(setsid bash -c \"trap '' TERM; exec -a {name} sleep 300\" > /dev/null 2>&1 < /dev/null &)\n"
    )
}

#[test]
fn a_cancel_sends_sigterm_to_all_processes() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("trap 'echo bye; exit 5' TERM; sleep 300 & echo ready; wait");
    server.wait_output(&id, "ready");
    server.cancel(&id);
    let end = server.wait_end(&id);
    assert_eq!(end.cancelled, Some(true));
    assert_eq!(end.exit_code, Some(5));
    assert_eq!(end.error_msg, None);
    assert_eq!(server.stdout(&id), "ready\nbye\n");
    assert!(marked(&format!("HYPRBOX_JOB_ID={id}")).is_empty());
}

#[test]
fn a_cancel_kills_processes_that_ignore_it_or_have_left_the_session() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let script = format!(
        "trap '' TERM\n{}{}for i in 1 2 3; do (trap '' TERM; while :; do sleep 0.01; done) & done\n\
         echo ready; while :; do sleep 1; done",
        runaway("hb-gone-1"),
        runaway("hb-gone-2")
    );
    let id = server.queue(&script);
    server.wait_output(&id, "ready");
    wait_until("both have left the session", || {
        marked("hb-gone-").len() >= 2
    });
    let began = Instant::now();
    server.cancel(&id);
    let end = server.wait_end(&id);
    assert!(
        began.elapsed() >= Duration::from_secs(10),
        "they get ten seconds before SIGKILL"
    );
    assert_eq!(end.cancelled, Some(true));
    assert_eq!(end.signal.as_deref(), Some("SIGKILL"));
    assert_eq!(end.exit_code, None);
    assert_eq!(end.error_msg, None);
    assert!(marked(&format!("HYPRBOX_JOB_ID={id}")).is_empty());
    let polls = server.world().polls.iter().filter(|p| p.at > began).count();
    assert!(
        polls < 100,
        "a cancel that stays listed is polled too often: {polls}"
    );
}

#[test]
fn a_timeout_ends_the_script() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue_with("echo ready; exec sleep 300", |job| job.timeout_seconds = 1);
    let end = server.wait_end(&id);
    assert_eq!(end.timed_out, Some(true));
    assert_eq!(end.cancelled, None);
    assert_eq!(end.signal.as_deref(), Some("SIGTERM"));
    assert_eq!(end.error_msg.as_deref(), Some("timed out after 1 s"));
}

#[test]
fn a_script_that_ended_first_keeps_its_end() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    // Bash exits at once, and its child still runs when the cancel arrives.
    let id = server.queue("(echo child; sleep 300) & exit 4");
    server.wait_output(&id, "child");
    server.cancel(&id);
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(4));
    assert_eq!(end.cancelled, None);
}

#[test]
fn processes_that_are_left_behind_are_ended_and_named() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let script = format!(
        "{}(sleep 0.5; echo late; printf half >&2; exec sleep 300) & echo early",
        runaway("hb-left-behind")
    );
    let id = server.queue(&script);
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(0));
    assert_eq!(end.error_msg, None);
    assert_eq!(server.stdout(&id), "early\nlate\n");
    let stderr = server.stderr(&id);
    let rest = stderr
        .strip_prefix("half\nhyprbox: ended 2 processes that the script left behind: ")
        .expect(&stderr);
    let names: Vec<&str> = rest.split([' ', '\n']).step_by(2).collect();
    assert_eq!(names, ["sleep", "sleep", ""], "{stderr}");
    assert_eq!(end.stderr_bytes, Some(server.stderr(&id).len() as u64));
    assert!(marked(&format!("HYPRBOX_JOB_ID={id}")).is_empty());
}

#[test]
fn a_child_that_ends_in_time_is_waited_for() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("(sleep 0.3; echo late) & echo early");
    server.wait_end(&id);
    assert_eq!(server.stdout(&id), "early\nlate\n");
    assert_eq!(server.stderr(&id), "");
}

#[test]
fn a_signal_from_another_process_is_named() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("kill -9 $$");
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, None);
    assert_eq!(end.signal.as_deref(), Some("SIGKILL"));
    assert_eq!(end.error_msg.as_deref(), Some("killed by SIGKILL"));
    assert_eq!(end.cancelled, None);
}

#[test]
fn a_cancel_in_the_response_to_output_counts() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("while :; do echo tick; sleep 0.05; done");
    server.wait_output(&id, "tick");
    // All polls fail from here on, so only the responses to output contain the cancel.
    for _ in 0..100 {
        server.fault("pending", crate::server::Fault::Status(500));
    }
    server.cancel(&id);
    assert_eq!(server.wait_end(&id).cancelled, Some(true));
}

#[test]
fn stop_jobs_ends_running_jobs() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("echo ready; sleep 300");
    server.wait_output(&id, "ready");
    let output = node.output(&["stop-jobs"]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("job {id} ended\n")
    );
    let end = server.wait_end(&id);
    assert_eq!(
        end.error_msg.as_deref(),
        Some("ended by hyprbox-agent stop-jobs")
    );
    assert_eq!(end.cancelled, None);
    assert!(marked(&format!("HYPRBOX_JOB_ID={id}")).is_empty());
    let again = node.output(&["stop-jobs"]);
    assert!(again.status.success() && again.stdout.is_empty());
}

#[test]
fn the_end_is_sent_with_the_last_output() {
    let server = Server::start();
    // Output after the first line is held back until after the end of the script.
    server.change(|world| world.flush_ms = 1500);
    let node = Node::new(&server);
    let _agent = node.start();
    let go = node.dir.path().join("go");
    let id = server.queue(&format!(
        "echo first; until [ -e {} ]; do sleep 0.01; done; echo last; echo and this >&2; exit 4",
        go.display()
    ));
    server.wait_output(&id, "first");
    std::fs::write(&go, "").unwrap();
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(4));
    assert_eq!((end.stdout_bytes, end.stderr_bytes), (Some(11), Some(9)));
    assert_eq!(server.stdout(&id), "first\nlast\n");
    assert_eq!(server.stderr(&id), "and this\n");
    // The agent claims the next job only after this one.
    let next = server.queue("exit 0");
    server.wait_end(&next);
    let calls = server.world().calls.clone();
    assert!(!calls.contains(&format!("complete {id}")), "{calls:?}");
    // A job without output has only its end to report.
    assert!(calls.contains(&format!("complete {next}")), "{calls:?}");
}

#[test]
fn the_response_to_an_end_contains_the_next_job() {
    let server = Server::start();
    // Nobody watches, so the last output is held back until the end.
    server.change(|world| world.flush_ms = 1_500);
    let node = Node::new(&server);
    let ids: Vec<String> = (0..3)
        .map(|n| server.queue(&format!("echo first; sleep 0.1; echo {n}; exit {n}")))
        .collect();
    let _agent = node.start();
    for (id, code) in ids.iter().zip(0..) {
        assert_eq!(server.wait_end(id).exit_code, Some(code));
        assert_eq!(server.stdout(id), format!("first\n{code}\n"));
        assert_eq!(server.world().jobs[id].claims, 1);
    }
    let calls = server.world().calls.clone();
    for id in &ids[1..] {
        assert!(calls.contains(&format!("given {id}")), "{calls:?}");
    }
    // A job that is queued later is claimed by a poll.
    let later = server.queue("exit 9");
    assert_eq!(server.wait_end(&later).exit_code, Some(9));
}

#[test]
fn an_older_server_gets_the_end_in_a_call_of_its_own() {
    let server = Server::start();
    server.change(|world| world.old = true);
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("echo all of it; exit 4");
    assert_eq!(server.wait_end(&id).exit_code, Some(4));
    assert_eq!(server.stdout(&id), "all of it\n");
    assert_eq!(server.world().jobs[&id].dropped, [0, 0]);
    let calls = server.world().calls.clone();
    assert_eq!(calls.last(), Some(&format!("complete {id}")), "{calls:?}");
}

#[test]
fn an_end_whose_response_was_lost_is_sent_again_and_counts_once() {
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::Twice,
        Fault::Status(503),
    ] {
        let server = Server::start();
        server.fault("output", fault);
        let node = Node::new(&server);
        let _agent = node.start();
        let id = server.queue("echo once; exit 5");
        assert_eq!(server.wait_end(&id).exit_code, Some(5), "{fault:?}");
        let next = server.queue("exit 0");
        server.wait_end(&next);
        assert_eq!(server.stdout(&id), "once\n", "{fault:?}");
        assert_eq!(server.world().jobs[&id].claims, 1, "{fault:?}");
    }
}
