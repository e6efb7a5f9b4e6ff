//! Log lines and output that nobody takes: neither the server nor a command may be hurt by it.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Field, Server, Setup, eventually, with_node, write_preset};

#[test]
fn a_server_whose_log_is_not_read_works_on() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3"), ("HYPRBOX_LOG", "debug")]);
    let admin = server.admin();
    server.stop_reading_the_log();
    let mut jobs = Vec::new();
    for node in ["one", "two", "three"] {
        let agent = admin.add_node(node);
        let id = admin.queue(node);
        agent.claim();
        // Each is a line of the log.
        eventually("the lease to run out", || {
            (admin.job(&id)["status"] == "FAILED").then_some(())
        });
        assert_eq!(admin.job(&id)["errorMsg"], "agent disappeared");
        jobs.push(id);
    }
    let text = "name: fresh\ntitle: Fresh\ntargets: [any]\nrisk: low\nsteps:\n  - {name: One, run: echo one}\n";
    write_preset(&server.presets_dir(), "fresh", text);
    write_preset(&server.presets_dir(), "broken", "name: other\n");
    eventually("the new preset", || {
        (admin.get("/api/presets/fresh").send().status == 200).then_some(())
    });
    admin
        .post("/api/jobs", &json!({"preset": "fresh", "nodeId": "one"}))
        .gives(201);
    server.get("/readyz").gives(200);
    assert!(server.terminate().success());
}

#[test]
fn the_log_has_a_line_for_each_milestone_of_a_job_and_no_secret() {
    let (server, admin, agent) = with_node();
    agent.beat();
    eventually("the node to come", || {
        server
            .logged(&["INFO", "node is online", "node=n1"])
            .then_some(())
    });
    let await_line = |words: &[&str]| {
        eventually("the line", || server.logged(words).then_some(()));
    };
    let id = admin.queue_with("n1", "vault", json!({"key": "open sesame 4711"}));
    let job = format!("job={id}");
    await_line(&["INFO", "job queued", &job, "node=n1", "preset=vault"]);
    agent.claim();
    await_line(&["INFO", "job started", &job, "node=n1", "preset=vault"]);
    agent.complete(&id, &json!({"exitCode": 3})).gives(200);
    let end = ["status=FAILED", "exit_code=3", "preset=vault"];
    await_line(&[&["INFO", "job ended", &job, "node=n1"], &end[..]].concat());
    let cancelled = admin.queue("n1");
    admin.cancel(&cancelled).gives(200);
    let job = format!("job={cancelled}");
    await_line(&["job ended", &job, "status=CANCELLED"]);
    assert!(!server.logged(&["job started", &job]));
    let run = json!({"preset": "note", "nodes": ["n1"]});
    let run = admin.post("/api/runs", &run).gives(201).json();
    let run = format!("run={}", run.field("id"));
    await_line(&["INFO", "job queued", &run, "node=n1", "preset=note"]);
    agent.succeed(&agent.claim_id());
    await_line(&["job ended", &run, "status=SUCCEEDED"]);
    let stopping = json!({"instance": "one", "stopping": true});
    agent.heartbeat(&stopping).gives(200);
    await_line(&["INFO", "node is offline: its agent has stopped", "node=n1"]);
    assert!(!server.logged(&["sesame"]));
}

#[test]
fn a_server_starts_and_stops_however_it_was_started() {
    let blocked = "exec perl -MPOSIX -e 'sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM)); exec @ARGV' \
                   \"$0\" serve 2>/dev/null";
    for start in [
        "exec \"$0\" serve 2>&- >&-",
        "exec \"$0\" serve 2>/dev/full >/dev/full",
        blocked,
    ] {
        let setup = Setup::new();
        let port = free_port();
        let mut child = {
            let program = setup.program();
            let mut command = Command::new("sh");
            command
                .args(["-c", start])
                .arg(program.get_program())
                .env_clear()
                .envs(
                    program
                        .get_envs()
                        .filter_map(|(name, value)| Some((name, value?))),
                )
                .env("HYPRBOX_LISTEN", format!("127.0.0.1:{port}"));
            command.spawn().expect("it starts")
        };
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        eventually("it to listen", || {
            assert!(child.try_wait().expect("a child").is_none(), "{start}");
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        nix::sys::signal::kill(pid, Signal::SIGTERM).expect("it runs");
        assert!(child.wait().expect("a child").success(), "{start}");
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn a_hangup_ends_the_server_cleanly() {
    let mut server = Server::start();
    server.signal(Signal::SIGHUP);
    assert!(server.ended().success());
    server.wait_for_log(&["stopping"]);
}

const COMMANDS: [&[&str]; 9] = [
    &["--help"],
    &["--version"],
    &["serve", "--help"],
    &["jobs", "list", "--help"],
    &["completions", "bash"],
    &["presets", "check", "."],
    &["doctor"],
    &["demo", "--once"],
    &["backup", "copy.db"],
];

fn run_into(setup: &Setup, words: &[&str], stdout: impl Into<Stdio>) -> Output {
    let out = setup
        .program()
        .args(words)
        .current_dir(setup.folder())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(!errors.contains("panicked"), "{words:?}: {errors}");
    out
}

/// A data folder with a database in it.
fn with_a_database() -> Setup {
    let setup = Setup::new();
    let file = setup.data_dir().join("hyprbox.db");
    // A backup is of a file.
    let mut server = setup
        .with(
            "HYPRBOX_DATABASE_URL",
            &format!("sqlite:{}", file.display()),
        )
        .start();
    server.terminate();
    let setup = server.into_setup();
    let preset = "name: one\ntitle: One\ntargets: [any]\nrisk: low\nsteps:\n  - {name: One, run: echo one}\n";
    std::fs::write(setup.folder().join("one.yaml"), preset).expect("writes");
    setup
}

#[test]
fn a_command_whose_reader_is_gone_ends_with_141() {
    let setup = with_a_database();
    for words in COMMANDS {
        // Made again each time.
        let _none = std::fs::remove_file(setup.folder().join("copy.db"));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let out = run_into(&setup, words, writer);
        assert_eq!(out.status.code(), Some(141), "{words:?}: {out:?}");
        assert!(out.stderr.is_empty(), "{words:?}: {out:?}");
    }
}

#[test]
fn a_command_whose_output_can_t_be_written_says_so() {
    let setup = with_a_database();
    for words in [&["--help"][..], &["doctor"], &["completions", "bash"]] {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("it is there");
        let out = run_into(&setup, words, full);
        assert_eq!(out.status.code(), Some(125), "{words:?}: {out:?}");
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(errors.contains("the output can't be written"), "{errors}");
    }
}

#[test]
fn a_command_without_standard_error_keeps_its_exit_code() {
    let setup = Setup::new();
    for (words, code) in [
        (&["serve", "--listen", "nonsense"][..], 64),
        (&["jobs", "list"], 126),
        (&["restore", "nowhere.db"], 1),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let out = setup.program().args(words).stderr(writer).output();
        assert_eq!(out.expect("it runs").status.code(), Some(code), "{words:?}");
    }
}
