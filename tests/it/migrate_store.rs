//! `hyprbox migrate-store`: a SQLite appliance goes on over PostgreSQL as if nothing had happened.
//! One file, because all tests share the two databases and their comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{
    Database, Field, PASSWORD, Person, RealAgent, Server, Setup, bytes_chunk, chunk, eventually,
    id_of,
};
use crate::postgres::refused;

/// The target, where the tests have one.
fn target() -> Option<(Setup, String)> {
    let setup = Setup::new();
    let database = setup.database();
    database.sqlite().is_none().then(|| (setup, database.url()))
}

/// A server to be over a file of its own, whatever the tests run on; and the file.
fn appliance() -> (Setup, PathBuf) {
    let setup = Setup::new();
    let path = setup.data_dir().join("hyprbox.db");
    let url = format!("sqlite:{}", path.display());
    (setup.with("HYPRBOX_DATABASE_URL", &url), path)
}

fn command(from: &str, to: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyprbox"));
    command
        .args(["migrate-store", "--from", from, "--to", to])
        .env_clear()
        .stdin(Stdio::null());
    command
}

fn migrate(from: &Path, to: &str) -> Output {
    let from = format!("sqlite:{}", from.display());
    command(&from, to).output().expect("it runs")
}

/// What it said on standard error, with the exit code that it must have.
#[track_caller]
fn ends_with(code: i32, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn hash_of(path: &Path) -> Vec<u8> {
    Sha256::digest(std::fs::read(path).expect("reads")).to_vec()
}

/// All that people can see: every job with its output, nodes, users, presets' names and the audit
/// log.
fn seen(admin: &Person) -> BTreeMap<String, Value> {
    let mut seen = BTreeMap::new();
    let list = admin.get("/api/jobs?scope=all&limit=200").ok();
    for job in list.list("jobs") {
        let id = id_of(&job);
        let detail = admin.get(&format!("/api/jobs/{id}?scope=all")).ok();
        for stream in ["stdout", "stderr", "both"] {
            let path = format!("/api/jobs/{id}/log?stream={stream}&scope=all");
            let log = admin.get(&path).gives(200).body;
            seen.insert(format!("{id} {stream}"), json!(log));
        }
        seen.insert(id, detail);
    }
    for path in [
        "/api/nodes",
        "/api/users",
        "/api/auth/tokens",
        "/api/nodes/n1/tokens",
    ] {
        seen.insert(path.to_owned(), admin.get(path).ok());
    }
    seen
}

/// What stays as it was whoever serves it: signs of life, last uses and jobs that go on do not.
fn lasting(mut seen: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    seen.retain(|_, value| value["status"] != "RUNNING");
    for value in seen.values_mut() {
        forget(value);
    }
    seen
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in [
                "lastSeenAt",
                "lastUsedAt",
                "status",
                "runningJobId",
                "queuedJobs",
                "instances",
            ] {
                if fields.contains_key("hostname") || name == "lastUsedAt" {
                    fields.remove(name);
                }
            }
            fields.values_mut().for_each(forget);
        }
        Value::Array(values) => values.iter_mut().for_each(forget),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn an_appliance_works_on_over_postgres() {
    let Some((target_setup, to)) = target() else {
        return;
    };
    let (setup, path) = appliance();
    let (key, presets) = (setup.data_dir().join("secret.key"), setup.presets_dir());
    let mut server = setup.start();
    let admin = server.admin();
    let operator = server.person("op", "OPERATOR");
    let agent = admin.add_node("n1");
    let real_node = admin.add_node("n2");
    let made = operator
        .post("/api/auth/tokens", &json!({"name": "ci"}))
        .gives(201)
        .json();
    let ci = operator.with_token(&made.field("token"));

    // Output of a megabyte, of every byte there is.
    let bytes: Vec<u8> = (0..1_048_576_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let large = admin.queue("n1");
    agent.claim();
    for (number, piece) in bytes.chunks(300_000).enumerate() {
        agent.output(
            &large,
            &[bytes_chunk("stdout", number as u64 * 300_000, piece)],
        );
    }
    agent.output(
        &large,
        &[chunk("stderr", 0, "tab\t\\N \\. \u{1f980} 'x' \"y\"\r\n")],
    );
    let hostile = "it's \\N, \"so\"\n\t\u{202e}\u{1f980} $1 \\x00; DROP TABLE jobs; --";
    let report = json!({"exitCode": 3, "errorMsg": hostile});
    agent.complete(&large, &report).gives(200);
    let cancelled = operator.queue_with("n1", "note", json!({"text": hostile}));
    operator.cancel(&cancelled).gives(200);
    let running = operator.queue("n1");
    agent.claim();
    agent.say(&running, 0, "before the move\n");
    let body = json!({"preset": "vault", "nodeId": "n1", "params": {"key": "swordfish"}});
    let keyed = |person: &Person| {
        person
            .post("/api/jobs", &body)
            .header("idempotency-key", "once")
    };
    let secret = id_of(&keyed(&operator).gives(201).json());

    // A script that runs through the whole move.
    let gate = target_setup.folder().join("gate");
    let code = format!(
        "echo one; until [[ -e {} ]]; do sleep 0.05; done; echo two",
        gate.display()
    );
    let real = RealAgent::start(&server, &real_node);
    let through = admin.queue_with("n2", "shell", json!({"code": code}));
    eventually("its first line", || {
        (admin.log(&through, "stdout").ends_with(b"one\n")).then_some(())
    });

    // What operators type: times in other words, a NUL, and rows deleted without their output.
    let source = Database::Sqlite(path.clone());
    let orphan = operator.queue("n1");
    operator.cancel(&orphan).gives(200);
    source.execute_all(&format!(
        "PRAGMA foreign_keys = OFF;
         INSERT INTO chunks (job_id, stream, start_offset, position, arrived_at, data) VALUES ('{orphan}', 'stdout', 0, 0, datetime('now'), x'00ff');
         DELETE FROM jobs WHERE id = '{orphan}';
         UPDATE jobs SET finished_at = datetime('now', '-1 day') WHERE id = '{cancelled}';
         UPDATE jobs SET error_msg = 'a' || char(0) || 'b' WHERE id = '{cancelled}';"
    ));

    // Beside the live server most of it is copied, and the target stays closed.
    let said = ends_with(1, &migrate(&path, &to));
    assert!(said.contains("run this command again"), "{said}");
    assert!(
        said.contains("chunks: ") && said.contains("1 are left out"),
        "{said}"
    );
    let closed = refused(&Setup::new().with("HYPRBOX_DATABASE_URL", &to));
    assert!(closed.contains("migrate-store"), "{closed}");
    agent.say(&running, 16, "during the move\n");
    let late = operator.queue("n1");
    let before = seen(&admin);
    let address = server.address().to_owned();
    assert!(server.terminate().success());
    let hash = hash_of(&path);
    let output = migrate(&path, &to);
    ends_with(0, &output);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("jobs.error_msg: 1 with a NUL"), "{told}");
    assert!(
        told.contains("secret.key") && told.contains("the same on both sides"),
        "{told}"
    );
    assert!(
        !told.contains(to.split([':', '@']).nth(2).expect("a password")),
        "{told}"
    );
    assert_eq!(hash_of(&path), hash, "the source was written to");

    let successor = Setup::new()
        .with("HYPRBOX_DATABASE_URL", &to)
        .with("HYPRBOX_LISTEN", &address)
        .with("HYPRBOX_PRESETS_DIR", presets.to_str().expect("UTF-8"))
        .with("HYPRBOX_SECRET_KEY_FILE", key.to_str().expect("UTF-8"));
    let mut successor: Server = successor.start();
    // Sessions of before, personal tokens and passwords open the same door.
    let mut after = lasting(seen(&admin));
    let mut before = lasting(before);
    let unfit = before.get_mut(&cancelled).expect("it was seen");
    unfit["errorMsg"] = json!("a\u{fffd}b");
    // These go on, and are looked at below.
    for seen in [&mut before, &mut after] {
        seen.retain(|name, _| !name.starts_with(&running) && !name.starts_with(&through));
    }
    assert_eq!(after, before);
    assert_eq!(admin.log(&large, "stdout"), bytes);
    assert_eq!(ci.get("/api/auth/me").ok()["email"], "op@example.org");
    successor.login("op@example.org", PASSWORD);
    assert_eq!(id_of(&keyed(&operator).gives(200).json()), secret);
    admin.get(&format!("/api/jobs/{secret}")).gives(404);

    // The agents go on where they were.
    assert_eq!(agent.where_to_go_on(&running), (32, 0));
    agent.say(&running, 32, "after the move\n");
    agent.succeed(&running);
    assert_eq!(
        operator.log(&running, "stdout"),
        b"before the move\nduring the move\nafter the move\n"
    );
    let claimed = agent.claim();
    assert_eq!(
        (id_of(&claimed), &claimed["secrets"]["key"]),
        (secret, &json!("swordfish"))
    );
    agent.succeed(&id_of(&claimed));
    assert_eq!(agent.claim_id(), late);
    std::fs::write(&gate, "").expect("writes");
    eventually("the script's end", || {
        (admin.job(&through)["status"] == "SUCCEEDED").then_some(())
    });
    assert_eq!(
        admin.log(&through, "stdout"),
        b"==> [1/1] Run it\none\ntwo\n"
    );
    assert_eq!(admin.job(&through)["recoveredAt"], Value::Null);
    drop(real);

    // What serves is not written over.
    let said = ends_with(1, &migrate(&path, &to));
    assert!(said.contains("stop it first"), "{said}");
    assert!(successor.terminate().success());
    let said = ends_with(1, &migrate(&path, &to));
    assert!(
        said.contains("already contains data") && said.contains("empty database"),
        "{said}"
    );
}

/// A file with that many finished jobs, each with ten chunks of output.
fn filled(jobs: usize) -> (Server, PathBuf) {
    let (setup, path) = appliance();
    let mut server = setup.start();
    server.admin().add_node("n1");
    assert!(server.terminate().success());
    Database::Sqlite(path.clone()).execute_all(&format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {jobs})
         INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, finished_at, timeout_seconds,
             script_sha256, position, stdout_bytes, params, script)
         SELECT printf('019a0000-0000-7000-8000-%012d', n), 'SUCCEEDED', 'note', 'n1', 'u', 'u@example.org',
             '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:01.000Z', 60, 'aa', 2000, 2000, '{{}}', hex(randomblob(200)) FROM n;
         WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 9)
         INSERT INTO chunks (job_id, stream, start_offset, position, arrived_at, data)
         SELECT jobs.id, 'stdout', n * 200, n * 200, '2026-01-01T00:00:00.000Z', randomblob(200) FROM jobs, n;"
    ));
    (server, path)
}

