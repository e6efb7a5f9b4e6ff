//! What a review found: calls that stay open while the world around them changes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Field, Server, Sse, bytes_chunk, chunk, eventually, once_within, with_node};

/// Reads on to a `job` event of that job with that status.
#[track_caller]
fn job_is(stream: &mut Sse, id: &str, status: &str) {
    stream.until(|event| {
        event.name == "job" && event.data["id"] == id && event.data["status"] == status
    });
}

#[test]
fn a_stream_of_everybodys_jobs_ends_with_the_role_that_opened_it() {
    let (mut server, admin, _agent) = with_node();
    let vera = server.person("vera", "VIEWER");
    let id = admin.queue("n1");
    let mut streams = [
        format!("/api/jobs/{id}/stream?scope=all"),
        format!("/api/events?job={id}&scope=all"),
        "/api/events?scope=all".to_owned(),
    ]
    .map(|path| vera.get(&path).open());
    let mut own = vera.get("/api/events").open();
    own.next();
    for stream in &mut streams {
        stream.next();
    }
    admin
        .call("PATCH", &format!("/api/users/{}", vera.id))
        .json(&json!({"role": "OPERATOR"}))
        .gives(200);
    for stream in &mut streams {
        stream.ends();
    }
}

#[test]
fn a_viewer_who_left_stops_counting_before_the_next_output() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let flush = || agent.output_call(&id, &json!({"chunks": []})).ok()["flushMs"].clone();
    let mut stream = admin.get(&format!("/api/events?job={id}")).open();
    stream.until(|event| event.name == "job");
    eventually("the watched pace", || (flush() == 50).then_some(()));
    drop(stream);
    eventually("the unwatched pace", || (flush() == 1500).then_some(()));
}

#[test]
fn a_dashboard_receives_an_end_by_hand_in_any_form_of_time() {
    let (server, admin, agent) = with_node();
    let Some(_) = server.database().sqlite() else {
        return;
    };
    let mut stream = admin.get("/api/events").open();
    stream.until(|event| event.name == "node");
    for finished_at in ["datetime('now')", "NULL"] {
        let id = admin.queue("n1");
        agent.claim();
        job_is(&mut stream, &id, "RUNNING");
        server.database().execute(&format!(
            "UPDATE jobs SET status = 'FAILED', error_msg = 'agent disappeared', finished_at = {finished_at}
             WHERE id = '{id}' AND status = 'RUNNING'"
        ));
        job_is(&mut stream, &id, "FAILED");
    }
}

#[test]
fn a_dashboard_receives_the_late_end_of_a_job_that_it_named() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    let mut stream = admin.get(&format!("/api/events?job={id}")).open();
    job_is(&mut stream, &id, "FAILED");
    agent.succeed(&id);
    job_is(&mut stream, &id, "SUCCEEDED");
}

#[test]
fn a_reader_that_stays_holds_up_neither_writes_nor_the_end() {
    let (mut server, admin, agent) = with_node();
    let database = server.database();
    let Some(path) = database.sqlite() else {
        return;
    };
    let id = admin.queue("n1");
    agent.claim();
    // A shell, or a backup, in a transaction of its own: the log can't be restarted while it reads.
    let reader = rusqlite::Connection::open(path).expect("opens");
    reader.execute_batch("BEGIN").expect("begins");
    let jobs: i64 = reader
        .query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
        .expect("reads");
    assert_eq!(jobs, 1);
    let part = vec![b'x'; 4 << 20];
    for number in 0..18 {
        let body = json!({"chunks": [bytes_chunk("stdout", number << 22, &part)]});
        agent.output_call(&id, &body).gives(200);
    }
    let said = 18 << 22;
    let log = path.with_extension("db-wal");
    let bytes = std::fs::metadata(&log).expect("a log").len();
    assert!(bytes > 64 << 20, "the log has only {bytes} bytes");
    // A wait in vain for the reader takes 3 s.
    let mut number = said;
    once_within(Duration::from_secs(3), "a write that doesn't wait", || {
        let body: Value = json!({"chunks": [chunk("stdout", number, "x")]});
        agent.output_call(&id, &body).gives(200);
        number += 1;
    });
    assert!(server.terminate().success());
    drop(reader);
}

#[test]
fn the_description_names_each_operation_once_and_what_any_call_may_meet() {
    let server = Server::start();
    let document = server.get("/api/openapi.json").ok();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name: String = operation.field("operationId");
            assert!(
                names.insert(name.clone()),
                "{method} {path} is a second {name}"
            );
            let says = |status: &str| operation["responses"][status].is_object();
            let has_body = operation["requestBody"].is_object();
            // The document itself is there as long as the server is.
            let asks_the_store = path.starts_with("/api/") && path != "/api/openapi.json";
            assert!(says("503") || !asks_the_store, "{method} {path}");
            assert!(!has_body || (says("413") && says("415")), "{method} {path}");
        }
    }
}
