//! `run --follow` and `jobs log -f`: byte for byte, across broken connections, left by Ctrl-C.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Cli, Ran};
use crate::harness::{
    FakeAgent, Line, Person, RealAgent, Server, bytes_chunk, chunk, eventually, id_of,
    with_operator,
};

fn claimed(agent: &FakeAgent) -> String {
    eventually("a job", || {
        let job = agent.poll("wait=5").ok()["job"].clone();
        job.is_object().then(|| id_of(&job))
    })
}

fn newest(person: &Person) -> String {
    id_of(&person.get("/api/jobs?limit=1").ok()["jobs"][0])
}

const RUN: [&str; 5] = ["run", "note", "--node", "n1", "--follow"];

#[test]
fn a_real_jobs_output_is_printed_exactly_as_in_the_log() {
    let (server, ann, agent) = with_operator();
    let _agent = RealAgent::start(&server, &agent);
    let cli = Cli::of(&server, &ann);
    // Both streams, colours, bytes that are no text, a character in two writes, no newline at the
    // end.
    let code = r"printf 'code=out\n\033[31mred\033[0m \377\376\0'; printf 'err\r\n' >&2; sleep 0.1; \
        printf 'h\303'; sleep 0.1; printf 'x' >&2; sleep 0.1; printf '\251 end'; exit 7";
    let param = format!("code={code}");
    let ran = cli
        .run(&["run", "shell", "-n", "n1", "-f", "-p", &param])
        .ends(7)
        .says("FAILED (exit code 7)");
    let id = newest(&ann);
    assert!(
        ran.stdout.windows(3).any(|three| three == b"\xff\xfe\0"),
        "{ran:?}"
    );
    assert_eq!(ran.stdout, ann.log(&id, "both"));
    assert_eq!(cli.run(&["jobs", "log", &id]).ends(0).stdout, ran.stdout);
    assert_eq!(
        cli.run(&["jobs", "log", "-f", &id]).ends(7).stdout,
        ran.stdout
    );
    for stream in ["stdout", "stderr"] {
        let words = ["jobs", "log", &id, "--stream", stream];
        assert_eq!(cli.run(&words).ends(0).stdout, ann.log(&id, stream));
        let words = ["jobs", "log", "-f", &id, "--stream", stream];
        assert_eq!(cli.run(&words).ends(7).stdout, ann.log(&id, stream));
    }
}

#[test]
fn a_broken_connection_costs_and_doubles_no_byte() {
    let (server, ann, agent) = with_operator();
    let line = Line::to(server.address());
    let running = Cli::at(&line.url(), &ann).start(&RUN);
    let id = claimed(&agent);
    agent.output(
        &id,
        &[
            chunk("stdout", 0, "before\n"),
            chunk("stderr", 0, "warning\n"),
        ],
    );
    running.stdout.wait_for("warning\n");
    for round in 0..3_u64 {
        line.cut();
        let at = 7 + round * 5;
        agent.output(&id, &[bytes_chunk("stdout", at, b"while")]);
        line.mend();
        let expected = "while".repeat(usize::try_from(round).expect("small") + 1);
        running.stdout.wait_for(&expected);
    }
    agent.succeed(&id);
    let ran = running.ended().ends(0).says("Connection lost");
    assert_eq!(ran.text(), "before\nwarning\nwhilewhilewhile");
    assert_eq!(ran.stdout, ann.log(&id, "both"));
}

#[test]
fn a_server_that_is_restarted_is_waited_for() {
    let (mut server, ann, agent) = with_operator();
    let address = server.address().to_owned();
    server.set("HYPRBOX_LISTEN", &address);
    let running = Cli::of(&server, &ann).start(&RUN);
    let id = claimed(&agent);
    agent.say(&id, 0, "before\n");
    running.stdout.wait_for("before\n");
    server.restart();
    let agent = agent.at(&server);
    agent.say(&id, 7, "after\n");
    running.stdout.wait_for("after\n");
    server.kill9();
    server.start_again();
    let agent = agent.at(&server);
    agent.say(&id, 13, "again\n");
    agent.succeed(&id);
    assert_eq!(running.ended().ends(0).text(), "before\nafter\nagain\n");
}

#[test]
fn json_is_an_object_a_line() {
    let (server, ann, agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let running = cli.start(&[&RUN[..], &["--json"]].concat());
    let id = claimed(&agent);
    agent.output(
        &id,
        &[
            chunk("stdout", 0, "text\n"),
            bytes_chunk("stderr", 0, b"\xff"),
        ],
    );
    agent.complete(&id, &json!({"exitCode": 3})).ok();
    let lines = running.ended().ends(3).lines();
    let kinds: Vec<&Value> = lines.iter().map(|line| &line["type"]).collect();
    assert_eq!(
        (kinds[0], &lines[0]["job"]["id"]),
        (&json!("queued"), &json!(id))
    );
    assert!(kinds.contains(&&json!("status")), "{lines:?}");
    let outputs: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "output")
        .collect();
    assert_eq!(
        (&outputs[0]["data"], &outputs[0]["offset"]),
        (&json!("text\n"), &json!(0))
    );
    assert_eq!(outputs[1]["dataBase64"], "/w==");
    let done = lines.last().expect("a line");
    let end = (
        &done["type"],
        &done["exitCode"],
        &done["processExitCode"],
        &done["status"],
    );
    assert_eq!(
        end,
        (&json!("done"), &json!(3), &json!(3), &json!("FAILED"))
    );
}

