//! A run's page with many nodes: thirty real agents, looked at in every way, and a thousand nodes
//! that all report.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{FakeAgent, Person, RealAgent, Server, id_of, write_preset};
use crate::looks::check;
use crate::runs::{state_of, work, write_three};

const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";

/// Everything on the page of a run that Tab must reach, in order.
const STOPS: &str = "[...document.querySelectorAll('#run-actions button, a[data-filter], #run-jobs a')].map((e) => e.getAttribute('href') ?? e.textContent.trim())";

/// The focused element, with what is wrong with how it shows its focus.
const FOCUS: &str = "((e) => { \
    const { outlineStyle, outlineWidth } = getComputedStyle(e); \
    const box = e.getBoundingClientRect(); \
    const faults = []; \
    if (!e.matches(':focus-visible') || outlineStyle === 'none' || !parseFloat(outlineWidth)) faults.push('no outline'); \
    if (box.bottom < 0 || box.top > innerHeight) faults.push('out of sight'); \
    return { stop: e.getAttribute('href') ?? e.textContent.trim(), faults }; \
  })(document.activeElement)";

fn number_of(count: &str, state: &str) -> String {
    format!("document.querySelector('a[data-filter={state}] b')?.textContent === '{count}'")
}

/// A preset whose second step waits for a file with the node's id, and whose third step fails on
/// `real-07`.
fn write_gated(server: &Server, gate: &str) {
    let wait = format!("until [ -e \"{gate}/$HYPRBOX_NODE_ID\" ]; do sleep 1; done");
    let preset = json!({
        "name": "gated", "title": "Gated", "description": "For tests.", "targets": ["any"], "risk": "low", "timeout": "10m",
        "steps": [
            {"name": "Look around", "run": "echo here"},
            {"name": "Wait for the file", "run": wait},
            {"name": "Check it", "run": "[ \"$HYPRBOX_NODE_ID\" != real-07 ] || exit 7"},
        ],
    });
    write_preset(&server.presets_dir(), "gated", &preset.to_string());
}

#[test]
fn thirty_real_agents_are_watched_live_by_keyboard_and_without_a_script() {
    let mut server = Server::start();
    let admin = server.admin();
    let folder = tempfile::tempdir().expect("a folder");
    let gate = folder.path();
    write_gated(&server, gate.to_str().expect("UTF-8"));
    let nodes: Vec<String> = (1..=30).map(|number| format!("real-{number:02}")).collect();
    let open_gate = |node: &str| fs::write(gate.join(node), "").expect("writes");
    let start = |node: &String| RealAgent::start(&server, &admin.add_node(node));
    let _agents: Vec<RealAgent> = nodes.iter().map(start).collect();
    let body = json!({"preset": "gated", "nodes": nodes, "plan": {"canary": 1, "maxFailures": 1}});
    let id = id_of(&admin.post("/api/runs", &body).gives(201).json());
    let page = format!("/runs/{id}");
    let browser = Browser::of(&server, &admin);
    browser.open(&page);
    browser.until(&format!("{} === 'running'", state_of("real-01")));
    browser.until(&number_of("29", "held"));

    // The canary ends, and 29 agents start at once.
    open_gate("real-01");
    browser.until(&number_of("29", "running"));
    browser.until(
        "document.querySelectorAll('#run-jobs td.step a[data-state=running][href$=step-2]').length === 29",
    );
    for (scheme, width) in [
        ("light", 1200),
        ("dark", 1200),
        ("light", 360),
        ("dark", 360),
    ] {
        browser.colours(scheme);
        browser.size(width, 900);
        check(&browser, &format!("30 agents {scheme} {width}"));
        browser.picture(&format!("run-30-{scheme}-{width}"));
    }
    let small = browser.js("[...document.querySelectorAll('#run-jobs a, a[data-filter], #run-actions button')].filter((e) => e.getBoundingClientRect().height < 23.9 || e.getBoundingClientRect().width < 23.9).map((e) => e.outerHTML)");
    assert_eq!(small, json!([]));
    browser.size(1200, 900);

    by_keyboard(&browser, || open_gate("real-02"));
    without_script(&server, &admin, &page);

    browser.open(&page);
    browser.until(&number_of("28", "running"));
    for node in &nodes {
        open_gate(node);
    }
    browser.until(&number_of("29", "succeeded"));
    browser.see("The run succeeded with 1 failure.");
    browser.see("exit code 7");
    assert_eq!(browser.js(&state_of("real-07")), "failed");
    browser.picture("run-30-ended");
    browser.is_content();
}

