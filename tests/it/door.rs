//! The fast path answers polls before the router. No client can see the difference, however odd its
//! request. The same request with a body always goes through the router.

use crate::harness::{Raw, Server};
use crate::open_polls::{get, poll, ready};

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
