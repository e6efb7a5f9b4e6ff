//! Rows that are links, filters in the address, and the overview's first screen.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::Server;
use crate::team::Team;

/// What a click at the middle of an element hits.
fn hit(element: &str) -> String {
    format!(
        "((box) => document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).closest('a')?.getAttribute('href'))({element}.getBoundingClientRect())"
    )
}

#[test]
fn a_row_is_one_link_and_the_address_keeps_the_filters() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    admin.add_node("node-2");
    let failed = admin.queue_with("node-1", "note", json!({"text": "first"}));
    agent.claim();
    agent.complete(&failed, &json!({"exitCode": 3})).ok();
    let waits = admin.queue_with("node-2", "note", json!({"text": "second"}));
    let browser = Browser::of(&server, &admin);
    browser.open("/jobs");
    let row = "document.querySelectorAll('table.jobs tbody tr')[1]";
    let address = format!("/jobs/{failed}");
    for part in [
        "td:first-child",
        ".reason bdi",
        "td.main .dim",
        "td:last-child",
        "time",
    ] {
        assert_eq!(
            browser.js(&hit(&format!("{row}.querySelector('{part}')"))),
            address,
            "{part}"
        );
    }
    let node = browser.js(&hit(&format!("{row}.querySelector('[data-label=Node] a')")));
    assert_eq!(node, "/nodes/node-1");
    let names = browser.js("[...document.querySelectorAll('a.row')].map((a) => a.ariaLabel.replace(/, queued .*/, ''))");
    assert_eq!(
        names,
        json!([
            "Says a text on node-2, queued",
            "Says a text on node-1, failed: exit 3"
        ])
    );
    // By keyboard the row has a ring, and Enter opens it.
    browser.js("document.querySelector('#jobs a.row').focus()");
    browser.keys("\u{e004}");
    browser.keys("\u{e004}");
    assert_eq!(
        browser.js("document.activeElement.getAttribute('href')"),
        address
    );
    assert_eq!(
        browser.js("getComputedStyle(document.activeElement, '::after').outlineStyle"),
        "solid"
    );
    browser.keys("\u{e007}");
    browser.until(&format!("location.pathname === '{address}'"));

    browser.open("/jobs");
    browser.fill("#q", "text=second");
    // The driver takes what is in a closed <details> for hidden, though this width shows it.
    for (field, value) in [("#by-state", "queued"), ("#by-node", "node-2")] {
        browser.until(&format!(
            "document.querySelector('{field}').checkVisibility()"
        ));
        browser.js(&format!(
            "(document.querySelector('{field}').value = '{value}')"
        ));
    }
    browser.press("Filter");
    browser.until("location.search.includes('q=text%3Dsecond')");
    let shown =
        "[...document.querySelectorAll('#jobs a.row')].map((a) => a.getAttribute('href')).join()";
    assert_eq!(browser.js(shown), format!("/jobs/{waits}"));
    let search = browser.js("location.search");
    browser.open(&format!("/jobs{}", search.as_str().expect("text")));
    assert_eq!(
        browser.js("document.querySelector('#q').value"),
        "text=second"
    );
    assert_eq!(
        browser.js("document.querySelector('#by-state').value"),
        "queued"
    );
    // The list is kept up to date, and only by what matches.
    let more = admin.queue_with("node-2", "note", json!({"text": "second to none"}));
    admin.queue_with("node-2", "note", json!({"text": "third"}));
    browser.until(&format!("{shown} === '/jobs/{more},/jobs/{waits}'"));
    browser.press("Clear");
    browser
        .until("location.search === '' && document.querySelectorAll('#jobs a.row').length === 4");
    browser.is_content();
}

#[test]
fn rows_filters_and_pictures_work_without_a_script() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let id = admin.queue("node-1");
            agent.claim();
            agent.succeed(&id);
            id
        })
        .collect();
    let off = json!({"profile.managed_default_content_settings.javascript": 2});
    let browser = Browser::with(&server, &[("prefs", off)]);
    browser.sign_in(&admin);
    browser.open("/");
    browser.press("All jobs");
    browser.see("Says a text");
    browser.fill("#q", "nothing like this");
    browser.press("Filter");
    browser.see("No job matches.");
    browser.press("Clear");
    browser.see("Says a text");
    browser.open(&format!("/jobs/{}?view=plain", ids[2]));
    browser.see("3 of 3 succeeded (100 %)");
    browser.open("/nodes/node-1");
    browser.see("All jobs of this node");
}

#[test]
fn the_first_screen_says_whether_all_is_well() {
    let team = Team::start();
    let browser = Browser::of(&team.server, &team.admin);
    let bottom = |what: &str| {
        let bottom = browser.js(&format!(
            "document.querySelector('{what}').getBoundingClientRect().bottom"
        ));
        bottom.as_f64().expect("pixels")
    };
    browser.size(1440, 900);
    browser.open("/");
    // All nodes, all failures shown, the strip of hours, and what runs.
    for part in ["#tiles", "#failed", "#nodes", "#day", "#now li"] {
        assert!(bottom(part) <= 900.0, "{part} ends at {}", bottom(part));
    }
    assert_eq!(
        browser.js("document.querySelectorAll('#nodes li').length"),
        30
    );
    browser.size(360, 740);
    browser.open("/");
    for part in ["#tiles", "#failed li:nth-child(3)"] {
        assert!(bottom(part) <= 740.0, "{part} ends at {}", bottom(part));
    }

    // Every bar can be hit by a finger, and the latest are those that are shown.
    browser.open("/presets/deploy-web");
    let bars = browser.js(
        "[...document.querySelectorAll('.bars li')].filter((li) => li.checkVisibility()).map((li) => li.getBoundingClientRect()).filter((box) => box.width < 24 || box.height < 24 || box.right > innerWidth).length",
    );
    assert_eq!(bars, 0);
    let last = "((bars) => bars.at(-1).checkVisibility() && !bars[0].checkVisibility() && bars.length)([...document.querySelectorAll('.bars li')])";
    assert_eq!(browser.js(last), 30);
    browser.size(1440, 900);
    browser.until("[...document.querySelectorAll('.bars li')].every((li) => li.checkVisibility())");
    browser.is_content();
}

#[test]
fn the_filters_leave_a_phone_room_for_the_list() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    admin.queue("node-1");
    agent.claim();
    let browser = Browser::of(&server, &admin);
    let chooses = |field: &str| format!("document.querySelector('{field}').checkVisibility()");
    browser.size(1200, 900);
    browser.open("/jobs?state=running&time=24h");
    browser.until(&chooses("#by-state"));
    assert_eq!(browser.js(&chooses(".further summary")), false);
    browser.size(360, 740);
    browser.until(&chooses(".further summary"));
    assert_eq!(browser.js(&chooses("#by-state")), false);
    assert_eq!(browser.text(".further summary"), "Filters (2 set)");
    // Every entry of the navigation is in sight.
    let sideways = "[...document.querySelectorAll('.top nav, .top nav a')].filter((each) => \
        each.scrollWidth > each.clientWidth || each.getBoundingClientRect().right > innerWidth).length";
    assert_eq!(browser.js(sideways), 0);
    browser.press("Filters (2 set)");
    browser.choose("#by-state", "failed");
    browser.press("Filter");
    browser.see("No job matches.");
    assert_eq!(
        browser.path(),
        "/jobs?q=&state=failed&node=&preset=&by=&time=24h"
    );
    browser.is_content();
}
