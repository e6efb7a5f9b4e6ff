//! Runs in a browser: the form that shows the nodes before anything is queued, and the page of a
//! run while its agents report.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{FakeAgent, Field, Person, Server, eventually, id_of, write_preset};

/// Three steps.
const THREE: &str = "name: three\ntitle: Three steps\ndescription: For tests.\ntargets: [any]\nrisk: low\ntimeout: 1m\n\
    steps:\n  - name: Look around\n    run: uptime\n  - name: Change it\n    run: echo change\n  - name: Check it\n    run: echo check\n";

pub(crate) fn write_three(server: &Server) {
    write_preset(&server.presets_dir(), "three", THREE);
}

fn add_nodes(admin: &Person, count: usize) -> Vec<FakeAgent> {
    let add = |number: usize| {
        let id = format!("web-{number:02}");
        let role = if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        };
        let body = json!({"id": id, "labels": {"role": role}});
        admin.post("/api/nodes", &body).gives(201);
        admin.agent_of(&id)
    };
    (1..=count).map(add).collect()
}

/// Queues `three` on the nodes of these agents; the run's id.
pub(crate) fn queue_run(admin: &Person, agents: &[FakeAgent], plan: Value) -> String {
    let nodes: Vec<&str> = agents.iter().map(|agent| agent.node_id.as_str()).collect();
    let body = json!({"preset": "three", "nodes": nodes, "plan": plan});
    id_of(&admin.post("/api/runs", &body).gives(201).json())
}

/// Claims a job and announces its steps up to this one.
pub(crate) fn work(agent: &FakeAgent, steps: usize) -> String {
    let job = agent.claim_id();
    let names = ["Look around", "Change it", "Check it"];
    let announce = |(index, name): (usize, &&str)| format!("==> [{}/3] {name}\n", index + 1);
    let text: String = names.iter().take(steps).enumerate().map(announce).collect();
    agent.say(&job, 0, &text);
    job
}

pub(crate) fn state_of(node: &str) -> String {
    format!(
        "[...document.querySelectorAll('#run-jobs tr')].find((row) => row.cells[0].textContent.trim() === '{node}').dataset.is"
    )
}

#[test]
fn a_run_is_queued_on_the_nodes_that_were_shown() {
    let mut server = Server::start();
    let admin = server.admin();
    write_three(&server);
    let agents = add_nodes(&admin, 4);
    agents[1].beat();
    let browser = Browser::of(&server, &admin);
    browser.open("/presets/three");
    browser.press("Several nodes");
    browser.until("location.search === '?on=many'");
    browser.fill("#f-selector", "role in even");
    browser.press("Show the nodes");
    browser
        .until("document.getElementById('f-selector-fault').textContent.includes('character 9')");
    browser.fill("#f-selector", "role=even");
    browser.fill("#f-canary", "1");
    browser.press("Show the nodes");
    browser.see("2 nodes in 2 batches");
    let rows = "[...document.querySelectorAll('.matched tbody tr')].map((row) => [...row.cells].slice(0, 3).map((cell) => cell.textContent.trim()).join(' '))";
    assert_eq!(
        browser.js(rows),
        json!(["web-02 0 Online", "web-04 1 Offline"])
    );
    assert_eq!(admin.get("/api/runs").ok().list("runs").len(), 0);
    browser.picture("run-form");
    browser.press("Queue on 2 nodes");
    browser.until("location.pathname.startsWith('/runs/')");
    let runs = admin.get("/api/runs").ok().list("runs");
    assert_eq!(runs[0]["selector"], "role=even");
    assert_eq!(runs[0]["plan"]["canary"], 1);
    browser.see("web-04");
    // Chosen by name, and the nodes change after they were shown: they are shown again.
    browser.open("/presets/three?on=many");
    browser.fill("#f-selector", "role=odd");
    browser.press("Show the nodes");
    browser.see("2 nodes in 1 batch");
    let body = json!({"id": "web-99", "labels": {"role": "odd"}});
    admin.post("/api/nodes", &body).gives(201);
    browser.press("Queue on 2 nodes");
    browser.see("3 nodes in 1 batch");
    browser.press("Queue on 3 nodes");
    browser.until("location.pathname.startsWith('/runs/')");
    assert_eq!(admin.get("/api/runs").ok().list("runs")[0]["nodeCount"], 3);
    // The malformed selector was refused.
    let complaints = browser.complaints();
    assert!(
        complaints.iter().all(|line| line.contains("400")),
        "{complaints:#?}"
    );
}

