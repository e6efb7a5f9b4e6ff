//! The pages that list jobs: what a row says, filters and search, the overview, history in pictures.

use std::time::Instant;

use serde_json::json;

use crate::harness::{FakeAgent, Person, Server, eventually, id_of, with_node, write_preset};

const DEPLOY: &str = "name: deploy-web\ntitle: Deploy the web shop\ntargets: [any]\nrisk: low\n\
    params:\n  release: { type: string, required: true }\n  region: { type: string, default: eu }\n\
    steps:\n  - name: Fetch the release\n    run: 'true'\n  - name: Migrate the database\n    run: 'true'\n";
const STEPS: &str = "==> [1/2] Fetch the release\n==> [2/2] Migrate the database\n";

fn page(person: &Person, path: &str) -> String {
    person.browser("GET", path).gives(200).text()
}

/// Queues a deployment and claims it.
fn deploy(person: &Person, agent: &FakeAgent, release: &str) -> String {
    let params = json!({"release": release});
    let id = person.queue_with(&agent.node_id, "deploy-web", params);
    assert_eq!(agent.claim_id(), id);
    id
}

fn fail(agent: &FakeAgent, id: &str, code: i64) {
    agent.say(id, 0, STEPS);
    agent.complete(id, &json!({"exitCode": code})).ok();
}

/// The row of a job in a page.
fn row(page: &str, id: &str) -> String {
    let rows = page.split("<tr>").skip(1).filter(|row| row.contains(id));
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows.len(), 1, "{id} in {page}");
    let row = rows[0].split("</tr>").next();
    row.unwrap_or_default().to_owned()
}

/// Which of these jobs the page `/jobs` lists with a query.
fn listed(person: &Person, query: &str, ids: &[&str]) -> Vec<usize> {
    let page = page(person, &format!("/jobs?{query}"));
    let is_listed = |index: &usize| page.contains(ids[*index]);
    (0..ids.len()).filter(is_listed).collect()
}

#[test]
fn a_row_says_what_happened() {
    let (server, admin, agent) = with_node();
    write_preset(&server.presets_dir(), "deploy-web", DEPLOY);
    eventually("the preset", || {
        (admin.get("/api/presets/deploy-web").send().status == 200).then_some(())
    });
    let good = deploy(&admin, &agent, "v2.4.0");
    agent.succeed(&good);
    let bad = deploy(&admin, &agent, "v2.4.1");
    fail(&agent, &bad, 3);
    let running = deploy(&admin, &agent, "v2.4.2");
    agent.say(&running, 0, "==> [1/2] Fetch the release\n");
    let list = page(&admin, "/jobs");
    let failed = row(&list, &bad);
    for words in [
        "exit 3 in Migrate the database",
        ">Deploy the web shop<",
        "<bdi>deploy-web</bdi> · <bdi>release=v2.4.1</bdi></div>",
        "href=\"/nodes/n1\"",
        "admin@example.org",
        "aria-label=\"Deploy the web shop on n1, failed: exit 3 in Migrate the database, queued 2",
        "<svg class=\"took\"",
    ] {
        assert!(failed.contains(words), "{words} in {failed}");
    }
    // A default says nothing.
    assert!(!failed.contains("region"), "{failed}");
    // One's own job needs no scope, and reading it is not recorded as that of somebody else.
    assert!(
        failed.contains(&format!("href=\"/jobs/{bad}\"")),
        "{failed}"
    );
    assert!(row(&list, &running).contains("step 1: Fetch the release"));
    assert!(!row(&list, &good).contains("class=\"reason"));
    // A node's own page does not repeat its name in each row.
    assert!(!row(&page(&admin, "/nodes/n1"), &bad).contains("/nodes/n1"));
}

