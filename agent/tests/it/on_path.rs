//! Proxies and firewalls between agent and server that respond in the server's place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use hyprbox_protocol::OutputRequest;

use crate::agent::{Node, high_water_kib, once_within};
use crate::server::{Fault, Server};

const LINES: u32 = 40;

fn counting(dir: &std::path::Path) -> String {
    format!(
        "echo ready; until [ -e {}/go ]; do sleep 0.01; done; for i in $(seq 1 {LINES}); do echo line $i; sleep 0.02; done; exit 4",
        dir.display()
    )
}

#[test]
fn a_proxy_that_answers_all_calls_for_a_while_loses_nothing() {
    for status in [200, 302, 400, 401, 403, 404, 409, 413, 500, 502] {
        let server = Server::start();
        let node = Node::new(&server);
        let agent = node.start();
        let id = server.queue(&counting(node.dir.path()));
        server.wait_output(&id, "ready");
        server.change(|world| world.firewall = Some(Box::new(move |_, _| Some(status))));
        std::fs::write(node.dir.path().join("go"), "").expect("writes");
        server.wait_for("refused calls", |world| (world.refused >= 6).then_some(()));
        server.change(|world| world.firewall = None);
        assert_eq!(server.wait_end(&id).exit_code, Some(4), "{status}");
        let lines: String = (1..=LINES).map(|i| format!("line {i}\n")).collect();
        assert_eq!(server.stdout(&id), format!("ready\n{lines}"), "{status}");
        assert_eq!(server.world().jobs[&id].dropped, [0, 0], "{status}");
        let log = agent.log();
        assert!(!log.contains("unauthorized"), "{log}");
        let words = "from something between agent and server";
        assert!(log.contains(&format!("HTTP {status} {words}")), "{log}");
    }
}

#[test]
fn an_end_is_acknowledged_only_by_the_server_itself() {
    let server = Server::start();
    server.change(|world| {
        world.old = true;
        world.answers_complete_with = Some(r#"{"status": "ok"}"#);
    });
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("exit 3");
    let complete = format!("complete {id}");
    let completes = |calls: &[String]| calls.iter().filter(|c| **c == complete).count();
    server.wait_for("a second try", |world| {
        (completes(&world.calls) >= 2).then_some(())
    });
    server.change(|world| world.answers_complete_with = None);
    let next = server.queue("exit 0");
    server.wait_end(&next);
}

#[test]
fn output_that_a_firewall_refuses_as_text_is_sent_as_base64() {
    let server = Server::start();
    server.change(|world| {
        world.firewall = Some(Box::new(|kind, body| {
            let is_bad = body.windows(8).any(|part| part == b"<script>");
            (kind == "output" && is_bad).then_some(403)
        }));
    });
    let node = Node::new(&server);
    let agent = node.start();
    let id = server.queue("echo before; echo '<script>alert(1)</script>'; echo after; exit 5");
    assert_eq!(server.wait_end(&id).exit_code, Some(5));
    assert_eq!(
        server.stdout(&id),
        "before\n<script>alert(1)</script>\nafter\n"
    );
    assert_eq!(server.world().jobs[&id].dropped, [0, 0]);
    let log = agent.log();
    assert!(
        log.contains("output error: HTTP 403 from something between agent and server: <html><body>Request blocked by policy"),
        "{log}"
    );
    assert!(!log.contains("HYPRBOX_NODE_TOKEN"), "{log}");
}

/// Returns the bytes of an `output` call, whether sent as text or as base64.
fn decoded(body: &[u8]) -> Vec<u8> {
    let Ok(request) = serde_json::from_slice::<OutputRequest>(body) else {
        return Vec::new();
    };
    let chunks = request.chunks.unwrap_or_default();
    let coded = chunks.into_iter().map(|chunk| {
        let decode = |text: String| {
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .expect("base64")
        };
        let text = chunk.data.map(String::into_bytes);
        text.or(chunk.data_base64.map(decode)).unwrap_or_default()
    });
    coded.flatten().collect()
}

#[test]
fn output_that_a_firewall_always_refuses_is_dropped_and_counted() {
    let server = Server::start();
    server.change(|world| {
        world.firewall = Some(Box::new(|kind, body| {
            let is_bad = decoded(body).windows(8).any(|part| part == b"<script>");
            (kind == "output" && is_bad).then_some(403)
        }));
    });
    let node = Node::new(&server);
    let agent = node.start();
    // The refused line is in the middle of some 200 KB, of which only a little may be dropped with
    // it.
    let id =
        server.queue("seq 1 20000; echo '<script>'; seq 20001 40000; echo the end of it; exit 6");
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(6));
    let world = server.world();
    let job = &world.jobs[&id];
    let [dropped, _] = job.dropped;
    let all = job.text(0).len() as u64 + dropped;
    assert_eq!(end.stdout_bytes, Some(all));
    assert!((9..=8 * 1024).contains(&dropped), "{dropped}");
    assert!(job.text(0).starts_with("1\n2\n"));
    assert!(job.text(0).ends_with("the end of it\n"));
    assert!(!job.text(0).contains("<script>"));
    drop(world);
    assert!(agent.log().contains("bytes of its output are dropped"));
}

