//! The real agent with the real server: what a script says, how it ends, and what may happen on the
//! way. One file, because all tests share one server with one real agent.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, RealAgent, Server, eventually, write_preset};

struct World {
    server: Server,
    admin: Person,
    node: FakeAgent,
    agent: RealAgent,
    /// Where scripts and tests leave each other files.
    folder: tempfile::TempDir,
}

fn world() -> World {
    let mut server = Server::start();
    let admin = server.admin();
    let node = admin.add_node("n1");
    let agent = RealAgent::start(&server, &node);
    World {
        server,
        admin,
        node,
        agent,
        folder: tempfile::tempdir().expect("a folder"),
    }
}

impl World {
    fn run(&self, code: &str) -> String {
        self.admin.queue_with("n1", "shell", json!({"code": code}))
    }

    fn done(&self, id: &str) -> Value {
        done(&self.admin, id)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn done(admin: &Person, id: &str) -> Value {
    eventually("the job's end", || {
        let job = admin.job(id);
        let status = job.field("status");
        (status != "QUEUED" && status != "RUNNING").then_some(job)
    })
}

/// Bash that waits until the test makes a file.
fn wait_for(path: &Path) -> String {
    format!("until [[ -e '{}' ]]; do sleep 0.01; done", path.display())
}

fn touch(path: &Path) {
    std::fs::write(path, "").expect("writes");
}

/// A preset of one step, which runs in the script itself and not in a bash of its own.
fn step(name: &str, targets: &str, run: &str) -> String {
    format!(
        "name: {name}\ntitle: A step\ndescription: For tests.\ntargets: [{targets}]\nrisk: low\ntimeout: 10m\n\
         steps:\n  - name: Do it\n    run: |\n      {run}\n"
    )
}

#[test]
fn a_scripts_output_and_end_are_reported() {
    let world = world();
    let id = world.run("echo hello; echo oops >&2");
    let job = world.done(&id);
    assert_eq!(job["status"], "SUCCEEDED");
    assert_eq!(
        (&job["exitCode"], &job["signal"], &job["errorMsg"]),
        (&json!(0), &Value::Null, &Value::Null)
    );
    assert_eq!(job["stdout"], "==> [1/1] Run it\nhello\n");
    assert_eq!(job["stderr"], "oops\n");
    assert_eq!(
        (job.count("stdoutBytes"), job.count("stdoutDropped")),
        (23, 0)
    );
    for (code, exit_code) in [("exit 3", 3), ("false", 1), ("exit 255", 255)] {
        let job = world.done(&world.run(code));
        assert_eq!(job["status"], "FAILED", "{code}");
        assert_eq!(job["exitCode"], exit_code, "{code}");
        assert_eq!(job["errorMsg"], Value::Null, "{code}");
    }
    let node = world.admin.get("/api/nodes/n1").ok();
    assert_eq!(node["status"], "ONLINE");
    assert!(
        node["hostname"].is_string() && node["agentVersion"].is_string(),
        "{node}"
    );
    assert!(node["os"]["id"].is_string(), "{node}");
}

#[test]
fn a_bash_that_a_signal_ends() {
    let world = world();
    let folder = world.server.presets_dir();
    write_preset(&folder, "suicide", &step("suicide", "any", "kill -KILL $$"));
    let id = world.admin.queue_with("n1", "suicide", json!({}));
    let job = world.done(&id);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(
        (&job["exitCode"], &job["signal"]),
        (&Value::Null, &json!("SIGKILL"))
    );
    assert_eq!(job["errorMsg"], "killed by SIGKILL");
}

#[test]
fn a_preset_for_another_distribution_does_nothing() {
    let world = world();
    let folder = world.server.presets_dir();
    write_preset(
        &folder,
        "elsewhere",
        &step("elsewhere", "plan9, beos", "echo never"),
    );
    let id = world.admin.queue_with("n1", "elsewhere", json!({}));
    let job = world.done(&id);
    assert_eq!(
        (&job["status"], &job["exitCode"]),
        (&json!("FAILED"), &json!(2))
    );
    assert_eq!(job["stdout"], "");
    let stderr = job.field("stderr");
    let words = "distro guard: this preset targets plan9, beos; this node is ";
    assert!(stderr.starts_with(words), "{stderr}");
}

#[test]
fn lines_are_shown_while_the_script_runs() {
    let world = world();
    let go = world.file("go");
    let id = world.run(&format!("echo one; {}; echo two", wait_for(&go)));
    let mut stream = world.admin.get(&format!("/api/jobs/{id}/stream")).open();
    let so_far = "==> [1/1] Run it\none\n";
    assert_eq!(stream.output("stdout", so_far.len() as u64), so_far);
    assert_eq!(world.admin.job(&id)["status"], "RUNNING");
    touch(&go);
    let events = stream.until_done();
    assert_eq!(events[0].data["data"], "two\n");
    assert_eq!(events.last().expect("done").data["status"], "SUCCEEDED");
}

#[test]
fn both_streams_keep_their_order() {
    let world = world();
    // A little time between the two, so that the agent reads one before the other is there.
    let id = world.run("for n in 1 2 3; do echo $n; sleep 0.1; echo $n >&2; sleep 0.1; done");
    world.done(&id);
    assert_eq!(
        world.admin.log(&id, "both"),
        b"==> [1/1] Run it\n1\n1\n2\n2\n3\n3\n"
    );
}

#[test]
fn the_jobs_environment_is_clean() {
    let world = world();
    let id = world
        .run("env -0 | tr '\\0' '\\n'; echo \"in $PWD\"; cat /proc/self/environ | tr '\\0' '\\n'");
    let job = world.done(&id);
    let stdout = job.field("stdout");
    assert!(
        !stdout.contains("hbn_") && !stdout.contains("HYPRBOX_NODE_TOKEN"),
        "{stdout}"
    );
    assert!(
        !stdout.contains("HYPRBOX_API_URL") && !stdout.contains("HYPRBOX_STATE_DIR"),
        "{stdout}"
    );
    for expected in [
        format!("HYPRBOX_JOB_ID={id}"),
        "HYPRBOX_NODE_ID=n1".to_owned(),
        "in /".to_owned(),
    ] {
        assert!(
            stdout.lines().any(|line| line == expected),
            "{expected}: {stdout}"
        );
    }
    for name in ["PATH=", "HOME=", "LANG="] {
        assert!(
            stdout.lines().any(|line| line.starts_with(name)),
            "{name}: {stdout}"
        );
    }
}

/// The linter's list of known variables has every variable of a job's environment.
#[test]
fn the_linter_accepts_every_variable_of_a_jobs_environment() {
    let world = world();
    let id = world.run("compgen -e");
    let job = world.done(&id);
    let stdout = job.field("stdout");
    let names: Vec<&str> = stdout.lines().skip(1).collect();
    assert!(
        names.contains(&"HYPRBOX_NODE_ID") && names.len() >= 9,
        "{names:?}"
    );
    let uses: String = names
        .iter()
        .map(|name| format!("    : \"${name}\"\n"))
        .collect();
    let preset = format!(
        "name: x\ntargets: [any]\nsteps:\n- name: One\n  run: |\n{uses}    : \"$NO_SUCH\"\n"
    );
    let tools = hyprbox::presets::check::Tools::installed().without_shellcheck();
    let findings = hyprbox::presets::check::check("x", &preset, &tools);
    let rules: Vec<&str> = findings.iter().map(|found| found.rule.as_str()).collect();
    assert_eq!(rules, ["undefined-variable"], "{findings:?}");
    assert!(findings[0].message.contains("NO_SUCH"), "{findings:?}");
}

#[test]
fn a_step_reads_nothing_of_the_script() {
    let world = world();
    let id = world.run("cat; read -r line || echo nothing to read");
    let job = world.done(&id);
    assert_eq!(job["stdout"], "==> [1/1] Run it\nnothing to read\n");
}

fn is_alive(pid: &str) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty())
}