#[test]
fn filters_and_search_narrow_the_list_and_stay_in_the_address() {
    let (mut server, admin, agent) = with_node();
    write_preset(&server.presets_dir(), "deploy-web", DEPLOY);
    eventually("the preset", || {
        (admin.get("/api/presets/deploy-web").send().status == 200).then_some(())
    });
    let ann = server.person("ann", "OPERATOR");
    let other = admin.add_node("n2");
    let bad = deploy(&admin, &agent, "v2.4.1");
    fail(&agent, &bad, 3);
    let of_ann = deploy(&ann, &other, "v9_9%");
    let secret = "correct-horse-4711";
    let vault = admin.queue_with("n1", "vault", json!({"key": secret}));
    assert_eq!(agent.claim_id(), vault);
    agent
        .complete(&vault, &json!({"exitCode": null, "errorMsg": "Disk Full"}))
        .ok();
    let note = admin.queue_with("n1", "note", json!({"text": "quote \" and \\ back"}));
    let body = json!({"preset": "note", "nodes": ["n1", "n2"]});
    let run = id_of(&admin.post("/api/runs", &body).gives(201).json());
    let of_run = admin.get(&format!("/api/runs/{run}")).ok();
    let [one, two] = [0, 1].map(|index| id_of(&of_run["jobs"][index]));
    let ids: Vec<&str> = [&bad, &of_ann, &vault, &note, &one, &two]
        .map(String::as_str)
        .to_vec();
    for (query, expected) in [
        ("", vec![0, 1, 2, 3, 4, 5]),
        ("scope=mine", vec![0, 2, 3, 4, 5]),
        // Titles, params, reasons; every word must be found.
        ("q=web+SHOP", vec![0, 1]),
        ("q=web+v2.4", vec![0]),
        ("q=release%3Dv2.4.1", vec![0]),
        ("q=migrate", vec![0]),
        ("q=%22exit+3%22", vec![]),
        ("q=exit+migrate", vec![0]),
        ("q=disk+full", vec![2]),
        ("q=v9_9%25", vec![1]),
        ("q=v9%25", vec![]),
        ("q=_", vec![1]),
        ("q=%22+and", vec![]),
        ("q=quote+%5C", vec![3]),
        // A secret is in no list, whole or in part.
        (&format!("q={secret}"), vec![]),
        ("q=horse", vec![]),
        ("by=ann%40example.org", vec![1]),
        ("by=ann%40example.org&scope=mine", vec![]),
        (&format!("run={run}"), vec![4, 5]),
        (&format!("run={run}&node=n2"), vec![5]),
        ("state=failed", vec![0, 2]),
        ("state=failed&q=web", vec![0]),
        ("state=queued&time=1h", vec![3, 4, 5]),
        ("preset=deploy-web&node=n2", vec![1]),
        (
            "from=2000-01-01T00%3A00%3A00Z&to=9000-01-01T00%3A00%3A00Z",
            vec![0, 2],
        ),
        ("to=2000-01-01T00%3A00%3A00Z", vec![]),
    ] {
        assert_eq!(listed(&admin, query, &ids), expected, "{query}");
    }
    // The time is that of the end.
    let database = server.database();
    let (long_ago, yesterday) = (database.ago("3 days"), database.ago("23 hours"));
    database.execute(&format!(
        "UPDATE jobs SET created_at = {long_ago}, started_at = {long_ago}, finished_at = {yesterday} WHERE id = '{bad}'"
    ));
    assert_eq!(listed(&admin, "time=1h&state=failed", &ids), [2]);
    assert_eq!(listed(&admin, "time=24h&state=failed", &ids), [0, 2]);

    let kept = page(
        &admin,
        "/jobs?q=web&state=failed&node=n1&time=24h&by=admin%40example.org",
    );
    for words in [
        "name=\"q\" value=\"web\"",
        "<option value=\"failed\" selected>",
        "<option value=\"n1\" selected>",
        "<option value=\"24h\" selected>",
        "<option value=\"admin@example.org\" selected>",
        "href=\"/jobs?scope=mine&amp;q=web&amp;node=n1&amp;state=failed&amp;by=admin%40example.org&amp;time=24h\"",
    ] {
        assert!(kept.contains(words), "{words} in {kept}");
    }
    // Nobody sees more than the scope allows.
    assert_eq!(listed(&ann, "", &ids), [1]);
    assert_eq!(listed(&ann, "q=web", &ids), [1]);
    let of_ann = page(&ann, "/jobs");
    assert!(!of_ann.contains("admin@example.org"), "{of_ann}");
    for bad in ["time=2h", "from=yesterday", "to=x", "state=broken"] {
        admin.browser("GET", &format!("/jobs?{bad}")).gives(400);
    }
}

