//! Cancels a script that tries everything to keep running.

use std::time::Instant;

use serde_json::json;

use crate::harness::{Field, Server, eventually};
use crate::node::Node;
use crate::processes::marked;

/// Ignores SIGTERM, and has children that fork endlessly: some in sessions of their own, some whose
/// parents have exited, some without the job's environment, and one that replaces itself by a child
/// every few milliseconds.
const STUBBORN: &str = r#"
trap '' TERM HUP INT
for n in 1 2 3; do
  (trap '' TERM; while :; do (trap '' TERM; exec -a "$mark-child" sleep 0.3) & sleep 0.05; done) &
done
(setsid bash -c "trap '' TERM; while :; do (exec -a $mark-session sleep 0.2) & sleep 0.05; done" &)
( (setsid env -i bash -c "trap '' TERM; cd /; exec -a $mark-nameless sleep 600" &) & )
setsid setsid bash -c "trap '' TERM; (setsid bash -c \"trap '' TERM; exec -a $mark-twice sleep 600\" &) & exec -a $mark-first sleep 600" &
hop() { trap '' TERM; sleep 0.01; hop & exit 0; }
hop &
echo ready
while :; do sleep 1; done
"#;

#[test]
fn nothing_is_left_of_a_cancelled_script_that_tries_to_keep_running() {
    let mut server = Server::start();
    let admin = server.admin();
    let mut node = Node::new(server.url(), &admin.add_node("n1"));
    node.start();
    let mark = format!("stubborn-{}", std::process::id());
    let code = format!("mark={mark}; {STUBBORN}");
    let id = admin.queue_with("n1", "shell", json!({"code": code}));
    let mut stream = admin.get(&format!("/api/jobs/{id}/stream")).open();
    stream.until(|event| {
        event.data["data"]
            .as_str()
            .is_some_and(|data| data.contains("ready"))
    });
    let of_the_job = format!("HYPRBOX_JOB_ID={id}");
    for name in ["child", "session", "nameless", "twice", "first"] {
        let name = format!("{mark}-{name}");
        eventually(&name, || (!marked(&name).is_empty()).then_some(()));
    }
    let at_work = marked(&of_the_job).len();
    let began = Instant::now();
    admin.cancel(&id).gives(202);
    let left = || {
        let mut left = marked(&of_the_job);
        left.extend(marked(&mark));
        left
    };
    eventually("the last process to go", || left().is_empty().then_some(()));
    // The grace period is 10 s; how much longer this takes depends on the machine.
    let took = began.elapsed();
    eprintln!("{at_work} processes, all gone after {took:.1?}");
    let job = eventually("the job's end", || {
        let job = admin.job(&id);
        (job["status"] != "RUNNING").then_some(job)
    });
    assert_eq!(job["status"], "CANCELLED", "{job}");
    assert_eq!(job["errorMsg"], json!(null), "{job}");
    // The script's own bash has no trap.
    assert_eq!(job.field("signal"), "SIGTERM", "{job}");
    assert!(left().is_empty(), "processes came back");
    // The node runs the next job.
    let next = admin.queue("n1");
    eventually("the next job", || {
        (admin.job(&next)["status"] == "SUCCEEDED").then_some(())
    });
}

#[test]
fn a_cancelled_step_gets_its_ten_seconds_to_clean_up() {
    let mut server = Server::start();
    let admin = server.admin();
    let mut node = Node::new(server.url(), &admin.add_node("n1"));
    node.start();
    // The script's own bash exits on the first SIGTERM, but the step does not.
    let code = "trap 'sleep 5; echo cleaned up; exit 0' TERM; sleep 600 & echo ready; wait";
    let id = admin.queue_with("n1", "shell", json!({"code": code}));
    eventually("the step", || {
        let job = admin.job(&id);
        job.field("stdout").contains("ready").then_some(())
    });
    admin.cancel(&id).gives(202);
    let job = eventually("the job's end", || {
        let job = admin.job(&id);
        (job["status"] != "RUNNING").then_some(job)
    });
    assert_eq!(job["status"], "CANCELLED", "{job}");
    assert!(
        job.field("stdout").ends_with("ready\ncleaned up\n"),
        "{job}"
    );
}
