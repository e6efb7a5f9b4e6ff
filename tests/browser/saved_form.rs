//! Nothing typed is lost: forms whose session ends, links to lines, limits of text, questions
//! before what is risky.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Field, PASSWORD, Person, Server, chunk, write_preset};

fn risky(server: &Server) {
    let preset = json!({"name": "risky", "title": "Risky", "targets": ["any"], "risk": "high",
        "params": {"text": {"type": "string", "maxLength": 10}, "more": {"type": "string", "pattern": "(.|\\n)*"},
            "key": {"type": "secret"}},
        "steps": [{"name": "x", "run": "true"}]});
    write_preset(&server.presets_dir(), "risky", &preset.to_string());
}

fn without_script(server: &Server) -> Browser {
    let off = json!({"profile.managed_default_content_settings.javascript": 2});
    Browser::with(server, &[("prefs", off)])
}

fn enter(browser: &Browser, person: &Person) {
    browser.fill("#f-email", &person.email);
    browser.fill("#f-password", PASSWORD);
    browser.press("Sign in");
}

#[test]
fn a_form_whose_session_ended_is_filled_again_after_the_sign_in() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    risky(&server);
    for (name, has_script) in [("ann", true), ("bob", false)] {
        let person = server.person(name, "OPERATOR");
        let browser = if has_script {
            Browser::on(&server)
        } else {
            without_script(&server)
        };
        browser.sign_in(&person);
        browser.open("/presets/risky");
        browser.fill("[id='f-p.text']", "a%& <é😀");
        browser.fill("[id='f-p.more']", "one\ntwo");
        browser.fill("[id='f-p.key']", "hunter22");
        person.call("POST", "/api/auth/logout").gives(204);
        browser.press("Show the script");
        browser.see("Your session has ended.");
        assert!(
            !browser
                .js("document.documentElement.outerHTML")
                .to_string()
                .contains("hunter22")
        );
        browser.fill("#f-email", &person.email);
        browser.fill("#f-password", "not the password");
        browser.press("Sign in");
        browser.see("wrong");
        browser.fill("#f-password", PASSWORD);
        browser.press("Sign in");
        browser.until("location.pathname === '/presets/risky'");
        browser.see("You are signed in again.");
        let values =
            "['text', 'more', 'key'].map((name) => document.getElementById(`f-p.${name}`).value)";
        assert_eq!(browser.js(values), json!(["a%& <é😀", "one\ntwo", ""]));
        browser.view(&format!("signed-in-again-{has_script}"));
        // It is an ordinary form again, which asks before it queues.
        browser.fill("[id='f-p.key']", "hunter22");
        browser.press("Queue");
        if has_script {
            browser.say_yes();
        } else {
            browser.see("nothing is queued yet");
            browser.fill("[id='f-p.key']", "hunter22");
            browser.press("Queue it anyway");
        }
        browser.until("location.pathname.startsWith('/jobs/')");
    }
    let jobs = admin.get("/api/jobs?scope=all").ok().list("jobs");
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0]["params"]["more"], "one\ntwo");
}

#[test]
fn a_page_that_refreshes_itself_keeps_what_is_typed_when_the_session_ends() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    let browser = Browser::of(&server, &admin);
    browser.open("/nodes");
    browser.press("Add a node");
    browser.fill("#f-id", "half-typed");
    admin.call("POST", "/api/auth/logout").gives(204);
    browser.see("You are signed out. Your form is kept");
    assert_eq!(
        browser.js("document.getElementById('f-id').value"),
        "half-typed"
    );
    browser.press("Add");
    browser.see("Your session has ended.");
    enter(&browser, &admin);
    browser.see("You are signed in again.");
    assert_eq!(
        browser.js("document.getElementById('f-id').value"),
        "half-typed"
    );
    browser.press("Add");
    browser.see("Connect half-typed");
}