#[test]
fn a_move_that_is_killed_at_any_moment_resumes() {
    const JOBS: usize = 4_000;
    let Some((target_setup, to)) = target() else {
        return;
    };
    let (_server, path) = filled(JOBS);
    let hash = hash_of(&path);
    let database = target_setup.database();
    let from = format!("sqlite:{}", path.display());
    let chunks = || {
        let there = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'chunks'";
        match database.number(there) {
            0 => 0,
            _ => database.number("SELECT count(*) FROM chunks"),
        }
    };
    let all = 10 * JOBS as i64;
    let mut seen: Vec<i64> = Vec::new();
    let mut life = Duration::from_millis(60);
    let output = loop {
        let mut child = command(&from, &to)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        // Killed after a while that grows, or in the middle of the largest table.
        let began = Instant::now();
        let enough = seen.last().copied().unwrap_or(0) + all / 8;
        loop {
            let has_ended = child.try_wait().expect("a child").is_some();
            if has_ended || began.elapsed() >= life || (enough..all).contains(&chunks()) {
                break;
            }
        }
        if let Some(status) = child.try_wait().expect("a child") {
            assert!(status.success(), "{status}");
            break child.wait_with_output().expect("its output");
        }
        child.kill().expect("it runs");
        child.wait().expect("a child");
        seen.push(chunks());
        // Each one gets a little further, or there would be no end on a slow machine.
        life = life * 5 / 4;
    };
    eprintln!("chunks there after each kill, of {all}: {seen:?}");
    assert!(seen.is_sorted(), "a run undid another one's work: {seen:?}");
    assert!(
        seen.iter().any(|count| (1..all).contains(count)),
        "no kill was in the middle: {seen:?}"
    );
    assert_eq!(chunks(), all);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains(&format!("{all} rows")), "{told}");
    assert_eq!(hash_of(&path), hash);
    // Both sides are read here, too, by other means.
    let sums = "SELECT CAST(sum(start_offset) AS BIGINT) FROM chunks";
    assert_eq!(
        database.number(sums),
        Database::Sqlite(path.clone()).number(sums)
    );
    let hexes = |database: &Database, sql: &str| database.texts(sql).concat();
    let there = "SELECT lower(encode(data, 'hex')) FROM chunks ORDER BY job_id, start_offset";
    let here = "SELECT lower(hex(data)) FROM chunks ORDER BY job_id, start_offset";
    assert!(hexes(&database, there) == hexes(&Database::Sqlite(path), here));
}

