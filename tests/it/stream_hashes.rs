//! Whether the kept output is what the script wrote: the agent's hashes against the server's.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Field, RealAgent, Server, bytes_chunk, chunk, eventually, with_node};

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[test]
fn an_end_is_verified_if_every_byte_is_kept_and_both_hashes_fit() {
    let (_server, admin, agent) = with_node();
    let (out, err) = (sha256(b"ab\xff\0cd"), sha256(b"oops"));
    let other = sha256(b"other");
    // stdoutSha256, stderrSha256, stdoutBytes; outputVerified.
    let table = [
        (json!(out), json!(err), json!(6), json!(true)),
        (json!(out), json!(err), Value::Null, json!(true)),
        (json!(other), json!(err), json!(6), json!(false)),
        (json!(out), json!(other), json!(6), json!(false)),
        (json!(other), Value::Null, json!(6), json!(false)),
        (json!(out), Value::Null, json!(6), Value::Null),
        (Value::Null, Value::Null, json!(6), Value::Null),
        // A byte never arrived.
        (json!(out), json!(err), json!(7), Value::Null),
        (json!(other), json!(err), json!(7), Value::Null),
    ];
    for as_output in [false, true] {
        for (stdout, stderr, bytes, verified) in &table {
            let id = admin.queue("n1");
            agent.claim();
            agent.output(&id, &[bytes_chunk("stdout", 0, b"ab\xff")]);
            agent.output(&id, &[chunk("stderr", 0, "oops")]);
            // The first byte of this call is there already.
            let last = bytes_chunk("stdout", 2, b"\xff\0cd");
            assert_eq!(admin.job(&id)["outputVerified"], Value::Null);
            let end = json!({"exitCode": 0, "stdoutSha256": stdout, "stderrSha256": stderr,
                "stdoutBytes": bytes});
            if as_output {
                agent
                    .output_call(&id, &json!({"chunks": [last], "end": end}))
                    .ok();
            } else {
                agent.output(&id, &[last]);
                agent.complete(&id, &end).ok();
            }
            let case = format!("{end} {as_output}");
            assert_eq!(&admin.job(&id)["outputVerified"], verified, "{case}");
            let list = admin.get("/api/jobs?limit=1").ok();
            assert_eq!(&list["jobs"][0]["outputVerified"], verified, "{case}");
            // The same report again, and another one.
            agent.complete(&id, &end).ok();
            let mut changed = end.clone();
            changed["stdoutSha256"] = json!(sha256(b"changed"));
            if !stdout.is_null() {
                agent.complete(&id, &changed).gives(409);
            }
        }
    }
}

#[test]
fn a_job_without_output_is_verified_and_one_with_a_gap_is_not() {
    let (_server, admin, agent) = with_node();
    let end = |out: &[u8]| json!({"exitCode": 0, "stdoutSha256": sha256(out), "stderrSha256": sha256(b"")});
    let id = admin.queue("n1");
    agent.claim();
    agent.complete(&id, &end(b"")).ok();
    assert_eq!(admin.job(&id)["outputVerified"], true);
    for (offset, before) in [(3, ""), (3, "ab")] {
        let id = admin.queue("n1");
        agent.claim();
        agent.say(&id, 0, before);
        agent.say(&id, offset, "d");
        agent.complete(&id, &end(b"d")).ok();
        let job = admin.job(&id);
        assert_eq!(job["outputVerified"], Value::Null, "{job}");
    }
}

#[test]
fn what_is_no_sha256_is_refused() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let long = "0".repeat(65);
    for bad in ["", "abc", &"g".repeat(64), &"A".repeat(64), &long] {
        let answer = agent.complete(&id, &json!({"exitCode": 0, "stdoutSha256": bad}));
        let fields = answer.gives(400).json()["fields"].clone();
        assert_eq!(
            fields,
            json!({"stdoutSha256": "must be 64 lower-case hex digits"})
        );
        let end = json!({"end": {"exitCode": 0, "stderrSha256": bad}});
        let answer = agent.output_call(&id, &end).gives(400).json();
        assert_eq!(
            answer["fields"],
            json!({"end.stderrSha256": "must be 64 lower-case hex digits"})
        );
    }
    assert_eq!(admin.job(&id)["status"], "RUNNING");
}

#[test]
fn output_that_arrives_after_a_lost_lease_is_verified_with_the_rest() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    agent.say(&id, 0, "before ");
    eventually("the lease to run out", || {
        (admin.job(&id)["status"] == "FAILED").then_some(())
    });
    assert_eq!(admin.job(&id)["outputVerified"], Value::Null);
    agent.say(&id, 7, "after");
    let end = json!({"exitCode": 0, "stdoutSha256": sha256(b"before after"),
        "stderrSha256": sha256(b"")});
    agent.complete(&id, &end).ok();
    let job = admin.job(&id);
    assert_eq!(
        (&job["status"], &job["outputVerified"]),
        (&json!("SUCCEEDED"), &json!(true))
    );
}

#[test]
fn the_real_agents_hashes_survive_its_restart_and_cover_masked_output() {
    let mut server = Server::start();
    let admin = server.admin();
    let node = admin.add_node("n1");
    let mut agent = RealAgent::start(&server, &node);
    let go = server.setup().folder().join("go");
    let code = format!(
        r"printf 'a\0\377b'; echo first >&2; until [[ -e '{}' ]]; do sleep 0.01; done; seq 150000; seq 50000 >&2",
        go.display()
    );
    let id = admin.queue_with("n1", "shell", json!({"code": code}));
    eventually("the first output", || {
        (admin.job(&id).count("stderrBytes") > 0).then_some(())
    });
    agent.kill9();
    std::fs::write(&go, "").expect("writes");
    agent.start_again();
    let ended = |id: &str| {
        eventually("the job's end", || {
            let job = admin.job(id);
            (job["status"] == "SUCCEEDED").then_some(job)
        })
    };
    let job = ended(&id);
    assert_eq!(job["outputVerified"], true, "{job}");
    let bytes = job.count("stdoutBytes") + job.count("stderrBytes");
    let words = format!(
        "complete: {},{:03},{:03} bytes, verified",
        bytes / 1_000_000,
        bytes / 1_000 % 1_000,
        bytes % 1_000
    );
    let page = admin.browser("GET", &format!("/jobs/{id}")).gives(200);
    assert!(page.text().contains(&words), "{words}");
    let secret = admin.queue_with("n1", "vault", json!({"key": "opensesame"}));
    let job = ended(&secret);
    assert!(job.field("stdout").contains("the key is ***"), "{job}");
    assert_eq!(job["outputVerified"], true, "{job}");
}
