//! What can be checked of the pages' looks without eyes.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::Server;

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
    // The narrowest phone shows all of the head.
    browser.size(320, 640);
    browser.open("/");
    let outside = "[...document.querySelectorAll('.top :is(a, button)')].filter((e) => e.checkVisibility() && (e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().bottom > 112)).map((e) => e.outerHTML)";
    assert_eq!(browser.js(outside), json!([]));
    browser.picture("long-overview-320");
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
