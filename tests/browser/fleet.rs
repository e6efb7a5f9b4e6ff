//! Ten thousand nodes: every page stays small, and a node is found rather than scrolled to.

use std::time::Instant;

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Field, Person, Server};

const NODES: usize = 10_000;
/// What a page may weigh, in bytes before compression.
const PAGE_MAX: usize = 64 * 1024;

/// A server with ten thousand nodes of four systems; one in ten was seen just now, and stays ONLINE
/// for hours.
fn fleet() -> (Server, Person) {
    let mut server = Server::start();
    server.admin();
    server.terminate();
    let database = server.database();
    let now = database.now();
    for numbers in (0..NODES).collect::<Vec<_>>().chunks(1_000) {
        let rows: Vec<String> = numbers.iter().map(|n| row(*n, now)).collect();
        database.execute(&format!(
            "INSERT INTO nodes (id, name, labels, created_at, last_seen_at, hostname, os_id, os_pretty_name, agent_version, interval_ms)
             VALUES {}",
            rows.join(", ")
        ));
    }
    server.start_again();
    let admin = server.admin();
    (server, admin)
}

fn row(n: usize, now: &str) -> String {
    let seen = if n % 10 == 7 { now } else { "NULL" };
    let (os, pretty) = [
        ("debian", "Debian GNU/Linux 12 (bookworm)"),
        ("ubuntu", "Ubuntu 24.04 LTS"),
        ("arch", "Arch Linux"),
        ("alpine", "Alpine Linux v3.20"),
    ][n % 4];
    let site = ["eu", "us", "ap"][n % 3];
    format!(
        "('node-{n:05}', 'node-{n:05}', '{{\"site\":\"{site}\"}}', {now}, {seen}, 'host{n}.example.org', '{os}', '{pretty}', '0.1.0', 3600000)"
    )
}

#[test]
fn pages_of_ten_thousand_nodes_are_small_and_quick() {
    let (_server, admin) = fleet();
    let id = admin.queue("node-00042");
    for path in [
        "/".to_owned(),
        "/nodes".to_owned(),
        "/nodes?q=debian+eu&state=online".to_owned(),
        "/nodes?after=node-09949".to_owned(),
        "/jobs".to_owned(),
        "/jobs?node=node-0004".to_owned(),
        "/presets/note".to_owned(),
        "/presets/note/nodes?q=eu".to_owned(),
        format!("/jobs/{id}"),
    ] {
        let began = Instant::now();
        let page = admin.browser("GET", &path).gives(200).text();
        println!("{path}: {} bytes in {:.0?}", page.len(), began.elapsed());
        assert!(page.len() < PAGE_MAX, "{path} has {} bytes", page.len());
    }
    assert_eq!(admin.get("/api/nodes").ok().list("nodes").len(), NODES);
    // What a dashboard's stream opens with, once; what comes back is told what changed.
    let began = Instant::now();
    let mut stream = admin.get("/api/events").open();
    let events = stream.until(|event| event.name == "job");
    println!(
        "/api/events: {} events in {:.0?}",
        events.len(),
        began.elapsed()
    );
    assert_eq!(events.len(), NODES + 1);
    let last = events.last().expect("events").id.clone();
    let mut again = admin
        .get("/api/events")
        .header("last-event-id", &last)
        .open();
    admin.cancel(&id).gives(200);
    let events = again.until(|event| event.data["status"] == "CANCELLED");
    assert!(events.len() < 10, "{} events", events.len());
}

#[test]
fn a_node_among_ten_thousand_is_found() {
    let (server, admin) = fleet();
    let browser = Browser::of(&server, &admin);
    browser.open("/nodes");
    browser.see("1000 of 10000 online");
    browser.view("fleet-nodes");
    browser.press("Next");
    browser.see("node-00099");
    browser.fill("#q", "ubuntu us");
    browser.choose("#by-state", "online");
    browser.press("Search");
    browser.see("node-00037");
    assert!(!browser.shown().contains("node-00047"));
    browser.fill("#q", "100%_");
    browser.press("Search");
    browser.see("No node matches.");

    // The picker: what is typed is found, what the preset is for comes first.
    browser.open("/presets/server-light");
    browser.js("document.getElementById('f-node').focus()");
    browser.see("10000 nodes match. Type more to narrow the list.");
    browser.fill("#f-node", "node-0012");
    browser.see("10 nodes match. Type more to narrow the list.");
    browser.view("fleet-picker");
    let first = browser.text("#found-nodes button");
    assert!(first.starts_with("node-00120 · Debian"), "{first}");
    browser.js("document.querySelector('#found-nodes button[value=node-00121]').focus()");
    browser.keys("\u{e007}");
    browser.until("document.getElementById('f-node').value === 'node-00121'");
    browser.see("node-00121 · Ubuntu 24.04 LTS · offline: the job would wait");
    browser.open("/presets/note");
    browser.fill("#f-node", "node-99999");
    browser.press("Queue");
    browser.see("Doesn't exist; choose another node.");
    browser.see("No node matches.");
    browser.fill("#f-node", "node-00121");
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    browser.see("Waiting for node-00121");

    browser.open("/jobs?node=node-0012");
    browser.press("node-00121");
    browser.until("document.querySelector('table.jobs')");
    assert!(
        browser
            .complaints()
            .iter()
            .all(|line| line.contains("status of 4"))
    );
}

#[test]
fn a_node_among_ten_thousand_is_found_without_a_script() {
    let (server, admin) = fleet();
    let off = json!({"profile.managed_default_content_settings.javascript": 2});
    let browser = Browser::with(&server, &[("prefs", off)]);
    browser.sign_in(&admin);
    browser.open("/presets/note");
    browser.fill("[id='f-p.text']", "kept while one looks");
    browser.fill("#f-node", "us ubuntu 001");
    browser.press("Find");
    browser.press("node-00001 · Ubuntu 24.04 LTS offline");
    browser.press("Queue");
    browser.until("location.search.includes('view=plain')");
    let job = admin.get("/api/jobs").ok().list("jobs")[0].clone();
    assert_eq!(job["nodeId"], "node-00001");
    assert_eq!(job["params"]["text"], "kept while one looks");
}
