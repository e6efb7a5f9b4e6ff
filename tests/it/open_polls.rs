//! Polls as they arrive on a connection: several in a row, others during a wait, and clients that
//! disconnect.

use crate::harness::{FakeAgent, Field, Person, Raw, Server, eventually};

pub(crate) fn ready() -> (Server, Person, FakeAgent) {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    (server, admin, agent)
}

/// A GET's head without its last line.
pub(crate) fn get(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n")
}

pub(crate) fn poll(token: &str, more: &str) -> String {
    get(
        &format!("/api/jobs/pending?nodeId=n1&agent=one{more}"),
        token,
    )
}

/// Begins a poll that waits, and returns once the server has received it.
fn wait_for_work(admin: &Person, raw: &mut Raw, token: &str, more: &str) {
    let seen = || admin.get("/api/nodes/n1").ok()["lastSeenAt"].clone();
    let before = seen();
    raw.write(format!("{}\r\n", poll(token, more)));
    eventually("the poll to count as a sign of life", || {
        (seen() != before).then_some(())
    });
}

#[test]
fn a_request_that_expects_100_continue_is_answered() {
    let (server, _admin, agent) = ready();
    for more in ["", "&wait=1"] {
        let request = poll(&agent.token, more);
        for rest in [
            "Expect: 100-continue\r\n\r\n",
            "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        ] {
            let mut raw = Raw::open(&server);
            raw.write(format!("{request}{rest}"));
            let mut status = raw.status();
            if status == 100 {
                status = raw.status();
            }
            assert_eq!(status, 200, "{rest}");
        }
    }
}

#[test]
fn requests_that_come_together_are_answered_in_turn() {
    let (server, admin, agent) = ready();
    let (now, later) = (poll(&agent.token, ""), poll(&agent.token, "&wait=60"));
    agent.instance("one").finds_nothing("");
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "{now}\r\n{now}\r\n{later}\r\n{now}X-Last: 1\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ));
    for _ in 0..2 {
        assert_eq!(raw.body(), r#"{"job":null,"cancel":[],"leaseSeconds":90}"#);
    }
    let id = admin.queue("n1");
    assert!(raw.body().contains(&id), "the one that waited");
    // The agent does not list that job as running, so it is delivered again.
    assert!(raw.body().contains(&id), "the one after it");
    assert!(raw.rest().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_request_during_a_wait_is_answered_after_it() {
    let (server, admin, agent) = ready();
    agent.instance("one").finds_nothing("");
    let mut raw = Raw::open(&server);
    raw.write(format!("{}\r\n", poll(&agent.token, "&wait=60")));
    // Byte by byte, each in a packet of its own.
    for byte in "GET /healthz HTTP/1.1\r\nHo".bytes() {
        raw.write([byte]);
    }
    let id = admin.queue("n1");
    assert!(raw.body().contains(&id));
    raw.write("st: x\r\nConnection: close\r\n\r\n");
    assert!(raw.rest().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_connection_waits_again_and_again() {
    let (server, admin, agent) = ready();
    let one = agent.instance("one");
    let mut raw = Raw::open(&server);
    for _ in 0..5 {
        raw.write(format!("{}\r\n", poll(&agent.token, "&wait=60")));
        let id = admin.queue("n1");
        assert!(raw.body().contains(&id));
        one.succeed(&id);
        raw.write(format!("{}\r\n", poll(&agent.token, "&wait=1")));
        assert_eq!(raw.body(), r#"{"job":null,"cancel":[],"leaseSeconds":90}"#);
    }
}

#[test]
fn a_client_that_disconnects_during_its_wait_gets_no_job() {
    let (server, admin, agent) = ready();
    let one = agent.instance("one");
    one.finds_nothing("");
    for _ in 0..5 {
        let mut raw = Raw::open(&server);
        wait_for_work(&admin, &mut raw, &agent.token, "&wait=60");
        raw.no_more();
        assert_eq!(
            raw.rest(),
            "",
            "the server closes its end without an answer"
        );
    }
    let id = admin.queue("n1");
    assert_eq!(agent.instance("two").claim_id(), id);
}

#[test]
fn the_end_of_a_wait_does_not_count_as_a_sign_of_life() {
    let (server, admin, agent) = ready();
    agent.instance("one").finds_nothing("");
    let mut raw = Raw::open(&server);
    wait_for_work(&admin, &mut raw, &agent.token, "&wait=2");
    let seen = || admin.get("/api/nodes/n1").ok()["lastSeenAt"].clone();
    let before = seen();
    assert_eq!(raw.body(), r#"{"job":null,"cancel":[],"leaseSeconds":90}"#);
    assert_eq!(seen(), before);
}

#[test]
fn a_token_that_is_revoked_during_its_wait_gets_no_job() {
    let (server, admin, agent) = ready();
    agent.instance("one").finds_nothing("");
    let mut raw = Raw::open(&server);
    raw.write(format!("{}\r\n", poll(&agent.token, "&wait=60")));
    let tokens = admin.get("/api/nodes/n1/tokens").ok();
    let id = tokens["tokens"][0].field("id").to_owned();
    admin
        .delete(&format!("/api/nodes/n1/tokens/{id}"))
        .gives(204);
    let job = admin.queue("n1");
    assert_eq!(raw.status(), 401);
    assert_eq!(admin.job(&job)["status"], "QUEUED");
}

#[test]
fn a_server_that_stops_answers_waiting_polls() {
    let (mut server, admin, agent) = ready();
    agent.instance("one").finds_nothing("");
    let mut raw = Raw::open(&server);
    wait_for_work(&admin, &mut raw, &agent.token, "&wait=60");
    assert!(server.terminate().success());
    assert_eq!(raw.body(), r#"{"job":null,"cancel":[],"leaseSeconds":90}"#);
}