#[test]
fn a_cancel_ends_the_whole_group() {
    let world = world();
    let pids = world.file("pids");
    let id = world.run(&format!(
        "sleep 1000 & echo $! > '{0}.new'; echo $$ >> '{0}.new'; mv '{0}.new' '{0}'; wait",
        pids.display()
    ));
    let text = eventually("the script to run", || std::fs::read_to_string(&pids).ok());
    // One that is just becoming another program has no command line, either.
    eventually("both processes", || {
        text.lines().all(is_alive).then_some(())
    });
    world.admin.cancel(&id).gives(202);
    let job = world.done(&id);
    assert_eq!(job["status"], "CANCELLED");
    assert_eq!(job["errorMsg"], Value::Null);
    assert!(job["cancelRequestedAt"].is_string(), "{job}");
    eventually("every process to be gone", || {
        (!text.lines().any(is_alive)).then_some(())
    });
    // The agent takes the next one.
    assert_eq!(world.done(&world.run("echo next"))["status"], "SUCCEEDED");
}

#[test]
fn a_script_that_ended_by_itself_keeps_its_end() {
    let world = world();
    let (here, go) = (world.file("here"), world.file("go"));
    let code = format!(
        "trap '' TERM; touch '{}'; {}; exit 5",
        here.display(),
        wait_for(&go)
    );
    let folder = world.server.presets_dir();
    write_preset(&folder, "stubborn", &step("stubborn", "any", &code));
    let id = world.admin.queue_with("n1", "stubborn", json!({}));
    eventually("the script to run", || here.exists().then_some(()));
    world.admin.cancel(&id).gives(202);
    touch(&go);
    let job = world.done(&id);
    // It heard of the cancel or it did not; either way it is at an end, and says which.
    match job.field("status").as_str() {
        "CANCELLED" => assert_eq!(job["errorMsg"], Value::Null),
        "FAILED" => assert_eq!(job["exitCode"], 5),
        other => panic!("{other}: {job}"),
    }
}

