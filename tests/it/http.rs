//! What holds for every answer, and what no client may bring about: a 500, or a server that stands
//! still.

use serde_json::{Value, json};

use crate::harness::{Answer, Field, Person, Raw, Server};

pub(crate) fn ready() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    (server, admin)
}

#[track_caller]
pub(crate) fn has_the_headers(answer: &Answer) {
    assert_eq!(
        answer.header("x-content-type-options"),
        "nosniff",
        "{answer:?}"
    );
    assert_eq!(
        answer.header("referrer-policy"),
        "no-referrer",
        "{answer:?}"
    );
    let policy = answer.header("content-security-policy");
    assert!(
        policy.contains("frame-ancestors 'none'"),
        "{policy}: {answer:?}"
    );
}

#[test]
fn every_answer_has_the_headers() {
    let (server, admin) = ready();
    let id = admin.queue("n1");
    let too_large = vec![b' '; 8 * 1024 * 1024 + 1];
    let queue = || admin.call("POST", "/api/jobs");
    let answers = [
        (admin.get("/api/jobs").send(), 200),
        (
            admin
                .post("/api/jobs", &json!({"preset": "note", "nodeId": "n1"}))
                .send(),
            201,
        ),
        (admin.post("/api/jobs", &json!({})).send(), 400),
        (server.get("/api/jobs").send(), 401),
        (admin.get("/api/none").send(), 404),
        (admin.call("PUT", "/api/jobs").send(), 405),
        (queue().body("application/json", too_large).send(), 413),
        (queue().body("text/plain", "{}").send(), 415),
        (admin.get(&format!("/api/jobs/{id}/log")).send(), 200),
        (admin.get("/healthz").send(), 200),
        (admin.get("/readyz").send(), 200),
        (admin.get("/metrics").send(), 200),
        (admin.get("/api/openapi.json").send(), 200),
        (server.get("/no/such/page").send(), 404),
    ];
    for (answer, status) in answers {
        has_the_headers(&answer.is(status));
    }
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        admin.token
    ));
    let head = raw.head().to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for header in ["nosniff", "no-referrer", "frame-ancestors 'none'"] {
        assert!(head.contains(header), "{header}: {head}");
    }
}

#[test]
fn an_unknown_path_under_api_is_a_json_404() {
    let (server, admin) = ready();
    for path in [
        "/api",
        "/api/",
        "/api/none",
        "/api/jobs/",
        "/api//jobs",
        "/api/jobs/x/y/z",
        "/api/../api/none",
        "/api/%2e%2e/x",
        "/api/%00",
        "/api/%ff",
        "/api/nodes/n1/none",
        "/api/auth",
    ] {
        for call in [
            server.get(path),
            admin.get(path),
            admin.post(path, &json!({})),
        ] {
            let answer = call.gives(404);
            assert!(!answer.code().is_empty(), "{path}");
        }
    }
}

#[test]
fn another_method_is_a_405() {
    let (server, admin) = ready();
    for (method, path) in [
        ("PUT", "/api/jobs"),
        ("DELETE", "/api/jobs"),
        ("POST", "/api/presets"),
        ("GET", "/api/auth/login"),
        ("PUT", "/api/nodes/n1"),
        ("GET", "/api/nodes/n1/heartbeat"),
        ("DELETE", "/api/openapi.json"),
        ("POST", "/healthz"),
        ("TRACE", "/api/jobs"),
        ("NONSENSE", "/api/jobs"),
    ] {
        let answer = admin.call(method, path).gives(405);
        assert_eq!(answer.code(), "method_not_allowed", "{method} {path}");
        assert!(!answer.header("allow").is_empty(), "{method} {path}");
        server.call(method, path).gives(405);
    }
}

