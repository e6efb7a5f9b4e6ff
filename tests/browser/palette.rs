//! Ctrl+K: the palette by the keyboard alone, and the list of keys.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Person, Server};

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const UP: &str = "\u{e013}";
const DOWN: &str = "\u{e015}";
const BACKSPACE: &str = "\u{e003}";

/// A server with two nodes, one online, and an ended job.
fn furnished() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("web-01");
    admin.add_node("web-02");
    agent.beat();
    let id = admin.queue("web-01");
    agent.claim();
    agent.succeed(&id);
    (server, admin)
}

/// Opens the palette and waits until it shows what it finds without text.
fn open(browser: &Browser) {
    browser.ctrl("k");
    browser.until("document.querySelector('#palette[open] [role=option]')");
}

/// Types, and waits until the list is the one for this text.
fn type_in(browser: &Browser, text: &str) {
    browser.keys(text);
    browser.until("document.querySelector('#palette input').value.trim() === document.getElementById('palette-list').dataset.q");
}

/// The text of the option that Enter would choose, as a screen reader finds it.
fn active(browser: &Browser) -> String {
    let id = "document.activeElement.getAttribute('aria-activedescendant')";
    let text = browser.js(&format!(
        "document.getElementById({id}).textContent.replace(/\\s+/g, ' ').trim()"
    ));
    text.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_node_is_reached_with_the_keyboard_alone() {
    let (server, admin) = furnished();
    let browser = Browser::of(&server, &admin);
    browser.open("/presets/note");
    // Also from a text field, in which single letters are letters.
    browser.js("document.getElementById('f-node').focus()");
    open(&browser);
    let roles = browser.js(
        "(() => { const field = document.activeElement, list = document.getElementById(field.getAttribute('aria-controls')); \
         return [field.role, field.ariaExpanded, list.role, list.querySelector('[role=option]').parentElement.ariaLabel]; })()",
    );
    assert_eq!(roles, json!(["combobox", "true", "listbox", "Jobs"]));
    browser.view("palette");
    assert_eq!(active(&browser), "Succeeded note on web-01 just now");
    browser.keys(UP);
    assert_eq!(active(&browser), "Keys ?");
    browser.keys(DOWN);
    assert_eq!(active(&browser), "Succeeded note on web-01 just now");
    type_in(&browser, "web-0");
    assert_eq!(active(&browser), "web-01 Online");
    browser.keys(DOWN);
    assert_eq!(active(&browser), "web-02 Offline");
    browser.keys(ENTER);
    browser.until("location.pathname === '/nodes/web-02'");

    // Escape closes it, and the focus returns to where it was.
    browser.tab_to("Run a preset here");
    open(&browser);
    type_in(&browser, "nothing of that name");
    browser.see("Nothing found.");
    browser.keys(ESCAPE);
    browser.until("!document.getElementById('palette').open");
    browser.until("document.activeElement.textContent === 'Run a preset here'");
    // What was typed is gone the next time.
    open(&browser);
    assert_eq!(browser.js("document.activeElement.value"), "");
    browser.ctrl("k");
    browser.until("!document.getElementById('palette').open");
    browser.is_content();
}

#[test]
fn a_preset_is_run_from_the_palette() {
    let (server, admin) = furnished();
    let browser = Browser::of(&server, &admin);
    browser.open("/");
    open(&browser);
    type_in(&browser, "note");
    assert_eq!(active(&browser), "Says a text note");
    // Enter at once is for the text in the field, not for the list that is still shown.
    browser.keys(&format!("{}run not{ENTER}", BACKSPACE.repeat(4)));
    browser.until("document.querySelector('#palette input').value === 'run note on '");
    browser.until("document.getElementById('palette-list').dataset.q === 'run note on'");
    let options = "[...document.querySelectorAll('#palette [role=option]')].map((option) => option.textContent.replace(/\\s+/g, ' ').trim())";
    assert_eq!(
        browser.js(options),
        json!([
            "Run note on web-01 Debian GNU/Linux 12",
            "Run note on web-02 offline: the job would wait"
        ])
    );
    type_in(&browser, "02");
    browser.keys(ENTER);
    browser.until("location.pathname === '/presets/note'");
    assert_eq!(
        browser.js("document.getElementById('f-node').value"),
        "web-02"
    );
    // Nothing is queued before the person says so.
    assert_eq!(
        admin.get("/api/jobs").ok()["jobs"].as_array().map(Vec::len),
        Some(1)
    );
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    browser.is_content();
}

#[test]
fn the_hints_are_visible_and_lead_to_the_palette_and_to_every_key() {
    let (server, admin) = furnished();
    let browser = Browser::of(&server, &admin);
    browser.open("/jobs");
    assert_eq!(browser.text("#find"), "Go to…Ctrl K");
    browser.press("Go to…Ctrl K");
    browser.until("document.querySelector('#palette[open] [role=option]')");
    type_in(&browser, "keys");
    browser.keys(ENTER);
    browser.until("document.getElementById('keys')?.open");
    let keys =
        browser.js("[...document.querySelectorAll('#keys dt')].map((term) => term.textContent)");
    let keys: Vec<&str> = keys
        .as_array()
        .expect("keys")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for key in [
        "Ctrl K", "g o", "g j", "g r", "g n", "g p", "/", "?", "f", "w", "t", "e", "z",
    ] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    // The keys of the page below do nothing meanwhile.
    browser.keys("gn");
    assert_eq!(browser.path(), "/jobs");
    browser.keys(ESCAPE);
    browser.until("!document.getElementById('keys').open");
    browser.until("!document.activeElement.closest('dialog')");
    browser.keys("gr");
    browser.until("location.pathname === '/runs'");
    browser.press("Keys ?");
    browser.until("document.getElementById('keys')?.open");
    browser.is_content();
}