#[test]
fn a_script_that_runs_past_its_timeout() {
    let world = world();
    let body = json!({"preset": "shell", "nodeId": "n1", "params": {"code": "echo begun; sleep 1000"},
        "timeoutSeconds": 1});
    let id = world
        .admin
        .post("/api/jobs", &body)
        .gives(201)
        .json()
        .field("id");
    let job = world.done(&id);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(job["errorMsg"], "timed out after 1 s");
    assert_eq!(job["stdout"], "==> [1/1] Run it\nbegun\n");
}

#[test]
fn processes_that_a_script_leaves_behind_are_ended_and_reported() {
    let world = world();
    let id = world.run("sleep 1000 & echo $!; sleep 1000 & echo $! ; disown -a");
    let job = world.done(&id);
    assert_eq!(
        (&job["status"], &job["exitCode"]),
        (&json!("SUCCEEDED"), &json!(0))
    );
    let stdout = job.field("stdout");
    let mut pids: Vec<u32> = stdout.lines().filter_map(|pid| pid.parse().ok()).collect();
    pids.sort_unstable();
    let [first, second] = pids[..] else {
        panic!("two pids: {stdout}");
    };
    assert_eq!(
        job.field("stderr"),
        format!(
            "hyprbox: ended 2 processes that the script left behind: sleep ({first}), sleep ({second})\n"
        )
    );
    for pid in pids {
        assert!(!is_alive(&pid.to_string()), "{pid}");
    }
}

#[test]
fn a_long_output_is_kept_to_its_exact_tail() {
    const TAIL: usize = 4_194_304;
    let world = world();
    let id = world.run("seq 1 800000");
    let job = world.done(&id);
    assert_eq!(job["status"], "SUCCEEDED");
    let mut text = "==> [1/1] Run it\n".to_owned();
    (1..=800_000).for_each(|n| text.push_str(&format!("{n}\n")));
    assert_eq!(job.count("stdoutBytes"), text.len() as u64);
    assert_eq!(job.count("stdoutDropped"), (text.len() - TAIL) as u64);
    assert!(
        world.admin.log(&id, "stdout") == text.as_bytes()[text.len() - TAIL..],
        "not the tail"
    );
}

#[test]
fn bytes_that_are_not_text_arrive_unchanged() {
    let world = world();
    let id = world.run(r"printf '\xff\x00\xfe caf\xc3'; sleep 0.2; printf '\xa9\n'");
    world.done(&id);
    let log = world.admin.log(&id, "stdout");
    assert_eq!(log, b"==> [1/1] Run it\n\xff\x00\xfe caf\xc3\xa9\n");
}

