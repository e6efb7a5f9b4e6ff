//! `hyprbox schedules …` and `hyprbox secrets …`

use serde_json::{Value, json};

use super::{Cli, Tty};
use crate::harness::{Field, id_of, with_node};
use crate::schedules::{next_slot, show};

/// Adds a schedule of `note` on `n1`, with more arguments; its id.
#[track_caller]
fn add(cli: &Cli, name: &str, more: &[&str]) -> String {
    let words = ["schedules", "add", name, "note", "--node", "n1"];
    let times = ["--cron", "0 3 1 1 *", "--time-zone", "Europe/Berlin"];
    let ran = cli.run(&[&words[..], &times, more].concat());
    ran.ends(0).text().trim().to_owned()
}

#[test]
fn add_sends_every_field_that_a_flag_names_and_edit_changes_only_those() {
    let (server, admin, _agent) = with_node();
    let cli = Cli::of(&server, &admin);
    let options = "--overlap queue --missed skip --timeout 90s --expires 2h --paused \
        --ping-url https://hc.example.org/x --canary 1 --batch 20% --pause 5m --max-failures 2 \
        --skip-offline -p text=hi";
    let words: Vec<&str> = "schedules add nightly note --on role=web --time-zone Europe/Berlin"
        .split(' ')
        .chain(["--cron", "30 2 * * mon-fri"])
        .chain(options.split_whitespace())
        .collect();
    let made = cli
        .run(&words)
        .ends(0)
        .says("Added nightly. It is paused: its due times are skipped.");
    let id = made.text().trim().to_owned();
    let before = show(&admin, &id);
    for (field, wanted) in [
        ("name", json!("nightly")),
        ("preset", json!("note")),
        ("params", json!({"text": "hi"})),
        ("nodes", Value::Null),
        ("selector", json!("role=web")),
        (
            "plan",
            json!({"canary": 1, "batch": "20%", "pauseSeconds": 300, "maxFailures": 2}),
        ),
        ("ifOffline", json!("skip")),
        ("cron", json!("30 2 * * mon-fri")),
        ("timeZone", json!("Europe/Berlin")),
        ("overlap", json!("queue")),
        ("missed", json!("skip")),
        ("expiresInSeconds", json!(7_200)),
        ("timeoutSeconds", json!(90)),
        ("pingUrl", json!("https://hc.example.org/x")),
        ("paused", json!(true)),
    ] {
        assert_eq!(before[field], wanted, "{field}");
    }
    let shown = cli.run(&["schedules", "show", "nightly"]).ends(0).text();
    for line in [
        "on         every node that matches role=web",
        "paused     yes",
        "param text  hi",
    ] {
        let is_shown = |shown: &str| shown.split_whitespace().eq(line.split_whitespace());
        assert!(shown.lines().any(is_shown), "{line}: {shown}");
    }

    let words = "schedules edit nightly --node n1 --canary 3 --unset timeout --unset ping-url";
    let words: Vec<&str> = words.split(' ').chain(["-p", "port=22"]).collect();
    cli.run(&words).ends(0).says("Changed nightly.");
    let after = show(&admin, &id);
    for (field, wanted) in [
        ("nodes", json!(["n1"])),
        ("selector", Value::Null),
        ("params", json!({"text": "hi", "port": 22})),
        (
            "plan",
            json!({"canary": 3, "batch": "20%", "pauseSeconds": 300, "maxFailures": 2}),
        ),
        ("timeoutSeconds", Value::Null),
        ("pingUrl", Value::Null),
        ("expiresInSeconds", json!(7_200)),
        ("ifOffline", json!("skip")),
        ("cron", json!("30 2 * * mon-fri")),
    ] {
        assert_eq!(after[field], wanted, "{field}");
    }
    cli.run(&["schedules", "edit", "nightly"])
        .ends(64)
        .says("no flag says what to change");
    cli.run(&[
        "schedules",
        "edit",
        "nightly",
        "--time-zone",
        "Europe/Berln",
    ])
    .ends(125)
    .says("did you mean Europe/Berlin?");
    assert_eq!(show(&admin, &id), after);
}

