//! The times of steps, by the node's clock, and the first seconds of a job.

use crate::agent::Node;
use crate::server::Server;

/// How far a step's time may be from the script's own, in milliseconds.
const TOLERANCE_MS: f64 = 20.0;

/// A script of six steps of a third of a second. After each announcement it prints its own time,
/// and so at its end.
const SIX_STEPS: &str = "for n in 1 2 3 4 5 6; do \
    echo \"==> [$n/6] Step $n\"; echo \"at $EPOCHREALTIME\"; sleep 0.3; done; echo \"at $EPOCHREALTIME\"";

/// The durations of the steps in milliseconds, as the script's own times have them.
fn own_durations(stdout: &str) -> Vec<f64> {
    let times: Vec<f64> = stdout
        .lines()
        .filter_map(|line| line.strip_prefix("at "))
        .map(|seconds| seconds.parse().expect("a time"))
        .collect();
    times
        .windows(2)
        .map(|two| (two[1] - two[0]) * 1_000.0)
        .collect()
}

/// The durations by the stamps that the agent sent.
fn stamped_durations(server: &Server, id: &str) -> Vec<f64> {
    let world = server.world();
    let job = &world.jobs[id];
    let ran = job.end.as_ref().and_then(|end| end.ran_ms);
    let times: Vec<u64> = job.stamps.values().copied().chain(ran).collect();
    times
        .windows(2)
        .map(|two| (two[1] - two[0]) as f64)
        .collect()
}

/// Compares both. A busy machine may delay single steps, so the middle one counts.
fn assert_same(own: &[f64], stamped: &[f64]) {
    assert_eq!(own.len(), stamped.len(), "{own:?} {stamped:?}");
    let mut errors: Vec<f64> = own
        .iter()
        .zip(stamped)
        .map(|(a, b)| (a - b).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    assert!(
        errors[errors.len() / 2] <= TOLERANCE_MS,
        "{own:?} {stamped:?}"
    );
}

#[test]
fn steps_have_the_times_at_which_the_script_wrote_them_watched_or_not() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    for flush_ms in [50, 1_500] {
        server.change(|world| world.flush_ms = flush_ms);
        let id = server.queue(SIX_STEPS);
        assert_eq!(server.wait_end(&id).exit_code, Some(0));
        let own = own_durations(&server.stdout(&id));
        assert_eq!(own.len(), 6);
        assert_same(&own, &stamped_durations(&server, &id));
    }
}

#[test]
fn times_of_steps_survive_a_server_that_is_down_and_a_killed_agent() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let go = node.dir.path().join("go");
    let id = server.queue(&format!(
        "echo '==> [1/3] One'; echo \"at $EPOCHREALTIME\"; until [ -e {0} ]; do sleep 0.01; done\n\
         echo '==> [2/3] Two'; echo \"at $EPOCHREALTIME\"; sleep 0.2; echo '==> [3/3] Three'; echo \"at $EPOCHREALTIME\"\n\
         touch {0}.written; until [ -e {0}.end ]; do sleep 0.01; done; echo \"at $EPOCHREALTIME\"",
        go.display()
    ));
    server.wait_output(&id, "at ");
    server.change(|world| world.down = true);
    std::fs::write(&go, "").expect("writes");
    let written = node.dir.path().join("go.written");
    crate::agent::wait_until("the last step", || written.exists());
    agent.kill9();
    let again = node.start();
    again.wait_log("found again");
    again.kill9();
    server.change(|world| world.down = false);
    let _agent = node.start();
    server.wait_output(&id, "Three");
    std::fs::write(node.dir.path().join("go.end"), "").expect("writes");
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    let own = own_durations(&server.stdout(&id));
    assert_eq!(own.len(), 3);
    assert_same(&own, &stamped_durations(&server, &id));
}

#[test]
fn a_script_that_announces_steps_for_ever_gets_few_stamps() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id =
        server.queue("for ((n = 0; n < 100000; n++)); do echo \"==> [$((n % 1000))/999] s\"; done");
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    assert_eq!(server.world().jobs[&id].stamps.len(), 999);
    // The directory is recycled. The next job has none of its stamps.
    let next = server.queue("echo no steps");
    assert_eq!(server.wait_end(&next).exit_code, Some(0));
    assert!(server.world().jobs[&next].stamps.is_empty());
}

/// The server's answers allow the agent to hold bytes back for 1.5 s. The script writes each line
/// once it knows that the server has the line before.
#[test]
fn bytes_of_the_first_seconds_are_hardly_held_back_though_nobody_watches() {
    let server = Server::start();
    server.change(|world| world.flush_ms = 1_500);
    let node = Node::new(&server);
    let _agent = node.start();
    let dir = node.dir.path().display().to_string();
    let id = server.queue(&format!(
        "n=0; while ((SECONDS < 3)); do echo \"line $n.\"; until [ -e {dir}/$n ] || ((SECONDS >= 3)); do sleep 0.01; done; ((n += 1)); done"
    ));
    let count = (0..)
        .take_while(|n| {
            let line = format!("line {n}.");
            let is_there = server.wait_for("the next line, or the end", |world| {
                let job = &world.jobs[&id];
                let has_line = job.text(0).contains(&line);
                (has_line || job.end.is_some()).then_some(has_line)
            });
            is_there && std::fs::write(format!("{dir}/{n}"), "").is_ok()
        })
        .count();
    // Each line but the first would wait for 1.5 s.
    assert!(count >= 6, "{count}");
}