#[test]
fn an_admins_lists_show_everybodys_jobs() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let (ann, vera) = (
        server.person("ann", "OPERATOR"),
        server.person("vera", "VIEWER"),
    );
    let id = ann.queue("n1");
    let run = id_of(
        &ann.post("/api/runs", &json!({"preset": "note", "nodes": ["n1"]}))
            .gives(201)
            .json(),
    );
    for path in ["/", "/jobs", "/nodes/n1"] {
        for person in [&admin, &vera] {
            let shown = page(person, path);
            assert!(
                shown.contains(&format!("/jobs/{id}?scope=all")),
                "{path}: {shown}"
            );
        }
        let separator = if path.contains('?') { "&" } else { "?" };
        let mine = page(&admin, &format!("{path}{separator}scope=mine"));
        assert!(!mine.contains(&id), "{path}: {mine}");
    }
    assert!(page(&admin, "/runs").contains(&format!("/runs/{run}?scope=all")));
    assert!(!page(&admin, "/runs?scope=mine").contains(&run));
    // The job itself is still somebody else's.
    admin.browser("GET", &format!("/jobs/{id}")).gives(404);
    agent.claim();
}

#[test]
fn the_overview_counts_what_needs_a_look() {
    let (server, admin, agent) = with_node();
    for name in ["n2", "n3"] {
        admin.add_node(name);
    }
    agent.beat();
    let empty = page(&admin, "/");
    assert!(empty.contains("Nothing running or queued."), "{empty}");
    assert!(
        empty.contains("No job has ended in the last 24 hours."),
        "{empty}"
    );
    let failed: Vec<String> = (0..3)
        .map(|_| {
            let id = admin.queue("n1");
            agent.claim();
            agent.complete(&id, &json!({"exitCode": 9})).ok();
            id
        })
        .collect();
    let running = admin.queue("n1");
    agent.claim();
    let waiting: Vec<String> = (0..2).map(|_| admin.queue("n2")).collect();
    let database = server.database();
    let (old, at) = (database.ago("25 hours"), database.ago("2 hours"));
    database.execute(&format!(
        "UPDATE jobs SET finished_at = {old} WHERE id = '{}'",
        failed[0]
    ));
    // A check that fails is not a failure of what it checks.
    database.execute(&format!(
        "UPDATE jobs SET kind = 'check' WHERE id = '{}'",
        failed[1]
    ));
    database.execute(&format!(
        "UPDATE jobs SET finished_at = {at} WHERE id = '{}'",
        failed[2]
    ));
    let shown = page(&admin, "/");
    let tiles: Vec<&str> = shown
        .split("<ul class=\"tiles\">")
        .nth(1)
        .expect("tiles")
        .split("</ul>")
        .next()
        .expect("tiles")
        .split("<li>")
        .skip(1)
        .collect();
    for (tile, (address, count)) in tiles.iter().zip([
        ("/jobs?state=running", "<b>1</b>"),
        ("/jobs?state=queued", "<b>2</b>"),
        ("/jobs?state=failed&amp;time=24h", "<b>1</b>"),
        ("/nodes?state=offline", "<b>2<small> of 3</small></b>"),
    ]) {
        assert!(tile.contains(&format!("href=\"{address}\"")), "{tile}");
        assert!(tile.contains(count), "{count}: {tile}");
    }
    assert_eq!(tiles.len(), 4);
    let place = |words: &str| {
        shown
            .find(words)
            .unwrap_or_else(|| panic!("{words} in {shown}"))
    };
    // Failures, then what runs, then what waits; nodes that need a look before those that do not.
    assert!(place(&failed[2]) < place(&running) && place(&running) < place(&waiting[0]));
    assert!(place("href=\"/nodes/n2\"") < place("href=\"/nodes/n1\""));
    assert!(shown.contains("never connected"), "{shown}");
    assert!(
        shown.contains("1 job ended: 0 succeeded, 1 failed, 0 cancelled"),
        "{shown}"
    );
    assert!(
        !shown.contains(&failed[0]) && !shown.contains(&failed[1]),
        "{shown}"
    );
    assert_eq!(listed(&admin, "state=failed&time=24h", &[&failed[2]]), [0]);
}

