//! The ledger: what gets an entry, what a changed history looks like, and who notices. One file,
//! because all tests share the same few helpers.

use serde_json::{Value, json};

use crate::harness::{
    Database, FakeAgent, Field, Person, RealAgent, Server, eventually, id_of, with_node,
};

/// Waits until everything that happened is in the ledger. Returns its head.
fn settled(server: &Server, admin: &Person) -> Value {
    let database = server.database();
    eventually("the ledger to have everything", || {
        (database.number("SELECT count(*) FROM ledger_due") == 0).then_some(())
    });
    admin.get("/api/ledger/head").ok()
}

fn kinds_of(database: &Database, id: &str) -> Vec<String> {
    database.texts(&format!(
        "SELECT kind FROM ledger WHERE id = '{id}' ORDER BY seq"
    ))
}

/// A job that has ended with success.
fn ended(admin: &Person, agent: &FakeAgent) -> String {
    let id = admin.queue("n1");
    agent.claim();
    agent.say(&id, 0, "hello\n");
    agent.succeed(&id);
    id
}

/// `hyprbox audit verify`: whether the history fits, and what does not.
fn verify(server: &Server, more: &[&str]) -> (bool, String) {
    let words = [&["audit", "verify"], more].concat();
    let output = server.setup().run(&words);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?} {text} {errors}");
    (code == Some(0), text + &errors)
}

#[track_caller]
fn fits(server: &Server) {
    let (is_well, text) = verify(server, &[]);
    assert!(is_well && text.starts_with("The history fits: "), "{text}");
}

#[test]
fn each_event_gets_an_entry() {
    let (server, admin, agent) = with_node();
    let database = server.database();
    let done = ended(&admin, &agent);
    let cancelled = admin.queue("n1");
    admin.cancel(&cancelled).gives(200);
    let body = json!({"preset": "note", "nodes": ["n1"]});
    let run = id_of(&admin.post("/api/runs", &body).gives(201).json());
    let of_run = admin.get(&format!("/api/runs/{run}")).ok()["jobs"][0].field("id");
    let head = settled(&server, &admin);
    assert_eq!(kinds_of(&database, &done), ["job_queued", "job_ended"]);
    assert_eq!(kinds_of(&database, &cancelled), ["job_queued", "job_ended"]);
    assert_eq!(kinds_of(&database, &of_run), ["job_queued"]);
    let audit = "SELECT count(*) FROM audit_entries WHERE id NOT IN (SELECT id FROM ledger WHERE kind = 'audit')";
    assert_eq!(database.number(audit), 0);
    assert!(database.number("SELECT count(*) FROM audit_entries") > 0);
    let last = database.texts("SELECT hash FROM ledger ORDER BY seq DESC LIMIT 1");
    assert_eq!(vec![head.field("hash")], last);
    let count = database.number("SELECT count(*) FROM ledger");
    assert_eq!(head["seq"], json!(count));
    assert_eq!(head["firstBad"], Value::Null);
    fits(&server);
    let (is_well, text) = verify(&server, &["--head", &head.field("hash")]);
    assert!(
        is_well && text.contains("has the hash that you have"),
        "{text}"
    );
    let (is_well, text) = verify(&server, &["--head", &"ab".repeat(32)]);
    assert!(!is_well && text.contains("no entry has the hash"), "{text}");
}

#[test]
fn an_end_by_hand_gets_an_entry_that_says_so() {
    let (server, admin, agent) = with_node();
    let database = server.database();
    let running = admin.queue("n1");
    agent.claim();
    let queued = admin.queue("n1");
    for (id, status) in [(&running, "FAILED"), (&queued, "CANCELLED")] {
        let sql = format!(
            "UPDATE jobs SET status = '{status}', error_msg = 'by hand', finished_at = {} WHERE id = '{id}'",
            database.now()
        );
        assert_eq!(database.execute(&sql), 1);
    }
    settled(&server, &admin);
    for id in [&running, &queued] {
        assert_eq!(kinds_of(&database, id), ["job_queued", "job_ended_by_hand"]);
    }
    fits(&server);
}

#[test]
fn a_late_end_gets_a_second_entry() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    eventually("the lease to run out", || {
        (admin.job(&id)["status"] == "FAILED").then_some(())
    });
    settled(&server, &admin);
    agent.say(&id, 0, "late\n");
    fits(&server);
    agent.succeed(&id);
    settled(&server, &admin);
    let kinds = kinds_of(&server.database(), &id);
    assert_eq!(kinds, ["job_queued", "job_ended", "job_ended"]);
    fits(&server);
}

