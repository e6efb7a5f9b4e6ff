//! Commands that can't be undone ask a person first, and never a script.

use serde_json::json;

use super::{Cli, Tty};
use crate::harness::{Field, Server, id_of};

#[test]
fn what_can_not_be_undone_is_asked_of_a_person() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let (queued, running) = (admin.queue("n1"), admin.queue("n1"));
    let cli = Cli::of(&server, &admin);
    let run = cli.run(&["run", "note", "-n", "n1", "--canary", "1"]);
    let run = run.ends(0).text().trim().to_owned();
    server.person("ann", "VIEWER");
    for name in ["ci", "old"] {
        admin
            .post("/api/auth/tokens", &json!({"name": name}))
            .gives(201);
    }
    crate::schedules::add(&admin, json!({}));
    let secret = json!({"value": "hunter22", "presets": ["vault"]});
    admin
        .call("PUT", "/api/secrets/restic")
        .json(&secret)
        .gives(201);
    let channel =
        json!({"name": "ops", "kind": "webhook", "settings": {"url": "http://127.0.0.1:1/"}});
    let channel = id_of(&admin.post("/api/channels", &channel).gives(201).json());
    let rule = json!({"channelId": channel, "on": ["job_failed"]});
    let rule = id_of(&admin.post("/api/rules", &rule).gives(201).json());
    let _ = (agent.claim(), &running);
    let tokens = admin.get("/api/nodes/n1/tokens").ok().list("tokens");
    let token = tokens[0].field("prefix");
    for (words, question) in [
        (&["jobs", "fail", &queued, "--why", "gone"][..], "Fail job"),
        (&["jobs", "cancel", &running], "Cancel job"),
        (&["runs", "cancel", &run], "Cancel run"),
        (&["tokens", "remove", "ci"], "Revoke the token ci?"),
        (
            &["users", "revoke-token", "admin@example.org", "old"],
            "Revoke the token old?",
        ),
        (
            &["nodes", "token", "revoke", "n1", &token],
            "Revoke the token",
        ),
        (
            &["schedules", "remove", "nightly"],
            "Remove the schedule nightly?",
        ),
        (
            &["secrets", "remove", "restic"],
            "Remove the stored secret restic?",
        ),
        (
            &["rules", "remove", &rule],
            "Remove the rule for job_failed?",
        ),
        (
            &["channels", "remove", "ops"],
            "Remove the channel ops with its rules and deliveries?",
        ),
        (&["users", "remove", "ann@example.org"], "Remove ann"),
        (&["nodes", "remove", "n1"], "Remove node n1"),
    ] {
        let before = state(&server);
        for answer in ["\r", "n\r", "no\r"] {
            let mut tty = Tty::start(&cli, words);
            tty.shows(question);
            tty.shows("[y/N] ");
            tty.type_in(answer);
            let (code, shown) = tty.ended();
            assert_eq!(code, 125, "{words:?}: {shown}");
            assert!(shown.contains("--yes"), "{shown}");
        }
        assert_eq!(state(&server), before, "{words:?}");
        let mut tty = Tty::start(&cli, words);
        tty.shows("[y/N] ");
        tty.type_in("y\r");
        let (code, shown) = tty.ended();
        assert_eq!(code, 0, "{words:?}: {shown}");
        assert_ne!(state(&server), before, "{words:?}");
    }
    // With the flag, and without a terminal, nobody is asked.
    admin.add_node("n2");
    let (code, shown) = Tty::start(&cli, &["nodes", "rm", "n2", "-y"]).ended();
    assert!(code == 0 && !shown.contains("[y/N]"), "{shown}");
    admin.add_node("n3");
    cli.run(&["nodes", "remove", "n3"]).ends(0);
}

/// Everything that the commands could change.
fn state(server: &Server) -> Vec<i64> {
    [
        "SELECT count(*) FROM jobs WHERE status IN ('QUEUED', 'RUNNING') AND cancel_requested_at IS NULL",
        "SELECT count(*) FROM node_tokens WHERE revoked_at IS NULL",
        "SELECT count(*) FROM user_tokens",
        "SELECT count(*) FROM users",
        "SELECT count(*) FROM nodes",
        "SELECT count(*) FROM schedules",
        "SELECT count(*) FROM stored_secrets",
        "SELECT count(*) FROM channels",
        "SELECT count(*) FROM rules",
    ]
    .map(|sql| server.database().number(sql))
    .into()
}