#[test]
fn history_is_drawn_on_the_pages_of_a_job_a_preset_and_a_node() {
    let mut server = Server::start();
    let admin = server.admin();
    let (agent, other) = (admin.add_node("n1"), admin.add_node("n2"));
    let work = |agent: &FakeAgent, code: i64| {
        let id = admin.queue(&agent.node_id);
        agent.claim();
        agent.complete(&id, &json!({"exitCode": code})).ok();
        id
    };
    let elsewhere = work(&other, 0);
    let first = work(&agent, 0);
    let alone = page(&admin, &format!("/jobs/{first}"));
    assert!(!alone.contains("class=\"bars\""), "{alone}");
    let ids: Vec<String> = (0..34)
        .map(|n| work(&agent, i64::from(n % 10 == 0)))
        .collect();
    let check = work(&agent, 1);
    let database = server.database();
    database.execute(&format!(
        "UPDATE jobs SET kind = 'check' WHERE id = '{check}'"
    ));
    let start = database.ago("2 hours");
    let finish = |length: &str, condition: &str| {
        let end = database.ago(length);
        database.execute(&format!(
            "UPDATE jobs SET started_at = {start}, finished_at = {end} WHERE {condition}"
        ))
    };
    finish("119 minutes", "started_at IS NOT NULL");
    let last = ids.last().expect("jobs");
    finish("118 minutes", &format!("id = '{last}'"));

    let shown = page(&admin, &format!("/jobs/{last}"));
    let bars: Vec<&str> = shown
        .split("<ol class=\"bars\">")
        .nth(1)
        .expect("bars")
        .split("</ol>")
        .next()
        .expect("bars")
        .split("<li")
        .skip(1)
        .collect();
    assert_eq!(bars.len(), 30);
    // The oldest is the fifth of 34: one in ten has failed, and of 30 these three.
    assert!(
        bars[0].contains(&ids[4]) && bars[29].contains(last),
        "{bars:#?}"
    );
    assert!(
        shown.contains("27 of 30 succeeded (90 %) · median 1 min · this one 100 % longer"),
        "{shown}"
    );
    assert_eq!(
        bars.iter()
            .filter(|bar| bar.contains("data-state=\"failed\""))
            .count(),
        3
    );
    assert!(bars[29].contains("aria-current=\"true\"") && !bars[28].contains("aria-current"));
    assert!(
        bars[29].contains("aria-label=\"This job: Succeeded after 2 min, note on n1, "),
        "{}",
        bars[29]
    );
    assert!(
        !shown.contains(&check) && !shown.contains(&elsewhere),
        "{shown}"
    );
    // An old job's page shows what was before it.
    let old = page(&admin, &format!("/jobs/{}", ids[1]));
    assert!(old.contains(&first) && !old.contains(last), "{old}");

    let preset = page(&admin, "/presets/note");
    assert!(preset.contains("27 of 30 succeeded (90 %)"), "{preset}");
    let node = page(&admin, "/nodes/n2");
    assert!(
        node.contains("1 of 1 succeeded (100 %) · median 1 min"),
        "{node}"
    );
    assert!(node.contains(&elsewhere), "{node}");
    for path in ["/presets", "/nodes"] {
        let list = page(&admin, path);
        let spark = "aria-label=\"Last 30 jobs: 27 succeeded, 3 failed; median 1 min\"";
        assert!(
            list.contains("<svg class=\"spark\"") && list.contains(spark),
            "{path}: {list}"
        );
    }
    // Only those that the person may see.
    server.set("HYPRBOX_OPERATOR_SCOPE", "own");
    let ann = server.person("ann", "OPERATOR");
    server.restart();
    let ann = ann.at_url(server.url());
    for path in ["/presets", "/presets/note", "/nodes", "/nodes/n1"] {
        let seen = page(&ann, path);
        assert!(
            !seen.contains("class=\"bars\"") && !seen.contains("class=\"spark\""),
            "{path}: {seen}"
        );
    }
}