#[test]
fn the_page_of_a_run_is_live() {
    let mut server = Server::start();
    let admin = server.admin();
    write_three(&server);
    let agents = add_nodes(&admin, 4);
    let id = queue_run(
        &admin,
        &agents,
        json!({"canary": 1, "batch": 2, "maxFailures": 1}),
    );
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/runs/{id}"));
    browser.see("web-04");
    assert_eq!(browser.js(&state_of("web-01")), "queued");
    assert_eq!(browser.js(&state_of("web-02")), "held");
    let job = work(&agents[0], 2);
    browser.until(&format!("{} === 'running'", state_of("web-01")));
    // Each cell leads to its step in the job's log.
    browser.until("document.querySelectorAll('#run-jobs td.step a').length === 2");
    let link =
        "[...document.querySelectorAll('#run-jobs td.step a')].map((a) => a.getAttribute('href'))";
    assert_eq!(
        browser.js(link),
        json!([format!("/jobs/{job}#step-1"), format!("/jobs/{job}#step-2")])
    );
    agents[0].succeed(&job);
    browser.until(&format!("{} === 'queued'", state_of("web-02")));
    let failed = work(&agents[1], 1);
    agents[1].complete(&failed, &json!({"exitCode": 7})).ok();
    browser.see("exit code 7");
    browser.press("Pause");
    browser.see("No further batch is released");
    browser.press("Resume");
    browser.until("!document.body.innerText.includes('No further batch is released')");
    // The filter.
    browser.js("document.querySelector('a[data-filter=failed]').click()");
    browser.until("[...document.querySelectorAll('#run-jobs tbody tr')].filter((row) => row.checkVisibility()).length === 1");
    browser.js("document.querySelector('a[data-filter=\"\"]').click()");
    browser.press("Cancel");
    browser.say_yes();
    browser.until(&format!("{} === 'cancelled'", state_of("web-04")));
    browser.see("Cancelled");
    browser.press("Retry 3 nodes");
    browser.until(&format!(
        "location.pathname.startsWith('/runs/') && location.pathname !== '/runs/{id}'"
    ));
    let newest = admin.get("/api/runs").ok().list("runs")[0].clone();
    assert_eq!(newest["retryOf"], json!(id));
    browser.open(&format!("/jobs/{failed}#step-1"));
    browser.until("document.getElementById('step-1')");
    browser.press("batch 1");
    browser.until(&format!("location.pathname === '/runs/{id}'"));
    browser.is_content();
}

#[test]
fn a_run_needs_no_script() {
    let mut server = Server::start();
    let admin = server.admin();
    write_three(&server);
    let agents = add_nodes(&admin, 2);
    let off = json!({"profile.managed_default_content_settings.javascript": 2});
    let browser = Browser::with(&server, &[("prefs", off)]);
    browser.sign_in(&admin);
    browser.open("/presets/three");
    browser.press("Several nodes");
    browser.fill("#f-selector", "role");
    browser.press("Show the nodes");
    browser.press("Queue on 2 nodes");
    browser.until("location.search.includes('view=plain')");
    browser.see("web-02");
    work(&agents[0], 1);
    // The page reloads by itself.
    browser.until(&format!("{} === 'running'", state_of("web-01")));
    browser.press("Cancel");
    browser.until("location.search.includes('view=plain')");
    let page = admin.get("/api/runs").ok();
    let id = id_of(&page.list("runs")[0]);
    eventually("a cancelled job", || {
        let run = admin.get(&format!("/api/runs/{id}")).ok();
        (run["counts"]["cancelled"] == 1).then_some(())
    });
}

#[test]
fn a_filter_that_is_chosen_during_a_fetch_stays_chosen() {
    let mut server = Server::start();
    let admin = server.admin();
    write_three(&server);
    let agents = add_nodes(&admin, 2);
    let id = queue_run(&admin, &agents, json!({}));
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/runs/{id}"));
    browser.see("web-02");
    // Keeps the answers with rows back until the test releases them.
    browser.js("(window.answers = [], window.fetched = window.fetch, window.fetch = async (url, options) => { \
        const answer = await window.fetched(url, options); \
        if (String(url).includes('/rows')) await new Promise((go) => window.answers.push(go)); \
        return answer; }, true)");
    work(&agents[0], 1);
    browser.until("window.answers.length");
    browser.js("document.querySelector('a[data-filter=queued]').click()");
    browser.js("(window.fetch = window.fetched, window.answers.forEach((go) => go()), true)");
    browser.until(&format!("{} === 'running'", state_of("web-01")));
    let shown = "[...document.querySelectorAll('#run-jobs tbody tr')].filter((row) => row.checkVisibility()).map((row) => row.cells[0].textContent.trim())";
    assert_eq!(browser.js(shown), json!(["web-02"]));
    let chosen = "[...document.querySelectorAll('a[data-filter][aria-current]')].map((link) => link.dataset.filter)";
    assert_eq!(browser.js(chosen), json!(["queued"]));
    browser.is_content();
}
