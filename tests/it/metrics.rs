//! `/metrics`: what each sample says after something happened, and how many samples there can be.

use serde_json::json;

use crate::due::ahead;
use crate::harness::{Person, Server, Setup, eventually, unix_time, with_node, write_preset};

/// The value of one sample, written with its labels; `None` if the page does not have it.
fn value_of(page: &str, sample: &str) -> Option<f64> {
    let rest = page.lines().find_map(|line| line.strip_prefix(sample))?;
    Some(rest.strip_prefix(' ')?.parse().expect("a number"))
}

fn scrape(admin: &Person) -> String {
    admin.get("/metrics").gives(200).text()
}

#[track_caller]
fn expect(page: &str, samples: &[(&str, f64)]) {
    for (sample, value) in samples {
        assert_eq!(value_of(page, sample), Some(*value), "{sample} in\n{page}");
    }
}

#[test]
fn requests_count_by_route_and_never_by_path() {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    admin.job(&id);
    admin.job(&id);
    admin.get("/api/jobs/not-a-job").gives(404);
    server.get("/api/jobs").gives(401);
    server.get("/no-such-page-4711").gives(404);
    server.call("PURGE", "/api/jobs").send();
    admin.browser("GET", &format!("/jobs/{id}")).gives(200);
    agent.claim();
    // The first of these is routed, and the others are answered before the router.
    for _ in 0..3 {
        agent.poll(&format!("&running={id}")).gives(200);
    }
    let page = scrape(&admin);
    let count = |route: &str, method: &str, status: &str| {
        let sample = format!(
            "hyprbox_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"
        );
        value_of(&page, &sample)
    };
    assert_eq!(count("/api/jobs/{id}", "GET", "200"), Some(2.0), "{page}");
    assert_eq!(count("/api/jobs/{id}", "GET", "404"), Some(1.0), "{page}");
    assert_eq!(count("/api/jobs", "GET", "401"), Some(1.0), "{page}");
    assert_eq!(count("/api/jobs", "POST", "201"), Some(1.0), "{page}");
    assert_eq!(count("/api/jobs", "other", "405"), Some(1.0), "{page}");
    assert_eq!(count("/jobs/{id}", "GET", "200"), Some(1.0), "{page}");
    assert_eq!(count("other", "GET", "404"), Some(1.0), "{page}");
    let polls = count("/api/jobs/pending", "GET", "200");
    assert_eq!(polls, Some(4.0), "{page}");
    for secret in [id.as_str(), "not-a-job", "4711", "PURGE"] {
        assert!(!page.contains(secret), "{secret} in {page}");
    }
}

#[test]
fn ended_jobs_count_by_preset_with_their_duration() {
    let (_server, admin, agent) = with_node();
    for preset in ["note", "note", "vault"] {
        let params = match preset {
            "vault" => json!({"key": "sesame"}),
            _ => json!({}),
        };
        let id = admin.queue_with("n1", preset, params);
        agent.claim();
        agent.succeed(&id);
    }
    let cancelled = admin.queue("n1");
    admin.cancel(&cancelled).gives(200);
    let page = scrape(&admin);
    expect(
        &page,
        &[
            ("hyprbox_jobs_queued_total{preset=\"note\"}", 3.0),
            ("hyprbox_jobs_queued_total{preset=\"vault\"}", 1.0),
            ("hyprbox_jobs_queued_total{preset=\"_other\"}", 0.0),
            (
                "hyprbox_jobs_finished_total{preset=\"note\",outcome=\"succeeded\"}",
                2.0,
            ),
            (
                "hyprbox_jobs_finished_total{preset=\"note\",outcome=\"cancelled\"}",
                1.0,
            ),
            (
                "hyprbox_jobs_finished_total{preset=\"note\",outcome=\"failed\"}",
                0.0,
            ),
            // The cancelled job never began.
            ("hyprbox_job_duration_seconds_count{preset=\"note\"}", 2.0),
            (
                "hyprbox_job_duration_seconds_bucket{le=\"+Inf\",preset=\"vault\"}",
                1.0,
            ),
            ("hyprbox_job_queue_seconds_count", 3.0),
        ],
    );
}

#[test]
fn only_64_presets_have_a_label_of_their_own() {
    let setup = Setup::new();
    let name = |number: usize| format!("preset-{number}");
    for number in 0..70 {
        let name = name(number);
        let text = format!(
            "name: {name}\ntitle: One\ntargets: [any]\nrisk: low\nsteps:\n  - {{name: One, run: echo one}}\n"
        );
        write_preset(&setup.presets_dir(), &name, &text);
    }
    let mut server = setup.start();
    let admin = server.admin();
    admin.add_node("n1");
    for number in 0..70 {
        admin.queue_with("n1", &name(number), json!({}));
    }
    // Once more each, so that the ones without a label are found to have none.
    for number in 0..70 {
        admin.queue_with("n1", &name(number), json!({}));
    }
    let page = scrape(&admin);
    let queued: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("hyprbox_jobs_queued_total{preset=\"preset-"))
        .collect();
    assert_eq!(queued.len(), 64, "{queued:#?}");
    assert!(queued.iter().all(|line| line.ends_with("} 2")), "{page}");
    expect(
        &page,
        &[("hyprbox_jobs_queued_total{preset=\"_other\"}", 12.0)],
    );
}

