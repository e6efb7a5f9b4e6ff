//! Short ids, `last`, and tables that fit their terminal.

use unicode_width::UnicodeWidthStr;

use super::{Cli, Tty};
use crate::harness::{Server, with_operator};

#[test]
fn a_job_is_found_by_its_first_and_last_characters() {
    let (mut server, ann, _agent) = with_operator();
    let id = ann.queue("n1");
    let cli = Cli::of(&server, &ann);
    let whole = |short: &str| {
        let words = ["jobs", "show", short, "-o", "name"];
        cli.run(&words).ends(0).text().trim().to_owned()
    };
    let upper = id[28..].to_uppercase();
    for short in [&id, &id[28..], &id[32..], &id[..13], &id[..4], &upper] {
        assert_eq!(whole(short), id, "{short}");
    }
    // Three characters are no short id; four that fit nothing are explained.
    cli.run(&["jobs", "show", &id[33..]])
        .ends(127)
        .says("Job not found");
    cli.run(&["jobs", "show", "ffff-ffff"])
        .ends(127)
        .says("none of your jobs begins with ffff-ffff");
    // Somebody else's job is not found, and is with `--scope all`.
    let admin = server.admin();
    let admin = Cli::of(&server, &admin);
    admin.run(&["jobs", "show", &id[28..]]).ends(127);
    let all = ["job", "get", &id[28..], "--scope", "all", "-o", "name"];
    assert_eq!(admin.run(&all).ends(0).text().trim(), id);
}