#[test]
fn an_end_is_reported_even_if_all_output_is_refused() {
    let server = Server::start();
    server.change(|world| {
        world.firewall = Some(Box::new(|kind, _| (kind == "output").then_some(403)));
    });
    let mut node = Node::new(&server);
    node.set("HYPRBOX_INTERVAL", "1s");
    let _agent = node.start();
    let id = server.queue("echo lost; exit 7");
    let end = server.wait_end(&id);
    assert_eq!((end.exit_code, end.stdout_bytes), (Some(7), Some(5)));
    server.change(|world| world.firewall = None);
    let next = server.queue("echo kept");
    server.wait_end(&next);
    assert_eq!(server.stdout(&next), "kept\n");
}

#[test]
fn an_end_that_a_firewall_refuses_is_reported_in_another_form() {
    // The preset's output is empty, so that the end goes in a call of its own.
    let killed = "kill -9 $$";
    for (refuses, message) in [
        // Whatever `complete` says; the other call passes.
        (None, Some("killed by SIGKILL")),
        // What the message says, in either call. The server derives it from the signal.
        (Some("killed by"), None),
    ] {
        let server = Server::start();
        server.change(|world| {
            world.firewall = Some(Box::new(move |kind, body| {
                let text = String::from_utf8_lossy(body);
                let is_bad = match refuses {
                    None => kind == "complete",
                    Some(words) => text.contains(words),
                };
                is_bad.then_some(403)
            }));
        });
        let node = Node::new(&server);
        let agent = node.start();
        let id = server.queue(killed);
        let end = server.wait_end(&id);
        assert_eq!(end.signal.as_deref(), Some("SIGKILL"));
        assert_eq!(end.error_msg.as_deref(), message);
        let next = server.queue("echo next; exit 4");
        assert_eq!(server.wait_end(&next).exit_code, Some(4));
        drop(agent);
    }
}

#[test]
fn an_outage_of_the_path_takes_no_message_from_an_end() {
    let server = Server::start();
    let bare_ends = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&bare_ends);
    server.change(|world| {
        // Pauses are short, to keep the lease.
        world.lease_seconds = 3;
        world.firewall = Some(Box::new(move |kind, body| {
            let text = String::from_utf8_lossy(body);
            let is_bare = text.contains("SIGKILL") && !text.contains("killed by");
            counted.fetch_add(u32::from(is_bare), Ordering::Relaxed);
            matches!(kind, "complete" | "output").then_some(502)
        }));
    });
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("kill -9 $$");
    // More than one turn of all forms.
    server.wait_for("refusals", |world| (world.refused >= 8).then_some(()));
    server.change(|world| world.firewall = None);
    let end = server.wait_end(&id);
    assert_eq!(end.error_msg.as_deref(), Some("killed by SIGKILL"));
    assert_eq!(bare_ends.load(Ordering::Relaxed), 0);
}

