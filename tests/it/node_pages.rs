//! The pages of nodes: labels, selectors, changes, pauses and machines.

use serde_json::json;

use crate::harness::{Answer, Person, with_node};

/// A form's post by a browser that proves where it comes from.
fn submit(admin: &Person, path: &str, form: &str) -> Answer {
    let call = admin.browser("POST", path);
    let call = call.header("Sec-Fetch-Site", "same-origin");
    call.body("application/x-www-form-urlencoded", form).send()
}

fn encoded(selector: &str) -> String {
    selector
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect()
}

#[test]
fn the_nodes_page_shows_labels_and_filters_by_selector() {
    let (_server, admin, _agent) = with_node();
    for (id, labels) in [
        ("db-1", json!({"role": "db", "zone": "c"})),
        ("web-1", json!({"role": "web", "gpu": ""})),
        ("web-2", json!({"role": "web", "größe": "ü b"})),
    ] {
        let body = json!({"id": id, "labels": labels});
        admin.post("/api/nodes", &body).gives(201);
    }
    let page = |query: &str| admin.browser("GET", &format!("/nodes{query}"));
    let all = page("").gives(200).text();
    assert!(all.contains("href=\"/nodes?selector=role%3Dweb\""), "{all}");
    // No selector can name this one.
    assert!(
        all.contains("größe=ü b") && !all.contains("selector=gr"),
        "{all}"
    );
    let found = page(&format!("?selector={}", encoded("role=web,!gpu")));
    let found = found.gives(200).text();
    assert!(
        found.contains("/nodes/web-2") && !found.contains("/nodes/web-1"),
        "{found}"
    );
    assert!(found.contains("value=\"role=web,!gpu\""), "{found}");
    // Together with the search.
    let both = page("?selector=role&q=web-2").gives(200).text();
    assert!(
        both.contains("/nodes/web-2") && !both.contains("/nodes/db-1"),
        "{both}"
    );
    let wrong = page("?selector=role%20web").gives(400).text();
    assert!(wrong.contains("at character 6, but found `w`"), "{wrong}");
    assert!(!wrong.contains("/nodes/web-1"), "{wrong}");
}

#[test]
fn a_pause_is_shown_wherever_a_job_waits_for_it() {
    let (server, admin, agent) = with_node();
    agent.beat();
    admin
        .call("PATCH", "/api/nodes/n1")
        .json(&json!({"paused": true}))
        .ok();
    let job = admin.queue("n1");
    let page = |path: &str| admin.browser("GET", path).gives(200).text();
    let waits = page(&format!("/jobs/{job}"));
    assert!(
        waits.contains("n1 is paused. The job can start once an ADMIN resumes the node."),
        "{waits}"
    );
    let node = page("/nodes/n1");
    assert!(
        node.contains("Queued jobs wait until an ADMIN resumes it."),
        "{node}"
    );
    assert!(node.contains("action=\"/nodes/n1/resume\""), "{node}");
    for path in ["/nodes", "/"] {
        assert!(page(path).contains("data-state=\"paused\""), "{path}");
    }
    assert!(page("/presets/note").contains("paused: the job would wait"));
    if server.database().sqlite().is_some() {
        let doctor = server.setup().run(&["doctor"]);
        let words = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(
            words.contains("1 queued for n1, which is paused"),
            "{words}"
        );
        assert!(words.contains("hyprbox nodes resume"), "{words}");
    }
}

#[test]
fn the_nodes_page_changes_name_and_labels_and_pauses() {
    let (mut server, admin, _agent) = with_node();
    let form = "name=Web+one&key=role&value=web&key=a%3Db&value=c+d&key=&value=";
    let saved = submit(&admin, "/nodes/n1", form).is(303);
    assert_eq!(saved.header("location"), "/nodes/n1");
    let node = admin.get("/api/nodes/n1").ok();
    assert_eq!(node["name"], "Web one");
    assert_eq!(node["labels"], json!({"role": "web", "a=b": "c d"}));
    let shown = admin.browser("GET", "/nodes/n1").gives(200).text();
    for part in ["Web one", "value=\"a=b\"", "value=\"c d\"", "role=web"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // A form that is refused is shown again, as it was filled in.
    for (form, words) in [
        (
            "name=Kept&key=&value=lost",
            "must have a key for the value lost",
        ),
        (
            "name=Kept&key=a&value=1&key=a&value=2",
            "must have a only once",
        ),
        ("name=Kept%07&key=a&value=1", "without control characters"),
    ] {
        let again = submit(&admin, "/nodes/n1", form).is(400).text();
        assert!(
            again.contains(words) && again.contains("value=\"Kept"),
            "{words}: {again}"
        );
    }
    assert_eq!(admin.get("/api/nodes/n1").ok()["name"], "Web one");
    submit(&admin, "/nodes/n1/pause", "").is(303);
    assert_eq!(admin.get("/api/nodes/n1").ok()["paused"], true);
    submit(&admin, "/nodes/n1/resume", "").is(303);
    assert_eq!(admin.get("/api/nodes/n1").ok()["paused"], false);
    submit(&admin, "/nodes/none", "name=x").is(404);
    let viewer = server.person("vi", "VIEWER");
    submit(&viewer, "/nodes/n1/pause", "").is(403);
    let page = viewer.browser("GET", "/nodes/n1").gives(200).text();
    assert!(
        !page.contains("/nodes/n1/pause") && !page.contains("Edit name"),
        "{page}"
    );
}

#[test]
fn forms_refuse_query_parameters_that_they_do_not_know() {
    let (_server, admin, _agent) = with_node();
    let job = admin.queue("n1");
    for path in [
        "/nodes",
        "/nodes/n1",
        "/nodes/n1/pause",
        "/nodes/n1/resume",
        "/nodes/n1/delete",
        "/nodes/n1/tokens",
        "/presets/note",
        "/account/password",
        "/account/tokens",
        "/users",
        "/login",
        "/logout",
        &format!("/jobs/{job}/cancel"),
    ] {
        let refused = submit(&admin, &format!("{path}?unheardOf=1"), "id=x").is(400);
        assert!(
            refused.text().contains("unheardOf"),
            "{path}: {}",
            refused.text()
        );
    }
    assert_eq!(admin.job(&job)["status"], "QUEUED");
    assert_eq!(
        admin.get("/api/nodes").ok()["nodes"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_nodes_page_shows_its_machine() {
    let (_server, admin, agent) = with_node();
    let page = || admin.browser("GET", "/nodes/n1").gives(200).text();
    assert!(!page().contains("Machine"), "before the first report");
    let facts = json!({"arch": "x86_64", "kernel": "6.12.48+deb13-amd64", "memoryBytes": 16_777_216_000_u64,
        "disks": [{"mount": "/srv", "sizeBytes": 256_000_000_000_u64, "freeBytes": 64_000_000_000_u64}],
        "addresses": ["2001:db8::7"], "virtualization": "kvm", "bootedAt": "2026-11-24T09:30:00Z"});
    agent.heartbeat(&json!({"facts": facts})).ok();
    let shown = page();
    for words in [
        "Machine",
        "6.12.48+deb13-amd64",
        "15.6 GiB",
        "/srv",
        "59.6 GiB of 238.4 GiB free",
        "2001:db8::7",
        "kvm",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}
