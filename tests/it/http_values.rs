//! Bodies and values that a client may send: what is refused, in which words, and that nothing
//! makes the server fail.

use serde_json::{Value, json};

use crate::harness::Field;
use crate::http::{has_the_headers, ready};

#[test]
fn a_body_that_is_not_json_is_refused() {
    let (server, admin) = ready();
    let send = |kind: &str, body: &[u8]| admin.call("POST", "/api/jobs").body(kind, body).send();
    let good = br#"{"preset":"note","nodeId":"n1"}"#;
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
    ] {
        send(kind, good).is(201);
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
    ] {
        send(kind, good).is(415);
    }
    admin.call("POST", "/api/jobs").gives(415);
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let deep_object = [
        br#"{"a":"#.repeat(50_000),
        b"1".to_vec(),
        b"}".repeat(50_000),
    ]
    .concat();
    let deep_params = [
        br#"{"preset":"note","nodeId":"n1","params":{"text":"#.to_vec(),
        b"[".repeat(10_000),
        b"]".repeat(10_000),
        b"}}".to_vec(),
    ]
    .concat();
    let bodies: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"}",
        b"null",
        b"0",
        b"\"text\"",
        b"[]",
        b"[\"note\",\"n1\"]",
        b"{\"preset\":\"note\",\"nodeId\":\"n1\"} x",
        b"{\"preset\":\"note\",\"preset\":\"note\",\"nodeId\":\"n1\"}",
        b"{\"preset\":\"note\",\"nodeId\":\"n1\",\"params\":{\"text\":\"a\",\"text\":\"b\"}}",
        b"{\"preset\":\"note\",\"nodeId\":\"n1\",}",
        b"{'preset':'note','nodeId':'n1'}",
        b"{\"preset\":\"note\xff\",\"nodeId\":\"n1\"}",
        b"{\"preset\":\"\\ud800\",\"nodeId\":\"n1\"}",
        b"{\"preset\":\"note\",\"nodeId\":\"n1\",\"timeoutSeconds\":1e999}",
        b"{\"preset\":\"note\",\"nodeId\":\"n1\",\"timeoutSeconds\":NaN}",
        b"\xef\xbb\xbf{\"preset\":\"note\",\"nodeId\":\"n1\"}",
        b"\x00",
        &deep,
        &deep_object,
        &deep_params,
    ];
    for body in bodies {
        let answer = send("application/json", body).is(400);
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(!answer.code().is_empty(), "{shown}");
    }
    server.get("/healthz").gives(200);
}

#[test]
fn a_wrong_value_is_explained_in_plain_words() {
    let (_server, admin) = ready();
    for (body, field, words) in [
        (
            json!({"preset": 1, "nodeId": "n1"}),
            "preset",
            "must be a string",
        ),
        (json!({"preset": "note"}), "nodeId", "is required"),
        (
            json!({"preset": "note", "nodeId": "n1", "params": []}),
            "params",
            "must be a JSON object",
        ),
        (
            json!({"preset": "note", "nodeId": "n1", "timeoutSeconds": "1"}),
            "timeoutSeconds",
            "must be a whole number",
        ),
        (
            json!({"preset": "note", "nodeId": "n1", "timeoutSeconds": 0.5}),
            "timeoutSeconds",
            "must be a whole number",
        ),
    ] {
        let answer = admin.post("/api/jobs", &body).gives(400).json();
        assert_eq!(answer["fields"][field], words, "{body}: {answer}");
    }
    let role =
        json!({"email": "b@example.org", "password": "long enough", "name": "b", "role": "KING"});
    let answer = admin.post("/api/users", &role).gives(400).json();
    let told = answer["fields"]["role"].as_str().expect("the role's fault");
    assert!(
        told.starts_with("must be ") && told.contains("OPERATOR"),
        "{told}"
    );
    let answer = admin.post("/api/jobs", &json!("note")).gives(400).json();
    assert_eq!(
        answer["error"],
        "The body has the wrong shape: it must be a JSON object"
    );
}

/// Values that may break something, wherever a text or a number stands.
fn odd_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\u{0}"),
        json!("a\u{0}b"),
        json!("\u{fffd}\u{202e}\u{1f4a5}"),
        json!("'; DROP TABLE jobs; --"),
        json!("../../../etc/passwd"),
        json!("x".repeat(100_000)),
        json!([]),
        json!([null]),
        json!({}),
        json!({"": ""}),
    ]
}