#[test]
fn a_link_to_a_line_keeps_it_through_the_sign_in() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    agent.output(&id, &[chunk("stdout", 0, "one\ntwo\nthree\n")]);
    agent.succeed(&id);
    let browser = Browser::on(&server);
    browser.open(&format!("/jobs/{id}#L2"));
    browser.until("location.pathname === '/login'");
    enter(&browser, &admin);
    browser.until("document.querySelector('.target')?.textContent === 'two'");
    assert_eq!(browser.path(), format!("/jobs/{id}#L2"));
}

#[test]
fn limits_count_characters_as_the_server_does() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    risky(&server);
    let browser = Browser::of(&server, &admin);
    browser.open("/presets/risky");
    let typed = |text: &str| {
        let text = json!(text);
        browser.js(&format!(
            "((field) => {{ field.focus(); field.value = ''; document.execCommand('insertText', false, {text}); \
             return [[...field.value].length, field.validationMessage]; }})(document.getElementById('f-p.text'))"
        ))
    };
    assert_eq!(typed(&"😀".repeat(10)), json!([10, ""]));
    assert_eq!(
        typed("eleven char"),
        json!([11, "At most 10 characters: this has 11."])
    );
    assert_eq!(typed("ten chars."), json!([10, ""]));
}

#[test]
fn who_declines_the_question_can_still_queue() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    risky(&server);
    let browser = Browser::of(&server, &admin);
    browser.open("/presets/risky");
    browser.js("(window.asked = 0, window.confirm = () => ++window.asked > 1)");
    browser.fill("[id='f-p.key']", "hunter22");
    browser.press("Queue");
    browser.until("window.asked === 1");
    assert!(admin.get("/api/jobs").ok().list("jobs").is_empty());
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
}

#[test]
fn a_foreign_page_cannot_fill_a_form_and_a_saved_form_is_never_sent_by_itself() {
    let mut server = Server::start();
    let admin = server.admin();
    let form = "application/x-www-form-urlencoded";
    // Not from our own pages: nothing of it is carried.
    let answer = server
        .call("POST", "/nodes")
        .body(form, "id=evil")
        .header("sec-fetch-site", "cross-site")
        .send();
    assert!(!answer.text().contains("evil"), "{answer:?}");
    let ours = |path: &str, body: String| {
        server
            .call("POST", path)
            .body(form, body)
            .header("sec-fetch-site", "same-origin")
            .send()
    };
    let answer = ours("/nodes", "id=mine&password=hunter22".to_owned());
    assert_eq!(answer.status, 401);
    assert!(
        answer.text().contains("name=\"typed.id\" value=\"mine\""),
        "{answer:?}"
    );
    assert!(!answer.text().contains("hunter22"));
    // What is too long is said to be.
    let answer = ours("/nodes", format!("id={}", "x".repeat(60_000)));
    assert!(answer.text().contains("too large to keep"), "{answer:?}");
    // A button leads back to its page.
    let answer = ours("/jobs/123/cancel?scope=all", String::new());
    assert!(
        answer.text().contains("value=\"/jobs/123?scope=all\""),
        "{answer:?}"
    );
    // A sign-in that carries a form goes on to forms only, and those do nothing.
    let sign_in = |to: &str| {
        let password = PASSWORD.replace(' ', "+");
        ours(
            "/login",
            format!(
                "email={}&password={password}&to={to}&typed=1&typed.id=mine",
                admin.email
            ),
        )
    };
    assert_eq!(sign_in("/nodes/node-1/delete").status, 303);
    let answer = sign_in("/nodes");
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, "/nodes".to_owned())
    );
    let shown = admin
        .browser("POST", "/nodes")
        .body(form, "typed=1&typed.id=mine")
        .header("sec-fetch-site", "same-origin")
        .send();
    assert_eq!(shown.status, 200);
    assert!(shown.text().contains("value=\"mine\""), "{shown:?}");
    assert!(admin.get("/api/nodes").ok().list("nodes").is_empty());
}
