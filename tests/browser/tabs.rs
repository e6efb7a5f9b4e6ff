//! Many tabs on one server: a browser has six connections to it, and each stream takes one.

use crate::browser::Browser;
use crate::harness::{Field, Person, Server, eventually};

/// The text of the log, line by line.
const LOG: &str = "[...document.querySelectorAll('.l')].map((l) => l.textContent).join()";

/// How many streams the server has open.
fn streams(admin: &Person) -> u64 {
    let metrics = admin.get("/metrics").gives(200).text();
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("hyprbox_sse_clients "));
    count
        .unwrap_or_else(|| panic!("{metrics}"))
        .parse()
        .expect("a number")
}

/// Opens that many visible windows on these addresses, in turn.
fn windows(browser: &Browser, count: usize, addresses: &[String]) -> Vec<String> {
    let open = |address: &String| {
        let window = browser.new_window();
        browser.open(address);
        window
    };
    let windows: Vec<String> = addresses.iter().cycle().take(count).map(open).collect();
    for window in &windows {
        browser.look_at(window);
        assert_eq!(browser.js("document.hidden"), false);
    }
    windows
}

fn all_show(browser: &Browser, windows: &[String], text: &str) {
    for window in windows {
        browser.look_at(window);
        let shows = format!("({LOG}) === '{text}'");
        browser.until(&shows);
    }
}

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

#[test]
fn eight_visible_windows_share_their_line_and_survive_their_leader() {
    let mut server = Server::start();
    let admin = server.admin();
    let (one, two) = (admin.add_node("node-1"), admin.add_node("node-2"));
    let (a, b) = (admin.queue("node-1"), admin.queue("node-2"));
    one.claim();
    two.claim();
    one.say(&a, 0, "1\n");
    two.say(&b, 0, "1\n");
    let address = server.address().to_owned();
    let browser = Browser::of(&server, &admin);
    let of_both = [format!("/jobs/{a}"), format!("/jobs/{b}")];
    let mut windows = windows(&browser, 8, &of_both);
    all_show(&browser, &windows, "1");
    eventually("three streams at the most", || {
        (streams(&admin) <= 3).then_some(())
    });
    // A page that is opened beside them has a connection left.
    windows.push(browser.new_window());
    browser.open("/");
    browser.see("node-2");
    windows.pop();

    one.say(&a, 2, "2\n");
    two.say(&b, 2, "2\n");
    all_show(&browser, &windows, "1,2");

    // The first one leads: its lock was asked for first.
    browser.look_at(&windows.remove(0));
    browser.close_window();
    one.say(&a, 4, "3\n");
    two.say(&b, 4, "3\n");
    all_show(&browser, &windows, "1,2,3");

    server.terminate();
    for window in &windows {
        browser.look_at(window);
        browser.until("!document.getElementById('line-down').hidden");
    }
    server.set("HYPRBOX_LISTEN", &address);
    server.start_again();
    let (one, two) = (one.at(&server), two.at(&server));
    one.say(&a, 6, "4\n");
    two.say(&b, 6, "4\n");
    all_show(&browser, &windows, "1,2,3,4");
    for n in 0..20 {
        one.say(&a, 8 + 2 * n, "x\n");
    }
    one.succeed(&a);
    two.succeed(&b);
    for window in &windows {
        browser.look_at(window);
        browser.until("document.querySelector('#job-state [data-state=succeeded]')");
        browser.until("document.getElementById('line-down').hidden");
        let is_first = browser.path().ends_with(&a);
        let lines = browser.js("document.querySelectorAll('.l').length");
        assert_eq!(lines, if is_first { 24 } else { 4 });
    }
}

#[test]
fn busy_output_is_whole_in_every_window() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let browser = Browser::of(&server, &admin);
    let mut sent = 0;
    let mut windows = Vec::new();
    let mut said = 0;
    // Opened while it writes: each goes over to the line in the middle of the output.
    for _ in 0..6 {
        windows.push(browser.new_window());
        browser.open(&format!("/jobs/{id}"));
        for _ in 0..10 {
            let text: String = (said..said + 20).map(|n| format!("{n} é\n")).collect();
            said += 20;
            sent = agent.say(&id, sent, &text).count("stdoutBytes");
        }
    }
    agent.succeed(&id);
    let wanted: Vec<String> = (0..said).map(|n| format!("{n} é")).collect();
    all_show(&browser, &windows, &wanted.join(","));
}
