//! `hyprbox channels …` and `hyprbox rules …`

use serde_json::{Value, json};

use super::Cli;
use crate::harness::{Field, Server, eventually, id_of, with_node};
use crate::notify::receiver::{Receiver, Reply};
use crate::notify::{deliveries, webhook};
use crate::schedules::add as add_schedule;

#[test]
fn a_channel_is_added_tested_paused_and_removed() {
    let mut server = Server::start();
    let admin = server.admin();
    let cli = Cli::of(&server, &admin);
    cli.run(&["channels", "list"]).ends(0).says("No channels");
    let receiver = Receiver::with(|earlier, _| match earlier {
        0 => Reply::words(200, "thank you"),
        _ => Reply::words(403, "unknown token"),
    });
    let url = format!("url={}", receiver.url);
    let made = cli.run(&["channels", "add", "ops", "webhook", "-s", &url]);
    let made = made
        .ends(0)
        .says("shown only once: whsec_")
        .says("hyprbox rules add");
    let id = made.text().trim().to_owned();
    let channels = admin.get("/api/channels").ok().list("channels");
    assert_eq!(
        (channels[0].field("id"), channels[0].field("name")),
        (id.clone(), "ops".to_owned())
    );
    cli.run(&["channels", "test", "ops"])
        .ends(0)
        .says("ops has accepted it: 200 thank you");
    cli.run(&["channels", "test", &id])
        .ends(125)
        .says("403 unknown token");

    let table = cli.run(&["channels", "ls"]).ends(0).text();
    let row = table.lines().nth(1).expect("a row");
    assert!(
        row.starts_with(&id) && row.contains("ops   webhook  active"),
        "{table}"
    );
    cli.run(&["channels", "pause", "ops"])
        .ends(0)
        .says("Paused ops");
    assert_eq!(
        admin.get(&format!("/api/channels/{id}")).ok()["paused"],
        true
    );
    let shown = cli.run(&["channels", "show", "ops"]).ends(0).text();
    assert!(
        shown.contains("paused") && shown.contains(&receiver.url),
        "{shown}"
    );
    cli.run(&["channels", "resume", "ops"])
        .ends(0)
        .says("Resumed ops");
    assert_eq!(
        admin.get(&format!("/api/channels/{id}")).ok()["paused"],
        false
    );
    cli.run(&["channels", "show", "opps"])
        .ends(127)
        .says("did you mean ops?");
    cli.run(&["channels", "rm", "ops"]).ends(0);
    assert_eq!(admin.get("/api/channels").ok(), json!({"channels": []}));
}

#[test]
fn messages_are_listed_and_sent_again() {
    let (server, admin, agent) = with_node();
    let cli = Cli::of(&server, &admin);
    let receiver = Receiver::start();
    let channel = webhook(&admin, &receiver.url, &["job_failed"]);
    cli.run(&["channels", "deliveries", &channel])
        .ends(0)
        .says("No messages yet");
    for _ in 0..2 {
        let job = admin.queue("n1");
        agent.claim();
        agent.complete(&job, &json!({"exitCode": 3})).gives(200);
    }
    let ids = eventually("both are delivered", || {
        let all = deliveries(&admin, &channel);
        let done = all.iter().filter(|one| one["state"] == "delivered");
        let ids: Vec<String> = done.map(id_of).collect();
        (ids.len() == 2).then_some(ids)
    });
    let names = ["channels", "deliveries", &channel, "-o", "name"];
    let listed = cli.run(&names).ends(0).text();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ids);
    let table = cli
        .run(&["channels", "deliveries", &channel])
        .ends(0)
        .text();
    let row = table.lines().nth(1).expect("a row");
    assert!(
        row.starts_with(&ids[0]) && row.contains("  job_failed  delivered"),
        "{table}"
    );
    cli.run(&["channels", "deliveries", &channel, "--limit", "1"])
        .ends(0)
        .says("Showing the newest 1");
    let last = &ids[1];
    cli.run(&["channels", "resend", &channel, &last[last.len() - 6..]])
        .ends(0)
        .says("The message is sent again")
        .says(last);
    assert_eq!(receiver.nth(3).header("webhook-id"), last);
    cli.run(&["channels", "resend", &channel, last]).ends(0);
    assert_eq!(receiver.nth(4).header("webhook-id"), last);
    cli.run(&["channels", "resend", &channel, "no-such"])
        .ends(127);
}

#[test]
fn settings_have_their_types_and_a_secret_comes_from_standard_input() {
    let mut server = Server::start();
    let admin = server.admin();
    let cli = Cli::of(&server, &admin);
    let words = "channels add mail email -s host=mail.example.org -s port=587 -s security=starttls \
        -s username=ops -s to=ann@example.org -s to=bob@example.org --secret-stdin password";
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.extend(["-s", "from=Ops <ops@example.org>"]);
    cli.run_with(&words, "very-secret\n").ends(0);
    let channels = admin.get("/api/channels").ok().list("channels");
    assert_eq!(
        channels[0]["settings"],
        json!({"host": "mail.example.org", "port": 587, "security": "starttls",
            "username": "ops", "password": "***", "from": "Ops <ops@example.org>",
            "to": ["ann@example.org", "bob@example.org"]})
    );
    assert!(!server.database().files_hold("very-secret"));
    cli.run(&["channels", "add", "x", "gotify", "-s", "token=abc"])
        .ends(125)
        .says("Use --secret-stdin token")
        .says("settings.url");
    let twice = ["channels", "add", "x", "ntfy", "-s", "url=a", "-s", "url=b"];
    cli.run(&twice).ends(64).says("-s url is repeated");
}

#[test]
fn a_rule_names_its_channel_events_and_filters() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let schedule = add_schedule(&admin, json!({}));
    let cli = Cli::of(&server, &admin);
    cli.run(&["rules", "list"]).ends(0).says("No rules");
    let channel = cli.run(&[
        "channels",
        "add",
        "ops",
        "webhook",
        "-s",
        "url=http://127.0.0.1:1/",
    ]);
    let channel = channel.ends(0).text().trim().to_owned();
    let words = "rules add ops --on job_failed --on node_offline --preset note --preset vault \
        --selector role=db --schedule nightly --after 10m";
    let words: Vec<&str> = words.split_whitespace().collect();
    let made = cli
        .run(&words)
        .ends(0)
        .says("ops gets job_failed, node_offline.");
    let id = made.text().trim().to_owned();
    let rule = admin.get("/api/rules").ok().list("rules").remove(0);
    for (field, wanted) in [
        ("id", json!(id)),
        ("channelId", json!(channel)),
        ("on", json!(["job_failed", "node_offline"])),
        ("presets", json!(["note", "vault"])),
        ("selector", json!("role=db")),
        ("schedules", json!([schedule])),
        ("afterSeconds", json!(600)),
    ] {
        assert_eq!(rule[field], wanted, "{field}");
    }
    let table = cli.run(&["rules", "ls"]).ends(0).text();
    let row = table.lines().nth(1).expect("a row");
    assert!(
        row.contains("  ops      job_failed, node_offline  note, vault; "),
        "{table}"
    );
    cli.run(&["rules", "add", "ops", "--on", "job_lots"])
        .ends(64);
    cli.run(&["rules", "remove", &id[id.len() - 6..]])
        .ends(0)
        .says(&format!("The rule {id}: "));
    let none: Vec<Value> = Vec::new();
    assert_eq!(admin.get("/api/rules").ok()["rules"], json!(none));
}