#[test]
fn a_nodes_page_shows_when_it_was_online() {
    let (server, admin, agent) = with_node();
    let fresh = page(&admin, "/nodes/n1");
    assert!(!fresh.contains("class=\"days\""), "{fresh}");
    agent.beat();
    eventually("the first record", || {
        page(&admin, "/nodes/n1")
            .contains("100 % since ")
            .then_some(())
    });
    let database = server.database();
    let change = |ago: &str, online: i64| {
        let at = database.ago(ago);
        database.execute(&format!(
            "INSERT INTO node_status_changes (node_id, at, online) VALUES ('n1', {at}, {online})"
        ));
    };
    database.execute("DELETE FROM node_status_changes");
    change("40 days", 1);
    change("10 days", 0);
    change("9 days", 1);
    change("3 hours", 0);
    change("2 hours", 1);
    let shown = page(&admin, "/nodes/n1");
    assert!(
        shown.contains(" %, offline 2 times, at most 1 d<"),
        "{shown}"
    );
    assert_eq!(shown.matches("class=\"off\"").count(), 3, "{shown}");
    assert!(
        shown.contains(", for 1 h<") && shown.contains(", for 1 d<"),
        "{shown}"
    );
}

/// Ten thousand jobs in a database that the server has opened before.
fn with_many_jobs() -> (Server, Person) {
    let mut server = Server::start();
    server.admin();
    server.person("ann", "OPERATOR");
    server.terminate();
    let database = server.database();
    let user = |name: &str| {
        database.texts(&format!("SELECT id FROM users WHERE email LIKE '{name}@%'"))[0].clone()
    };
    let users = [user("admin"), user("ann")];
    let script = "echo a line of a script\n".repeat(200);
    for slice in (0..10_000).collect::<Vec<u64>>().chunks(500) {
        let rows: Vec<String> = slice.iter().map(|n| {
            let n = *n;
            let at = database.ago(&format!("{} minutes", 10_001 - n));
            let (status, code, step) = match n % 20 {
                0 => ("FAILED", 3, "'2/3 Migrate the database'"),
                1 => ("CANCELLED", 0, "NULL"),
                _ => ("SUCCEEDED", 0, "NULL"),
            };
            let millis = 1_700_000_000_000 + n * 60_000;
            let (preset, params) = match n % 3 {
                0 => ("note", format!("{{\"text\":\"number {n}\",\"count\":1}}")),
                1 => ("shell", format!("{{\"code\":\"make release-{n}\"}}")),
                _ => ("system-report", "{}".to_owned()),
            };
            let (high, low) = (millis >> 16, millis & 0xffff);
            format!("('{high:08x}-{low:04x}-7000-8000-{n:012x}', '{status}', '{preset}', 'node-{:02}', '{}', '{}@example.org', {at}, {at}, {at}, {code}, 600, 'aa', '{params}', '{script}', {step})",
                n % 30, users[(n % 2) as usize], ["admin", "ann"][(n % 2) as usize])
        }).collect();
        database.execute(&format!(
            "INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, started_at, finished_at,
                 exit_code, timeout_seconds, script_sha256, params, script, step) VALUES {}",
            rows.join(", ")
        ));
    }
    server.start_again();
    let admin = server.admin();
    (server, admin)
}

/// Prints how long each takes: `cargo test --release -p hyprbox --test it ten_thousand -- --nocapture`.
#[test]
fn filters_over_ten_thousand_jobs() {
    let (_server, admin) = with_many_jobs();
    for (path, rows) in [
        ("/jobs", 50),
        ("/jobs?state=failed", 50),
        ("/jobs?node=node-07", 50),
        ("/jobs?by=ann%40example.org", 50),
        ("/jobs?by=nobody%40example.org", 0),
        ("/jobs?preset=shell&node=node-07", 50),
        ("/jobs?preset=note&node=node-07", 0),
        ("/jobs?time=24h&state=failed", 50),
        ("/jobs?q=release-9", 50),
        ("/jobs?q=release-1234", 1),
        ("/jobs?q=nothing-like-this", 0),
        ("/jobs?q=migrate+database", 50),
        ("/jobs?q=number&by=ann%40example.org&time=30d", 50),
        (
            "/jobs?q=number+1&state=failed&node=node-00&by=admin%40example.org&time=7d&preset=note",
            50,
        ),
        ("/", 0),
        ("/nodes", 0),
        ("/presets", 0),
    ] {
        let mut times: Vec<_> = (0..5)
            .map(|_| {
                let began = Instant::now();
                let shown = page(&admin, path);
                let took = began.elapsed();
                let found = shown.matches("class=\"row\"").count();
                if path.starts_with("/jobs") {
                    assert_eq!(found, rows, "{path}");
                }
                took
            })
            .collect();
        times.sort_unstable();
        println!("{path}: median {:.1?}, longest {:.1?}", times[2], times[4]);
    }
}
