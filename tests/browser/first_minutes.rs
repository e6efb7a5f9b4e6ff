//! A person's first five minutes: setup link, node added, agent started, preset chosen, job
//! watched.

use crate::browser::Browser;
use crate::harness::{PASSWORD, RealAgent, Server};

#[test]
fn from_the_setup_link_to_a_job_that_was_watched() {
    let server = Server::start();
    let browser = Browser::on(&server);
    browser.open(&format!("/setup?code={}", server.setup_code()));
    browser.picture("first-1-setup");
    browser.fill("#f-email", "admin@example.org");
    browser.fill("#f-password", PASSWORD);
    browser.press("Set up");
    browser.see("First steps");
    browser.picture("first-2-empty");

    browser.fill("#f-id", "Prod 1");
    browser.js("document.querySelector('form[action=\"/nodes\"]').noValidate = true");
    browser.press("Add");
    browser.see("Must have 1 to 63 characters of a-z");
    assert!(
        browser
            .complaints()
            .iter()
            .all(|line| line.contains("status of 400"))
    );
    browser.fill("#f-id", "prod-eu-1");
    browser.press("Add");
    browser.see("Waiting for the agent to connect.");
    browser.picture("first-3-token");
    let by_hand = "By hand, with a token";
    browser.press(by_hand);
    let command = browser.text("details .copyable:nth-of-type(1) pre");
    assert!(command.ends_with("hyprbox-agent run"), "{command}");

    let token = browser.text("details .copyable:nth-of-type(2) pre");
    let admin = server.login("admin@example.org", PASSWORD);
    let mut identity = admin.add_node("spare");
    "prod-eu-1".clone_into(&mut identity.node_id);
    identity.token = token;
    let _agent = RealAgent::start(&server, &identity);
    // Without a reload.
    browser.see("The agent is connected.");
    browser.picture("first-4-connected");

    browser.press("Presets");
    browser.picture("first-5-presets");
    browser.press("System report");
    browser.choose("#f-node", "prod-eu-1");
    browser.fill("[id='f-p.pace']", "700");
    browser.press("Show the script");
    browser.see("The script that would be queued");
    browser.picture("first-6-preview");
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    browser.see("==> [1/8] System");
    browser.until("document.querySelector('#job-state [data-state=running]')");
    browser.view("first-7-running");
    browser.js("(window.notReloaded = true)");
    browser.until("document.querySelector('#job-state [data-state=succeeded]')");
    assert_eq!(
        browser.js("window.notReloaded"),
        true,
        "the page was reloaded"
    );
    browser.see("==> [8/8] Failed units");
    browser.picture("first-8-done");

    browser.press("Overview");
    browser.see("Succeeded");
    browser.picture("first-9-overview");
    browser.is_content();
}
