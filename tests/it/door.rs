//! The fast path answers polls before the router. No client can see the difference, however odd its
//! request. The same request with a body always goes through the router.

use std::time::Duration;

use crate::harness::{FakeAgent, Field, Person, Raw, Server};

fn ready() -> (Server, Person, FakeAgent) {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    (server, admin, agent)
}

/// A GET's head without its last line.
fn get(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n")
}

fn poll(token: &str, more: &str) -> String {
    get(
        &format!("/api/jobs/pending?nodeId=n1&agent=one{more}"),
        token,
    )
}

/// The server's answer to a request, without what differs each time.
fn answer(server: &Server, request: &str) -> String {
    let mut raw = Raw::open(server);
    raw.may_write(request);
    // Closes the connection.
    raw.may_write("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = raw.rest();
    let same = |line: &&str| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("date:") && !line.starts_with("x-request-id:")
    };
    let lines: Vec<&str> = answer.split("\r\n").filter(same).collect();
    // A page has the server's time.
    let now = regex::Regex::new(r#"data-now="[0-9]+""#).expect("valid");
    now.replace_all(&lines.join("\n"), "").into_owned()
}

#[test]
fn the_fast_path_and_the_router_give_the_same_answer() {
    let (server, admin, agent) = ready();
    let other = admin.add_node("n2");
    let (token, long) = (agent.token.as_str(), "l".repeat(9_000));
    let pending = |query: &str| get(&format!("/api/jobs/pending{query}"), token);
    let with = |line: &str| format!("{}{line}\r\n", poll(token, ""));
    let requests = [
        poll(token, ""),
        poll(token, "&wait=0&capacity=0"),
        poll(token, "&running=a,,b&running=c"),
        poll(token, "&wait=1"),
        poll(token, "&wait=61"),
        poll(token, "&wait=-1"),
        poll(token, "&wait="),
        poll(token, "&capacity=x"),
        poll(token, "&capacity=%31"),
        poll(token, "&%ff=%fe&&=&a"),
        poll(token, &format!("&x={long}")),
        pending(""),
        pending("?"),
        pending("?nodeId="),
        pending("?nodeId=n2"),
        pending("?nodeId=N1"),
        pending("?nodeId=n1&nodeId=n2"),
        pending("?nodeId=%6e1&agent=one"),
        pending("?nodeid=n1"),
        pending("?nodeId=n1&agent="),
        pending("?nodeId=n1&agent=a%00b"),
        pending("?nodeId=n1&agent=%e2%82"),
        pending(&format!("?nodeId=n1&agent={}", "i".repeat(129))),
        get("/api/jobs/%70ending?nodeId=n1", token),
        get("/api/jobs/pending/?nodeId=n1", token),
        get("/api/jobs//pending?nodeId=n1", token),
        get(
            "http://elsewhere/api/jobs/pending?nodeId=n1&agent=one",
            token,
        ),
        get("http://elsewhere?nodeId=n1", token),
        get("*", token),
        poll(token, "").replace("GET", "HEAD"),
        poll(token, "").replace("GET", "OPTIONS"),
        poll(token, "").replace("GET", "get"),
        poll(token, "").replace("HTTP/1.1", "HTTP/1.0"),
        poll(token, "").replace("HTTP/1.1", "HTTP/3.0"),
        poll(token, "").replace("Host: x\r\n", ""),
        poll(token, "").replace("Bearer", "bearer"),
        poll(token, "").replace("Bearer", "Basic"),
        poll(token, "").replace("Authorization", "X-Authorization"),
        poll(token, "").replace("Bearer ", "Bearer"),
        poll("", ""),
        poll("hbn_nobody", ""),
        poll(&"hbn_".repeat(1_000), ""),
        poll(&admin.token, ""),
        poll(&other.token, ""),
        poll("hbn_\u{e9}", ""),
        with(&format!("Authorization: Bearer {token}")),
        with("Authorization: Bearer hbn_nobody"),
        with(&format!("Cookie: hb_token={}", admin.token)),
        with("Connection: close"),
        with("Connection: upgrade\r\nUpgrade: websocket"),
        with("Accept: text/html"),
        with("Origin: https://evil.example"),
        with(&format!("X-Long: {long}")),
        with("X-Odd: \u{e9}\t\u{7f}"),
    ];
    for request in &requests {
        // After one request the server knows the token, and that there is nothing.
        answer(&server, &format!("{request}\r\n"));
        let by_fast_path = answer(&server, &format!("{request}\r\n"));
        let by_router = answer(&server, &format!("{request}Content-Length: 1\r\n\r\nx"));
        assert_eq!(by_fast_path, by_router, "{request}");
        assert!(!by_fast_path.contains(" 500 "), "{request}: {by_fast_path}");
    }
    let good = answer(&server, &format!("{}\r\n", requests[0]));
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    assert!(
        good.contains(r#"{"job":null,"cancel":[],"leaseSeconds":90}HTTP/1.1 200"#),
        "{good}"
    );
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
            let answer = answer(&server, &format!("{request}{rest}"));
            assert!(answer.starts_with("HTTP/1.1 200"), "{rest}: {answer}");
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
    // Byte by byte, each in the middle of the wait.
    for byte in "GET /healthz HTTP/1.1\r\nHo".bytes() {
        raw.write([byte]);
        std::thread::sleep(Duration::from_millis(2));
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
        raw.write(format!("{}\r\n", poll(&agent.token, "&wait=60")));
        // Once the server answers a later poll on another connection, it has received this one.
        one.finds_nothing("");
        drop(raw);
    }
    // Time for the server to detect the disconnect.
    std::thread::sleep(Duration::from_millis(300));
    let id = admin.queue("n1");
    assert_eq!(agent.instance("two").claim_id(), id);
}

#[test]
fn the_end_of_a_wait_does_not_count_as_a_sign_of_life() {
    let (server, admin, agent) = ready();
    agent.instance("one").finds_nothing("");
    let mut raw = Raw::open(&server);
    raw.write(format!("{}\r\n", poll(&agent.token, "&wait=2")));
    let seen = || admin.get("/api/nodes/n1").ok()["lastSeenAt"].clone();
    std::thread::sleep(Duration::from_millis(500));
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
    let (mut server, _admin, agent) = ready();
    agent.instance("one").finds_nothing("");
    let mut raw = Raw::open(&server);
    raw.write(format!("{}\r\n", poll(&agent.token, "&wait=60")));
    std::thread::sleep(Duration::from_millis(200));
    assert!(server.terminate().success());
    assert_eq!(raw.body(), r#"{"job":null,"cancel":[],"leaseSeconds":90}"#);
}