#[test]
fn an_enrolment_ignores_responses_from_the_path() {
    let server = Server::start();
    for status in [502, 200, 404] {
        server.fault("enrol", Fault::Foreign(status));
    }
    let node = Node::new(&server);
    let file = node.dir.path().join("agent.env");
    let url = format!("http://{}", server.addr);
    let file_arg = file.display().to_string();
    let out = node.output(&[
        "enroll",
        &url,
        "code",
        "--no-start",
        "--env-file",
        &file_arg,
    ]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        text.contains("HYPRBOX_NODE_TOKEN=hbn_enrolled"),
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(said.contains("HTTP 502 from something between agent and server"));
    // An error from the server itself is final.
    server.fault("enrol", Fault::Status(404));
    let out = node.output(&[
        "enroll",
        &url,
        "code",
        "--no-start",
        "--env-file",
        &file_arg,
    ]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("refused with 404"), "{said}");
}

#[test]
fn polls_that_the_path_cuts_become_shorter() {
    for status in [None, Some(504)] {
        let server = Server::start();
        server.change(|world| world.cut_polls = Some((Duration::from_secs(4), status)));
        let node = Node::new(&server);
        let agent = node.start();
        server.wait_for("a shorter poll", |world| {
            world.polls.iter().any(|poll| poll.wait == 2).then_some(())
        });
        let from = server.world().polls.len();
        server.wait_for_poll();
        // No pause follows such a poll.
        once_within(Duration::from_secs(4), "the next poll", || {
            server.wait_for_poll()
        });
        assert!(
            server.world().polls[from..]
                .iter()
                .all(|poll| poll.wait == 2)
        );
        assert_eq!(warnings(&agent.log()), 0, "{}", agent.log());
    }
}

#[test]
fn an_outage_is_one_warning_and_one_line_at_its_end() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("HYPRBOX_INTERVAL", "1s");
    let agent = node.start();
    let go = node.dir.path().join("go");
    let id = server.queue(&format!(
        "echo ready; until [ -e {} ]; do echo more; sleep 0.05; done",
        go.display()
    ));
    server.wait_output(&id, "ready");
    server.wait_for("a heartbeat", |world| world.heartbeats.first().map(drop));
    server.change(|world| world.down = true);
    server.wait_for("failed calls of each kind", |world| {
        (world.closed >= 30).then_some(())
    });
    server.change(|world| world.down = false);
    agent.wait_log("the server answers again");
    std::fs::write(go, "").expect("writes");
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    let log = agent.log();
    assert_eq!(warnings(&log), 1, "{log}");
    assert_eq!(log.matches("the server answers again").count(), 1, "{log}");
}

#[test]
fn the_end_of_an_outage_is_logged_before_a_poll_has_waited() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    server.change(|world| world.down = true);
    agent.wait_log("[jobrunner] poll error");
    let from = server.change(|world| {
        world.down = false;
        world.polls.len()
    });
    agent.wait_log("the server answers again");
    let world = server.world();
    assert_eq!(world.polls[from].wait, 0, "{:?}", world.polls);
    assert_eq!(warnings(&agent.log()), 1, "{}", agent.log());
}

#[test]
fn a_connection_that_was_closed_while_idle_is_not_an_outage() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("HYPRBOX_INTERVAL", "1s");
    let agent = node.start();
    for call in ["heartbeat", "output", "complete", "pending"] {
        server.fault(call, Fault::LoseRequest);
    }
    server.change(|world| world.old = true);
    let id = server.queue("echo one; exit 0");
    server.wait_end(&id);
    server.wait_for("all faults", |world| {
        world
            .faults
            .values()
            .all(|faults| faults.is_empty())
            .then_some(())
    });
    let beats = server.world().heartbeats.len();
    server.wait_for("a heartbeat", |world| {
        (world.heartbeats.len() > beats).then_some(())
    });
    assert_eq!(warnings(&agent.log()), 0, "{}", agent.log());
}

#[test]
fn an_endless_response_uses_little_memory() {
    let server = Server::start();
    server.change(|world| world.old = true);
    let mut node = Node::new(&server);
    node.set("HYPRBOX_INTERVAL", "1s");
    let agent = node.start();
    let first = server.queue("echo warm");
    server.wait_end(&first);
    let idle = high_water_kib(agent.pid());
    for call in ["heartbeat", "pending", "output", "complete"] {
        for status in [200, 403, 500] {
            server.fault(call, Fault::Endless(status));
        }
    }
    let id = server.queue("echo through; exit 0");
    server.wait_end(&id);
    assert_eq!(server.stdout(&id), "through\n");
    server.wait_for("all faults", |world| {
        world
            .faults
            .values()
            .all(|faults| faults.is_empty())
            .then_some(())
    });
    let grown = high_water_kib(agent.pid()) - idle;
    assert!(grown < 48 * 1024, "{grown} KiB over {idle}");
}

#[test]
fn no_proxy_with_an_asterisk_applies_to_every_address() {
    let server = Server::start();
    let mut node = Node::new(&server);
    // The kernel treats this address as loopback; the agent does not.
    node.set(
        "HYPRBOX_API_URL",
        format!("http://0.0.0.0:{}", server.addr.port()),
    );
    node.set("HYPRBOX_INSECURE_HTTP", "1");
    // Nothing listens on this port.
    node.set("HTTP_PROXY", "http://127.0.0.1:1");
    node.set("http_proxy", "http://127.0.0.1:1");
    let agent = node.start();
    agent.wait_log("poll error");
    assert!(server.world().polls.is_empty(), "the agent uses the proxy");
    drop(agent);
    node.set("NO_PROXY", "*");
    let _agent = node.start();
    let id = server.queue("exit 0");
    server.wait_end(&id);
}

/// The warnings in a log, without the one about this test's server, which signs no jobs.
fn warnings(log: &str) -> usize {
    let is_warning = |line: &&str| line.contains("WARN") && !line.contains("is not signed");
    log.lines().filter(is_warning).count()
}