#[test]
fn odd_requests_are_answered_or_cut_off_and_harm_nobody() {
    let (server, admin) = ready();
    let auth = format!("Authorization: Bearer {}", admin.token);
    let long = "x".repeat(200_000);
    for request in [
        "\r\n\r\n".to_owned(),
        "NONSENSE\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"),
        format!("GET /api/jobs HTTP/1.1\r\nHost: x\r\n{auth}\r\n{auth}\r\n\r\n"),
        format!("POST /api/jobs HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Length: -1\r\n\r\n"),
        format!(
            "POST /api/jobs HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"
        ),
        format!(
            "POST /api/jobs HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
        ),
        format!(
            "POST /api/jobs HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n"
        ),
        format!(
            "POST /api/jobs HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        ),
    ] {
        let mut raw = Raw::open(&server);
        raw.may_write(&request);
        raw.no_more();
        let answer = raw.rest();
        let status = answer.split(' ').nth(1).unwrap_or("cut off");
        let is_fine = status == "cut off" || status.starts_with(['2', '3', '4']) || status == "505";
        assert!(is_fine, "{}: {answer}", &request[..request.len().min(80)]);
        server.get("/healthz").gives(200);
    }
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let (server, admin) = ready();
    for (token, length, status) in [("hbs_wrong", 50_000, 401), (&admin.token, 9_000_000, 413)] {
        let mut raw = Raw::open(&server);
        raw.write(format!(
            "POST /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ));
        let (head, _) = raw.answer();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        // The server still reads the body, and then the next request.
        raw.write(vec![b' '; length]);
        raw.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(raw.status(), 200);
    }
}

#[test]
fn what_can_not_be_read_as_a_request_gets_an_error_like_any_other() {
    let (server, admin) = ready();
    let long = "x".repeat(200_000);
    let many = "X: y\r\n".repeat(200);
    for (request, status, code) in [
        ("NONSENSE\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "bad_request"),
        ("\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), 400, "bad_request"),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            "GET / HTTP/1.1\r\nno header\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            format!("POST /api/jobs HTTP/1.1\r\nContent-Length: -1\r\n\r\n{long}"),
            400,
            "bad_request",
        ),
        (
            format!("GET / HTTP/1.1\r\nX-Long: {long}"),
            431,
            "head_too_large",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\n\r\n"),
            431,
            "head_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\n{many}\r\n"),
            431,
            "head_too_large",
        ),
    ] {
        let mut raw = Raw::open(&server);
        raw.write(&request);
        let shown = &request[..request.len().min(80)];
        let (head, body) = raw.answer();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown}: {head}"
        );
        for header in [
            "content-type: application/json\r\n",
            "x-content-type-options: nosniff\r\n",
            "referrer-policy: no-referrer\r\n",
            "frame-ancestors 'none'\r\n",
            "connection: close\r\n",
        ] {
            assert!(head.contains(header), "{shown}: {header} in {head}");
        }
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["code"], code, "{shown}");
        assert!(body["error"].is_string(), "{shown}");
        assert_eq!(raw.rest(), "", "{shown}");
    }
    // On a connection that goes on it is refused, too, and what was asked before is answered.
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "GET /api/auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\nNONSENSE\r\n\r\n",
        admin.token
    ));
    assert!(raw.body().contains("\"ADMIN\""));
    assert_eq!(raw.status(), 400);
    // Who only looks whether somebody is there gets nothing.
    let raw = Raw::open(&server);
    raw.no_more();
    assert_eq!(raw.rest(), "");
}

#[test]
fn two_tokens_in_one_request_are_refused() {
    let (server, admin) = ready();
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "GET /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {0}\r\nAuthorization: Bearer {0}\r\n\r\n",
        admin.token
    ));
    assert_eq!(raw.status(), 401);
}

#[test]
fn slow_clients_hold_nobody_up() {
    let (server, admin) = ready();
    let mut slow: Vec<Raw> = (0..200).map(|_| Raw::open(&server)).collect();
    for (index, raw) in slow.iter_mut().enumerate() {
        match index % 3 {
            0 => raw.write("GET /api/jobs HTTP/1.1\r\nHo"),
            1 => raw.write(format!(
                "POST /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
                 Content-Type: application/json\r\nContent-Length: 31\r\n\r\n{{\"preset\"",
                admin.token
            )),
            _ => {}
        }
    }
    for _ in 0..20 {
        admin.queue("n1");
    }
    // One of them takes its time, byte by byte, and is served.
    let mut one = slow.swap_remove(1);
    for byte in br#":"note","nodeId":"n1"}"# {
        one.write([*byte]);
    }
    drop(slow);
    assert_eq!(one.status(), 201);
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 21);
}

#[test]
fn a_client_that_disconnects_blocks_nothing() {
    let (server, admin) = ready();
    for index in 0..50 {
        let mut raw = Raw::open(&server);
        let path = [
            "/api/jobs",
            "/api/events",
            "/api/jobs/pending?nodeId=n1&wait=60",
        ][index % 3];
        raw.write(format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            admin.token
        ));
    }
    server.get("/healthz").gives(200);
    admin.queue("n1");
    assert!(!server.logged(&["panicked"]), "nothing panicked");
}

#[test]
fn http_1_0_is_answered() {
    let (server, admin) = ready();
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "GET /api/jobs HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n",
        admin.token
    ));
    let answer = raw.rest();
    assert!(
        answer.contains(" 200 ") && answer.contains("\"nextCursor\":null"),
        "{answer}"
    );
}

#[test]
fn a_times_form_is_the_same_everywhere() {
    let (mut server, admin) = ready();
    let agent = admin.add_node("n2");
    agent.beat();
    let id = admin.queue("n2");
    agent.claim();
    admin.cancel(&id).gives(202);
    agent.succeed(&id);
    server.restart();
    let admin = server.admin();
    let texts = [
        admin.job(&id),
        admin.get("/api/nodes/n2").ok(),
        admin.get("/api/nodes/n2/tokens").ok(),
        admin.get("/api/auth/me").ok(),
        admin.get("/api/audit").ok(),
    ];
    let mut count = 0;
    for value in &texts {
        each_time(value, &mut |name, text| {
            let plain = text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                10 => byte == b'T',
                13 | 16 => byte == b':',
                19 => byte == b'.',
                23 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
            assert!(plain && text.len() == 24, "{name}: {text}");
            count += 1;
        });
    }
    assert!(count >= 10, "{count}");
}

/// Every field whose name ends with `At`, and `at` itself.
fn each_time(value: &Value, found: &mut dyn FnMut(&str, &str)) {
    if let Some(fields) = value.as_object() {
        for (name, value) in fields {
            match value.as_str() {
                Some(text) if name.ends_with("At") || name == "at" => found(name, text),
                _ => each_time(value, found),
            }
        }
    }
    for item in value.as_array().into_iter().flatten() {
        each_time(item, found);
    }
}
