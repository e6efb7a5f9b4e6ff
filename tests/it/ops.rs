//! Operations: does it live, does it take work, what does it count, who did what.

use serde_json::{Value, json};

use crate::harness::{Answer, Authority, Field, Person, Server, Setup, eventually, id_of};

#[test]
fn the_server_reports_that_it_lives_and_is_ready() {
    let server = Server::start();
    server.get("/healthz").gives(200);
    server.get("/readyz").gives(200);
}

#[test]
fn the_command_health_exits_with_the_servers_readiness() {
    let health = |server: &Server| {
        let listen = ["health", "--listen", server.address()];
        let output = server.setup().run(&listen);
        let words = [output.stdout, output.stderr].concat();
        let words = String::from_utf8(words).expect("UTF-8");
        (
            output.status.code(),
            words.replace(server.address(), "HERE"),
        )
    };
    let mut server = Server::start();
    let ready = (Some(0), "http://HERE/readyz is ready\n".to_owned());
    assert_eq!(health(&server), ready);
    let hold = server.database().hold();
    let words = eventually("it not to be ready", || {
        let (code, words) = health(&server);
        (code == Some(1)).then_some(words)
    });
    let start = "hyprbox: http://HERE/readyz: 503: Not ready: ";
    assert!(words.starts_with(start), "{words}");
    drop(hold);
    server.kill9();
    let (code, words) = health(&server);
    assert_eq!(code, Some(1), "{words}");
    let start = "hyprbox: http://HERE/readyz does not answer: ";
    assert!(words.starts_with(start), "{words}");
    // Its certificate is for another name than the address.
    let authority = Authority::new();
    let secure = Setup::new().with_tls(&authority).start();
    let ready = (Some(0), "https://HERE/readyz is ready\n".to_owned());
    assert_eq!(health(&secure), ready);
}

#[test]
fn the_server_is_not_ready_while_the_store_accepts_no_write() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let hold = server.database().hold();
    let refused = server.get("/readyz").gives(503);
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    assert!(!refused.code().is_empty());
    server.get("/healthz").gives(200);
    // Readers are not in the way of the lock, nor it in theirs.
    admin.get("/api/jobs").ok();
    // A write is a 503 that says when to come again, and has changed nothing.
    let body = json!({"preset": "note", "nodeId": "n1"});
    let refused = admin.post("/api/jobs", &body).gives(503);
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    drop(hold);
    eventually("it to be ready again", || {
        (server.get("/readyz").send().status == 200).then_some(())
    });
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 0);
    admin.queue("n1");
}

/// A small file system of its own for the database, so that its disk can be full. `None`, loudly,
/// where this machine does not let us mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "hyprbox-it"])
            .arg(folder.path())
            .status();
        let disk = Self(folder);
        if mounted.is_ok_and(|status| status.success()) {
            return Some(disk);
        }
        eprintln!("SKIPPED IN PART: no tmpfs can be mounted here, so the full disk is not tried");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // An error says that it never was mounted.
        let _unmounted = std::process::Command::new("umount")
            .args(["-l"])
            .arg(self.0.path())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_ends_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let path = disk.0.path().join("hyprbox.db");
    let url = format!("sqlite:{}", path.display());
    let mut server = Server::with(&[("HYPRBOX_DATABASE_URL", &url)]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    let part = "0123456789abcdef".repeat(4_096);
    let mut kept = 0;
    let refused = eventually("the disk to be full", || {
        let chunks = json!({"chunks": [{"stream": "stdout", "offset": kept, "data": part}]});
        let answer = agent.output_call(&id, &chunks).send();
        if answer.status == 200 {
            kept = answer.json().count("stdoutBytes");
            return None;
        }
        Some(answer)
    });
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    let filler = disk.0.path().join("filler");
    // Whatever is still free goes, too.
    let _full = std::fs::write(&filler, vec![0; 4 * 1024 * 1024]);
    let body = json!({"preset": "note", "nodeId": "n1"});
    eventually("queueing to be refused", || {
        let answer = admin.post("/api/jobs", &body).send();
        assert!(matches!(answer.status, 201 | 503), "{answer:?}");
        (answer.status == 503).then_some(())
    });
    eventually("readyz to say so", || {
        let answer = server.get("/readyz").send();
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        (answer.status == 503).then_some(())
    });
    server.get("/healthz").gives(200);
    // Reading goes on.
    assert_eq!(admin.log(&id, "stdout").len() as u64, kept);
    std::fs::remove_file(&filler).expect("removes");
    remount(&disk, "64m");
    eventually("it to be ready again", || {
        (server.get("/readyz").send().status == 200).then_some(())
    });
    agent.say(&id, kept, "after\n");
    agent.succeed(&id);
    assert_eq!(admin.job(&id)["status"], "SUCCEEDED");
    let log = admin.log(&id, "stdout");
    assert_eq!(log.len() as u64, kept + 6);
    server.kill9();
    let connection = rusqlite::Connection::open(&path).expect("opens");
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("checks");
    assert_eq!(sound, "ok");
}

fn remount(disk: &SmallDisk, size: &str) {
    let status = std::process::Command::new("mount")
        .args(["-o", &format!("remount,size={size}")])
        .arg(disk.0.path())
        .status()
        .expect("mount runs");
    assert!(status.success(), "{status}");
}

