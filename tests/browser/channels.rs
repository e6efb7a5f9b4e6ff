//! Channels in the browser: adding one, a test that fails, rules and messages.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Field, Server};
use crate::schedules::pictures;

#[test]
fn a_channel_is_added_and_its_test_shows_why_it_failed() {
    let mut server = Server::start();
    let admin = server.admin();
    let browser = Browser::of(&server, &admin);
    browser.open("/channels");
    browser.see("tried again for three days");
    pictures(&browser, "channels-empty");
    browser.press("Webhook");
    browser.see("New channel: Webhook");
    browser.fill("#f-name", "ops");
    // This server itself does not know the address, and says so.
    browser.fill("[id='f-set.url']", &format!("{}/api/nowhere", server.url()));
    pictures(&browser, "channel-new");
    browser.press("Add the channel");
    browser.see("is shown only now");
    pictures(&browser, "channel-secret");
    browser.press("Send a test");
    browser.see("The test message was not accepted");
    browser.see("This address does not exist");
    pictures(&browser, "channel-test-failed");
    let channel = admin.get("/api/channels").ok().list("channels")[0].field("id");
    let database = server.database();
    let attempts = r#"[{"at":"2026-11-30T01:02:03.000Z","status":502,"error":"answered 502","answer":"bad gateway"},{"at":"2026-11-30T01:12:03.000Z","status":null,"error":"the receiver did not answer within 10 s","answer":null}]"#;
    for (id, state) in [("0193-a", "failed"), ("0193-b", "delivered")] {
        let (now, later) = (database.now(), database.in_future("1 hours"));
        database.execute(&format!(
            "INSERT INTO deliveries (id, channel_id, event, message, state, created_at, next_attempt_at, give_up_at, attempts)
             VALUES ('{id}', '{channel}', 'run_failed', '{{}}', '{state}', {now}, NULL, {later}, '{attempts}')"
        ));
    }
    browser.open(&format!("/channels/{channel}"));
    browser.see("Given up");
    browser.js("document.querySelector('table.deliveries details').open = true");
    pictures(&browser, "channel-messages");
    browser.open("/");
    browser.see("1 notification was given up.");
    pictures(&browser, "overview-given-up");
    browser.open("/channels");
    browser.see("1 given up");
    pictures(&browser, "channels");
    assert_eq!(
        admin.get("/api/rules").ok()["rules"][0]["on"],
        json!([
            "job_failed",
            "job_recovered",
            "job_lost",
            "run_failed",
            "schedule_missed"
        ])
    );
    browser.is_content();
}
