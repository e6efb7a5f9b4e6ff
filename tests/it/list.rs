//! Lists of jobs: pages, filters, and whose jobs they show.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Field, Person, Server, ids_of};

fn page(person: &Person, query: &str) -> Value {
    person.get(&format!("/api/jobs?{query}")).ok()
}

/// Ids of every page, from the first to the last.
fn walk(person: &Person, query: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let found = page(person, &format!("{query}{cursor}"));
        ids.extend(ids_of(&found));
        match found["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

#[test]
fn pages_are_whole_and_steady_while_jobs_come_in() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let mut queued: Vec<String> = (0..25).map(|_| admin.queue("n1")).collect();
    queued.reverse();
    assert_eq!(ids_of(&page(&admin, "")), queued, "newest first");
    assert_eq!(walk(&admin, "limit=7"), queued);
    assert_eq!(walk(&admin, "limit=25"), queued);
    assert_eq!(walk(&admin, "limit=1"), queued);
    assert_eq!(page(&admin, "limit=25")["nextCursor"], Value::Null);

    let first = page(&admin, "limit=10");
    admin.queue("n1");
    let rest = page(
        &admin,
        &format!("limit=200&cursor={}", first.field("nextCursor")),
    );
    let both: Vec<String> = ids_of(&first).into_iter().chain(ids_of(&rest)).collect();
    assert_eq!(both, queued, "what came in between shifts nothing");

    let job = &first["jobs"][0];
    for left_out in ["script", "stdout", "stderr"] {
        assert!(job.get(left_out).is_none(), "{left_out}: {job}");
    }
    assert!(job.get("scriptSha256").is_some(), "{job}");
}

#[test]
fn limits_are_1_to_200_and_50_if_absent() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    for _ in 0..51 {
        admin.queue("n1");
    }
    let absent = page(&admin, "");
    assert_eq!(ids_of(&absent).len(), 50);
    assert!(absent["nextCursor"].is_string(), "{absent}");
    assert_eq!(ids_of(&page(&admin, "limit=200")).len(), 51);
    for bad in ["0", "201", "-1", "x", "", "1.5", "99999999999999999999"] {
        let refused = admin.get(&format!("/api/jobs?limit={bad}")).gives(400);
        assert_eq!(refused.fields(), ["limit"], "{bad}");
    }
    for bad in ["nonsense", "", "%00", "';--"] {
        let refused = admin.get(&format!("/api/jobs?cursor={bad}")).gives(400);
        assert_eq!(refused.fields(), ["cursor"], "{bad}");
    }
}

#[test]
fn filters_narrow_the_list() {
    let mut server = Server::start();
    let admin = server.admin();
    let (one, _two) = (admin.add_node("n1"), admin.add_node("n2"));
    let succeeded = admin.queue("n1");
    one.claim();
    one.succeed(&succeeded);
    let failed = admin.queue("n1");
    one.claim();
    one.complete(&failed, &json!({"exitCode": 1})).ok();
    let running = admin.queue("n1");
    one.claim();
    let queued = admin.queue("n1");
    let cancelled = admin.queue("n1");
    admin.cancel(&cancelled).gives(200);
    let elsewhere = admin.queue_with("n2", "shell", json!({"code": "true"}));
    for (query, expected) in [
        ("status=SUCCEEDED", vec![&succeeded]),
        ("status=FAILED", vec![&failed]),
        ("status=RUNNING", vec![&running]),
        ("status=CANCELLED", vec![&cancelled]),
        ("status=QUEUED", vec![&elsewhere, &queued]),
        ("status=FAILED&status=RUNNING", vec![&running, &failed]),
        ("status=QUEUED&nodeId=n1", vec![&queued]),
        ("nodeId=n2", vec![&elsewhere]),
        ("preset=shell", vec![&elsewhere]),
        ("preset=shell&nodeId=n1", vec![]),
        ("nodeId=none", vec![]),
        ("preset=none", vec![]),
    ] {
        assert_eq!(
            ids_of(&page(&admin, query)),
            expected.into_iter().cloned().collect::<Vec<_>>(),
            "{query}"
        );
    }
    assert_eq!(
        walk(&admin, "limit=1&status=QUEUED&status=CANCELLED"),
        [elsewhere, cancelled, queued]
    );
    for bad in ["status=queued", "status=", "status=QUEUED&status=X"] {
        let refused = admin.get(&format!("/api/jobs?{bad}")).gives(400);
        assert_eq!(refused.fields(), ["status"], "{bad}");
    }
}

