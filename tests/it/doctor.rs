//! `hyprbox doctor`: well on a sound server, and a word with its mend for each thing that is not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Authority, Field, Server, Setup, unix_time, with_node};

/// The findings by what was looked at, and whether the command ended well.
fn findings(setup: &Setup, more: &[&str]) -> (Vec<Value>, bool) {
    let words: Vec<&str> = ["doctor", "--json"].iter().chain(more).copied().collect();
    let output = setup.run(&words);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["ok"], output.status.success(), "{answer}");
    let findings = answer.list("findings");
    for finding in &findings {
        let is_well = finding["health"] == "ok";
        assert_eq!(finding["fix"].is_null(), is_well, "{finding}");
        assert!(!finding.field("seen").is_empty(), "{finding}");
    }
    (findings, output.status.success())
}

#[track_caller]
fn of(findings: &[Value], what: &str) -> (String, String) {
    let found = findings.iter().find(|finding| finding["what"] == what);
    let found = found.unwrap_or_else(|| panic!("no {what} in {findings:?}"));
    (found.field("health"), found.field("seen"))
}

#[track_caller]
fn says(setup: &Setup, what: &str, health: &str, words: &str) {
    let (findings, is_well) = findings(setup, &[]);
    let (found, seen) = of(&findings, what);
    assert_eq!(found, health, "{seen}");
    assert!(seen.contains(words), "{seen}");
    assert!(health != "fail" || !is_well, "{findings:?}");
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

fn is_sqlite() -> bool {
    Setup::new().database().sqlite().is_some()
}

#[test]
fn a_sound_server_is_well() {
    if !is_sqlite() {
        return;
    }
    let setup = Setup::new();
    let backups = setup.folder().join("backups");
    let setup = setup.with("HYPRBOX_BACKUP_DIR", backups.to_str().expect("UTF-8"));
    let setup = setup.with("HYPRBOX_PUBLIC_URL", "https://jobs.example.org");
    let mut server = setup.start();
    let agent = server.admin().add_node("n1");
    let key = server.setup().data_dir().join("sign.key");
    let key = hyprbox_signing::SignKey::parse(&std::fs::read_to_string(key).expect("reads"));
    let trusted = [key.expect("a key").public().fingerprint()];
    let beat = json!({"instance": "one", "agentVersion": env!("CARGO_PKG_VERSION"), "intervalSeconds": 30,
        "trustedKeys": trusted});
    agent.heartbeat(&beat).gives(200);
    crate::harness::eventually("a backup", || {
        let mut entries = std::fs::read_dir(&backups).ok()?;
        entries.find_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.ends_with(".db").then_some(())
        })
    });
    let address = server.address().to_owned();
    let (findings, is_well) = findings(server.setup(), &["--listen", &address]);
    assert!(is_well, "{findings:?}");
    for finding in &findings {
        let (what, health) = (finding.field("what"), finding.field("health"));
        assert!(health == "ok" || what == "disk", "{finding}");
    }
    let (_, seen) = of(&findings, "server");
    assert!(seen.contains("hyprbox (process "), "{seen}");
    // And in words.
    let output = server.setup().run(&["doctor", "--listen", &address]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ok     database: "), "{text}");
    assert_eq!(text.lines().count(), findings.len(), "{text}");
}

#[test]
fn an_address_that_other_machines_cannot_reach_is_named() {
    if !is_sqlite() {
        return;
    }
    let only_here = "works only on this machine";
    says(&Setup::new(), "address", "warn", only_here);
    for (url, is_local) in [
        ("http://localhost:4000", true),
        ("https://[::1]", true),
        ("https://jobs.example.org", false),
    ] {
        let setup = Setup::new().with("HYPRBOX_PUBLIC_URL", url);
        let health = if is_local { "warn" } else { "ok" };
        let words = if is_local { only_here } else { "127.0.0.1:" };
        says(&setup, "address", health, words);
    }
    let setup = Setup::new().with("HYPRBOX_LISTEN", "0.0.0.0:4000");
    says(&setup, "address", "warn", "no setting names the one");
}