#[test]
fn a_schedule_is_listed_paused_resumed_run_and_removed() {
    let (server, admin, agent) = with_node();
    let cli = Cli::of(&server, &admin);
    cli.run(&["schedules", "list"]).ends(0).says("No schedules");
    let id = add(&cli, "nightly", &[]);
    cli.run(&["schedules", "slots", "nightly"])
        .ends(0)
        .says("None yet. Next due time: ");
    let run = next_slot(&server, &admin, &id).field("runId");
    agent.succeed(&agent.claim_id());
    let table = cli.run(&["schedules", "ls"]).ends(0).text();
    let row = table.lines().nth(1).expect("a row");
    let cells = [
        &id[..],
        "nightly",
        "note",
        "0 3 1 1 *",
        "Europe/Berlin",
        "ran,",
    ];
    assert!(cells.iter().all(|cell| row.contains(cell)), "{table}");
    assert_eq!(
        cli.run(&["schedules", "list", "-o", "name"]).ends(0).text(),
        format!("{id}\n")
    );
    let slots = cli.run(&["schedules", "slots", &id]).ends(0).text();
    assert!(
        slots.lines().nth(1).expect("a slot").ends_with(&run),
        "{slots}"
    );
    let next = cli.run(&["schedules", "next", "nightly"]).ends(0).text();
    assert_eq!(next.lines().count(), 6, "{next}");
    assert!(next.contains("-01-01T03:00:00+01:00  "), "{next}");
    let next = cli.run(&["schedules", "next"]).ends(0).text();
    assert!(next.contains("-01-01T02:00:00.000Z"), "{next}");
    let times = ["--cron", "30 2 * * *", "--time-zone", "Asia/Kolkata"];
    let words = [&["schedules", "next", "-o", "name"][..], &times].concat();
    let times = cli.run(&words).ends(0).text();
    let is_due = |line: &str| line.ends_with("T21:00:00.000Z");
    assert!(
        times.lines().count() == 5 && times.lines().all(is_due),
        "{times}"
    );

    cli.run(&["schedules", "pause", "nightly"])
        .ends(0)
        .says("Paused nightly: its due times are skipped.");
    assert_eq!(show(&admin, &id)["paused"], true);
    let ran = cli.run(&["schedules", "run", "nightly"]).ends(0);
    let made = admin.get(&format!("/api/runs/{}", ran.text().trim())).ok();
    assert_eq!(made["scheduleId"], json!(id));
    agent.succeed(&agent.claim_id());
    cli.run(&["schedules", "resume", "nightly"])
        .ends(0)
        .says("Resumed nightly. Next due time: ");
    assert_eq!(show(&admin, &id)["paused"], false);
    cli.run(&["schedules", "rm", "nightly"])
        .ends(0)
        .says("Removed nightly. Its runs are kept.");
    admin
        .get(&format!("/api/schedules/{id}"))
        .refused(404, "schedule_not_found");
}

#[test]
fn a_schedule_is_found_by_its_name_its_id_and_a_part_of_its_id() {
    let (server, admin, _agent) = with_node();
    let cli = Cli::of(&server, &admin);
    let one = add(&cli, "twin", &[]);
    let other = add(&cli, "twin", &[]);
    cli.run(&["schedules", "pause", "twin"])
        .ends(64)
        .says(&one)
        .says(&other);
    let end = &one[one.len() - 8..];
    cli.run(&["schedules", "pause", end])
        .ends(0)
        .says(&format!("The schedule {one}: twin"));
    assert_eq!(show(&admin, &one)["paused"], true);
    assert_eq!(show(&admin, &other)["paused"], false);
    cli.run(&["schedules", "show", "twn"])
        .ends(127)
        .says("did you mean twin");
}

#[test]
fn who_adds_a_schedule_of_a_high_risk_preset_is_asked() {
    let (server, admin, _agent) = with_node();
    let cli = Cli::of(&server, &admin);
    let words = "schedules add fix shell --node n1 --cron @daily --time-zone UTC -p code=true";
    let words: Vec<&str> = words.split(' ').collect();
    let mut tty = Tty::start(&cli, &words);
    tty.shows("shell is a high-risk preset. Run it on n1 at each due time? [y/N] ");
    tty.type_in("n\r");
    assert_eq!(tty.ended().0, 125);
    assert_eq!(admin.get("/api/schedules").ok(), json!({"schedules": []}));
    cli.run(&words).ends(0);
}