#[test]
fn a_secret_is_masked_before_it_leaves_the_node() {
    let world = world();
    let secret = "hunter2-and-more";
    let id = world
        .admin
        .queue_with("n1", "vault", json!({"key": secret}));
    let job = world.done(&id);
    assert_eq!(job["status"], "SUCCEEDED", "{job}");
    assert_eq!(job["stdout"], "==> [1/1] Use it\nthe key is ***\n");
    assert!(
        !world.server.database().files_hold(secret),
        "in the database"
    );
}

#[test]
fn an_agent_that_is_killed_finds_its_job_again() {
    let mut world = world();
    let (count, go) = (world.file("count"), world.file("go"));
    let id = world.run(&format!(
        "echo started >> '{}'; echo one; {}; echo two; exit 7",
        count.display(),
        wait_for(&go)
    ));
    eventually("the first line", || {
        world
            .admin
            .job(&id)
            .field("stdout")
            .ends_with("one\n")
            .then_some(())
    });
    world.agent.kill9();
    // It ends while nobody is there to tell of it.
    touch(&go);
    world.agent.start_again();
    let job = world.done(&id);
    assert_eq!(
        (&job["status"], &job["exitCode"]),
        (&json!("FAILED"), &json!(7))
    );
    assert_eq!(job["stdout"], "==> [1/1] Run it\none\ntwo\n");
    assert_eq!(job["recoveredAt"], Value::Null);
    let started = std::fs::read_to_string(&count).expect("reads");
    assert_eq!(started, "started\n", "once");
}

#[test]
fn a_server_that_is_killed_misses_nothing() {
    let mut world = world();
    let (here, go) = (world.file("here"), world.file("go"));
    // The agent knows one address: the server comes back to the same one.
    let address = world.server.address().to_owned();
    world.server.set("HYPRBOX_LISTEN", &address);
    let id = world.run(&format!(
        "echo one; {}; echo two; touch '{}'",
        wait_for(&go),
        here.display()
    ));
    eventually("the first line", || {
        world
            .admin
            .job(&id)
            .field("stdout")
            .ends_with("one\n")
            .then_some(())
    });
    world.server.kill9();
    touch(&go);
    eventually("the script's end", || here.exists().then_some(()));
    world.server.start_again();
    let admin = world.server.admin();
    let job = done(&admin, &id);
    assert_eq!(job["status"], "SUCCEEDED");
    assert_eq!(job["stdout"], "==> [1/1] Run it\none\ntwo\n");
    assert_eq!(
        (job.count("stdoutBytes"), job.count("stdoutDropped")),
        (25, 0)
    );
}

#[test]
fn jobs_run_one_at_a_time_and_in_order() {
    let world = world();
    let log = world.file("log");
    let ids: Vec<String> = (0..5)
        .map(|n| {
            world.run(&format!(
                "echo begin {n} >> '{0}'; sleep 0.05; echo end {n} >> '{0}'",
                log.display()
            ))
        })
        .collect();
    for id in &ids {
        assert_eq!(world.done(id)["status"], "SUCCEEDED");
    }
    let expected: String = (0..5).map(|n| format!("begin {n}\nend {n}\n")).collect();
    assert_eq!(std::fs::read_to_string(&log).expect("reads"), expected);
}

#[test]
fn a_revoked_token_is_logged_in_the_contracts_words() {
    let world = world();
    world.done(&world.run("true"));
    let tokens = world.admin.get("/api/nodes/n1/tokens").ok();
    let path = format!("/api/nodes/n1/tokens/{}", tokens["tokens"][0].field("id"));
    world.admin.delete(&path).gives(204);
    let words = "[jobrunner] poll error: unauthorized \u{2014} check HYPRBOX_NODE_TOKEN";
    eventually("the log to say so", || {
        world.agent.logged(words).then_some(())
    });
}

#[test]
fn a_stopped_agent_reports_that_it_stops() {
    let mut world = world();
    let status = |admin: &Person| admin.get("/api/nodes/n1").ok().field("status");
    eventually("the node to be there", || {
        (status(&world.admin) == "ONLINE").then_some(())
    });
    let ended = world.agent.terminate();
    assert!(ended.success(), "{ended}");
    assert_eq!(status(&world.admin), "OFFLINE");
    assert_eq!(world.node.node_id, "n1");
}

