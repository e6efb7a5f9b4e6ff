//! Pictures of the pages, light, dark and narrow; and what can be checked of their looks without
//! eyes.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{FakeAgent, Person, Server, chunk};
use crate::runs::{queue_run, work, write_three};

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

/// A run with jobs in every state.
fn furnish_run(admin: &Person) -> String {
    let agents: Vec<FakeAgent> = (1..=8)
        .map(|number| admin.add_node(&format!("web-{number:02}")))
        .collect();
    let plan = json!({"canary": 1, "batch": 5, "maxFailures": 2});
    let id = queue_run(admin, &agents, plan);
    let steps = [3, 2, 1, 3, 0];
    for (agent, steps) in agents.iter().zip(steps) {
        let job = work(agent, steps);
        match agent.node_id.as_str() {
            "web-02" => drop(agent.complete(&job, &json!({"exitCode": 7})).ok()),
            "web-03" | "web-05" => {}
            _ => drop(agent.succeed(&job)),
        }
    }
    id
}

#[test]
fn every_page_in_both_themes_and_narrow() {
    let mut server = Server::start();
    let admin = server.admin();
    let (bad, running) = furnish(&admin);
    let fresh = Server::start();
    let [inside, outside, first] = [
        Browser::of(&server, &admin),
        Browser::on(&server),
        Browser::on(&fresh),
    ];
    write_three(&server);
    let run = format!("/runs/{}", furnish_run(&admin));
    let plain = format!("/jobs/{bad}?view=plain");
    let compare = format!("/jobs/{bad}/compare");
    let (bad, running) = (format!("/jobs/{bad}"), format!("/jobs/{running}"));
    let tokens = format!("/users/{}/tokens", server.person("ann", "OPERATOR").id);
    // By whom, picture, route, address.
    let pages = [
        (&inside, "overview", "/", "/"),
        (&inside, "nodes", "/nodes", "/nodes"),
        (&inside, "node", "/nodes/{id}", "/nodes/prod-eu-1"),
        (&inside, "presets", "/presets", "/presets"),
        (
            &inside,
            "preset",
            "/presets/{name}",
            "/presets/server-light",
        ),
        (&inside, "jobs", "/jobs", "/jobs"),
        (&inside, "job-failed", "/jobs/{id}", &bad),
        (&inside, "job-running", "/jobs/{id}", &running),
        (&inside, "job-plain", "/jobs/{id}", &plain),
        (&inside, "compare", "/jobs/{id}/compare", &compare),
        (&inside, "runs", "/runs", "/runs"),
        (&inside, "run", "/runs/{id}", &run),
        (
            &inside,
            "run-form",
            "/presets/{name}",
            "/presets/three?on=many",
        ),
        (&inside, "account", "/account", "/account"),
        (&inside, "users", "/users", "/users"),
        (&inside, "user-tokens", "/users/{id}/tokens", &tokens),
        (&inside, "audit", "/audit", "/audit"),
        (&inside, "api", "/docs/api", "/docs/api"),
        (&inside, "error", "", "/nowhere"),
        (&outside, "login", "/login", "/login"),
        (&first, "setup", "/setup", "/setup"),
    ];
    for route in routes() {
        let is_here = pages.iter().any(|(_, _, of, _)| *of == route);
        assert!(is_here, "nobody looks at {route}: give it an entry");
    }
    for (scheme, width) in [("light", 1200), ("dark", 1200), ("dark", 360)] {
        for browser in [&inside, &outside, &first] {
            browser.colours(scheme);
            browser.size(width, 900);
        }
        for (browser, name, _, path) in &pages {
            browser.open(path);
            let went = browser.path();
            assert_eq!(went.split('?').next(), path.split('?').next(), "{name}");
            browser.until("document.readyState === 'complete' && (!document.getElementById('log') || document.querySelector('.l'))");
            check(browser, &format!("{name} {scheme} {width}"));
            browser.picture(&format!("{name}-{scheme}-{width}"));
        }
    }
    outside.is_content();
    first.is_content();
    let complaints = inside.complaints();
    assert!(
        complaints.iter().all(|line| line.contains("/nowhere")),
        "{complaints:#?}"
    );
}

