//! What is said of a job that waits, of one that failed in a step, and of one that is left.

use std::io::Read;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::json;

use super::Cli;
use super::program::{Bytes, Running};
use crate::harness::with_operator;

#[test]
fn a_waiting_job_names_the_node_it_waits_for() {
    let (server, ann, agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let run = ["run", "note", "-n", "n1"];
    cli.run(&run)
        .ends(0)
        .says("n1 is OFFLINE and its agent has never connected: the job starts when it does.");
    let busy = agent.claim_id();
    cli.run(&run).ends(0).says(&format!(
        "n1 is busy with job {busy}: the new job waits for it to end."
    ));
    agent.succeed(&busy);
    let body = json!({"instance": "i", "hostname": "h", "agentVersion": "0.1.0", "os": {"id": "debian"},
        "intervalSeconds": 30, "stopping": true});
    agent.heartbeat(&body).ok();
    cli.run(&run).ends(0).says("n1 is OFFLINE, last seen ");
    // A program reads that from the node.
    let ran = cli.run(&[&run[..], &["--json"]].concat()).ends(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_job_that_is_left_before_it_began_stays_queued() {
    let (server, ann, _agent) = with_operator();
    let running = Cli::of(&server, &ann).start(&["run", "note", "-n", "n1", "-f", "--json"]);
    running.stdout.wait_for("\"type\":\"status\"");
    running.signal(Signal::SIGINT);
    running
        .ended()
        .ends(130)
        .says("Detached; the job stays queued.");
}

#[test]
fn a_failed_job_names_its_step() {
    let (server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    agent.claim();
    let output = "==> [1/3] First\n==> [2/3] Second\n==> [3/3] Third\nno\n";
    agent.say(&id, 0, output);
    agent.complete(&id, &json!({"exitCode": 3})).ok();
    let cli = Cli::of(&server, &ann);
    let words = format!("Job {id} FAILED (exit code 3) in step 3 of 3: Third\n");
    let ran = cli.run(&["jobs", "log", "-f", &id]).ends(3);
    assert_eq!(ran.stderr, words);
    let ended = cli
        .run(&["jobs", "log", "-f", "--json", &id])
        .ends(3)
        .lines();
    let done = ended.last().expect("done");
    assert!(done["finishedAt"].is_string(), "{done}");
}

#[test]
fn a_reader_that_reads_nothing_keeps_nobody_from_leaving() {
    let (server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    agent.claim();
    // More than a pipe and all that waits before it can hold.
    for at in 0..8_u64 {
        agent.say(&id, at * 500_000, &"x".repeat(500_000));
    }
    let mut child = Cli::of(&server, &ann)
        .command(&["jobs", "log", "--follow", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut unread = child.stdout.take().expect("a pipe");
    unread.read_exact(&mut [0]).expect("its first byte");
    let running = Running {
        stdout: Bytes::of(std::io::empty()),
        stderr: Bytes::of(child.stderr.take().expect("a pipe")),
        child,
    };
    running.signal(Signal::SIGINT);
    running
        .ended()
        .ends(130)
        .says(&format!("hyprbox jobs log --follow {id}"));
}