#[test]
fn a_running_job_shows_its_process() {
    let world = world();
    let go = world.file("go");
    let id = world.run(&format!("echo on its way; {}", wait_for(&go)));
    let pid = eventually("the process to be told", || {
        let pid = world
            .server
            .database()
            .texts(&format!(
                "SELECT CAST(coalesce(pid, 0) AS TEXT) FROM jobs WHERE id = '{id}'"
            ))
            .remove(0);
        (pid != "0").then_some(pid)
    });
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert_eq!(command, b"/bin/bash\0-s\0");
    let page = world
        .admin
        .browser("GET", &format!("/jobs/{id}"))
        .gives(200);
    assert!(
        page.text()
            .contains(&format!("<dt>Process</dt><dd>{pid}</dd>"))
    );
    touch(&go);
    world.done(&id);
    let page = world
        .admin
        .browser("GET", &format!("/jobs/{id}"))
        .gives(200);
    assert!(
        !page.text().contains("<dt>Process</dt>"),
        "the number may be another's by now"
    );
}

#[test]
fn a_preset_may_leave_processes_running() {
    let world = world();
    let folder = world.server.presets_dir();
    let start = "sleep 300 >/dev/null 2>&1 & echo $!";
    write_preset(&folder, "ends", &step("ends", "any", start));
    let keeps = step("keeps", "any", start).replace("steps:", "keepProcesses: true\nsteps:");
    write_preset(&folder, "keeps", &keeps);
    for (preset, words, lives) in [
        (
            "ends",
            "hyprbox: ended 1 process that the script left behind: sleep (",
            false,
        ),
        ("keeps", "hyprbox: left 1 process running: sleep (", true),
    ] {
        let id = world.admin.queue_with("n1", preset, json!({}));
        let job = world.done(&id);
        assert_eq!(job["status"], "SUCCEEDED", "{job}");
        assert!(job.field("stderr").starts_with(words), "{job}");
        let pid = job
            .field("stdout")
            .lines()
            .nth(1)
            .expect("a pid")
            .to_owned();
        let process = Path::new("/proc").join(&pid);
        assert_eq!(process.exists(), lives, "{preset}");
        if lives {
            let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a pid"));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it lives");
        }
    }
}

/// A restored backup, or a row set back by hand: the script does not start a second time, however
/// many jobs have run since.
#[test]
fn a_job_that_is_queued_again_by_hand_does_not_run_again() {
    const LATER: usize = 300;
    let mut world = world();
    let runs = world.file("runs");
    let append = format!("echo run >> '{}'", runs.display());
    let first = world.run(&append);
    assert_eq!(world.done(&first)["status"], "SUCCEEDED");
    let second = world.run(&append);
    assert_eq!(world.done(&second)["status"], "SUCCEEDED");
    let queue_again = |world: &World, id: &str| {
        let changed = world.server.database().execute(&format!(
            "UPDATE jobs SET status = 'QUEUED', started_at = NULL, finished_at = NULL, exit_code = NULL,
                 claimed_by = NULL, claimed_process = NULL WHERE id = '{id}'"
        ));
        assert_eq!(changed, 1);
        world.done(id)
    };
    // Its end is still known.
    assert_eq!(queue_again(&world, &second)["status"], "SUCCEEDED");
    let ids: Vec<String> = (0..LATER).map(|_| world.admin.queue("n1")).collect();
    for id in &ids {
        assert_eq!(world.done(id)["status"], "SUCCEEDED");
    }
    for _ in 0..2 {
        let job = queue_again(&world, &first);
        assert_eq!(job["status"], "FAILED", "{job}");
        assert_eq!(job["errorMsg"], "this node has already run this job");
        world.agent.kill9();
        world.agent.start_again();
    }
    let text = std::fs::read_to_string(&runs).expect("reads");
    assert_eq!(text, "run\nrun\n");
    // It goes on with other jobs.
    assert_eq!(world.done(&world.run("exit 3"))["exitCode"], 3);
}