/// The addresses of all pages, as the dashboard's own list of routes has them.
fn routes() -> Vec<&'static str> {
    // A link that is used up by a look, a part of a page, and files.
    const NO_PAGES: [&str; 5] = [
        "/once/{code}",
        "/runs/{id}/rows",
        "/palette",
        "/presets/{name}/nodes",
        "/assets/{version}/{*file}",
    ];
    let source = include_str!("../../src/dashboard/mod.rs");
    let calls = source.split(".route(").skip(1);
    let routes: Vec<&str> = calls
        .filter_map(|call| {
            let (_, rest) = call.split_once('"')?;
            let (route, handlers) = rest.split_once('"')?;
            let is_page = handlers.contains("get(") && !NO_PAGES.contains(&route);
            is_page.then_some(route)
        })
        .collect();
    assert!(routes.len() > 10, "{routes:?}");
    routes
}

/// What a person with other eyes or without a mouse would stumble over.
pub(crate) fn faults(browser: &Browser) -> Vec<String> {
    let mut faults = Vec::new();
    let overflow = browser.js("document.documentElement.scrollWidth - innerWidth");
    if overflow.as_i64().is_none_or(|pixels| pixels > 0) {
        faults.push(format!("{overflow} px too wide"));
    }
    let found = browser.js(include_str!("accessibility.js"));
    let found = found.as_array().expect("a list of faults");
    faults.extend(found.iter().map(Value::to_string));
    faults
}

#[track_caller]
pub(crate) fn check(browser: &Browser, name: &str) {
    assert_eq!(faults(browser), [""; 0], "{name}");
}

#[test]
fn the_longest_names_stay_within_a_phone() {
    let mut server = Server::start();
    let admin = server.admin();
    let long = format!("n{}", "o".repeat(62));
    let preset = json!({"name": long, "title": "T".repeat(120), "targets": ["any"],
        "params": {&long: {"type": "string", "default": "x"}}, "steps": [{"name": "x", "run": "true"}]});
    crate::harness::write_preset(&server.presets_dir(), &long, &preset.to_string());
    admin.add_node(&long);
    let id = admin.queue_with(&long, &long, json!({}));
    let browser = Browser::of(&server, &admin);
    for (width, colours) in [
        (360, "light"),
        (360, "dark"),
        (720, "light"),
        (1440, "dark"),
    ] {
        browser.size(width, 740);
        browser.colours(colours);
        for (name, path) in [
            ("job", format!("/jobs/{id}")),
            ("plain", format!("/jobs/{id}?view=plain")),
            ("preset", format!("/presets/{long}")),
            ("node", format!("/nodes/{long}")),
            ("overview", "/".to_owned()),
            ("jobs", "/jobs".to_owned()),
            ("nodes", "/nodes".to_owned()),
            ("presets", "/presets".to_owned()),
            ("audit", "/audit".to_owned()),
            ("users", "/users".to_owned()),
        ] {
            browser.open(&path);
            browser.until("document.readyState === 'complete'");
            browser.picture(&format!("long-{name}-{width}-{colours}"));
            let wide = browser.js("[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('pre, .unseen, svg, [hidden]') && e.checkVisibility()).map((e) => e.outerHTML.slice(0, 200))");
            assert_eq!(wide, json!([]), "{path} at {width}");
            // Words that have room are not broken.
            let broken = "[...document.querySelectorAll('td > code, td time, td .state')].filter((e) => innerWidth > 832 && e.getClientRects().length > 1).length";
            assert_eq!(browser.js(broken), 0, "{path} at {width}");
            if width == 360 {
                let small = browser.js("[...document.querySelectorAll('td a, .cards a, .facts a, .crumbs a')].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 23.9).map((e) => e.outerHTML.slice(0, 200))");
                assert_eq!(small, json!([]), "{path}");
            }
            let empty =
                "[...document.querySelectorAll('th')].filter((e) => !e.textContent.trim()).length";
            assert_eq!(browser.js(empty), 0, "{path}");
        }
    }
}
