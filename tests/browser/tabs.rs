//! Many tabs on one server: a browser has six connections to it, and each stream takes one.

use crate::browser::Browser;
use crate::harness::Server;

#[test]
fn eight_tabs_on_a_running_job_all_show_it() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    agent.say(&id, 0, "first\n");
    let browser = Browser::of(&server, &admin);
    let mut tabs = Vec::new();
    for _ in 0..8 {
        tabs.push(browser.new_tab());
        browser.open(&format!("/jobs/{id}"));
        browser.see("first");
    }
    agent.say(&id, 6, "second\n");
    for tab in &tabs {
        browser.to_tab(tab);
        browser.see("second");
    }
    agent.succeed(&id);
    for tab in &tabs {
        browser.to_tab(tab);
        browser.until("document.querySelector('#job-state [data-state=succeeded]')");
        assert_eq!(browser.js("document.querySelectorAll('.l').length"), 2);
    }
}
