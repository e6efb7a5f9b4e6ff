//! One's own presets in the browser: import, edit, run, compare, and two people at once.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Field, Person, RealAgent, Server, eventually};

const SCRIPT: &str = "#!/bin/bash\n# Greets somebody.\nname=\"$1\"\ngrep nothing /dev/null | sort\necho \"hello, $name$SUFFIX\"\n";

/// Types into the editor, whatever is in it.
fn set_source(browser: &Browser, source: &str) {
    browser.js(&format!(
        "(f => {{ f.value = {}; f.dispatchEvent(new Event('input')); }})(document.getElementById('f-source'))",
        json!(source)
    ));
}

fn source(browser: &Browser) -> String {
    let value = browser.js("document.getElementById('f-source').value");
    value.as_str().expect("a text").to_owned()
}

/// Pictures at both widths, light and dark.
fn pictures(browser: &Browser, name: &str) {
    for (width, size) in [(1_440, "wide"), (360, "narrow")] {
        browser.size(width, 900);
        for scheme in ["light", "dark"] {
            browser.colours(scheme);
            browser.picture(&format!("{name}-{size}-{scheme}"));
        }
        let overflow = browser.js("document.documentElement.scrollWidth - innerWidth");
        assert!(overflow.as_i64().expect("pixels") <= 0, "{name} at {width}");
    }
    browser.colours("light");
    browser.size(1_280, 900);
}

fn run(browser: &Browser, admin: &Person, argument: &str) -> String {
    browser.open("/presets/greet?node=n1");
    browser.fill("[id='f-p.arg1']", argument);
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    let path = browser.path();
    let id = path.trim_start_matches("/jobs/").to_owned();
    eventually("the job ends", || {
        let job = admin.job(&id);
        (!job["finishedAt"].is_null()).then_some(())
    });
    id
}

#[test]
fn a_script_is_imported_saved_run_edited_run_again_and_compared() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = RealAgent::start(&server, &admin.add_node("n1"));
    let browser = Browser::of(&server, &admin);
    browser.open("/presets");
    browser.press("Import");
    browser.fill("#f-name", "greet");
    browser.js(&format!(
        "(document.getElementById('f-script').value = {})",
        json!(SCRIPT)
    ));
    pictures(&browser, "import");
    browser.press("Import");
    browser.see("The script as a preset");
    browser.see("pipe-failure");
    browser.see("unset-variable");
    let imported = browser.text("#imported");
    assert!(imported.contains("Line 4"), "{imported}");
    browser.until("document.querySelectorAll('#editor-box .copy .w').length > 0");
    pictures(&browser, "editor");
    browser.press("Save");
    browser.see("Saved as version 1.");
    let first = run(&browser, &admin, "Ada");
    assert_eq!(admin.job(&first)["status"], "FAILED");
    assert_eq!(admin.job(&first)["presetVersion"], 1);

    browser.open("/presets/greet");
    browser.press("Edit");
    let fixed = source(&browser).replace(
        "grep nothing /dev/null | sort",
        "{ grep nothing /dev/null || true; } | sort",
    );
    set_source(
        &browser,
        &fixed.replace("echo \"hello", "echo \"$undefined"),
    );
    browser.until("document.querySelector('#findings [data-severity=error]') !== null");
    browser.see("undefined-variable");
    let marked = browser.js(
        "[...document.querySelectorAll('#editor-box .copy .l')].findIndex(line => line.dataset.severity === 'error') + 1",
    );
    let line = fixed.lines().position(|line| line.contains("echo \"hello"));
    assert_eq!(marked, line.expect("the line") + 1);
    pictures(&browser, "editor-error");
    browser.press("Save over version 1");
    browser.see("The preset has errors, so nothing was saved");
    // The browser reports the 400.
    browser.complaints();
    set_source(&browser, &fixed);
    browser.until("document.querySelector('#findings [data-severity=error]') === null");
    browser.press("Show changes");
    browser.see("Compared with version 1");
    let changes = browser.text("#changes");
    assert!(
        changes.contains("+      { grep nothing /dev/null || true; } | sort"),
        "{changes}"
    );
    browser.fill("[id='f-p.arg1']", "it's \"me\"");
    browser.press("Show the script");
    browser.until("document.getElementById('script-h') !== null");
    assert!(
        browser
            .text("#test")
            .contains("readonly arg1='it'\\''s \"me\"'")
    );
    assert_eq!(source(&browser), fixed, "the text is still there");
    pictures(&browser, "editor-test");
    browser.press("Save over version 1");
    browser.see("Saved as version 2.");
    let second = run(&browser, &admin, "Ada");
    assert_eq!(admin.job(&second)["status"], "SUCCEEDED");
    assert_eq!(admin.job(&second)["presetVersion"], 2);
    let facts = browser.js("document.getElementById('job-facts').textContent");
    assert!(
        facts
            .as_str()
            .is_some_and(|text| text.contains("version 2"))
    );
    browser.open(&format!("/jobs/{second}/compare"));
    browser.see("grep nothing /dev/null || true");
    browser.open("/presets/greet/versions");
    browser.see("in use");
    pictures(&browser, "versions");
    browser.open("/presets/greet/versions/2");
    browser.see("Changes since version 1");
    pictures(&browser, "version");
    browser.open("/presets/greet/edit?version=1");
    assert!(source(&browser).contains("grep nothing /dev/null | sort"));
    browser.see("Save over version 2");
    browser.open("/presets");
    browser.see("saved here, version 2");
    pictures(&browser, "presets");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(agent);
}

