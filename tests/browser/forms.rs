//! The form that queues a preset, and what an ADMIN does by forms.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Field, Server, write_preset};

#[test]
fn an_error_is_shown_at_its_field_and_the_input_stays() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    let browser = Browser::of(&server, &admin);
    browser.open("/presets/note");
    browser.js("(document.getElementById('queue').noValidate = true)");
    browser.fill("[id='f-p.text']", "kept <b>text</b>");
    browser.fill("[id='f-p.port']", "70000");
    browser.fill("[id='f-p.count']", "9");
    browser.press("Queue");
    browser.see("Must be 1 to 65535.");
    browser.see("Must be 1 to 5.");
    assert_eq!(
        browser.js("document.getElementById('f-p.text').value"),
        "kept <b>text</b>"
    );
    assert_eq!(
        browser.js("document.getElementById('f-p.port').getAttribute('aria-invalid')"),
        "true"
    );
    browser.picture("preset-faults");
    browser.fill("[id='f-p.port']", "2222");
    browser.fill("[id='f-p.count']", "2");
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    let job = admin.get("/api/jobs").ok().list("jobs")[0].clone();
    let wanted = json!({"text": "kept <b>text</b>", "port": 2222, "count": 2, "loud": false, "colour": "red"});
    assert_eq!(job["params"], wanted);
}

#[test]
fn the_script_is_shown_before_and_a_secret_stays_typed_and_out_of_it() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    let browser = Browser::of(&server, &admin);
    browser.open("/presets/vault");
    browser.press("Show the script");
    browser.see("Is required.");
    browser.fill("[id='f-p.key']", "hunter22");
    browser.press("Show the script");
    browser.see("The script that would be queued");
    assert!(!browser.text("#preview").contains("hunter22"));
    assert_eq!(
        browser.js("document.getElementById('f-p.key').value"),
        "hunter22"
    );
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    let job = admin.get("/api/jobs").ok().list("jobs")[0].clone();
    assert_eq!(job["params"], json!({"key": "***"}));
}

#[test]
fn a_form_that_is_sent_twice_is_one_job_and_run_again_fills_it_in() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    let browser = Browser::of(&server, &admin);
    browser.open("/presets/note");
    browser.fill("[id='f-p.text']", "twice");
    let send = "fetch('/presets/note', {method: 'POST', body: new URLSearchParams(new FormData(document.getElementById('queue')))})";
    browser.js(&format!(
        "Promise.all([{send}, {send}]).then((both) => (window.both = both.map((r) => r.url)))"
    ));
    let both = browser.until("window.both");
    assert_eq!(both[0], both[1]);
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 1);

    browser.open(both[0].as_str().expect("an address"));
    browser.press("Run again");
    browser.see("Says a text");
    assert_eq!(
        browser.js("document.getElementById('f-p.text').value"),
        "twice"
    );
    assert_eq!(
        browser.js("document.getElementById('f-node').value"),
        "node-1"
    );
    browser.press("Show the script");
    browser.see("Identical to your last run there");
    browser.fill("[id='f-p.text']", "thrice");
    browser.press("Show the script");
    browser.see("+readonly text='thrice'");
    let params = browser
        .js("[...document.querySelectorAll('#preview tbody td')].map((cell) => cell.textContent)");
    assert_eq!(params, json!(["text", "twice", "thrice"]));
    browser.picture("preset-preview");
    browser.fill("[id='f-p.text']", "twice");
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 2);
    // None has succeeded yet.
    browser.press("Compare with…");
    browser.js("document.querySelector('.menu li a').click()");
    browser.see("Compared with the run on");
    assert_eq!(
        browser.js("document.querySelectorAll('main .none').length"),
        3
    );
    browser.is_content();
}

#[test]
fn a_text_of_several_lines_goes_all_the_way_as_it_was_typed() {
    let preset = r"
name: lines
targets: [any]
params:
  folders: { type: string, pattern: '(/[^\n]*(\n|$))+', maxLength: 200, default: /etc }
  keys: { type: string, maxLength: 4000, required: true }
steps:
  - name: Nothing
    run: 'true'
";
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    write_preset(&server.presets_dir(), "lines", preset);
    let browser = Browser::of(&server, &admin);
    browser.open("/presets/lines");
    browser.fill("[id='f-p.folders']", "/etc\n/srv\n");
    browser.fill("[id='f-p.keys']", "\nkey one\n\nkey two\n");
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    let wanted = json!({"folders": "/etc\n/srv\n", "keys": "\nkey one\n\nkey two\n"});
    let newest = || admin.get("/api/jobs").ok().list("jobs")[0].clone();
    assert_eq!(newest()["params"], wanted);
    browser.press("Run again");
    browser.see("folders");
    browser.press("Show the script");
    browser.see("Identical to your last run there");
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 2);
    assert_eq!(newest()["params"], wanted);
    browser.is_content();
}

