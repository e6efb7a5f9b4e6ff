//! What a job does, as it is watched.

use serde_json::json;

use crate::browser::{Browser, on_a_running_job};
use crate::harness::{Field, Server, chunk, eventually, unix_time};

#[test]
fn lines_and_the_end_appear_without_a_reload() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    agent.beat();
    let id = admin.queue("node-1");
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.see("Waiting for node-1 to start it.");
    browser.js("(window.notReloaded = true)");
    let tab_is = |mark: &str, icon: &str| {
        browser.until(&format!(
            "document.title === '{mark} note on node-1 · HyprBox Jobs'"
        ));
        browser.until(&format!(
            "document.querySelector('link[rel=icon]').href.endsWith('/icons/tab-{icon}.svg')"
        ));
    };
    tab_is("…", "queued");

    agent.claim();
    browser.until("document.querySelector('#job-state [data-state=running]')");
    tab_is("▶", "running");
    agent.say(&id, 0, "one\ntw");
    browser.until("document.querySelectorAll('.l').length === 2");
    agent.output(
        &id,
        &[
            chunk("stderr", 0, "careful\n"),
            chunk("stdout", 6, "o\n10%\r100%\n"),
        ],
    );
    browser.until("document.querySelectorAll('.l').length === 4");
    let lines = browser.js("[...document.querySelectorAll('.l')].map((l) => [l.dataset.n, l.textContent, l.classList.contains('err')])");
    assert_eq!(
        lines,
        json!([
            ["1", "one", false],
            ["2", "two", false],
            ["3", "careful", true],
            ["4", "100%", false]
        ])
    );

    agent.complete(&id, &json!({"exitCode": 3})).ok();
    browser.until("document.querySelector('#job-state [data-state=failed]')");
    browser.see("Failed: exit code 3");
    tab_is("✗", "failed");
    assert_eq!(browser.js("window.notReloaded"), true);
    let icon = "fetch(document.querySelector('link[rel=icon]').href).then((r) => (window.icon = r.status))";
    browser.js(icon);
    assert_eq!(browser.until("window.icon"), 200);
    browser.is_content();
}

#[test]
fn a_hidden_tab_still_tells_in_its_title_how_the_job_ended() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelector('#job-state [data-state=running]')");
    browser.hidden(true);
    agent.complete(&id, &json!({"exitCode": 0})).ok();
    browser.until("document.title.startsWith('✓ note on node-1')");
    browser.is_content();
}

#[test]
fn a_node_that_is_deleted_leaves_the_pages_that_are_open() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    admin.add_node("node-2");
    let browser = Browser::of(&server, &admin);
    browser.open("/nodes");
    browser.see("node-1");
    browser.js("(window.notReloaded = true)");
    admin.delete("/api/nodes/node-1").gives(204);
    browser.until("!document.getElementById('nodes').textContent.includes('node-1')");
    assert_eq!(browser.js("window.notReloaded"), true);
    browser.see("node-2");
    browser.is_content();

    browser.open("/nodes/node-2");
    browser.see("Waiting for the agent to connect.");
    admin.delete("/api/nodes/node-2").gives(204);
    browser.until("document.title.startsWith('Not found')");
}

#[test]
fn a_cancel_shows_as_done_once_the_agent_has_confirmed_it() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    agent.beat();
    let id = admin.queue("node-1");
    agent.claim();
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.press("Cancel");
    browser.say_yes();
    browser.see("Cancelling, requested");
    browser.until("document.querySelector('#job-state [data-state=stopping]')");
    assert!(!browser.shown().contains("Cancelled"));
    let poll = agent.poll("capacity=0").ok();
    assert_eq!(poll.list("cancel"), [json!(id)]);
    agent
        .complete(
            &id,
            &json!({"exitCode": null, "signal": "SIGTERM", "cancelled": true}),
        )
        .ok();
    browser.until("document.querySelector('#job-state [data-state=cancelled]')");

    let queued = admin.queue("node-1");
    browser.open(&format!("/jobs/{queued}"));
    browser.press("Cancel");
    browser.see("before it started.");
    browser.is_content();
}