#[test]
fn a_job_ages_while_an_agent_could_claim_it() {
    let (server, admin, agent) = with_node();
    let age = || value_of(&scrape(&admin), "hyprbox_oldest_claimable_job_age_seconds");
    assert_eq!(age(), Some(0.0));
    let held = json!({"preset": "note", "nodeId": "n1", "notBefore": ahead(86_400_000)});
    admin.post("/api/jobs", &held).gives(201);
    assert_eq!(age(), Some(0.0), "a held job can't be claimed");
    let id = admin.queue("n1");
    server.database().execute(&format!(
        "UPDATE jobs SET created_at = '2020-01-01T00:00:00.000Z' WHERE id = '{id}'"
    ));
    let years = eventually("the age", || age().filter(|age| *age > 0.0));
    assert!(years > 6.0 * 365.0 * 86_400.0, "{years}");
    admin
        .call("PATCH", "/api/nodes/n1")
        .json(&json!({"paused": true}))
        .gives(200);
    let page = scrape(&admin);
    expect(
        &page,
        &[
            ("hyprbox_oldest_claimable_job_age_seconds", 0.0),
            ("hyprbox_nodes_paused", 1.0),
        ],
    );
    admin
        .call("PATCH", "/api/nodes/n1")
        .json(&json!({"paused": false}))
        .gives(200);
    assert!(age().expect("a value") > 0.0);
    assert_eq!(agent.claim_id(), id);
    expect(
        &scrape(&admin),
        &[
            ("hyprbox_oldest_claimable_job_age_seconds", 0.0),
            ("hyprbox_nodes_paused", 0.0),
        ],
    );
}

#[test]
fn nodes_count_by_state_and_by_an_agent_that_is_behind() {
    let (_server, admin, agent) = with_node();
    let beat = |version: &str| {
        let body = json!({"instance": "one", "agentVersion": version});
        agent.heartbeat(&body).gives(200);
    };
    admin.add_node("never-seen");
    beat("0.0.9");
    expect(
        &scrape(&admin),
        &[
            ("hyprbox_nodes{status=\"ONLINE\"}", 1.0),
            ("hyprbox_nodes{status=\"OFFLINE\"}", 1.0),
            ("hyprbox_agents_behind", 1.0),
        ],
    );
    beat(env!("CARGO_PKG_VERSION"));
    expect(&scrape(&admin), &[("hyprbox_agents_behind", 0.0)]);
}

#[test]
fn the_server_reports_its_build_its_process_and_its_database() {
    let started = unix_time().as_secs_f64();
    let mut server = Server::start();
    let admin = server.admin();
    let page = scrape(&admin);
    let database = if server.database().sqlite().is_none() {
        "postgres"
    } else {
        "sqlite"
    };
    let build = format!(
        "hyprbox_build_info{{version=\"{}\",database=\"{database}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    expect(&page, &[(&build, 1.0)]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("runs");
    let kib = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("a number").parse().expect("a number")
    };
    let value =
        |sample: &str| value_of(&page, sample).unwrap_or_else(|| panic!("{sample}: {page}"));
    let resident = value("process_resident_memory_bytes");
    assert!(resident <= kib("VmHWM:") * 1_024.0, "{resident}: {status}");
    assert!(
        resident > kib("VmRSS:") * 1_024.0 / 2.0,
        "{resident}: {status}"
    );
    assert!(value("process_virtual_memory_bytes") > resident);
    assert!(value("process_cpu_seconds_total") > 0.0);
    let start = value("process_start_time_seconds");
    assert!((started - 1.0..=unix_time().as_secs_f64() + 1.0).contains(&start));
    let (open, max) = (value("process_open_fds"), value("process_max_fds"));
    assert!(open > 3.0 && open < max, "{open} of {max}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("runs");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    assert_eq!(soft.expect("a limit").parse(), Ok(max));
    assert!(value("hyprbox_database_size_bytes") >= 4_096.0 * 10.0);
}

#[test]
fn each_durable_write_counts_with_its_time() {
    let (_server, admin, _agent) = with_node();
    let writes = |page: &str| {
        let count = value_of(page, "hyprbox_database_write_duration_seconds_count");
        count.expect("a count")
    };
    let before = scrape(&admin);
    for _ in 0..10 {
        admin.queue("n1");
    }
    let after = scrape(&admin);
    assert!(writes(&after) >= writes(&before) + 10.0, "{after}");
    let name = "hyprbox_database_write_duration_seconds";
    let bucket = |bound: &str| value_of(&after, &format!("{name}_bucket{{le=\"{bound}\"}}"));
    assert_eq!(bucket("+Inf"), Some(writes(&after)));
    for bound in ["0.0005", "0.01", "1.0", "10.0"] {
        assert!(bucket(bound).is_some(), "{bound}: {after}");
    }
    assert!(value_of(&after, &format!("{name}_sum")).expect("a sum") > 0.0);
}