/// Stores a secret for `vault` whose value comes from standard input.
#[track_caller]
fn store(cli: &Cli, name: &str, value: &str) {
    let words = ["secrets", "set", name, "--preset", "vault"];
    cli.run_with(&words, &format!("{value}\n"))
        .ends(0)
        .says(&format!("Stored {name} for vault."));
}

#[test]
fn a_stored_secret_is_set_named_by_jobs_runs_and_schedules_and_removed() {
    let (server, admin, agent) = with_node();
    let cli = Cli::of(&server, &admin);
    cli.run(&["secrets", "list"])
        .ends(0)
        .says("No stored secrets");
    store(&cli, "restic", "hunter22-hunter22");
    let table = cli.run(&["secrets", "ls"]).ends(0).text();
    assert!(
        table
            .lines()
            .nth(1)
            .expect("a row")
            .starts_with("restic  vault")
    );
    assert_eq!(
        cli.run(&["secrets", "list", "-o", "name"]).ends(0).text(),
        "restic\n"
    );
    let claims = |value: &str| {
        let job = agent.claim();
        assert_eq!(job["secrets"]["key"], value);
        agent.succeed(&id_of(&job));
    };
    let named = ["-p", "key=secret:restic"];
    let one = [&["run", "vault", "--node", "n1"][..], &named].concat();
    cli.run(&one).ends(0);
    claims("hunter22-hunter22");
    cli.run(&[&one[..], &["--canary", "1"]].concat()).ends(0);
    claims("hunter22-hunter22");
    // A value that begins like a reference comes from standard input or a file.
    cli.run_with(
        &["run", "vault", "--node", "n1", "-p", "key=@-"],
        "secret:restic\n",
    )
    .ends(0);
    claims("secret:restic");

    let words = "schedules add backup vault --node n1 --cron @daily --time-zone UTC";
    let words: Vec<&str> = words.split(' ').collect();
    for (literal, stdin) in [("key=hunter22", ""), ("key=@-", "hunter22")] {
        cli.run_with(&[&words[..], &["-p", literal]].concat(), stdin)
            .ends(64)
            .says("-p key: a schedule takes a stored secret, not a value")
            .says("-p key=secret:NAME");
    }
    cli.run(&words).ends(64).says("-p key=secret:NAME");
    let made = cli.run(&[&words[..], &named].concat()).ends(0);
    let id = made.text().trim().to_owned();
    assert_eq!(
        show(&admin, &id)["params"],
        json!({"key": {"secret": "restic"}})
    );
    let shown = cli.run(&["schedules", "show", &id]).ends(0).text();
    assert!(shown.contains("secret:restic"), "{shown}");
    cli.run(&["schedules", "run", "backup"]).ends(0);
    claims("hunter22-hunter22");

    cli.run(&["secrets", "remove", "restic"]).ends(125);
    cli.run(&["secrets", "remove", "resti"])
        .ends(127)
        .says("did you mean restic?");
    cli.run(&["schedules", "remove", "backup"]).ends(0);
    cli.run(&["secrets", "rm", "restic"])
        .ends(0)
        .says("Removed restic.");
    let empty: Vec<Value> = Vec::new();
    assert_eq!(admin.get("/api/secrets").ok()["secrets"], json!(empty));
}

#[test]
fn a_secrets_value_is_typed_twice_without_echo() {
    let (server, admin, agent) = with_node();
    let cli = Cli::of(&server, &admin);
    let mut tty = Tty::start(&cli, &["secrets", "set", "restic", "--preset", "vault"]);
    for (question, keys) in [
        ("Value of restic (at least 4 characters): ", "hunter22"),
        ("Repeat the value: ", "hunter23"),
        ("The values differ. Try again.", "hunter22"),
        ("Repeat the value: ", "hunter22"),
    ] {
        tty.shows(question);
        tty.type_in(keys);
        tty.type_in("\r");
    }
    let (code, shown) = tty.ended();
    assert!(code == 0 && !shown.contains("hunter2"), "{code}: {shown}");
    cli.run(&["run", "vault", "--node", "n1", "-p", "key=secret:restic"])
        .ends(0);
    assert_eq!(agent.claim()["secrets"]["key"], "hunter22");
}
