//! A job's page: the list of all steps, the head that stays in sight, why the job failed, earlier
//! runs, and the search in its log.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{FakeAgent, Field, Person, RealAgent, Server, chunk, write_preset};

/// Five steps, of which the second fails if `bad` is true.
const DEPLOY: &str = r#"name: deploy
title: Deploy the web shop
description: For tests.
targets: [any]
risk: low
timeout: 10m
params:
  bad: { type: bool, default: false }
steps:
  - name: Fetch the release
    run: |
      echo "at $EPOCHREALTIME"
      sleep 0.4
      echo "at $EPOCHREALTIME"
  - name: Migrate the database
    run: |
      echo "at $EPOCHREALTIME"
      sleep 0.2
      if [ "$bad" = true ]; then echo 'psql: connection <refused>' >&2; exit 3; fi
      echo "at $EPOCHREALTIME"
  - name: Restart the shop
    run: |
      echo "at $EPOCHREALTIME"
      sleep 0.6
      echo "at $EPOCHREALTIME"
"#;

/// State, name and time of each step in the list.
const LIST: &str = "[...document.querySelectorAll('#job-steps li')].map((li) => \
    [li.dataset.step, li.querySelector('bdi').textContent, li.querySelector('.took').textContent])";

fn with_deploy() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    write_preset(&server.presets_dir(), "deploy", DEPLOY);
    crate::harness::eventually("the preset", || {
        (admin.get("/api/presets/deploy").send().status == 200).then_some(())
    });
    (server, admin)
}

fn queue(admin: &Person, node: &str, bad: bool) -> String {
    let body = json!({"preset": "deploy", "nodeId": node, "params": {"bad": bad}});
    admin
        .call("POST", "/api/jobs")
        .json(&body)
        .gives(201)
        .json()
        .field("id")
}

/// The output of the first steps, as a node's agent sends it, with times.
fn steps_until(agent: &FakeAgent, id: &str, count: usize, elapsed_ms: u64) {
    let names = [
        "Fetch the release",
        "Migrate the database",
        "Restart the shop",
    ];
    let (mut text, mut stamps) = (String::new(), Vec::new());
    for (index, name) in names.iter().take(count).enumerate() {
        text.push_str(&format!("==> [{}/3] {name}\n", index + 1));
        stamps.push(json!({"lineEnd": text.len(), "ms": 10 + 2_000 * index}));
        text.push_str("work\n");
    }
    let times = json!({"elapsedMs": elapsed_ms, "stamps": stamps});
    agent
        .output_call(
            id,
            &json!({"chunks": [chunk("stdout", 0, &text)], "stepTimes": times}),
        )
        .ok();
}

#[test]
fn all_steps_are_listed_from_the_start_and_what_is_left_is_told_from_earlier_runs() {
    let (server, admin) = with_deploy();
    let agent = admin.add_node("n1");
    // Before there is any run, nothing is promised.
    let first = queue(&admin, "n1", false);
    agent.claim();
    steps_until(&agent, &first, 1, 1_000);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{first}"));
    browser.until("document.querySelector('#job-step')?.textContent === 'step 1 of 3'");
    let list = browser.js(LIST);
    assert_eq!(list[0][0], "running");
    assert_eq!(
        (&list[1], &list[2]),
        (
            &json!(["waiting", "Migrate the database", ""]),
            &json!(["waiting", "Restart the shop", ""])
        )
    );
    assert_eq!(
        browser.js("document.querySelector('#job-state progress')"),
        Value::Null
    );
    steps_until(&agent, &first, 3, 5_000);
    agent
        .complete(&first, &json!({"exitCode": 0, "ranMs": 100_000}))
        .ok();
    browser.until("document.querySelector('#job-steps li:nth-child(3)[data-step=succeeded]')");
    assert_eq!(
        browser.js(LIST),
        json!([
            ["succeeded", "Fetch the release", "2.0 s"],
            ["succeeded", "Migrate the database", "2.0 s"],
            ["succeeded", "Restart the shop", "1 min 35 s"]
        ])
    );
    // The same without scripts.
    let page = admin
        .browser("GET", &format!("/jobs/{first}?view=plain"))
        .gives(200)
        .text();
    assert!(
        page.contains("1 min 35 s") && page.contains("Migrate the database"),
        "{page}"
    );
    assert_eq!(
        browser.js("document.querySelector('#job-steps rect').getAttribute('width')"),
        "2"
    );

    // The next run on another node is told the time of that one.
    let other = admin.add_node("n2");
    let next = queue(&admin, "n2", false);
    other.claim();
    steps_until(&other, &next, 2, 2_500);
    browser.open(&format!("/jobs/{next}"));
    browser.until("document.querySelector('#job-step')?.textContent === 'step 2 of 3'");
    browser.until("document.querySelector('#job-state .left').textContent === 'about 2 min left'");
    let bar = "(({ max, value }) => max === 100000 && value >= 2000 && value < 10000)(document.querySelector('#job-state progress'))";
    assert_eq!(browser.js(bar), true);
    for (width, height) in [(1440, 900), (720, 900), (360, 740)] {
        browser.size(width, height);
        for colours in ["light", "dark"] {
            browser.colours(colours);
            browser.view(&format!("job-running-{width}-{colours}"));
        }
        assert_eq!(
            browser.js("document.documentElement.scrollWidth <= innerWidth"),
            true
        );
    }
    // The head stays in sight, with the way to cancel.
    let long: String = (0..300).map(|n| format!("line {n}\n")).collect();
    let sent = admin
        .get(&format!("/api/jobs/{next}"))
        .ok()
        .count("stdoutBytes");
    other.say(&next, sent, &long);
    browser.until("document.querySelectorAll('.l').length > 300 && scrollY > 1000");
    assert_eq!(
        browser.js("document.querySelector('.bar').getBoundingClientRect().top"),
        0
    );
    browser.see("Cancel");
    browser.view("job-following-360");
    browser.size(1440, 900);
    browser.view("job-following-1440");
    browser.is_content();
}

