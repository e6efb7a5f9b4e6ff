//! Enrolment: a one-time code becomes a node's token once, within an hour, and is worth nothing
//! else.

use serde_json::{Value, json};

use crate::harness::{Call, Field, Person, Server};

fn make(admin: &Person) -> String {
    let call = admin.call("POST", "/api/nodes/n1/enrolments");
    let made = call.gives(201).json();
    let code = made.field("code");
    assert!(code.starts_with("hbe_") && code.len() > 40, "{code}");
    assert!(made.field("expiresAt").ends_with('Z'), "{made}");
    code
}

fn enrol(server: &Server, code: &str) -> Call {
    server.post("/api/enrol", &json!({"code": code}))
}

fn audited(admin: &Person, action: &str) -> Vec<Value> {
    let entries = admin.get("/api/audit?limit=200").ok().list("entries");
    let of = |entry: &Value| entry["action"] == action;
    entries.into_iter().filter(of).collect()
}

#[test]
fn a_code_is_traded_once_for_a_token_that_works() {
    let mut server = Server::start();
    let admin = server.admin();
    let node = admin.add_node("n1");
    let code = make(&admin);
    let enrolled = enrol(&server, &code).ok();
    assert_eq!(enrolled.field("nodeId"), "n1");
    let token = enrolled.field("token");
    assert!(token.starts_with("hbn_") && token != node.token);
    let beat = json!({"instance": "two", "intervalSeconds": 30});
    let path = "/api/nodes/n1/heartbeat";
    server.post(path, &beat).bearer(&token).gives(200);
    enrol(&server, &code).refused(401, "wrong_code");

    // Who made it and what came of it is written down, without the code.
    let made = audited(&admin, "node.enrolment_add");
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["actor"], "admin@example.org");
    let used = audited(&admin, "node.enrol");
    assert_eq!((used.len(), &used[0]["actor"]), (1, &json!("node:n1")));
    assert!(used[0].field("detail").contains("127.0.0.1"), "{used:?}");
    assert!(!server.database().files_hold(&code));
    // The token is one of the node's, and can be revoked as the others.
    let tokens = admin.get("/api/nodes/n1/tokens").ok().list("tokens");
    assert_eq!(tokens.len(), 2);
    let id = tokens[1].field("id");
    admin
        .delete(&format!("/api/nodes/n1/tokens/{id}"))
        .gives(204);
    server.post(path, &beat).bearer(&token).gives(401);
}

#[test]
fn of_many_at_once_one_gets_it() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let code = make(&admin);
    let calls: Vec<_> = (0..9).map(|_| enrol(&server, &code).send_later()).collect();
    let statuses = calls
        .into_iter()
        .map(|call| call.join().expect("sent").status);
    let mut statuses: Vec<u16> = statuses.collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200, "{statuses:?}");
    assert!(
        statuses[1..].iter().all(|status| *status == 401),
        "{statuses:?}"
    );
}

#[test]
fn a_code_goes_with_its_hour_its_successor_and_its_node() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let old = make(&admin);
    let long_ago = server.database().ago("1 second");
    let sql = format!("UPDATE node_enrolments SET expires_at = {long_ago}");
    assert_eq!(server.database().execute(&sql), 1);
    enrol(&server, &old).refused(401, "wrong_code");
    let (first, second) = (make(&admin), make(&admin));
    enrol(&server, &first).refused(401, "wrong_code");
    enrol(&server, &second).gives(200);
    let orphan = make(&admin);
    admin.delete("/api/nodes/n1").gives(204);
    enrol(&server, &orphan).refused(401, "wrong_code");
    admin.add_node("n1");
    enrol(&server, &orphan).refused(401, "wrong_code");
}

#[test]
fn wrong_codes_close_the_door_and_a_right_one_opens_it() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    for wrong in 0..9 {
        enrol(&server, &format!("hbe_{wrong}")).refused(401, "wrong_code");
    }
    enrol(&server, &make(&admin)).gives(200);
    for wrong in ["", "hbn_x", "hbe_", &"hbe_x".repeat(100), "\u{0}"] {
        for _ in 0..2 {
            enrol(&server, wrong).refused(401, "wrong_code");
        }
    }
    let code = make(&admin);
    let closed = enrol(&server, &code).gives(429);
    let seconds: u64 = closed.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    // People's passwords are counted apart.
    server.login("admin@example.org", crate::harness::PASSWORD);
}

#[test]
fn a_code_opens_nothing_else() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let code = make(&admin);
    server.get("/api/nodes").bearer(&code).gives(401);
    server
        .get("/api/jobs/pending?nodeId=n1")
        .bearer(&code)
        .gives(401);
    let operator = server.person("operator", "OPERATOR");
    let path = "/api/nodes/n1/enrolments";
    operator.call("POST", path).gives(403);
    admin
        .call("POST", "/api/nodes/n2/enrolments")
        .refused(404, "node_not_found");
    for body in [json!({}), json!({"code": 1}), json!({"code": code, "x": 1})] {
        server.post("/api/enrol", &body).gives(400);
    }
    enrol(&server, &code).gives(200);
}