#[test]
fn a_hidden_tab_lets_go_of_its_stream_and_resumes_without_a_gap_or_a_double_line() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    browser.open(&format!("/jobs/{id}"));
    agent.say(&id, 0, "1\n");
    browser.until("document.querySelectorAll('.l').length === 1");
    let watched = || agent.output(&id, &[]).count("flushMs") == 50;
    eventually("the agent to hear that somebody watches", || {
        watched().then_some(())
    });
    browser.hidden(true);
    eventually("the agent to hear that nobody watches", || {
        (!watched()).then_some(())
    });
    agent.say(&id, 2, "2\n");
    browser.hidden(false);
    browser.until("document.querySelectorAll('.l').length === 2");
    agent.say(&id, 4, "3\n");
    browser.until("document.querySelectorAll('.l').length === 3");
    assert_eq!(
        browser.js("[...document.querySelectorAll('.l')].map((l) => l.textContent).join()"),
        "1,2,3"
    );
    browser.is_content();
}

#[test]
fn the_overview_keeps_itself_up_to_date() {
    let mut server = Server::start();
    let admin = server.admin();
    let browser = Browser::of(&server, &admin);
    browser.open("/");
    browser.see("No nodes yet.");
    let agent = admin.add_node("node-1");
    browser.see("node-1");
    agent.beat();
    browser.until("document.querySelector('#nodes [data-state=online]')");
    let id = admin.queue("node-1");
    browser.until("document.querySelector('#now [data-state=queued]')");
    agent.claim();
    browser.until("document.querySelector('#now [data-state=running]')");
    agent.succeed(&id);
    browser.see("Nothing running or queued.");
    browser.see("Nothing has failed in the last 24 hours.");
    let failed = admin.queue("node-1");
    agent.claim();
    agent.say(&failed, 0, "==> [1/2] Look around\n");
    browser.see("step 1: Look around");
    agent.complete(&failed, &json!({"exitCode": 3})).ok();
    browser.see("exit 3 in Look around");
    browser.until("document.querySelector('#tiles [data-state=failed] b').textContent === '1'");
    browser.is_content();
}

#[test]
fn scrolling_up_stops_the_following_and_new_lines_are_offered() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    browser.size(1000, 600);
    browser.open(&format!("/jobs/{id}"));
    let first: String = (1..=300).map(|n| format!("line {n}\n")).collect();
    agent.say(&id, 0, &first);
    let at_end =
        "(document.querySelector('.lines').getBoundingClientRect().bottom - innerHeight < 60)";
    browser.until(&format!(
        "document.querySelectorAll('.l').length === 300 && {at_end}"
    ));
    browser.js("scrollBy(0, -2000)");
    browser
        .until("document.querySelector('.tools > [aria-pressed=false]')?.textContent === 'Follow'");
    agent.say(&id, first.len() as u64, "more\nand more\n");
    browser.see("2 new lines");
    assert_eq!(browser.js(at_end), false);
    browser.view("job-new-lines");
    browser.press("2 new lines ↓");
    browser.until(at_end);
    browser.until("document.querySelector('.new-lines').hidden");
    // And by keyboard.
    browser.keys("f");
    browser
        .until("document.querySelector('.tools > [aria-pressed=false]')?.textContent === 'Follow'");
    // From the top to the end and up again, before the browser has reported either.
    browser.js("new Promise((told) => (scrollTo(0, 0), addEventListener('scroll', () => told(true), { once: true })))");
    browser.js(
        "(document.querySelector('.tools > [aria-pressed=false]').click(), scrollBy(0, -2000))",
    );
    browser
        .until("document.querySelector('.tools > [aria-pressed=false]')?.textContent === 'Follow'");
    browser.is_content();
}

#[test]
fn a_log_that_fits_into_the_window_leaves_what_is_above_it_in_sight() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    browser.size(1440, 600);
    browser.open(&format!("/jobs/{id}"));
    agent.say(&id, 0, "one\ntwo\nthree\n");
    browser.until("document.querySelectorAll('.l').length === 3");
    browser
        .until("document.querySelector('.tools > [aria-pressed=true]')?.textContent === 'Follow'");
    assert_eq!(
        browser.js("[document.documentElement.scrollHeight > innerHeight, scrollY]"),
        json!([true, 0])
    );
}