#[test]
fn jobs_are_found_by_who_queued_them_and_when() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let ann = server.person("ann", "OPERATOR");
    let email = |person: &Person| person.get("/api/auth/me").ok().field("email").to_owned();
    let (old, new) = (ann.queue("n1"), admin.queue("n1"));
    let database = server.database();
    let (then, between) = ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.679Z");
    database.execute(&format!(
        "UPDATE jobs SET created_at = '{then}' WHERE id = '{old}'"
    ));
    let at = admin.job(&new).field("createdAt").to_owned();
    let found = |query: &str| ids_of(&page(&admin, &format!("scope=all&{query}")));
    let address = email(&ann);
    assert_eq!(found(&format!("by={address}")), std::slice::from_ref(&old));
    assert_eq!(
        found(&format!("by={}", address.to_uppercase())),
        std::slice::from_ref(&old)
    );
    assert_eq!(
        found(&format!("by={}&status=QUEUED&nodeId=n1", email(&admin))),
        std::slice::from_ref(&new)
    );
    assert!(found("by=nobody@example.org").is_empty());
    assert!(found("by=").is_empty());
    assert!(ids_of(&page(&admin, &format!("by={address}"))).is_empty());
    assert_eq!(found(&format!("since={then}")), [new.clone(), old.clone()]);
    assert_eq!(
        found(&format!("since={between}")),
        std::slice::from_ref(&new)
    );
    assert_eq!(
        found(&format!("since={at}&status=QUEUED")),
        std::slice::from_ref(&new)
    );
    assert_eq!(found("since=2026-01-02T04:04:05%2B01:00").len(), 2);
    assert!(found("since=9999-01-01T00:00:00Z").is_empty());
    for bad in ["yesterday", "", "2026-01-02", "2026-01-02T03:04:05", "24h"] {
        let refused = admin.get(&format!("/api/jobs?since={bad}")).gives(400);
        assert_eq!(refused.fields(), ["since"], "{bad}");
    }

    // A user who was removed, and one who has taken over the address.
    admin.delete(&format!("/api/users/{}", ann.id)).gives(204);
    let again = server.person("ann", "OPERATOR");
    assert_eq!(email(&again), address);
    let newest = again.queue("n1");
    assert_eq!(found(&format!("by={address}")), [newest.clone(), old]);
    assert_eq!(found(&format!("by={address}&limit=1")), [newest]);
}

#[test]
fn everybody_sees_their_own() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let (ann, bob) = (
        server.person("ann", "OPERATOR"),
        server.person("bob", "OPERATOR"),
    );
    let vera = server.person("vera", "VIEWER");
    let (of_ann, of_bob) = (ann.queue("n1"), bob.queue("n1"));
    assert_eq!(ids_of(&page(&ann, "")), std::slice::from_ref(&of_ann));
    assert_eq!(ids_of(&page(&bob, "")), std::slice::from_ref(&of_bob));
    assert_eq!(ids_of(&page(&admin, "")), Vec::<String>::new());
    assert_eq!(ids_of(&page(&vera, "")), Vec::<String>::new());
    let all: BTreeSet<String> = [of_ann, of_bob].into();
    for person in [&admin, &vera, &ann] {
        let seen = ids_of(&page(person, "scope=all"));
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    }
    ann.get("/api/jobs?scope=some").gives(400);
}