#[test]
fn changes_between_two_runs_are_copied() {
    let Some((target_setup, to)) = target() else {
        return;
    };
    let (server, path) = filled(50);
    let mut server = server.into_setup().start();
    ends_with(1, &migrate(&path, &to));
    let source = Database::Sqlite(path.clone());
    source.execute_all(
        "PRAGMA foreign_keys = ON;
         DELETE FROM jobs WHERE id LIKE '%7';
         UPDATE jobs SET error_msg = 'changed' WHERE id LIKE '%3';
         DELETE FROM chunks WHERE job_id LIKE '%5' AND start_offset < 1000;
         UPDATE chunks SET data = x'00' WHERE job_id LIKE '%1' AND start_offset = 600;
         INSERT INTO nodes (id, name, labels, created_at) VALUES ('a0', 'a0', '{}', '2026-01-01T00:00:00.000Z');",
    );
    assert!(server.terminate().success());
    ends_with(0, &migrate(&path, &to));
    let target = target_setup.database();
    for sql in [
        "SELECT count(*) FROM jobs",
        "SELECT count(*) FROM jobs WHERE error_msg = 'changed'",
        "SELECT count(*) FROM chunks",
        "SELECT CAST(sum(length(data)) AS BIGINT) FROM chunks",
        "SELECT count(*) FROM nodes WHERE id = 'a0'",
        "SELECT count(*) FROM node_tokens",
    ] {
        let number = source.number(sql);
        assert_ne!(number, 0, "{sql}");
        assert_eq!(target.number(sql), number, "{sql}");
    }
}