#[test]
fn the_last_lines_are_printed_before_new_output() {
    let (server, ann, agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let id = ann.queue("n1");
    agent.claim();
    agent.say(&id, 0, "one\ntwo\nthree\n");
    for (lines, text) in [("0", ""), ("2", "two\nthree\n"), ("9", "one\ntwo\nthree\n")] {
        let ran = cli.run(&["jobs", "log", &id, "--tail", lines]).ends(0);
        assert_eq!(ran.text(), text);
    }
    let running = cli.start(&["jobs", "log", &id, "-f", "--tail", "1"]);
    running.stdout.wait_for("three\n");
    agent.say(&id, 14, "four\n");
    running.stdout.wait_for("four\n");
    agent.succeed(&id);
    assert_eq!(running.ended().ends(0).text(), "three\nfour\n");
    let ran = cli.run(&["jobs", "log", &id, "-f", "--tail", "1"]).ends(0);
    assert_eq!(ran.text(), "four\n");
}

#[test]
fn dropped_output_is_reported_and_the_rest_is_exact() {
    let mut server = Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "65536")]);
    let ann = server.person("ann", "OPERATOR");
    let agent = server.admin().add_node("n1");
    let id = ann.queue("n1");
    agent.claim();
    for at in 0..4 {
        agent.say(&id, at * 30_000, &"x".repeat(30_000));
    }
    agent.succeed(&id);
    let cli = Cli::of(&server, &ann);
    let log = cli.run(&["jobs", "log", &id]).ends(0).says("54464 bytes");
    assert_eq!(log.stdout.len(), 65_536);
    let followed = cli
        .run(&["jobs", "log", "-f", &id])
        .ends(0)
        .says("54464 bytes");
    assert_eq!(followed.stdout, log.stdout);
}

#[test]
fn the_first_ctrl_c_detaches_and_shows_how_to_follow_again() {
    let (server, ann, agent) = with_operator();
    let running = Cli::of(&server, &ann).start(&RUN);
    let id = claimed(&agent);
    agent.say(&id, 0, "working\n");
    running.stdout.wait_for("working\n");
    running.signal(Signal::SIGINT);
    let ran = running.ended().ends(130);
    for words in [
        format!("hyprbox jobs log --follow {id}"),
        format!("hyprbox jobs cancel {id}"),
    ] {
        assert!(ran.stderr.contains(&words), "{ran:?}");
    }
    let job = ann.job(&id);
    assert_eq!(
        (&job["status"], &job["cancelRequestedAt"]),
        (&json!("RUNNING"), &Value::Null)
    );
}

#[test]
fn an_interrupt_cancels_with_the_flag_for_it() {
    let (server, ann, agent) = with_operator();
    let _agent = RealAgent::start(&server, &agent);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let words = [
            "run",
            "shell",
            "-n",
            "n1",
            "-f",
            "--cancel-on-interrupt",
            "-p",
            "code=echo on; sleep 60",
        ];
        let running = Cli::of(&server, &ann).start(&words);
        running.stdout.wait_for("on\n");
        running.signal(signal);
        running.ended().ends(143).says("CANCELLED");
        assert_eq!(ann.job(&newest(&ann))["status"], "CANCELLED");
    }
}

#[test]
fn a_second_interrupt_leaves_a_job_that_is_being_cancelled() {
    let (server, ann, agent) = with_operator();
    let words = [&RUN[..], &["--cancel-on-interrupt"]].concat();
    let running = Cli::of(&server, &ann).start(&words);
    let id = claimed(&agent);
    running.stderr.wait_for(&id);
    running.signal(Signal::SIGINT);
    eventually("the cancel", || {
        ann.job(&id)["cancelRequestedAt"]
            .as_str()
            .map(str::to_owned)
    });
    running.signal(Signal::SIGINT);
    running.ended().ends(130).says("Detached");
}

#[test]
fn a_reader_that_closes_early_is_not_an_error() {
    let (server, ann, agent) = with_operator();
    let _agent = RealAgent::start(&server, &agent);
    let cli = Cli::of(&server, &ann);
    let hyprbox = env!("CARGO_BIN_EXE_hyprbox");
    let line = format!(
        "'{hyprbox}' run shell -n n1 -f -p code='seq 1000000' | head -n 2; echo \"${{PIPESTATUS[0]}}\""
    );
    let mut command = std::process::Command::new("bash");
    let output = cli
        .dress(&mut command)
        .args(["-c", &line])
        .output()
        .expect("bash");
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(ran.text().ends_with("1\n141\n"), "{ran:?}");
    assert!(!ran.stderr.contains("hyprbox:"), "{ran:?}");
}

#[test]
fn waiting_shows_nothing_of_the_output() {
    let (server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    agent.claim();
    agent.say(&id, 0, "text\n");
    let running = Cli::of(&server, &ann).start(&["jobs", "wait", &id]);
    agent.complete(&id, &json!({"exitCode": 9})).ok();
    let ran = running.ended().ends(9).says("FAILED (exit code 9)");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    let told = Cli::of(&server, &ann)
        .run(&["jobs", "wait", &id, "--json"])
        .ends(9)
        .json();
    assert_eq!(
        (&told["status"], &told["exitCode"]),
        (&json!("FAILED"), &json!(9))
    );
}
