//! Runs on the command line: queueing, following on a terminal and in a pipe, and changing them.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Cli, Tty};
use crate::harness::{FakeAgent, Field, Person, Server, eventually, id_of};

/// An OPERATOR with their command line, and the agents of `n1`, `n2` and so on, which have the
/// label `role=web`.
fn fleet(count: usize) -> (Server, Person, Vec<FakeAgent>, Cli) {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    let admin = server.admin();
    let agents = (1..=count).map(|number| {
        let id = format!("n{number}");
        let body = json!({"id": id, "labels": {"role": "web"}});
        admin.post("/api/nodes", &body).gives(201);
        let agent = admin.agent_of(&id);
        agent.beat();
        agent
    });
    let agents = agents.collect();
    let cli = Cli::of(&server, &ann);
    (server, ann, agents, cli)
}

fn split(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The only run.
fn run_of(person: &Person) -> Value {
    eventually("the run", || {
        let runs = person.get("/api/runs").ok();
        let id = runs["runs"].as_array()?.first().map(id_of)?;
        Some(person.get(&format!("/api/runs/{id}")).ok())
    })
}

/// The agent claims its job, which must come.
fn claim(agent: &FakeAgent) -> String {
    eventually("a job", || {
        let answer = agent.poll("").ok();
        answer["job"].is_object().then(|| id_of(&answer["job"]))
    })
}

#[test]
fn a_run_prints_its_id_and_freezes_its_plan() {
    let (_server, ann, _agents, cli) = fleet(4);
    let plan = [
        "--canary",
        "1",
        "--batch",
        "50%",
        "--pause",
        "5m",
        "--max-failures",
        "2",
    ];
    let more = ["--skip-offline", "--expires", "24h", "--timeout", "2m"];
    let words = [&["run", "note", "--on", "role=web"][..], &plan, &more].concat();
    let ran = cli.run(&words).ends(0);
    let id = ran.text().trim().to_owned();
    assert_eq!(ran.text(), format!("{id}\n"), "only the id");
    assert!(
        ran.stderr
            .contains(&format!("hyprbox runs show --follow {id}")),
        "{}",
        ran.stderr
    );
    let run = ann.get(&format!("/api/runs/{id}")).ok();
    assert_eq!(run["selector"], "role=web");
    assert_eq!(
        run["plan"],
        json!({"canary": 1, "batch": "50%", "pauseSeconds": 300, "maxFailures": 2})
    );
    let batches: Vec<u64> = run
        .list("jobs")
        .iter()
        .map(|job| job.count("batch"))
        .collect();
    assert_eq!(batches, [0, 1, 1, 2]);
    let job = ann.job(&id_of(&run["jobs"][0]));
    assert_eq!(job["timeoutSeconds"], 120);
    assert!(job["expiresAt"].is_string(), "{job}");
    // Nodes go in the order in which they are named.
    let named = cli
        .run(&["run", "note", "-n", "n3", "-n", "n1", "--json"])
        .ends(0)
        .json();
    let run = ann.get(&format!("/api/runs/{}", id_of(&named))).ok();
    let nodes: Vec<String> = run
        .list("jobs")
        .iter()
        .map(|job| job.field("nodeId"))
        .collect();
    assert_eq!(nodes, ["n3", "n1"]);
}

#[test]
fn one_node_without_a_plan_is_a_job_and_with_one_a_run() {
    let (_server, ann, _agents, cli) = fleet(1);
    let words = split("run note -n n1 --expires 1h");
    let job = ann.job(cli.run(&words).ends(0).text().trim());
    assert_eq!((&job["runId"], &job["holds"]), (&Value::Null, &json!([])));
    assert!(job["expiresAt"].is_string(), "{job}");
    let words = split("run note -n n1 --at 2126-01-01T00:00:00Z");
    cli.run(&words).ends(125).says("--at: ");
    let run = cli
        .run(&["run", "note", "-n", "n1", "--canary", "1"])
        .ends(0)
        .text();
    ann.get(&format!("/api/runs/{}", run.trim())).ok();
}

#[test]
fn a_dry_run_shows_batches_and_queues_nothing() {
    let (_server, ann, _agents, cli) = fleet(3);
    let words = split("run note --on role=web --canary 1 --dry-run");
    let ran = cli
        .run(&words)
        .ends(0)
        .says("3 nodes in 2 batches. Nothing was queued.");
    let rows: Vec<String> = ran
        .text()
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(rows, ["0 n1 ONLINE", "1 n2 ONLINE", "1 n3 ONLINE"]);
    assert_eq!(ann.get("/api/runs").ok()["runs"], json!([]));
    assert_eq!(ann.get("/api/jobs").ok()["jobs"], json!([]));
}

#[test]
fn wrong_flags_and_selectors_are_explained() {
    let (_server, ann, _agents, cli) = fleet(1);
    for (words, code, said) in [
        (&["run", "note"][..], 64, "--node"),
        (
            &["run", "note", "-n", "n1", "--on", "a"],
            64,
            "cannot be used with",
        ),
        (
            &["run", "note", "--on", "a", "--batch", "0%"],
            64,
            "1% to 100%",
        ),
        (
            &["run", "note", "--on", "a", "--batch", "0"],
            64,
            "1 or more",
        ),
        (
            &["run", "note", "--on", "a", "--batch", "101%"],
            64,
            "1% to 100%",
        ),
        (
            &["run", "note", "--on", "a", "--pause", "25h"],
            64,
            "--pause",
        ),
        (
            &["run", "note", "--on", "a", "--expires", "5s"],
            64,
            "a time from 1m",
        ),
        (
            &["run", "note", "--on", "a", "--at", "tomorrow"],
            64,
            "must be a time with its zone",
        ),
        (
            &["run", "note", "--on", "a", "--dry-run", "-f"],
            64,
            "cannot be used with",
        ),
        (
            &["run", "note", "--on", "a b"],
            125,
            "at character 3, but found `b`",
        ),
        (&["run", "note", "--on", "role=db"], 125, "selector"),
        (&["run", "note", "-n", "n1", "-n", "zz"], 127, "zz"),
        (
            &["runs", "show", "01a20d62-726e-7102-8126-1f36b94ce913"],
            127,
            "not found",
        ),
    ] {
        cli.run(words).ends(code).says(said);
    }
    assert_eq!(ann.get("/api/runs").ok()["runs"], json!([]));
}

#[test]
fn a_run_followed_in_a_pipe_prints_a_line_per_change_and_a_summary() {
    let (_server, ann, agents, cli) = fleet(3);
    let words = split("run note --on role=web --canary 1 --max-failures 1 -f");
    let running = cli.start(&words);
    let first = claim(&agents[0]);
    running.stdout.wait_for("n1: RUNNING\n");
    agents[0].say(&first, 0, "==> [1/1] Say it\n");
    running
        .stdout
        .wait_for("n1: RUNNING, step 1 of 1: Say it\n");
    agents[0].complete(&first, &json!({"exitCode": 3})).ok();
    running
        .stdout
        .wait_for("n1: FAILED (exit code 3) in step 1 of 1: Say it\n");
    for agent in &agents[1..] {
        let id = claim(agent);
        agent.succeed(&id);
    }
    let ran = running.ended().ends(0);
    let text = ran.text();
    let id = id_of(&run_of(&ann));
    for words in [
        "n2: SUCCEEDED\n".to_owned(),
        "n3: SUCCEEDED\n".to_owned(),
        format!("Run {id} succeeded with 1 failure: 2 succeeded, 1 failed in "),
        format!("\nn1: FAILED (exit code 3) in step 1 of 1: Say it\n  hyprbox jobs log {first}\n"),
        format!("\n  hyprbox runs retry {id}\n"),
    ] {
        assert!(text.contains(&words), "{words}: {text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn a_run_and_its_jobs_show_that_a_node_is_paused() {
    let (mut server, ann, _agents, cli) = fleet(2);
    let admin = server.admin();
    let pause = json!({"paused": true});
    admin.call("PATCH", "/api/nodes/n2").json(&pause).ok();
    let id = cli.run(&["run", "note", "--on", "role=web"]).ends(0).text();
    let shown = cli.run(&["runs", "show", id.trim()]).ends(0).text();
    let paused: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("QUEUED, the node is paused"))
        .collect();
    assert!(paused.len() == 1 && paused[0].starts_with("n2 "), "{shown}");
    let job = run_of(&ann)["jobs"][1]["id"].clone();
    let job = job.as_str().expect("an id");
    let shown = cli.run(&["jobs", "show", job]).ends(0).text();
    assert!(shown.contains("n2 is paused: the job can start"), "{shown}");
}

#[test]
fn a_run_that_fails_ends_with_1_and_json_has_an_object_per_change() {
    let (_server, _ann, agents, cli) = fleet(2);
    let words = split("run note --on role=web --canary 1 -f --json");
    let running = cli.start(&words);
    let id = claim(&agents[0]);
    agents[0].complete(&id, &json!({"exitCode": 7})).ok();
    let lines = running.ended().ends(1).lines();
    assert_eq!(lines[0]["type"], "queued");
    let of = |kind: &str| {
        lines
            .iter()
            .filter(|line| line["type"] == kind)
            .collect::<Vec<_>>()
    };
    let ends: Vec<(String, String)> = of("job")
        .iter()
        .filter(|line| line["job"]["finishedAt"].is_string())
        .map(|line| (line["job"].field("nodeId"), line["job"].field("status")))
        .collect();
    let wanted = [("n1", "FAILED"), ("n2", "CANCELLED")];
    assert_eq!(
        ends,
        wanted.map(|(node, status)| (node.to_owned(), status.to_owned()))
    );
    let done = lines.last().expect("an end");
    assert_eq!(
        (&done["type"], &done["status"]),
        (&json!("done"), &json!("FAILED"))
    );
    assert_eq!(done["processExitCode"], 1);
    assert_eq!(
        of("run").last().expect("its end")["run"]["status"],
        "FAILED"
    );
    // Nobody waits for a run that has ended.
    let shown = cli
        .run(&["runs", "show", "-f", &done.field("runId")])
        .ends(1);
    assert!(shown.text().contains("It stopped: "), "{}", shown.text());
}

#[test]
fn a_run_on_a_terminal_has_a_line_per_node() {
    let (mut server, _ann, agents, cli) = fleet(3);
    let words = split("run note --on role=web --canary 1 --follow");
    let terminal = Tty::start(&cli, &words);
    let first = claim(&agents[0]);
    agents[0].say(&first, 0, "==> [1/1] Say it\n");
    terminal.shows("step 1 of 1: Say it");
    terminal.shows("waits for batch 1");
    agents[0].succeed(&first);
    server
        .admin()
        .call("PATCH", "/api/nodes/n3")
        .json(&json!({"paused": true}))
        .ok();
    let second = claim(&agents[1]);
    agents[1].complete(&second, &json!({"exitCode": 4})).ok();
    let (code, shown) = terminal.ended();
    assert_eq!(code, 1, "{shown}");
    assert!(
        shown.contains(&format!("hyprbox jobs log {second}")),
        "{shown}"
    );
    // The lines are drawn over: a line up, and each to its end.
    assert!(
        shown.contains("\x1b[4A\r") && shown.contains("\x1b[K"),
        "{shown}"
    );
}

#[test]
fn a_run_that_is_left_goes_on_and_a_cancel_ends_it() {
    let (_server, ann, agents, cli) = fleet(2);
    let running = cli.start(&["run", "note", "--on", "role=web", "-f"]);
    let id = claim(&agents[0]);
    running.stdout.wait_for("n1: RUNNING");
    running.signal(Signal::SIGINT);
    let run = id_of(&run_of(&ann));
    running
        .ended()
        .ends(130)
        .says(&format!("hyprbox runs show --follow {run}"));
    assert_eq!(run_of(&ann)["status"], "RUNNING");
    let again = cli.start(&["runs", "show", &run, "-f", "--cancel-on-interrupt"]);
    again.stdout.wait_for("n1: RUNNING");
    again.signal(Signal::SIGINT);
    again.stdout.wait_for("n2: CANCELLED");
    agents[0]
        .complete(&id, &json!({"exitCode": null, "cancelled": true}))
        .ok();
    let ran = again.ended().ends(1);
    assert!(
        ran.text().contains(&format!("Run {run} CANCELLED")),
        "{}",
        ran.text()
    );
}

#[test]
fn runs_are_listed_shown_paused_resumed_and_retried() {
    let (_server, ann, agents, cli) = fleet(2);
    let words = split("run note --on role=web --canary 1");
    let run = cli.run(&words).ends(0).text().trim().to_owned();
    let runs = |words: &[&str]| cli.run(&[&["runs"], words].concat());
    runs(&["pause", &run])
        .ends(0)
        .says(&format!("Paused run {run}"));
    runs(&["pause", &run]).ends(125);
    let listed = runs(&["list", "--status", "paused"]).ends(0).text();
    assert!(
        listed.contains(&run) && listed.contains("PAUSED"),
        "{listed}"
    );
    for none in [
        ["list", "--status", "failed"],
        ["list", "--since", "2100-01-01T00:00:00Z"],
        ["list", "--by", "nobody@example.org"],
    ] {
        runs(&none).ends(0).says("No runs.");
    }
    for found in [
        ["list", "--since", "1h"],
        ["list", "--by", ann.email.as_str()],
    ] {
        assert!(runs(&found).ends(0).text().contains(&run), "{found:?}");
    }
    runs(&["resume", &run])
        .ends(0)
        .says(&format!("Resumed run {run}."));
    let id = claim(&agents[0]);
    agents[0].complete(&id, &json!({"exitCode": 3})).ok();
    let shown = runs(&["show", &run]).ends(0).text();
    for words in [
        "FAILED (exit code 3)",
        "n2",
        "CANCELLED",
        "selector  role=web",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let jobs = cli
        .run(&["jobs", "list", "--run", &run, "--json"])
        .ends(0)
        .json();
    assert_eq!(jobs.list("jobs").len(), 2);
    let again = runs(&["retry", &run]).ends(0).text().trim().to_owned();
    let retried = ann.get(&format!("/api/runs/{again}")).ok();
    assert_eq!(retried["retryOf"], run.as_str());
    runs(&["cancel", &again])
        .ends(0)
        .says(&format!("Cancelled run {again}"));
    assert_eq!(
        ann.get(&format!("/api/runs/{again}")).ok()["status"],
        "CANCELLED"
    );
}