#[test]
fn a_refused_move_is_explained_in_one_line() {
    let Some((_target_setup, to)) = target() else {
        return;
    };
    let (server, path) = filled(3);
    let folder = path.parent().expect("a folder");
    let from = format!("sqlite:{}", path.display());
    let fails = |code: i32, from: &str, to: &str, words: &str| {
        let said = ends_with(code, &command(from, to).output().expect("it runs"));
        let last = said.lines().last().expect("a line");
        assert!(
            last.starts_with("hyprbox: ") && last.contains(words),
            "{said}"
        );
        assert!(!said.contains("hidden"), "{said}");
    };
    fails(64, "hyprbox.db", &to, "sqlite:PATH");
    fails(
        64,
        &from,
        "mysql://u:hidden@h/d",
        "postgres://user:password",
    );
    fails(1, "sqlite:/nowhere/hyprbox.db", &to, "does not exist");
    fails(1, &from, "postgres://u:hidden@127.0.0.1:1/d", "127.0.0.1:1");
    fails(
        1,
        &from,
        "postgres://u:hidden@h/d?sslmode=maybe",
        "verify-full",
    );
    std::fs::write(folder.join("text"), "no database").expect("writes");
    fails(
        1,
        &format!("sqlite:{}/text", folder.display()),
        &to,
        "not a HyprBox database",
    );
    let old = Database::Sqlite(folder.join("old.db"));
    old.make_version_1();
    fails(1, &old.url(), &to, "older version");

    let source = Database::Sqlite(path.clone());
    source.execute("UPDATE jobs SET finished_at = 'yesterday' WHERE id LIKE '%2'");
    fails(
        1,
        &from,
        &to,
        "jobs.finished_at of the row \"019a0000-0000-7000-8000-000000000002\" is \"yesterday\"",
    );
    source.execute("UPDATE jobs SET finished_at = unixepoch() WHERE id LIKE '%2'");
    // Half filled from one file, it is not filled from another.
    let (_other, other) = filled(1);
    fails(
        1,
        &format!("sqlite:{}", other.display()),
        &to,
        "partly filled from sqlite:",
    );
    ends_with(0, &migrate(&path, &to));
    drop(server);
}