/// Tab reaches everything, also while the page changes, and Enter opens what has the focus.
fn by_keyboard(browser: &Browser, change: impl FnOnce()) {
    browser.js("document.activeElement.blur()");
    let wanted = browser.js(STOPS);
    let wanted = wanted.as_array().expect("links and buttons");
    // Two buttons, three filters, 30 nodes, and the steps of the canary and of 29 others.
    assert_eq!(wanted.len(), 2 + 3 + 30 + 3 + 29 * 2);
    let mut reached: Vec<Value> = Vec::new();
    for _ in 0..wanted.len() + 40 {
        browser.keys(TAB);
        let focus = browser.js(FOCUS);
        if reached.len() < wanted.len() && focus["stop"] == wanted[reached.len()] {
            assert_eq!(focus["faults"], json!([]), "{}", focus["stop"]);
            reached.push(focus["stop"].clone());
        }
    }
    assert_eq!(&reached, wanted);

    // A filter keeps the focus while its number changes.
    browser.js("document.querySelector('#run-actions button').focus()");
    browser.tab_to("Running 29");
    browser.view("run-30-focus");
    change();
    browser.until("document.activeElement.textContent.trim() === 'Running 28'");
    assert_eq!(browser.js(FOCUS)["faults"], json!([]));
    browser.keys(ENTER);
    let shown = "[...document.querySelectorAll('#run-jobs tbody tr')].filter((row) => row.checkVisibility()).length";
    browser.until(&format!(
        "{shown} === 28 && location.search === '?state=running'"
    ));
    browser.tab_to("Step 2: running");
    let link = browser.js("document.activeElement.getAttribute('href')");
    browser.keys(ENTER);
    browser.until(&format!("location.pathname + location.hash === {link}"));
    browser.until("document.getElementById('step-2')");
}

/// The page shows the same and reloads itself; a filter is a link.
fn without_script(server: &Server, admin: &Person, page: &str) {
    let off = json!({"profile.managed_default_content_settings.javascript": 2});
    let browser = Browser::with(server, &[("prefs", off)]);
    browser.sign_in(admin);
    browser.open(page);
    browser.until("location.search.includes('view=plain')");
    browser.until(&number_of("28", "running"));
    assert_eq!(
        browser.js("document.querySelectorAll('#run-jobs tbody tr').length"),
        30
    );
    check(&browser, "30 agents without a script");
    browser.picture("run-30-plain");
    browser.press("Running 28");
    browser.until(
        "[...document.querySelectorAll('#run-jobs tbody tr')].filter((row) => row.checkVisibility()).length === 28",
    );
    browser.is_content();
}

/// The processor time that the server has used, in seconds.
fn processor_seconds(server: &Server) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(11).take(2);
    // Linux counts in hundredths of a second here, whatever the kernel's own clock is.
    ticks
        .map(|n| n.parse::<f64>().expect("a number"))
        .sum::<f64>()
        / 100.0
}

/// Calls `report` for each agent, four at a time.
fn all_report<T: Send>(agents: &[FakeAgent], report: impl Fn(&FakeAgent) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let parts = agents.chunks(agents.len().div_ceil(4));
        let threads: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().map(&report).collect::<Vec<T>>()))
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.flat_map(|done| done.expect("reports")).collect()
    })
}

/// Prints how long the page's tasks took: the aim is 50 ms at a time, on a machine with nothing
/// else to do.
#[test]
fn a_thousand_nodes_stay_smooth() {
    let mut server = Server::start();
    let admin = server.admin();
    write_three(&server);
    let now = server.database().now();
    let ids: Vec<String> = (0..1_000).map(|number| format!("n{number:04}")).collect();
    let rows: Vec<String> = ids
        .iter()
        .map(|id| format!("('{id}', '{id}', '{{}}', {now})"))
        .collect();
    server.database().execute(&format!(
        "INSERT INTO nodes (id, name, labels, created_at) VALUES {}",
        rows.join(", ")
    ));
    let body = json!({"preset": "three", "nodes": ids});
    let id = id_of(&admin.post("/api/runs", &body).gives(201).json());
    let agents: Vec<FakeAgent> = ids.iter().map(|id| admin.agent_of(id)).collect();
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/runs/{id}"));
    browser.see("n0999");

    // All nodes claim their jobs and report all steps.
    browser.js("(window.tasks = [], new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => Math.round(entry.duration)))).observe({ type: 'longtask' }), performance.clearResourceTimings(), performance.setResourceTimingBufferSize(10000), true)");
    browser.measure();
    let (began, used) = (Instant::now(), processor_seconds(&server));
    let jobs = all_report(&agents, |agent| work(agent, 3));
    browser.until(&number_of("1000", "running"));
    let used = processor_seconds(&server) - used;
    let took = began.elapsed().as_secs_f64();
    let fetches = browser.js("performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/rows')).length");
    eprintln!(
        "a run of 1,000 nodes, all report within {took:.1} s: tasks over 50 ms: {}; {fetches} fetches; \
         server {used:.1} s of processor, {:.2} cores; page {}",
        browser.js("window.tasks"),
        used / took,
        browser.work(),
    );
    let of_node: HashMap<&str, &String> = ids.iter().map(String::as_str).zip(&jobs).collect();
    all_report(&agents, |agent| {
        drop(agent.succeed(of_node[agent.node_id.as_str()]));
    });
    browser.until("document.querySelectorAll('#run-jobs tr[data-is=succeeded]').length === 1000");
    browser.see("on 1000 nodes.");
    browser.is_content();
}
