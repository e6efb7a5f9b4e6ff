//! Pictures of the pages, light, dark and narrow; and what can be checked of their looks without eyes.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Person, Server, chunk};

/// What a failed job has written, in this order.
const FAILED: [(&str, &str); 6] = [
    (
        "stdout",
        "==> [1/3] Install the packages\nReading package lists...\nBuilding dependency tree...\n",
    ),
    (
        "stdout",
        "\u{1b}[32mok\u{1b}[0m \u{1b}[1mbold\u{1b}[0m \u{1b}[2mdim\u{1b}[0m \u{1b}[33mwarn\u{1b}[0m \u{1b}[34mblue\u{1b}[0m ",
    ),
    (
        "stdout",
        "\u{1b}[38;5;208morange\u{1b}[0m \u{1b}[38;5;17mnavy\u{1b}[0m \u{1b}[93myellow\u{1b}[0m \u{1b}[41mred\u{1b}[0m \u{1b}[7minverse\u{1b}[0m\n",
    ),
    ("stdout", "==> [2/3] Set the SSH port\n"),
    (
        "stderr",
        "sshd: error: bad configuration option on line 12 of /etc/ssh/sshd_config.d/10-hyprbox.conf\n",
    ),
    ("stderr", "==> [2/3] verify failed: Set the SSH port\n"),
];

/// A small fleet with jobs in every state; the ids of one that failed and one that runs.
fn furnish(admin: &Person) -> (String, String) {
    let agent = admin.add_node("prod-eu-1");
    agent.beat();
    admin.add_node("backup-2");
    let good = admin.queue("prod-eu-1");
    agent.claim();
    agent.succeed(&good);
    let bad = admin.queue_with(
        "prod-eu-1",
        "note",
        json!({"text": "a longer text, as people type it", "port": 2222}),
    );
    agent.claim();
    let (mut stdout, mut stderr) = (0, 0);
    for (stream, text) in FAILED {
        let at = if stream == "stdout" {
            &mut stdout
        } else {
            &mut stderr
        };
        agent.output(&bad, &[chunk(stream, *at, text)]);
        *at += text.len() as u64;
    }
    agent.complete(&bad, &json!({"exitCode": 1})).ok();
    let cancelled = admin.queue("prod-eu-1");
    admin.cancel(&cancelled).gives(200);
    let running = admin.queue("prod-eu-1");
    agent.claim();
    agent.say(&running, 0, "==> [1/2] Look around\nsome output\n");
    admin.queue("backup-2");
    (bad, running)
}

#[test]
fn every_page_in_both_themes_and_narrow() {
    let mut server = Server::start();
    let admin = server.admin();
    let (bad, running) = furnish(&admin);
    let pages = [
        ("overview", "/".to_owned()),
        ("nodes", "/nodes".to_owned()),
        ("node", "/nodes/prod-eu-1".to_owned()),
        ("presets", "/presets".to_owned()),
        ("preset", "/presets/server-light".to_owned()),
        ("jobs", "/jobs".to_owned()),
        ("job-failed", format!("/jobs/{bad}")),
        ("job-running", format!("/jobs/{running}")),
        ("compare", format!("/jobs/{bad}/compare")),
        ("account", "/account".to_owned()),
        ("users", "/users".to_owned()),
        ("audit", "/audit".to_owned()),
        ("error", "/nowhere".to_owned()),
    ];
    let browser = Browser::of(&server, &admin);
    for (scheme, width) in [("light", 1200), ("dark", 1200), ("dark", 360)] {
        browser.colours(scheme);
        browser.size(width, 900);
        for (name, path) in &pages {
            browser.open(path);
            browser.until("document.readyState === 'complete' && (!document.getElementById('log') || document.querySelector('.l'))");
            check(&browser, &format!("{name} {scheme} {width}"));
            browser.picture(&format!("{name}-{scheme}-{width}"));
        }
    }
    let complaints = browser.complaints();
    assert!(
        complaints.iter().all(|line| line.contains("/nowhere")),
        "{complaints:#?}"
    );
}

/// What a person with other eyes or without a mouse would stumble over.
fn check(browser: &Browser, name: &str) {
    let overflow = browser.js("document.documentElement.scrollWidth - innerWidth");
    assert!(
        overflow.as_i64().is_some_and(|pixels| pixels <= 0),
        "{name} is {overflow} px too wide"
    );
    let faults = browser.js(include_str!("accessibility.js"));
    assert_eq!(faults, Value::Array(Vec::new()), "{name}");
}