#[test]
fn what_was_changed_deleted_inserted_or_moved_is_named() {
    let (server, admin, agent) = with_node();
    let database = server.database();
    let (job, other) = (ended(&admin, &agent), ended(&admin, &agent));
    let open = admin.queue("n1");
    settled(&server, &admin);
    fits(&server);
    let entry = |id: &str, kind: &str| {
        let sql = format!("SELECT max(seq) FROM ledger WHERE id = '{id}' AND kind = '{kind}'");
        database.number(&sql)
    };
    let audit = database.texts("SELECT max(id) FROM audit_entries")[0].clone();
    let (queued, end) = (entry(&job, "job_queued"), entry(&job, "job_ended"));
    let of_audit = entry(&audit, "audit");
    let copy = |table: &str| format!("CREATE TABLE kept AS SELECT * FROM {table}");
    let columns = "id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds, script_sha256, params, script";
    let changed =
        |seq: i64, kind: &str, id: &str| format!("entry {seq} ({kind} {id}) does not fit its row");
    // The table, what is done to it, and what must be named.
    let table: Vec<(&str, String, String)> = vec![
        // Changed.
        (
            "jobs",
            format!("UPDATE jobs SET created_by_email = 'x' WHERE id = '{job}'"),
            changed(queued, "job_queued", &job),
        ),
        (
            "jobs",
            format!("UPDATE jobs SET script = 'echo pwned' WHERE id = '{open}'"),
            format!("the script of job {open} was changed"),
        ),
        (
            "jobs",
            format!("UPDATE jobs SET status = 'FAILED', exit_code = 3 WHERE id = '{job}'"),
            changed(end, "job_ended", &job),
        ),
        (
            "jobs",
            format!("UPDATE jobs SET stdout_sha256 = 'x' WHERE id = '{job}'"),
            changed(end, "job_ended", &job),
        ),
        (
            "audit_entries",
            format!("UPDATE audit_entries SET actor = 'x' WHERE id = '{audit}'"),
            changed(of_audit, "audit", &audit),
        ),
        (
            "ledger",
            format!("UPDATE ledger SET row_sha256 = 'x' WHERE seq = {end}"),
            format!("entry {end} (job_ended {job}) was changed, inserted or moved"),
        ),
        (
            "ledger",
            format!("UPDATE ledger SET hash = 'x' WHERE seq = {end}"),
            format!("entry {end} (job_ended {job}) was changed, inserted or moved"),
        ),
        // Deleted.
        (
            "audit_entries",
            format!("DELETE FROM audit_entries WHERE id = '{audit}'"),
            format!("entry {of_audit} (audit {audit}) has no row"),
        ),
        (
            "ledger",
            format!("DELETE FROM ledger WHERE seq = {end}"),
            format!("entry {end} is missing"),
        ),
        (
            "ledger",
            "DELETE FROM ledger WHERE seq > 2".to_owned(),
            "entries 3 to ".to_owned(),
        ),
        // Inserted.
        (
            "audit_entries",
            format!(
                "INSERT INTO audit_entries (id, at, actor, action) SELECT 'new', at, actor, action FROM audit_entries WHERE id = '{audit}'"
            ),
            "audit entry new has no entry".to_owned(),
        ),
        (
            "jobs",
            format!(
                "INSERT INTO jobs ({columns}) SELECT 'new', {} FROM jobs WHERE id = '{open}'",
                columns.trim_start_matches("id, ")
            ),
            "job new has no entry".to_owned(),
        ),
        (
            "ledger",
            format!(
                "INSERT INTO ledger SELECT seq + 1000, kind, id, at, row_sha256, hash FROM ledger WHERE seq = {end}"
            ),
            format!("entry {} (job_ended {job}) was changed, inserted or moved", end + 1000),
        ),
        // Moved.
        (
            "audit_entries",
            format!("UPDATE audit_entries SET id = 'moved' WHERE id = '{audit}'"),
            format!("entry {of_audit} (audit {audit}) has no row"),
        ),
        (
            "ledger",
            format!(
                "UPDATE ledger SET seq = -1 WHERE seq = {queued}; UPDATE ledger SET seq = {queued} WHERE seq = {end};
                 UPDATE ledger SET seq = {end} WHERE seq = -1"
            ),
            format!("entry {queued} (job_ended {job}) was changed, inserted or moved"),
        ),
        (
            "jobs",
            format!(
                "UPDATE jobs SET params = (SELECT max(params) FROM jobs WHERE id = '{other}') || ' ' WHERE id = '{job}'"
            ),
            changed(queued, "job_queued", &job),
        ),
    ];
    for (name, sql, words) in table {
        database.execute_all(&copy(name));
        database.execute_all(&sql);
        let (is_well, text) = verify(&server, &[]);
        assert!(!is_well && text.contains(&words), "{sql}\n{words}\n{text}");
        // Not by DELETE: a job's output would go with it.
        let restore = match name {
            "jobs" => "DELETE FROM jobs WHERE id = 'new'; UPDATE jobs SET (created_by_email, script, status, exit_code, stdout_sha256, params) =
                 (SELECT created_by_email, script, status, exit_code, stdout_sha256, params FROM kept WHERE kept.id = jobs.id)"
                .to_owned(),
            name => format!("DELETE FROM {name}; INSERT INTO {name} SELECT * FROM kept"),
        };
        database.execute_all(&format!(
            "{restore}; DELETE FROM ledger_due; DROP TABLE kept"
        ));
        fits(&server);
    }
    // The last one, for it can't be undone.
    database.execute_all(&format!("DELETE FROM jobs WHERE id = '{job}'"));
    let (_, text) = verify(&server, &[]);
    let words = format!("entry {queued} (job_queued {job}) has no row: the job was deleted");
    assert!(text.contains(&words), "{text}");
}

