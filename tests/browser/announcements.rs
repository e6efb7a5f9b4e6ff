//! What a screen reader announces by itself: changes of state and step, never the counting time or
//! a line of output.

use serde_json::{Value, json};

use crate::browser::{Browser, on_a_running_job};

/// Records each change of a live region's text in `window.said`.
const LISTEN: &str = "(() => { \
    window.said = []; \
    const texts = new Map(); \
    const live = '[role=status], [role=alert], [role=log], [role=timer], [aria-live]'; \
    const isOn = (e) => (e.ariaLive ?? (e.role === 'timer' ? 'off' : 'polite')) !== 'off'; \
    const text = (e) => (e.checkVisibility() ? e.textContent.replace(/\\s+/g, ' ').trim() : ''); \
    const look = () => { for (const e of document.querySelectorAll(live)) { \
        if (!isOn(e) || texts.get(e) === text(e)) continue; \
        if (text(e) && window.listens) window.said.push(text(e)); \
        texts.set(e, text(e)); } }; \
    look(); \
    window.listens = true; \
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true }); })()";

/// Waits until a text that counts has changed three times, so that it could have been announced.
fn let_it_tick(browser: &Browser, css: &str) {
    for _ in 0..3 {
        let before = browser.text(css);
        browser.until(&format!(
            "document.querySelector('{css}').textContent.trim() !== {}",
            json!(before)
        ));
    }
}

/// What was announced since the last call.
fn said(browser: &Browser) -> Vec<String> {
    let said = browser.js("window.said.splice(0)");
    let said = said.as_array().expect("a list");
    let texts = said.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

#[test]
fn only_states_and_steps_are_announced() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    let mut at = 0;
    let mut say = |text: &str| {
        agent.say(&id, at, text);
        at += text.len() as u64;
        let line = text.trim_end().lines().last().unwrap_or_default();
        browser.see(line);
    };
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelector('#job-state [data-state=running]')");
    say("==> [1/2] Fetch it\nfirst line\n");
    browser.js(LISTEN);
    let_it_tick(&browser, "#job-facts [data-since]");
    say("second line\nthird line\n");
    let_it_tick(&browser, "#job-facts [data-since]");
    assert_eq!(said(&browser), [""; 0]);

    say("==> [2/2] Install it\nfourth line\n");
    let_it_tick(&browser, "#job-facts [data-since]");
    let step = said(&browser);
    assert_eq!(step.len(), 1, "{step:?}");
    assert!(step[0].contains("Install it"), "{step:?}");

    agent.complete(&id, &json!({"exitCode": 3})).ok();
    browser.until("document.querySelector('#job-state [data-state=failed]')");
    browser.until("window.said.length");
    let end = said(&browser);
    assert_eq!(end.len(), 1, "{end:?}");
    assert!(end[0].to_lowercase().contains("failed"), "{end:?}");
    browser.is_content();
}

#[test]
fn a_node_that_goes_offline_is_announced_once() {
    let (server, admin, agent, _id, _browser) = on_a_running_job();
    agent.beat();
    let browser = Browser::of(&server, &admin);
    browser.open("/nodes/node-1");
    browser.see("The agent is connected.");
    browser.js(LISTEN);
    let_it_tick(&browser, "#node-seen time");
    assert_eq!(said(&browser), [""; 0]);
    let stop = json!({"instance": "one", "intervalSeconds": 30, "stopping": true});
    agent.heartbeat(&stop).gives(200);
    browser.see("Queued jobs start when it reconnects.");
    let offline = said(&browser);
    assert_eq!(offline.len(), 1, "{offline:?}");
    assert!(offline[0].starts_with("Offline"), "{offline:?}");
    browser.is_content();
}
