//! The pages that list jobs: what a row says, filters and search, the overview.

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
