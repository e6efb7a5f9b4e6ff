//! The matrix of drift: thirty nodes and ten presets.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Server, write_preset};
use crate::looks::check;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

#[test]
fn thirty_nodes_and_ten_presets_are_readable_by_keyboard_on_a_phone_and_without_a_script() {
    let mut server = Server::start();
    let admin = server.admin();
    let presets: Vec<String> = (1..=10).map(|n| format!("preset-of-size-{n}")).collect();
    for name in &presets {
        let preset = json!({"name": name, "title": name, "targets": ["any"],
            "steps": [{"name": "One", "unless": "true", "run": "true"}]});
        write_preset(&server.presets_dir(), name, &preset.to_string());
    }
    let job = {
        let agent = admin.add_node("edge-node-01");
        let job = admin.queue("edge-node-01");
        agent.claim();
        agent.succeed(&job);
        job
    };
    let database = server.database();
    database.execute("DELETE FROM drift");
    for node in 1..=30 {
        let id = format!("edge-node-{node:02}");
        if node > 1 {
            admin.add_node(&id);
        }
        for (at, preset) in presets.iter().enumerate() {
            let (check, steps) = match (node * 7 + at) % 10 {
                0 => (
                    format!("'{job}'"),
                    r#"[{"index":1,"name":"One","state":"wouldRun"}]"#,
                ),
                1 => ("NULL".to_owned(), "[]"),
                2 => continue,
                _ => (
                    format!("'{job}'"),
                    r#"[{"index":1,"name":"One","state":"ok"}]"#,
                ),
            };
            database.execute(&format!(
                "INSERT INTO drift (node_id, preset, params, applied_job_id, applied_at, check_job_id, steps)
                 VALUES ('{id}', '{preset}', '{{}}', '{job}', {}, {check}, '{steps}')",
                database.now()
            ));
        }
    }
    let browser = Browser::of(&server, &admin);
    for (scheme, width) in [
        ("light", 1440),
        ("dark", 1440),
        ("light", 360),
        ("dark", 360),
    ] {
        browser.colours(scheme);
        browser.size(width, 900);
        browser.open("/drift");
        browser.see("30 have drifted");
        check(&browser, &format!("drift {scheme} {width}"));
        browser.picture(&format!("drift-{scheme}-{width}"));
        let small = browser.js("[...document.querySelectorAll('#drift td a')].filter((e) => e.getBoundingClientRect().height < 23.9 || e.getBoundingClientRect().width < 23.9).map((e) => e.outerHTML)");
        assert_eq!(small, json!([]));
        if width == 1440 {
            let hidden = browser.js(
                "((e) => e.scrollWidth - e.clientWidth)(document.querySelector('.matrix-box'))",
            );
            assert_eq!(hidden, json!(0), "columns are out of sight");
        }
    }
    // By keyboard into the log of a check.
    browser.size(1440, 900);
    browser.open("/drift");
    browser.js("document.querySelector('#drift tbody td.ok a').focus()");
    browser.keys(TAB);
    browser.js("document.querySelector('#drift tbody td.drifted a').focus()");
    browser.keys(ENTER);
    browser.until(&format!("location.pathname === '/jobs/{job}'"));

    // A column is applied again, with a canary.
    browser.open("/drift");
    browser.js("document.querySelector('#drift thead a.again').click()");
    browser.see("goes first, as the canary");
    check(&browser, "drift again");
    browser.picture("drift-again-1440");
    browser.press("Apply again");
    browser.until("location.pathname.startsWith('/runs/')");
    browser.is_content();

    let off = json!({"profile.managed_default_content_settings.javascript": 2});
    let plain = Browser::with(&server, &[("prefs", off)]);
    plain.sign_in(&admin);
    plain.open("/drift?selector=node%3Dedge-node-02");
    plain.press("Check now");
    plain.until("location.pathname === '/runs'");
}