#[test]
fn a_problem_is_named_with_its_fix() {
    if !is_sqlite() {
        return;
    }
    let (mut server, admin, agent) = with_node();
    let beat = json!({"instance": "one", "agentVersion": "0.0.9", "intervalSeconds": 30});
    agent.heartbeat(&beat).gives(200);
    admin.queue("n1");
    assert!(server.terminate().success());
    let database = server.database();
    let path = database.sqlite().expect("a file").to_owned();
    let setup = server.into_setup();
    let key = setup.data_dir().join("secret.key");

    says(&setup, "server", "warn", "no program");
    says(&setup, "agents", "warn", "n1 has 0.0.9");
    says(
        &setup,
        "agents",
        "warn",
        concat!("ships ", env!("CARGO_PKG_VERSION")),
    );
    says(&setup, "backups", "warn", "takes no backups");
    says(&setup, "jobs", "ok", "no job");
    database.execute("UPDATE jobs SET created_at = datetime('now', '-2 days')");
    says(&setup, "jobs", "warn", "1 queued for n1");
    database.execute(
        "UPDATE jobs SET status = 'RUNNING', started_at = datetime('now', '-2 days'), timeout_seconds = 60",
    );
    says(&setup, "jobs", "warn", "after its timeout");
    database.execute("UPDATE jobs SET created_at = '2999-01-01T00:00:00.000Z'");
    says(&setup, "clock", "fail", "2999");

    chmod(&setup.data_dir(), 0o755);
    says(&setup, "data directory", "warn", "other users can read");
    chmod(&key, 0o644);
    says(&setup, "key", "fail", "other users");
    std::fs::remove_file(&key).expect("removes");
    says(&setup, "key", "fail", "but the database exists");

    let version = database.number("PRAGMA user_version");
    database.set_version(version + 1);
    says(&setup, "schema", "fail", "version");
    let setup = setup.with("HYPRBOX_BACKUP_DIR", "/nonexistent/backups");
    says(&setup, "backups", "fail", "has no backup");
    std::fs::write(&path, "no database\n".repeat(1_000)).expect("writes");
    says(&setup, "database", "fail", "not a database");
    let setup = setup.with("HYPRBOX_LEASE_SECONDS", "1");
    says(&setup, "settings", "fail", "HYPRBOX_LEASE_SECONDS");
}

#[test]
fn before_the_first_start_nothing_fails() {
    if !is_sqlite() {
        return;
    }
    let setup = Setup::new();
    says(&setup, "database", "warn", "does not exist yet");
    says(&setup, "data directory", "warn", "does not exist yet");
    says(&setup, "key", "ok", "will be created");
    assert!(!setup.data_dir().exists());
}

#[test]
fn a_certificate_is_reported_before_it_expires() {
    let authority = Authority::new();
    let setup = Setup::new().with_tls(&authority);
    let ends = |days: i64| {
        let day = jiff::Timestamp::UNIX_EPOCH
            + unix_time()
            + jiff::SignedDuration::from_hours(24 * days + 12);
        let text = day.to_string();
        let part = |from, to| text[from..to].parse::<u16>().expect("a number");
        let month = u8::try_from(part(5, 7)).expect("a month");
        let day = u8::try_from(part(8, 10)).expect("a day");
        authority.renew_as(|params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(part(0, 4).into(), month, day);
        });
    };
    ends(40);
    says(&setup, "certificate", "ok", "days from now");
    ends(5);
    says(&setup, "certificate", "warn", "days from now");
    ends(-5);
    says(&setup, "certificate", "fail", "expired at ");
    let (findings, _) = findings(&Setup::new(), &[]);
    assert!(
        findings
            .iter()
            .all(|finding| finding["what"] != "certificate")
    );
}

#[test]
fn over_postgres_the_doctor_reads_the_database() {
    if is_sqlite() {
        return;
    }
    let mut server = Server::start();
    let agent = server.admin().add_node("n1");
    let beat = json!({"instance": "one", "agentVersion": "0.0.9", "intervalSeconds": 30});
    agent.heartbeat(&beat).gives(200);
    let address = server.address().to_owned();
    let setup = server.setup();
    let (found, is_well) = findings(setup, &["--listen", &address]);
    assert!(is_well, "{found:?}");
    for what in ["server", "database", "clock", "schema", "jobs", "backups"] {
        assert_eq!(of(&found, what).0, "ok", "{found:?}");
    }
    assert!(of(&found, "database").1.contains("PostgreSQL"), "{found:?}");
    let (health, seen) = of(&found, "agents");
    assert!(health == "warn" && seen.contains("n1 has 0.0.9"), "{seen}");
    server.admin().queue("n1");
    let database = server.database();
    database.execute("UPDATE jobs SET created_at = now() - interval '2 days'");
    says(server.setup(), "jobs", "warn", "1 queued for n1");
    database.execute("UPDATE jobs SET status = 'RUNNING', started_at = now() - interval '2 days', timeout_seconds = 60");
    says(server.setup(), "jobs", "warn", "after its timeout");
    let password = database
        .url()
        .split([':', '@'])
        .nth(2)
        .expect("a password")
        .to_owned();
    let wrong = Setup::new().with(
        "HYPRBOX_DATABASE_URL",
        &database.url().replace(&password, "not-the-password"),
    );
    let (found, is_well) = findings(&wrong, &[]);
    let (health, seen) = of(&found, "database");
    assert!(
        !is_well && health == "fail" && seen.contains("password authentication failed"),
        "{seen}"
    );
    assert!(!seen.contains(&password), "{seen}");
    says(&Setup::new(), "schema", "warn", "no tables yet");
}