#[test]
fn somebody_elses_job_is_not_there() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let (ann, bob) = (
        server.person("ann", "OPERATOR"),
        server.person("bob", "OPERATOR"),
    );
    let (id, own) = (ann.queue("n1"), bob.queue("n1"));
    let paths = |id: &str| {
        [
            ("GET", format!("/api/jobs/{id}")),
            ("GET", format!("/api/jobs/{id}/log")),
            ("GET", format!("/api/jobs/{id}/log?stream=stdout")),
            ("GET", format!("/api/jobs/{id}/stream")),
            ("GET", format!("/api/events?job={id}")),
            ("GET", format!("/api/jobs/{id}/diff/{own}")),
            ("GET", format!("/api/jobs/{own}/diff/{id}")),
            ("POST", format!("/api/jobs/{id}/cancel")),
        ]
    };
    for person in [&bob, &admin] {
        for (method, path) in paths(&id) {
            let refused = person.call(method, &path).refused(404, "job_not_found");
            assert_eq!(refused.json()["error"], "Job not found", "{path}");
        }
    }
    for unknown in [
        "00000000-0000-7000-8000-000000000000",
        "nonsense",
        "%F0%9F%92%A5",
        "%00",
    ] {
        for (method, path) in paths(unknown) {
            ann.call(method, &path).gives(404);
        }
    }
    assert_eq!(ann.job(&id)["status"], "QUEUED");
}

#[test]
fn reading_another_users_job_is_audited() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let ann = server.person("ann", "OPERATOR");
    let vera = server.person("vera", "VIEWER");
    let (id, other) = (ann.queue("n1"), ann.queue("n1"));
    let looks = |id: &str, who: &Person| {
        let entries = admin.audit(&format!("jobId={id}"));
        entries
            .iter()
            .filter(|(actor, _)| *actor == who.email)
            .count()
    };
    let paths = [
        format!("/api/jobs/{id}?scope=all"),
        format!("/api/jobs/{id}/log?scope=all"),
        format!("/api/jobs/{id}/diff/{other}?scope=all"),
    ];
    for person in [&vera, &admin] {
        for (count, path) in paths.iter().enumerate() {
            person.get(path).gives(200);
            assert_eq!(looks(&id, person), count + 1, "{path}");
        }
        let mut stream = person
            .get(&format!("/api/jobs/{id}/stream?scope=all"))
            .open();
        stream.next();
        assert_eq!(looks(&id, person), 4);
        let mut events = person
            .get(&format!("/api/events?job={id}&scope=all"))
            .open();
        events.next();
        assert_eq!(looks(&id, person), 5);
        // The other one was looked at once, in the diff; a list does not count as a view of a job.
        assert_eq!(looks(&other, person), 1);
        person.get("/api/jobs?scope=all").ok();
        assert_eq!(looks(&other, person), 1);
    }
    // Looking at one's own job, without the scope, is nobody's business.
    let before = admin.audit(&format!("jobId={id}")).len();
    ann.job(&id);
    assert_eq!(admin.audit(&format!("jobId={id}")).len(), before);
}

#[test]
fn with_the_scope_an_admin_cancels_and_a_viewer_does_not() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let (ann, bob) = (
        server.person("ann", "OPERATOR"),
        server.person("bob", "OPERATOR"),
    );
    let vera = server.person("vera", "VIEWER");
    let id = ann.queue("n1");
    let path = format!("/api/jobs/{id}/cancel?scope=all");
    vera.call("POST", &path).gives(403);
    bob.call("POST", &path).gives(403);
    assert_eq!(admin.call("POST", &path).ok()["status"], "CANCELLED");
    let entries = admin.audit(&format!("jobId={id}&action=job.cancel"));
    assert_eq!(entries, [(admin.email.clone(), "job.cancel".to_owned())]);
}