#[test]
fn a_failure_says_where_and_why_and_leads_to_its_line_and_to_earlier_runs() {
    let (server, admin) = with_deploy();
    let identity = admin.add_node("n1");
    let _agent = RealAgent::start(&server, &identity);
    let browser = Browser::of(&server, &admin);
    let good = queue(&admin, "n1", false);
    browser.open(&format!("/jobs/{good}"));
    browser.until("document.querySelector('#job-state [data-state=succeeded]')");
    let bad = queue(&admin, "n1", true);
    browser.open(&format!("/jobs/{bad}"));
    browser.until("document.querySelector('#job-state [data-state=failed]')");
    browser.see("Failed in step 2 of 3, Migrate the database: exit code 3");
    assert_eq!(browser.text(".last-error"), "psql: connection <refused>");
    browser.until("document.querySelector('#job-steps li:nth-child(2)[data-step=failed]')");
    assert_eq!(
        browser.js(&format!("{LIST}[2]")),
        json!(["waiting", "Restart the shop", ""])
    );
    for (width, height) in [(1440, 900), (720, 900), (360, 740)] {
        browser.size(width, height);
        for colours in ["light", "dark"] {
            browser.colours(colours);
            browser.picture(&format!("job-failed-{width}-{colours}"));
        }
        assert_eq!(
            browser.js("document.documentElement.scrollWidth <= innerWidth"),
            true
        );
    }
    browser.js("document.querySelector('.last-error a').click()");
    browser.until(
        "document.querySelector('.target.err')?.textContent === 'psql: connection <refused>'",
    );
    // What stderr is is not said by colour alone.
    let mark = "getComputedStyle(document.querySelector('.err > .n'), '::after').content";
    assert_eq!(browser.js(mark), "\"!\"");
    browser.size(1440, 900);
    browser.press("Compare with the last good run");
    browser.until(&format!("location.search === '?with={good}'"));
    browser.open(&format!("/jobs/{bad}"));
    // Menus close by key and by a click elsewhere.
    let open = "document.querySelector('.menu[open] a[download]') !== null";
    browser.press("Download");
    assert_eq!(browser.js(open), true);
    browser.keys(ESCAPE);
    browser.until(&format!(
        "!({open}) && document.activeElement.textContent === 'Download'"
    ));
    browser.press("Download");
    browser.press("Compare with…");
    assert_eq!(browser.js(open), false);
    browser.view("job-menu");
    browser.js("document.querySelector('.menu li a').click()");
    browser.until(&format!("location.search === '?with={good}'"));
    // Without scripts there is no log to link into.
    let page = admin
        .browser("GET", &format!("/jobs/{bad}?view=plain"))
        .gives(200)
        .text();
    assert!(
        page.contains("<p class=\"last-error\"><code>psql: connection &lt;refused&gt;</code></p>"),
        "{page}"
    );
    browser.is_content();
}

/// Esc, as WebDriver sends it.
const ESCAPE: &str = "\u{e00c}";

/// How far a step's time may be from the script's own, in milliseconds.
const TOLERANCE_MS: f64 = 100.0;