#[test]
fn of_two_people_who_save_the_same_preset_the_second_is_told_and_loses_nothing() {
    let mut server = Server::start();
    let (ann, ben) = (server.person("ann", "ADMIN"), server.person("ben", "ADMIN"));
    let text = "name: hi\ntargets: [any]\nsteps:\n  - name: One\n    run: echo one\n";
    ann.call("PUT", "/api/presets/hi")
        .header("if-none-match", "*")
        .json(&json!({"source": text}))
        .gives(201);
    let (hers, his) = (Browser::of(&server, &ann), Browser::of(&server, &ben));
    hers.open("/presets/hi/edit");
    his.open("/presets/hi/edit");
    set_source(&hers, &text.replace("echo one", "echo hers"));
    hers.press("Save over version 1");
    hers.see("Saved as version 2.");
    let typed = text
        .replace("name: One", "name: Mine")
        .replace("echo one", "echo \"his\"  ");
    set_source(&his, &typed);
    his.press("Save over version 1");
    his.see("ann@example.org has saved version 2 of hi");
    assert_eq!(source(&his), typed);
    let changes = his.text("#changes");
    assert!(
        changes.contains("-    run: echo hers") && changes.contains("+    run: echo \"his\""),
        "{changes}"
    );
    pictures(&his, "conflict");
    let now = ann.get("/api/presets/hi").ok();
    assert!(now.field("source").contains("echo hers"));
    his.press("Save over version 2");
    his.see("Saved as version 3.");
    let now = ann.get("/api/presets/hi").ok();
    assert_eq!(now["source"], typed.as_str());
    assert_eq!(now["savedBy"], "ben@example.org");
}

#[test]
fn a_script_is_run_once_from_the_browser_and_again_from_its_job() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = RealAgent::start(&server, &admin.add_node("n1"));
    let browser = Browser::of(&server, &admin);
    browser.open("/presets");
    browser.press("Run a script");
    browser.js("(document.getElementById('f-script').value = 'echo once\\n')");
    browser.press("Run");
    browser.see("Must have 1 to 5000 nodes.");
    assert_eq!(
        browser.js("document.getElementById('f-script').value"),
        "echo once\n"
    );
    browser.fill("#f-nodes", "n1");
    pictures(&browser, "exec");
    browser.press("Run");
    browser.until("location.pathname.startsWith('/runs/')");
    browser.see("A script");
    let id = eventually("the job ends", || {
        let page = admin.get("/api/jobs?preset=-&status=SUCCEEDED").ok();
        page.list("jobs").first().map(|job| job.field("id"))
    });
    pictures(&browser, "exec-run");
    browser.open(&format!("/jobs/{id}"));
    browser.see("once");
    pictures(&browser, "exec-job");
    browser.press("Run again");
    browser.until("location.pathname === '/exec'");
    assert_eq!(
        browser.js("document.getElementById('f-script').value"),
        "echo once\n"
    );
    assert_eq!(browser.js("document.getElementById('f-nodes').value"), "n1");
    drop(agent);
}
