//! The way from the sign-in to a job's output with the keyboard alone.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{PASSWORD, Server};

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const TAB: &str = "\u{e004}";

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