#[test]
fn an_admin_manages_nodes_users_and_tokens() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    let browser = Browser::of(&server, &admin);
    browser.open("/nodes/node-1");
    browser.press("Create a token");
    browser.see("By hand, with a token");
    browser.js("(document.querySelector('#node-ready details').open = true)");
    browser.see("The token is shown only once");
    let token =
        browser.js("[...document.querySelectorAll('#node-ready details pre')].at(-1).textContent");
    let token = token.as_str().expect("a token");
    assert!(token.starts_with("hbn_"), "{token}");
    browser.press("Go to the node");
    browser.until("document.querySelectorAll('.tokens tbody tr').length === 2");
    browser.press("Revoke");
    browser.say_yes();
    browser.see("revoked");

    browser.open("/users");
    browser.press("Add a user");
    browser.fill("#f-email", "ben@example.org");
    browser.fill("#f-password", "short");
    browser.js("(document.querySelector('form[action=\"/users\"]').noValidate = true)");
    browser.press("Add");
    browser.see("Must have 10 to 1,024 characters.");
    browser.fill("#f-password", "long enough, it is");
    browser.press("Add");
    browser.until("document.querySelectorAll('.users tbody tr').length === 2");
    browser.picture("users");

    browser.open("/account");
    browser.press("Create a token");
    browser.fill("#f-name", "ci");
    browser.press("Create");
    browser.see("Your new token");
    let token = browser.text("section.card pre");
    let me = admin.with_token(&token).get("/api/auth/me").ok();
    assert_eq!(me.field("email"), admin.email);

    browser.open("/audit?action=user.add");
    browser.see("ben@example.org as VIEWER");
    browser.picture("audit");
    let csv = admin.get("/audit?as=csv").gives(200).text();
    assert!(csv.starts_with("at,actor,action,job,node,detail\r\n"));

    browser.open("/nodes/node-1");
    browser.press("Delete the node");
    browser.say_yes();
    browser.see("No nodes yet.");
}

#[test]
fn a_broken_preset_file_is_shown_with_its_line() {
    let mut server = Server::start();
    let admin = server.admin();
    write_preset(
        &server.presets_dir(),
        "broken",
        "name: broken\nsteps:\n  - name: x\n    rum: y\n",
    );
    let browser = Browser::of(&server, &admin);
    browser.open("/presets");
    browser.see("Some presets are invalid");
    assert!(browser.text(".alert li").contains("broken.yaml"));
    browser.picture("presets-broken");
    browser.fill("#q", "says a");
    browser.press("Search");
    browser.until("document.querySelectorAll('.cards li').length === 1");
    browser.is_content();
}

#[test]
fn text_is_copied_over_plain_http_too() {
    let mut server = Server::start();
    let admin = server.admin();
    let browser = Browser::at_host(&server, "hyprbox.test", &admin);
    browser.open("/nodes");
    browser.fill("#f-id", "prod-eu-1");
    browser.press("Add");
    browser.see("Waiting for the agent to connect.");
    assert_eq!(browser.js("isSecureContext"), false);
    browser.js("document.addEventListener('copy', () => { window.copied = document.activeElement.value; }) ?? true");
    browser.press("Copy");
    browser.see("Copied");
    let shown = browser.text("section.card pre");
    assert_eq!(browser.js("window.copied"), shown);

    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    agent.say(&id, 0, "one\ntwo\n");
    browser.open(&format!("/jobs/{id}#L2"));
    browser.js("document.addEventListener('copy', () => { window.copied = document.activeElement.value; }) ?? true");
    browser.press("Copy link");
    browser.see("Copied");
    let copied = browser.js("window.copied");
    let copied = copied.as_str().expect("text");
    assert!(copied.ends_with(&format!("/jobs/{id}#L2")), "{copied}");
    browser.is_content();
}
