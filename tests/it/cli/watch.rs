//! `jobs watch`, and the output of the step that failed.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Cli, Tty};
use crate::harness::{Line, with_operator};

#[test]
fn a_watch_in_a_pipe_prints_a_line_per_change() {
    let (mut server, ann, agent) = with_operator();
    let first = ann.queue("n1");
    let cli = Cli::of(&server, &ann);
    let watch = cli.start(&["jobs", "watch"]);
    let line = |id: &str, words: &str| format!("{id} note on n1: {words}\n");
    watch.stdout.wait_for(&line(&first, "QUEUED"));
    agent.claim();
    watch.stdout.wait_for(&line(&first, "RUNNING"));
    agent.say(&first, 0, "==> [1/2] Set the port\n");
    let step = "RUNNING, step 1 of 2: Set the port";
    watch.stdout.wait_for(&line(&first, step));
    // What is not shown prints nothing: neither output nor other people's jobs.
    agent.say(&first, 23, "hello\n");
    server.admin().queue("n1");
    agent.complete(&first, &json!({"exitCode": 3})).ok();
    watch.stdout.wait_for(&line(&first, "FAILED, exit code 3"));
    let second = ann.queue("n1");
    watch.stdout.wait_for(&line(&second, "QUEUED"));
    watch.signal(Signal::SIGINT);
    let ran = watch.ended().ends(130);
    assert_eq!(ran.text().lines().count(), 5, "{ran:?}");
}

#[test]
fn a_watch_for_programs_prints_an_object_per_change_and_is_filtered() {
    let (mut server, ann, agent) = with_operator();
    server.admin().add_node("n2");
    let cli = Cli::of(&server, &ann);
    let watch = cli.start(&["watch", "-n", "n1", "--preset", "note", "--json"]);
    ann.queue("n2");
    ann.queue_with("n1", "system-report", json!({}));
    let id = ann.queue("n1");
    watch.stdout.wait_for(&id);
    ann.cancel(&id).ok();
    watch.stdout.wait_for("CANCELLED");
    watch.signal(Signal::SIGINT);
    let lines = watch.ended().ends(130).lines();
    let states: Vec<(&Value, &Value)> = lines
        .iter()
        .map(|line| (&line["job"]["id"], &line["job"]["status"]))
        .collect();
    let id = json!(id);
    assert_eq!(
        states,
        [(&id, &json!("QUEUED")), (&id, &json!("CANCELLED"))]
    );
    assert!(lines.iter().all(|line| line["type"] == "job"));
    drop(agent);
}