#[test]
fn a_line_can_be_linked() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let text: String = (1..=500).map(|n| format!("line {n}\n")).collect();
    agent.say(&id, 0, &text);
    agent.output(&id, &[chunk("stderr", 0, "an error\n")]);
    agent.succeed(&id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}#L250-L252"));
    browser.until("document.querySelectorAll('.target').length === 3");
    browser.until(
        "(() => { const box = document.querySelector('.target').getBoundingClientRect(); \
         return box.top > 0 && box.bottom < innerHeight; })()",
    );
    browser.js("(navigator.clipboard.writeText = async (text) => { window.copied = text; })");
    browser.press("Copy link");
    browser.until("window.copied?.endsWith('#L250-L252')");
    browser.press("First error");
    browser.until("document.querySelector('.target')?.textContent === 'an error'");
    browser.view("job-link");
    browser.press("Copy link");
    browser.until("window.copied?.endsWith('#L501')");
    browser.is_content();
}

#[test]
fn a_server_that_restarts_is_a_sign_and_then_nothing() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let address = server.address().to_owned();
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    agent.say(&id, 0, "before\n");
    browser.see("before");
    server.terminate();
    browser.see("Connection to the server lost.");
    server.set("HYPRBOX_LISTEN", &address);
    server.start_again();
    let agent = agent.at(&server);
    agent.say(&id, 7, "after\n");
    browser.see("after");
    browser.until("document.getElementById('connection-lost').hidden");
    assert_eq!(browser.js("document.querySelectorAll('.l').length"), 2);
}

#[test]
fn a_job_without_output_for_long_is_pointed_out() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    agent.say(&id, 0, "one\n");
    // Started before the times are chosen: on a busy machine this takes part of a minute.
    let browser = Browser::of(&server, &admin);
    let ago = |minutes: i64| {
        let at =
            jiff::Timestamp::UNIX_EPOCH + unix_time() - jiff::SignedDuration::from_mins(minutes);
        format!("{at:.3}")
    };
    server.database().execute(&format!(
        "UPDATE jobs SET started_at = '{}', last_output_at = '{}' WHERE id = '{id}'",
        ago(90),
        ago(12)
    ));
    server.database().execute(&format!(
        "UPDATE chunks SET arrived_at = '{}' WHERE job_id = '{id}'",
        ago(12)
    ));
    browser.open(&format!("/jobs/{id}"));
    browser.see("No output for 12 min");
    assert_eq!(browser.text("#last-output"), "12 min ago");
    browser.see("1 h 30 min");
    agent.say(&id, 4, "two\n");
    browser.until("document.querySelector('.silence').hidden");
    browser.until("document.querySelector('#last-output').textContent === 'just now'");
    browser.is_content();
}

#[test]
fn a_time_that_counts_is_not_announced() {
    let (_server, admin, agent, id, browser) = on_a_running_job();
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelector('#job-state [data-since]')");
    let count = "(window.heard = [], document.querySelectorAll('[role=status], [role=alert], [aria-live=polite]').forEach((live) => \
        new MutationObserver(() => window.heard.push(live.textContent)).observe(live, { subtree: true, childList: true, characterData: true })))";
    let ticks = "(window.ticks = 0, new MutationObserver(() => (window.ticks += 1)).observe(document.getElementById('job-state'), { subtree: true, childList: true, characterData: true }))";
    browser.js(count);
    browser.js(ticks);
    browser.until("window.ticks >= 3");
    assert_eq!(browser.js("window.heard"), serde_json::json!([]));
    agent.succeed(&id);
    browser.until("window.heard.length");
    assert_eq!(browser.js("window.heard[0]"), "Job succeeded");
    browser.open("/nodes/node-1");
    browser.until("document.querySelector('#node-seen time')");
    assert_eq!(
        browser.js(
            "document.querySelectorAll('[role=status] time, [role=status] [data-since]').length"
        ),
        0
    );
    drop(admin);
}