/// The script reads its clock at the beginning and at the end of each step. The next step is
/// announced between the end of one and the beginning of the next, which may be a while on a busy
/// machine.
#[test]
fn the_page_shows_the_times_that_the_script_measured() {
    let (server, admin) = with_deploy();
    let identity = admin.add_node("n1");
    let _agent = RealAgent::start(&server, &identity);
    let browser = Browser::of(&server, &admin);
    for is_watched in [false, true] {
        let id = queue(&admin, "n1", false);
        if is_watched {
            browser.open(&format!("/jobs/{id}"));
        } else {
            crate::harness::eventually("the end", || {
                let job = admin.get(&format!("/api/jobs/{id}")).ok();
                (job["status"] == "SUCCEEDED").then_some(())
            });
            browser.open(&format!("/jobs/{id}"));
        }
        browser.until(
            "document.querySelector('#job-steps li:nth-child(3)[data-step=succeeded][data-ms]')",
        );
        let log = admin
            .get(&format!("/api/jobs/{id}/log?stream=stdout"))
            .gives(200)
            .text();
        let own: Vec<f64> = log
            .lines()
            .filter_map(|line| line.strip_prefix("at ")?.parse().ok())
            .collect();
        let shown = browser.js(
            "[...document.querySelectorAll('#job-steps li')].map((li) => Number(li.dataset.ms))",
        );
        let shown: Vec<f64> = shown
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        println!("watched: {is_watched}: the script's times {own:?}, the page's {shown:?}");
        let between = |from: usize, to: usize| (own[to] - own[from]) * 1_000.0;
        let bounds = [
            (between(0, 1), between(0, 2) + 1_000.0),
            (between(2, 3), between(1, 4)),
            (between(4, 5), between(3, 5) + 1_000.0),
        ];
        assert_eq!(shown.len(), bounds.len());
        for (shown, (least, most)) in shown.iter().zip(bounds) {
            let range = least - TOLERANCE_MS..=most + TOLERANCE_MS;
            assert!(range.contains(shown), "{shown} is not in {range:?}");
        }
    }
}

#[test]
fn the_log_is_searched_by_words_and_for_errors() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    let line = |n: u32| format!("{n:06} \u{1b}[32mthe quick\u{1b}[0m brown fox\n");
    let text: String = (1..=100_000).map(line).collect();
    let mut sent = 0;
    for part in text.as_bytes().chunks(1_000_000) {
        let part = std::str::from_utf8(part).expect("ASCII");
        sent = agent.say(&id, sent, part).count("stdoutBytes");
    }
    agent.output(
        &id,
        &[chunk("stderr", 0, "a fox that failed\nanother one\n")],
    );
    agent.succeed(&id);
    let browser = Browser::of(&server, &admin);
    browser.on_every_page(include_str!("pace.js"));
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelectorAll('.l').length === 100002");
    // The key goes to the field.
    browser.keys("/");
    assert_eq!(
        browser.js("document.activeElement.getAttribute('aria-label')"),
        "Search the log"
    );
    let search = "(async () => { window.pace.tasks = []; const field = document.activeElement; field.value = '0999'; const began = performance.now(); \
        field.dispatchEvent(new InputEvent('input')); \
        const count = document.querySelector('.search-log .count'); \
        while (!/of 120$/.test(count.textContent)) await new Promise((next) => setTimeout(next, 1)); \
        return Math.round(performance.now() - began); })()";
    let took = browser.js(search);
    println!(
        "search in 100,002 lines: {took} ms; tasks over 50 ms: {}",
        browser.js("window.pace.tasks")
    );
    browser.until("document.querySelector('.found')?.textContent === '000999 the quick brown fox'");
    browser.until("CSS.highlights.get('found')?.size > 0");
    browser.keys("\u{e007}");
    browser.until("document.querySelector('.found')?.textContent.startsWith('009990')");
    browser.view("job-search");
    browser.js("(document.activeElement.blur())");
    browser.keys("N");
    browser.until("document.querySelector('.found')?.textContent.startsWith('000999')");
    browser.keys("N");
    browser.until("document.querySelector('.found')?.textContent.startsWith('099999')");
    assert_eq!(browser.text(".search-log .count"), "120 of 120");
    // Errors only, then without words.
    browser.js("(document.querySelector('.search-log input').value = 'fox')");
    browser.press("Errors only");
    browser.until("document.querySelector('.search-log .count').textContent === '1 of 1'");
    browser.until("document.querySelector('.found')?.textContent === 'a fox that failed'");
    browser.js("(document.querySelector('.search-log input').focus())");
    browser.keys("\u{e00c}");
    browser.until("document.querySelector('.search-log .count').textContent.endsWith('of 2')");
    browser.press("Errors only");
    browser.until("document.querySelector('.search-log .count').hidden");
    browser.is_content();
}