#[test]
fn no_value_in_a_body_is_a_500() {
    let (server, admin) = ready();
    let made = admin.call("POST", "/api/nodes/n1/tokens").gives(201).json();
    let token = made.field("token");
    let id = admin.queue("n1");
    server
        .get("/api/jobs/pending?nodeId=n1&agent=one")
        .bearer(&token)
        .ok();
    let person = |method: &str, path: &str| admin.call(method, path);
    let agent = |method: &str, path: &str| server.call(method, path).bearer(&token);
    let output = format!("/api/jobs/{id}/output?agent=one");
    let complete = format!("/api/jobs/{id}/complete?agent=one");
    let mut count = 0;
    for odd in odd_values() {
        let calls = [
            (
                server.call("POST", "/api/auth/register"),
                json!({"email": odd, "password": odd, "name": odd, "setupCode": odd}),
            ),
            (
                server.call("POST", "/api/auth/login"),
                json!({"email": odd, "password": "x"}),
            ),
            (person("POST", "/api/auth/tokens"), json!({"name": odd})),
            (
                person("POST", "/api/auth/tokens"),
                json!({"name": "x", "expiresInDays": odd}),
            ),
            (
                person("POST", "/api/users"),
                json!({"email": odd, "password": odd, "name": odd, "role": odd}),
            ),
            (
                person("PATCH", "/api/users/none"),
                json!({"role": odd, "password": odd}),
            ),
            (
                person("POST", "/api/nodes"),
                json!({"id": odd, "name": "x"}),
            ),
            (
                person("POST", "/api/nodes"),
                json!({"id": "odd", "name": odd, "labels": odd}),
            ),
            (
                person("POST", "/api/nodes"),
                json!({"id": "odd", "labels": {"key": odd}}),
            ),
            (
                person("POST", "/api/presets/note/render"),
                json!({"params": odd}),
            ),
            (
                person("POST", "/api/presets/note/render"),
                json!({"params": {"text": odd, "port": odd}}),
            ),
            (
                person("POST", "/api/jobs"),
                json!({"preset": odd, "nodeId": odd}),
            ),
            (
                person("POST", "/api/jobs"),
                json!({"preset": "note", "nodeId": "n1", "params": odd, "timeoutSeconds": odd}),
            ),
            (
                agent("POST", "/api/nodes/n1/heartbeat"),
                json!({"instance": odd, "hostname": odd, "os": odd, "agentVersion": odd, "intervalSeconds": odd, "stopping": odd}),
            ),
            (
                agent("POST", "/api/nodes/n1/heartbeat"),
                json!({"os": {"id": odd}, "intervalSeconds": odd}),
            ),
            (
                agent("POST", &output),
                json!({"chunks": odd, "stdout": odd}),
            ),
            (agent("POST", &output), json!({"chunks": [odd]})),
            (
                agent("POST", &output),
                json!({"chunks": [{"stream": odd, "offset": 0, "data": "x"}]}),
            ),
            (
                agent("POST", &output),
                json!({"chunks": [{"stream": "stdout", "offset": odd, "data": ""}]}),
            ),
            (
                agent("POST", &output),
                json!({"chunks": [{"stream": "stdout", "offset": 0, "dataBase64": odd}]}),
            ),
            (
                agent("POST", &complete),
                json!({"exitCode": odd, "stdoutBytes": -1}),
            ),
            (
                agent("POST", &complete),
                json!({"exitCode": "x", "errorMsg": odd, "signal": odd}),
            ),
            (
                agent("POST", &complete),
                json!({"exitCode": "x", "cancelled": odd, "timedOut": odd, "stderrBytes": odd}),
            ),
        ];
        for (call, body) in calls {
            let answer = call.json(&body).send();
            assert!(answer.status < 500, "{body}: {answer:?}");
            has_the_headers(&answer);
            if answer.status >= 400 {
                assert!(!answer.code().is_empty());
            }
            count += 1;
        }
    }
    assert!(count > 400, "{count}");
    assert_eq!(admin.job(&id)["status"], "RUNNING");
}

#[test]
fn no_value_in_a_path_or_a_query_is_a_500() {
    let (server, admin) = ready();
    let made = admin.call("POST", "/api/nodes/n1/tokens").gives(201).json();
    let token = made.field("token");
    let long = "x".repeat(5_000);
    for odd in [
        "%00",
        "%ff%fe",
        "%F0%9F%92%A5",
        "..%2f..",
        "%27%3B--",
        "-1",
        "NaN",
        "1e9",
        "%0d%0aX-Y:%20z",
        "+",
        "",
        &long,
    ] {
        for path in [
            format!("/api/jobs/{odd}"),
            format!("/api/jobs/{odd}/log"),
            format!("/api/jobs/{odd}/stream"),
            format!("/api/jobs/{odd}/diff/{odd}"),
            format!("/api/jobs?limit={odd}"),
            format!("/api/jobs?cursor={odd}"),
            format!("/api/jobs?status={odd}"),
            format!("/api/jobs?nodeId={odd}&preset={odd}"),
            format!("/api/jobs?scope={odd}"),
            format!("/api/jobs?{odd}={odd}"),
            format!("/api/nodes/{odd}"),
            format!("/api/nodes/{odd}/tokens"),
            format!("/api/presets/{odd}"),
            format!("/api/audit?cursor={odd}"),
            format!("/api/audit?jobId={odd}&actor={odd}"),
            format!("/api/events?job={odd}"),
        ] {
            // A stream that names no job opens, and is not waited for.
            if path == "/api/events?job=" {
                continue;
            }
            let answer = admin.get(&path).send();
            assert!(answer.status < 500, "{answer:?}");
            has_the_headers(&answer);
        }
        for path in [
            format!("/api/jobs/pending?nodeId={odd}"),
            format!("/api/jobs/pending?nodeId=n1&agent={odd}&running={odd}&wait=0"),
            format!("/api/jobs/pending?nodeId=n1&wait={odd}&capacity={odd}"),
        ] {
            let answer = server.get(&path).bearer(&token).send();
            assert!(answer.status < 500, "{answer:?}");
        }
        for path in [
            format!("/api/jobs/{odd}/output?agent={odd}"),
            format!("/api/jobs/{odd}/complete?agent={odd}"),
            format!("/api/nodes/{odd}/heartbeat"),
        ] {
            let answer = server
                .post(&path, &json!({"exitCode": 0}))
                .bearer(&token)
                .send();
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
}