#[test]
fn metrics_are_for_admins_and_for_their_token() {
    // Short: how long it is, is its operator's affair.
    const TOKEN: &str = "prom";
    let mut server = Server::with(&[("HYPRBOX_METRICS_TOKEN", TOKEN)]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    admin.queue("n1");
    agent.beat();
    let scrape = server.get("/metrics").bearer(TOKEN).gives(200);
    let text = scrape.text();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("name and value");
        let is_ours = name.starts_with("hyprbox_") || name.starts_with("process_");
        assert!(is_ours, "{line}");
        value.parse::<f64>().expect("a number");
    }
    has_the_form_of_0_0_4(&scrape);
    admin.get("/metrics").gives(200);
    server.get("/metrics").gives(401);
    server
        .get("/metrics")
        .bearer("another-token-altogether")
        .gives(401);
    agent.call("GET", "/metrics").gives(401);
    server.person("ann", "OPERATOR").get("/metrics").gives(403);
    // That token opens nothing else.
    server.get("/api/jobs").bearer(TOKEN).gives(401);
    server.get("/api/audit").bearer(TOKEN).gives(401);
}

/// Every sample belongs to the type above it, and the comments are of the two kinds that there are.
fn has_the_form_of_0_0_4(scrape: &Answer) {
    let kind = scrape.header("content-type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let (mut named, mut counters) = (String::new(), 0);
    for line in scrape.text().lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').expect("name and type");
            named = name.to_owned();
            counters += usize::from(kind == "counter");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else if !line.starts_with("# HELP ") {
            let sample = line.split(['{', ' ']).next().expect("a name");
            let suffix = sample.strip_prefix(&named);
            let fits = matches!(suffix, Some("" | "_bucket" | "_sum" | "_count"));
            assert!(fits, "{line} under {named}");
        }
    }
    assert!(counters >= 2, "{counters}");
}

#[test]
fn without_a_metrics_token_metrics_are_not_served() {
    let mut server = Server::start();
    let admin = server.admin();
    for token in ["", "null", "none"] {
        server.get("/metrics").bearer(token).gives(401);
    }
    admin.get("/metrics").gives(200);
}

#[test]
fn the_audit_log_tells_who_did_what_page_by_page() {
    let mut server = Server::start();
    let admin = server.admin();
    let ann = server.person("ann", "OPERATOR");
    admin.add_node("n1");
    let ids: Vec<String> = (0..5).map(|_| ann.queue("n1")).collect();
    ann.cancel(&ids[0]).gives(200);
    let entries = |query: &str| -> (Vec<Value>, Value) {
        let page = admin.get(&format!("/api/audit?{query}")).ok();
        (page.list("entries"), page["nextCursor"].clone())
    };
    let (all, end) = entries("limit=200");
    assert_eq!(end, Value::Null);
    for entry in &all {
        for field in ["at", "actor", "action", "jobId", "nodeId", "detail"] {
            assert!(entry.get(field).is_some(), "{field}: {entry}");
        }
        assert!(
            entry["at"].is_string() && entry["actor"].is_string(),
            "{entry}"
        );
    }
    let times: Vec<String> = all.iter().map(|entry| entry.field("at")).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    let of_job = |id: &str| all.iter().filter(|entry| entry["jobId"] == id).count();
    assert_eq!((of_job(&ids[0]), of_job(&ids[1])), (2, 1));
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let (page, next) = entries(&format!("limit=3{cursor}"));
        walked.extend(page);
        match next.as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, all);
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor="] {
        let (field, _) = bad.split_once('=').expect("a pair");
        let refused = admin.get(&format!("/api/audit?{bad}")).gives(400);
        assert_eq!(refused.fields(), [field], "{bad}");
    }
    ann.get("/api/audit").refused(403, "forbidden");
    assert!(
        !admin
            .get("/api/audit?limit=200")
            .gives(200)
            .text()
            .contains(&ann.token)
    );
}

#[test]
fn what_must_be_written_down_is() {
    let mut server = Server::start();
    let admin = server.admin();
    let before = count(&admin);
    let ann = server.person("ann", "OPERATOR");
    admin.add_node("n1");
    let token = admin.call("POST", "/api/nodes/n1/tokens").gives(201).json();
    let path = format!("/api/nodes/n1/tokens/{}", id_of(&token));
    admin.delete(&path).gives(204);
    admin
        .call("PATCH", &format!("/api/users/{}", ann.id))
        .json(&json!({"role": "VIEWER"}))
        .ok();
    admin.delete(&format!("/api/users/{}", ann.id)).gives(204);
    admin.delete("/api/nodes/n1").gives(204);
    // Each of the seven changes, and the login in between, by its own words.
    let page = admin.get("/api/audit?limit=200").ok();
    let mut actions: Vec<String> = page
        .list("entries")
        .iter()
        .take(count(&admin) - before)
        .map(|entry| entry.field("action"))
        .collect();
    actions.sort();
    actions.dedup();
    assert_eq!(actions.len(), 8, "{actions:?}");
}

fn count(admin: &Person) -> usize {
    admin.audit("").len()
}

#[test]
fn the_description_of_the_api_is_open() {
    let server = Server::start();
    let answer = server.get("/api/openapi.json").gives(200);
    let document = answer.json();
    assert!(document.field("openapi").starts_with("3."), "{document}");
    assert!(document["paths"]["/api/jobs"]["post"].is_object());
    assert!(document["components"]["schemas"]["JobView"].is_object());
}