#[test]
fn an_ambiguous_id_lists_the_candidates_and_changes_nothing() {
    let (server, ann, _agent) = with_operator();
    let ids = [ann.queue("n1"), ann.queue("n1")];
    let cli = Cli::of(&server, &ann);
    // The first characters are the time, which is the same for years.
    let short = &ids[0][..4];
    for words in [
        &["jobs", "show", short][..],
        &["jobs", "cancel", short],
        &["logs", short],
    ] {
        let mut ran = cli.run(words).ends(64).says("is short for several jobs:");
        for id in &ids {
            ran = ran.says(id).says("note on n1, QUEUED");
        }
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
    for id in &ids {
        assert_eq!(ann.job(id)["status"], "QUEUED");
    }
}

#[test]
fn last_is_the_newest_job_and_the_newest_of_a_preset() {
    let (server, ann, _agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    for words in [["jobs", "show", "last"], ["runs", "show", "last"]] {
        cli.run(&words).ends(127).says("yet");
    }
    let first = ann.queue_with("n1", "system-report", serde_json::json!({}));
    let second = ann.queue("n1");
    let id = |short: &str| {
        let words = ["jobs", "show", short, "-o", "name"];
        cli.run(&words).ends(0).text().trim().to_owned()
    };
    assert_eq!(id("last"), second);
    assert_eq!(id("last:system-report"), first);
    cli.run(&["jobs", "show", "last:shell"])
        .ends(127)
        .says("no job of the preset \"shell\" yet");
    // A command that changes the job says which one is meant.
    cli.run(&["jobs", "cancel", "last"])
        .ends(0)
        .says(&format!("The job {second}: note on n1, QUEUED"));
    assert_eq!(ann.job(&second)["status"], "CANCELLED");
    let run = cli.run(&["run", "note", "-n", "n1", "--canary", "1"]);
    let run = run.ends(0).text().trim().to_owned();
    let shown = cli.run(&["runs", "show", "last", "-o", "name"]).ends(0);
    assert_eq!(shown.text().trim(), run);
    cli.run(&["runs", "cancel", &run[28..]]).ends(0).says(&run);
}

#[test]
fn a_node_may_be_shortened_but_not_by_a_script_that_changes_it() {
    let mut server = Server::start();
    let admin = server.admin();
    for id in ["web-1", "db-1", "db-2"] {
        admin.add_node(id);
    }
    let cli = Cli::of(&server, &admin);
    let shown = cli.run(&["nodes", "show", "web", "-o", "name"]).ends(0);
    assert_eq!(shown.text(), "web-1\n");
    cli.run(&["nodes", "show", "db"])
        .ends(64)
        .says("db is short for several nodes:")
        .says("db-1")
        .says("db-2");
    let on = |node: &str| {
        let words = ["jobs", "list", "-n", node, "-o", "name"];
        cli.run(&words).ends(0).text()
    };
    let job = admin.queue("web-1");
    assert_eq!(on("web"), format!("{job}\n"));
    for words in [
        &["run", "note", "-n", "web"][..],
        &["nodes", "pause", "web"],
        &["nodes", "remove", "web"],
    ] {
        cli.run(words).ends(127).says("did you mean web-1?");
    }
    let (code, shown) = Tty::start(&cli, &["run", "note", "-n", "web"]).ended();
    assert!(code == 0 && shown.contains("The node web-1"), "{shown}");
}

#[test]
fn tables_fit_the_terminal_and_show_short_ids_only_there() {
    let mut server = Server::start();
    let admin = server.admin();
    let long = "a-node-with-a-name-that-is-as-long-as-any-may-be-63-characters1";
    admin.add_node(long);
    let id = admin.queue(long);
    // Its age in words stays the same while the test runs.
    let past = server.database().ago("2 days");
    let age = format!("UPDATE jobs SET created_at = {past}");
    assert_eq!(server.database().execute(&age), 1);
    let cli = Cli::of(&server, &admin);
    for words in [
        &["jobs", "list"][..],
        &["nodes", "list"],
        &["presets", "list"],
    ] {
        for columns in [40, 60, 80, 200] {
            let (code, shown) = Tty::sized(&cli, words, columns).ended();
            assert_eq!(code, 0, "{shown}");
            for line in shown.lines() {
                let width = without_colours(line).width();
                assert!(width <= columns.into(), "{width} > {columns}: {line:?}");
            }
            assert!(!shown.contains(&id), "{shown}");
            if words[0] == "jobs" {
                assert!(shown.contains(&id[28..]), "{shown}");
            }
        }
        let (_, wide) = Tty::sized(&cli, &[words, &["-o", "wide"]].concat(), 60).ended();
        let piped = cli.run(words).ends(0).text();
        let plain = without_colours(&wide).replace("\r\n", "\n");
        assert_eq!(plain, piped, "in a pipe it is like -o wide");
    }
    assert!(cli.run(&["jobs", "list"]).text().contains(&id));
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[test]
fn words_that_people_type_work() {
    let (server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    agent.claim();
    agent.say(&id, 0, "hello\n");
    agent.succeed(&id);
    let cli = Cli::of(&server, &ann);
    for (words, said) in [
        (&["job", "ls"][..], &id[..]),
        (&["node", "ls"], "n1"),
        (&["preset", "ls"], "note"),
        (&["token", "ls"], "NAME"),
        (&["logs", "last"], "hello\n"),
        (&["log", &id[28..]], "hello\n"),
        (&["jobs", "logs", &id], "hello\n"),
        (&["job", "describe", &id], "SUCCEEDED"),
        (&["version"], env!("CARGO_PKG_VERSION")),
        (&["-o", "json", "job", "ls"], "\"nextCursor\""),
    ] {
        let ran = cli.run(words).ends(0);
        assert!(ran.text().contains(said), "{words:?}: {ran:?}");
    }
    let told = cli
        .run(&["jobs", "show", "nothing", "-o", "json"])
        .ends(127);
    assert!(
        told.stderr.starts_with("{\"code\":\"job_not_found\""),
        "{told:?}"
    );
}

#[test]
fn a_page_has_an_address() {
    let (server, ann, _agent) = with_operator();
    let id = ann.queue("n1");
    let cli = Cli::of(&server, &ann);
    let run = cli.run(&["run", "note", "-n", "n1", "--canary", "1"]);
    let run = run.ends(0).text().trim().to_owned();
    for (words, path) in [
        (&["open"][..], "/".to_owned()),
        (&["open", &id[28..]], format!("/jobs/{id}")),
        (&["open", "last:system-report"], String::new()),
        (&["open", &run], format!("/runs/{run}")),
        (&["open", "n1"], "/nodes/n1".to_owned()),
        (&["open", "note", "--print"], "/presets/note".to_owned()),
    ] {
        if path.is_empty() {
            cli.run(words).ends(127);
            continue;
        }
        let printed = cli.run(words).ends(0).text();
        assert_eq!(printed, format!("{}{path}\n", server.url()));
    }
    // On a terminal it also starts the browser.
    let started = cli.home().join("started");
    let browser = cli.home().join("browser");
    let script = format!("#!/bin/sh\necho \"$1\" > {}\n", started.display());
    std::fs::write(&browser, script).expect("writes");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&browser, mode).expect("a program");
    let cli = cli.with("BROWSER", browser.to_str().expect("UTF-8"));
    assert_eq!(Tty::start(&cli, &["open", "n1", "--print"]).ended().0, 0);
    assert_eq!(Tty::start(&cli, &["open", "n1"]).ended().0, 0);
    let address = crate::harness::eventually("the browser", || {
        let address = std::fs::read_to_string(&started).ok()?;
        (!address.is_empty()).then_some(address)
    });
    assert_eq!(address, format!("{}/nodes/n1\n", server.url()));
}

#[test]
fn jobs_are_listed_by_their_age_and_by_who_queued_them() {
    let (mut server, ann, _agent) = with_operator();
    let admin = server.admin();
    let (old, new) = (ann.queue("n1"), ann.queue("n1"));
    let of_admin = admin.queue("n1");
    let before = format!(
        "UPDATE jobs SET created_at = {} WHERE id = '{old}'",
        server.database().ago("2 hours")
    );
    assert_eq!(server.database().execute(&before), 1);
    let cli = Cli::of(&server, &ann);
    let listed = |words: &[&str]| {
        let words = [&["jobs", "list", "-o", "name"], words].concat();
        let text = cli.run(&words).ends(0).text();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--since", "1h"]).join(" "), new);
    assert_eq!(listed(&["--since", "3h"]), [new.clone(), old.clone()]);
    let moment = "2000-01-01T00:00:00+01:00";
    assert_eq!(listed(&["--since", moment]).len(), 2);
    // Who queued it is asked of everybody's jobs.
    assert_eq!(listed(&["--by", "admin@example.org"]), [of_admin]);
    assert_eq!(listed(&["--by", "ann@example.org"]), [new, old]);
    for wrong in ["yesterday", "0s", "2026-01-01"] {
        cli.run(&["jobs", "list", "--since", wrong])
            .ends(64)
            .says("such as 90m, 24h or 7d");
    }
}
