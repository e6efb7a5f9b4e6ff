//! The way from the sign-in to a job's output with the keyboard alone.

use serde_json::json;

use crate::browser::{Browser, on_a_running_job};
use crate::harness::{PASSWORD, Server, chunk};

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const TAB: &str = "\u{e004}";
const END: &str = "\u{e010}";
const HOME: &str = "\u{e011}";
const UP: &str = "\u{e013}";
const DOWN: &str = "\u{e015}";

#[test]
fn sign_in_queue_watch_and_cancel() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    agent.beat();
    let browser = Browser::on(&server);
    browser.open("/login");
    browser.until("document.activeElement.id === 'f-email'");
    browser.keys(&format!("{}{TAB}{PASSWORD}{ENTER}", admin.email));
    browser.see("node-1");
    browser.keys(TAB);
    assert_eq!(
        browser.js("document.activeElement.textContent"),
        "Skip to the content"
    );

    browser.keys("gp");
    browser.until("location.pathname === '/presets'");
    browser.keys("/");
    assert_eq!(browser.js("document.activeElement.id"), "q");
    // In a field, letters are letters.
    browser.keys("g says");
    assert_eq!(browser.js("document.activeElement.value"), "g says");
    browser.tab_to("Says a text");
    browser.keys(ENTER);
    browser.until("location.pathname === '/presets/note'");
    browser.tab_to("loud");
    browser.keys(" ");
    browser.tab_to("Queue");
    browser.keys(ENTER);
    browser.until("location.pathname.startsWith('/jobs/')");
    let id = browser.path().replace("/jobs/", "");
    assert_eq!(admin.job(&id)["params"]["loud"], true);

    agent.claim();
    agent.say(&id, 0, "a line\n");
    browser.see("a line");
    browser.keys("?");
    browser.until("document.getElementById('keys')?.open");
    browser.view("keys");
    browser.keys(ESCAPE);
    browser.until("!document.getElementById('keys').open");
    // The focus goes back a moment after the list is gone; a key in between is the list's.
    browser.until("!document.activeElement.closest('dialog')");
    browser.keys("w");
    browser.until("document.querySelector('.lines.nowrap')");
    browser.until("document.querySelector('#job-state [data-state=running]')");
    browser.tab_to("Cancel");
    browser.keys(ENTER);
    browser.say_yes();
    browser.see("Cancelling, requested");
    agent
        .complete(&id, &json!({"exitCode": null, "cancelled": true}))
        .ok();
    browser.until("document.querySelector('#job-state [data-state=cancelled]')");
    browser.is_content();
}

#[test]
fn a_line_is_linked_with_the_keyboard() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    let text: String = (1..=500).map(|n| format!("line {n}\n")).collect();
    agent.output(&id, &[chunk("stdout", 0, &text)]);
    agent.succeed(&id);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelectorAll('.l[data-n]').length === 500");
    let focused = || {
        browser.js(
            "[document.activeElement.parentElement.textContent, document.activeElement.ariaLabel, location.hash]",
        )
    };
    let is_on = |line: u32, hash: &str| {
        assert_eq!(
            focused(),
            json!([
                format!("line {line}"),
                format!("Line {line}: line {line}"),
                hash
            ])
        );
    };
    browser.tab_until("document.activeElement.matches('.l > button')");
    browser.keys(&format!("{DOWN}{DOWN}{DOWN}{UP}"));
    is_on(3, "");
    browser.keys(ENTER);
    is_on(3, "#L3");
    browser.keys(DOWN);
    browser.js(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', \
         { key: 'Enter', shiftKey: true, bubbles: true, cancelable: true }))",
    );
    is_on(4, "#L3-L4");
    assert_eq!(browser.js("document.querySelectorAll('.target').length"), 2);
    browser.keys(END);
    is_on(500, "#L3-L4");
    browser.keys(HOME);
    is_on(1, "#L3-L4");
    // Only one line is in the order of Tab, and it is the one in view.
    browser.keys(&format!("{END}{ENTER}"));
    is_on(500, "#L500");
    assert_eq!(
        browser.js("document.querySelectorAll('.n[tabindex=\"0\"]').length"),
        1
    );
    browser.js("(document.querySelector('.lines').blur(), scrollTo({ top: 0, behavior: 'instant' }), document.querySelector('.lines').focus())");
    let in_view = "(() => { const { top, bottom } = document.querySelector('.n[tabindex=\"0\"]').getBoundingClientRect(); \
                   return top >= 0 && bottom <= innerHeight; })()";
    browser.until(in_view);

    // On a phone, a finger can hit a number.
    browser.size(360, 740);
    let height = browser.js("document.querySelector('.l > button').getBoundingClientRect().height");
    assert!(height.as_f64().is_some_and(|it| it >= 24.0), "{height}");
    browser.is_content();
}