#[test]
fn an_altered_history_raises_an_alarm_until_somebody_acknowledges_it() {
    let (mut server, admin, agent) = with_node();
    let job = ended(&admin, &agent);
    settled(&server, &admin);
    let channel =
        json!({"name": "ops", "kind": "webhook", "settings": {"url": "http://127.0.0.1:1"}});
    let channel = id_of(&admin.post("/api/channels", &channel).gives(201).json());
    let rule = json!({"channelId": channel, "on": ["history_altered"]});
    admin.post("/api/rules", &rule).gives(201);
    settled(&server, &admin);
    let sql = format!("UPDATE jobs SET exit_code = 1 WHERE id = '{job}'");
    server.kill_and_change(&sql);
    server.start_again();
    let admin = server.admin();
    let head = || admin.get("/api/ledger/head").ok();
    let bad = eventually("the check at the start", || {
        let bad = head()["firstBad"].clone();
        (!bad.is_null()).then_some(bad)
    });
    assert_eq!(
        (bad.field("kind"), bad.field("id")),
        ("job_ended".into(), job.clone())
    );
    let seq = format!("SELECT max(seq) FROM ledger WHERE id = '{job}'");
    assert_eq!(bad["seq"], json!(server.database().number(&seq)));
    assert!(
        server.logged(&["history was altered", &job]),
        "{}",
        server.said()
    );
    let path = format!("/api/channels/{channel}/deliveries");
    let sent = admin.get(&path).ok()["deliveries"].clone();
    assert_eq!(sent[0]["event"], "history_altered", "{sent}");
    let overview = || admin.browser("GET", "/").gives(200).text();
    assert!(overview().contains("Somebody has changed the history"));
    let viewer = server.person("viewer", "VIEWER");
    let doctor = || {
        let output = server.setup().run(&["doctor", "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = answer.list("findings");
        let history = findings.iter().find(|one| one["what"] == "history");
        history.expect("a finding").field("health")
    };
    assert_eq!(doctor(), "fail");
    viewer.get("/api/ledger/head").gives(403);
    viewer
        .post("/api/ledger/acknowledge", &json!({}))
        .gives(403);
    let done = admin.post("/api/ledger/acknowledge", &json!({})).ok();
    assert_eq!(done, json!({"acknowledged": 1}));
    assert_eq!(head()["firstBad"], Value::Null);
    assert_eq!(doctor(), "warn");
    assert!(!overview().contains("Somebody has changed the history"));
    let actions = admin.audit("action=ledger.acknowledge");
    assert_eq!(
        actions,
        [(admin.email.clone(), "ledger.acknowledge".into())]
    );
    // It is found again at the next start, and stays acknowledged.
    let before = head()["checkedAt"].clone();
    server.restart();
    let admin = server.admin();
    eventually("the next check", || {
        let head = admin.get("/api/ledger/head").ok();
        (head["checkedAt"] != before).then_some(())
    });
    assert_eq!(admin.get("/api/ledger/head").ok()["firstBad"], Value::Null);
}

#[test]
fn the_fleet_notices_a_history_that_was_cut() {
    let (mut server, admin, agent) = with_node();
    ended(&admin, &agent);
    let cut = settled(&server, &admin).count("seq");
    let id = ended(&admin, &agent);
    settled(&server, &admin);
    // The same report again, until the answer has an entry of this job.
    let known = eventually("an answer with a new entry", || {
        let answer = agent.complete(&id, &json!({"exitCode": 0})).ok();
        let head = answer["ledgerHead"].clone();
        (head.count("seq") > cut).then_some(head)
    });
    let end = json!({"end": {"exitCode": 0}});
    let answer = agent.output_call(&id, &end).ok();
    assert_eq!(
        (&answer["ended"], &answer["ledgerHead"]),
        (&json!(true), &known)
    );
    let beat = |agent: &FakeAgent, head: &Value| {
        agent
            .heartbeat(&json!({"instance": "one", "intervalSeconds": 30, "ledgerHead": head}))
            .ok();
    };
    beat(&agent, &known);
    let head = settled(&server, &admin);
    assert_eq!(head["firstBad"], Value::Null);
    assert!(verify(&server, &["--nodes"]).0);
    // Somebody removes the newest rows, and hides that.
    server.kill9();
    server.database().execute_all(&format!(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM ledger WHERE seq > {cut});
         DELETE FROM audit_entries WHERE id IN (SELECT id FROM ledger WHERE seq > {cut});
         DELETE FROM ledger WHERE seq > {cut}; DELETE FROM ledger_due;
         UPDATE ledger_state SET seq = {cut}, hash = (SELECT hash FROM ledger WHERE seq = {cut});
         UPDATE nodes SET ledger_seq = NULL, ledger_hash = NULL"
    ));
    assert!(verify(&server, &["--nodes"]).0);
    server.start_again();
    let (admin, agent) = (server.admin(), agent.at(&server));
    beat(&agent, &known);
    let bad = admin.get("/api/ledger/head").ok()["firstBad"].clone();
    assert_eq!(
        (bad.field("kind"), bad.field("id")),
        ("witness".into(), "n1".into())
    );
    assert_eq!(bad["seq"], known["seq"]);
    let (is_well, text) = verify(&server, &["--nodes"]);
    assert!(
        !is_well && text.contains("node n1 has seen another entry"),
        "{text}"
    );
    // Nonsense is ignored, and another head that fits changes nothing.
    for head in [
        json!(null),
        json!({"seq": 0, "hash": ""}),
        json!({"seq": 1, "hash": "x"}),
    ] {
        beat(&agent, &head);
    }
}

#[test]
fn the_real_agent_keeps_the_newest_entry_and_reports_it() {
    let mut server = Server::start();
    let admin = server.admin();
    let node = admin.add_node("n1");
    let agent = RealAgent::with_variables(&server, &node, &[("HYPRBOX_INTERVAL", "1s")]);
    settled(&server, &admin);
    let id = admin.queue("n1");
    eventually("the job's end", || {
        (admin.job(&id)["status"] == "SUCCEEDED").then_some(())
    });
    let kept: Value = eventually("the agent to keep an entry", || {
        let json = std::fs::read(agent.state().join("ledger_head")).ok()?;
        serde_json::from_slice(&json).ok()
    });
    let sql = "SELECT coalesce(max(ledger_hash), '') FROM nodes WHERE id = 'n1'";
    eventually("a heartbeat with it", || {
        (server.database().texts(sql) == [kept.field("hash")]).then_some(())
    });
    let stored = format!("SELECT hash FROM ledger WHERE seq = {}", kept.count("seq"));
    assert_eq!(server.database().texts(&stored), [kept.field("hash")]);
}

#[test]
fn entries_outlive_what_retention_deletes() {
    let (mut server, admin, agent) = with_node();
    let job = ended(&admin, &agent);
    settled(&server, &admin);
    let database = server.database();
    let old = database.ago("49 hours");
    database.execute(&format!(
        "UPDATE jobs SET finished_at = {old} WHERE id = '{job}'"
    ));
    server.set("HYPRBOX_KEEP_DAYS", "1");
    server.restart();
    let admin = server.admin();
    eventually("the job to be deleted", || {
        let there = format!("SELECT count(*) FROM jobs WHERE id = '{job}'");
        (database.number(&there) == 0).then_some(())
    });
    settled(&server, &admin);
    assert_eq!(
        kinds_of(&database, &job),
        ["job_queued", "job_ended", "job_deleted"]
    );
    fits(&server);
}

#[test]
fn a_kill_at_any_moment_neither_loses_an_entry_nor_doubles_one() {
    let (mut server, mut admin, mut agent) = with_node();
    for _ in 0..4 {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(ended(&admin, &agent));
        }
        server.kill9();
        server.start_again();
        (admin, agent) = (server.admin(), agent.at(&server));
        settled(&server, &admin);
        for id in ids {
            let kinds = kinds_of(&server.database(), &id);
            assert_eq!(kinds, ["job_queued", "job_ended"], "{id}");
        }
    }
    fits(&server);
}
