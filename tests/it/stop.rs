//! The end of a server: SIGTERM cuts no connection and loses nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Raw, Server, chunk, eventually, id_of};

#[test]
fn sigterm_is_a_clean_end() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start();
        let admin = server.admin();
        let agent = admin.add_node("n1");
        let id = admin.queue("n1");
        agent.claim();
        agent.output(&id, &[chunk("stdout", 0, "kept\n")]);
        let mut streams = [
            admin.get(&format!("/api/jobs/{id}/stream")).open(),
            admin.get("/api/events").open(),
        ];
        streams.iter_mut().for_each(|stream| {
            stream.next();
        });
        let other = admin.add_node("n2");
        let poll = other.poll("wait=60").send_later();
        eventually("the poll to be open", || {
            (admin.get("/api/nodes/n2").ok()["status"] == "ONLINE").then_some(())
        });
        server.signal(signal);
        // Both end as if they had been told all: no connection is cut.
        let answer = poll.join().expect("an answer").is(200).json();
        assert_eq!(answer["job"], Value::Null);
        streams.iter_mut().for_each(|stream| stream.ends());
        let status = server.ended();
        assert_eq!(status.code(), Some(0), "{signal}");
        server.start_again();
        assert_eq!(server.admin().log(&id, "stdout"), b"kept\n");
    }
}

#[test]
fn a_slow_client_does_not_keep_it_from_ending() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    // Half a head, half a body, and a connection that waits.
    let mut half_head = Raw::open(&server);
    half_head.write("GET /healthz HTT");
    let mut half_body = Raw::open(&server);
    half_body.write(format!(
        "POST /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n{{",
        admin.token
    ));
    let mut idle = Raw::open(&server);
    idle.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(idle.status(), 200);
    assert_eq!(server.terminate().code(), Some(0));
    // The server did not wait for the time limit of the head, which it would have reported.
    assert_eq!(half_head.rest(), "");
}

#[test]
fn jobs_queued_before_a_stop_are_there_after_the_start() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let stop = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let queueing: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut ids = Vec::new();
                    let body = json!({"preset": "note", "nodeId": "n1"});
                    while !stop.load(Ordering::Relaxed) {
                        // Once it goes down the connection may be refused; what was answered
                        // counts.
                        match admin.post("/api/jobs", &body).try_send() {
                            Ok(answer) if answer.status == 201 => {
                                ids.push(id_of(&answer.json()));
                            }
                            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                            Err(_) => break,
                        }
                    }
                    ids
                })
            })
            .collect();
        eventually("some jobs", || {
            let count = "SELECT count(*) FROM jobs";
            (server.database().number(count) > 20).then_some(())
        });
        let status = server.terminate();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(status.code(), Some(0));
        queueing
            .into_iter()
            .flat_map(|thread| thread.join().expect("queued"))
            .collect::<Vec<String>>()
    });
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    if let Some(path) = server.database().sqlite() {
        // All of it is in the one file, before anybody opens it again.
        let log = path.with_extension("db-wal");
        assert_eq!(log.metadata().map_or(0, |log| log.len()), 0);
    }
    let kept = server.database().texts("SELECT id FROM jobs");
    assert!(acknowledged.iter().all(|id| kept.contains(id)));
}