#[test]
fn a_watch_on_a_terminal_is_a_table_that_is_drawn_again() {
    let (server, ann, agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let mut tty = Tty::start(&cli, &["jobs", "watch"]);
    tty.shows("Nothing runs or waits.");
    let id = ann.queue("n1");
    tty.shows("0 running, 1 queued.");
    tty.shows(&id[28..]);
    agent.claim();
    tty.shows("1 running, 0 queued.");
    agent.complete(&id, &json!({"exitCode": 3})).ok();
    tty.shows("exit code 3");
    tty.type_in("\x03");
    let (code, shown) = tty.ended();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("\x1b[3A\r"), "{shown:?}");
    // A dumb terminal gets lines.
    let dumb = Cli::of(&server, &ann).with("TERM", "dumb");
    ann.queue("n1");
    let mut tty = Tty::start(&dumb, &["jobs", "watch"]);
    tty.shows("note on n1: QUEUED");
    tty.type_in("\x03");
    let (code, shown) = tty.ended();
    assert!(code == 130 && !shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn a_watch_continues_after_its_connection_broke() {
    let (server, ann, agent) = with_operator();
    let line = Line::to(server.address());
    let cli = Cli::at(&line.url(), &ann);
    let first = ann.queue("n1");
    let watch = cli.start(&["jobs", "watch"]);
    watch.stdout.wait_for("QUEUED");
    line.cut();
    watch.stderr.wait_for("Connection lost");
    agent.claim();
    let second = ann.queue("n1");
    line.mend();
    watch
        .stdout
        .wait_for(&format!("{first} note on n1: RUNNING\n"));
    watch
        .stdout
        .wait_for(&format!("{second} note on n1: QUEUED\n"));
    watch.signal(Signal::SIGINT);
    watch.ended().ends(130).says("Reconnected.");
}

#[test]
fn a_command_that_waits_ends_when_its_reader_has_gone() {
    let (server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    agent.claim();
    agent.say(&id, 0, "one\n");
    let cli = Cli::of(&server, &ann);
    let run = cli.run(&["run", "note", "-n", "n1", "--canary", "1"]);
    let run = run.ends(0).text();
    for words in [
        &["jobs", "watch"][..],
        &["jobs", "log", "--follow", &id],
        &["runs", "show", "--follow", run.trim()],
    ] {
        let mut command = cli.command(words);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut child = command.stdout(writer).spawn().expect("it starts");
        drop((command, reader));
        let status = crate::harness::eventually("its end", || child.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(141), "{words:?}");
    }
}

#[test]
fn the_output_of_the_failed_step_is_printed_alone() {
    let (server, ann, agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    cli.run(&["jobs", "log", "--failed"])
        .ends(127)
        .says("none of your jobs has failed");
    let id = ann.queue("n1");
    agent.claim();
    let text = "==> [1/2] First\nfine\n==> [2/2] Second\nworking\nbroken\n";
    agent.say(&id, 0, text);
    agent.complete(&id, &json!({"exitCode": 4})).ok();
    let later = ann.queue("n1");
    agent.claim();
    agent.say(&later, 0, text);
    agent.succeed(&later);
    let second = "==> [2/2] Second\nworking\nbroken\n";
    let ran = cli.run(&["jobs", "log", "--failed"]).ends(0);
    assert_eq!(ran.text(), second);
    let ran = ran.says(&id).says("FAILED (exit code 4)");
    assert!(!ran.stderr.contains(&later), "{ran:?}");
    let tail = ["logs", &id, "--failed", "--tail", "1"];
    assert_eq!(cli.run(&tail).ends(0).text(), "broken\n");
    let ran = cli.run(&["jobs", "log", &later, "--failed"]).ends(0);
    assert!(ran.text().is_empty(), "{ran:?}");
    ran.says("it has not failed");
    cli.run(&["jobs", "log"]).ends(64);
    cli.run(&["jobs", "log", &id, "--failed", "-f"]).ends(64);
}

#[test]
fn a_followed_run_is_pushed_and_not_polled() {
    let (mut server, ann, agent) = with_operator();
    let words = ["run", "note", "-n", "n1", "--canary", "1"];
    let run = Cli::of(&server, &ann).run(&words).ends(0).text();
    // Each read of somebody else's run is in the audit log.
    let admin = server.admin();
    let cli = Cli::of(&server, &admin);
    let words = ["runs", "show", run.trim(), "--follow", "--scope", "all"];
    let watching = cli.start(&words);
    let id = agent.claim_id();
    watching.stdout.wait_for("n1: RUNNING\n");
    let reads = || {
        let sql = "SELECT count(*) FROM audit_entries WHERE action = 'run.look'";
        server.database().number(sql)
    };
    let mut at = 0;
    let mut step = |number: u32| {
        let text = format!("==> [{number}/3] Step\n");
        agent.say(&id, at, &text);
        at += text.len() as u64;
        let line = format!("n1: RUNNING, step {number} of 3: Step\n");
        watching.stdout.wait_for(&line);
    };
    // The stream is open once a step was pushed.
    step(1);
    let before = reads();
    assert!(before > 0);
    step(2);
    step(3);
    assert_eq!(reads(), before);
    agent.succeed(&id);
    watching.ended().ends(0);
}
