//! Jobs that wait for a confirmation, and undo what they have changed without one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hyprbox_protocol::CompleteRequest;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Agent, Node, end_jobs, supervisors, wait_until};
use crate::server::Server;

/// Longer than any test.
const LONG: u32 = 3_600;
const UNDONE: &str = "==> undo [2/2] Second\nundo 2 of two\n==> undo [1/2] First\nundo 1 of one\n";

/// A script like those of presets, with two steps that each change a file. `second` is bash that
/// the second step runs at its end, and `undo_second` bash that its undo runs at its beginning.
fn script(dir: &Path, seconds: u32, second: &str, undo_second: &str) -> String {
    let dir = dir.display();
    format!(
        r#"set -euo pipefail # hyprbox: confirm {seconds}
undo() {{ echo "undo $1 of $(<"$HYPRBOX_UNDO_DIR/$1")"; rm -f "{dir}/file$1"; }}
case ${{HYPRBOX_UNDO:-}} in
  '') ;;
  1) echo '==> undo [1/2] First'; undo 1; exit 0 ;;
  2) echo '==> undo [2/2] Second'; {undo_second}
     undo 2; exit 0 ;;
esac
stat -c 'mode %a' "$HYPRBOX_UNDO_DIR"
begin() {{ echo "==> [$1/2] $2"; echo "$1 $2" >>"$HYPRBOX_UNDO_DIR.steps"; touch "{dir}/file$1"; }}
begin 1 First
echo one >"$HYPRBOX_UNDO_DIR/1"
begin 2 Second
echo two >"$HYPRBOX_UNDO_DIR/2"
{second}
"#
    )
}

/// A node with a job that has run its steps and waits.
fn waiting(seconds: u32) -> (Server, Node, Agent, String) {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let id = server.queue(&script(node.dir.path(), seconds, ":", ":"));
    server.wait_output(&id, "==> waits for confirmation until ");
    (server, node, agent, id)
}

fn is_changed(node: &Node) -> [bool; 2] {
    ["file1", "file2"].map(|file| node.dir.path().join(file).exists())
}

fn assert_undone(server: &Server, node: &Node, id: &str) {
    let stdout = server.stdout(id);
    assert!(stdout.ends_with(UNDONE), "{stdout}");
    assert_eq!(is_changed(node), [false, false]);
    wait_until("the job's folder goes", || {
        !node.state().join("jobs").join(id).exists()
    });
}

fn assert_not_confirmed(end: &CompleteRequest) {
    assert_eq!(end.exit_code, Some(0));
    assert_eq!(end.error_msg.as_deref(), Some("not confirmed: undone"));
    assert_eq!((end.cancelled, end.timed_out), (None, None));
}

#[test]
fn a_confirmed_job_succeeds_and_keeps_its_changes() {
    let (server, node, _agent, id) = waiting(LONG);
    let wait = server.wait_waiting(&id);
    assert_eq!(wait.seconds, u64::from(LONG));
    let time = &wait.confirm_by[11..19];
    let stdout = server.stdout(&id);
    let line = format!("==> waits for confirmation until {time}Z\n");
    assert!(stdout.ends_with(&line), "{stdout}");
    assert!(stdout.starts_with("mode 700\n"), "{stdout}");
    assert!(server.world().jobs[&id].end.is_none());
    server.confirm(&id);
    let end = server.wait_end(&id);
    assert_eq!((end.exit_code, end.error_msg), (Some(0), None));
    assert!(end.stdout_sha256.is_some());
    assert!(server.stdout(&id).ends_with("==> confirmed\n"));
    assert_eq!(is_changed(&node), [true, true]);
    // The next job starts in a folder without any of it.
    let next = server.queue("echo ${HYPRBOX_UNDO_DIR:-none}");
    server.wait_end(&next);
    assert_eq!(server.stdout(&next), "none\n");
}

#[test]
fn a_job_is_undone_without_a_server_if_nobody_confirms_it() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue(&script(node.dir.path(), 2, ":", ":"));
    server.wait_waiting(&id);
    server.change(|world| world.down = true);
    wait_until("it is undone", || is_changed(&node) == [false, false]);
    server.change(|world| world.down = false);
    assert_not_confirmed(&server.wait_end(&id));
    assert_undone(&server, &node, &id);
}

#[test]
fn a_job_is_undone_without_an_agent() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let id = server.queue(&script(node.dir.path(), 1, ":", ":"));
    server.wait_waiting(&id);
    agent.kill9();
    wait_until("it is undone", || is_changed(&node) == [false, false]);
    let _agent = node.start();
    assert_not_confirmed(&server.wait_end(&id));
    assert_undone(&server, &node, &id);
}

#[test]
fn a_new_agent_reports_the_wait_and_carries_the_confirmation() {
    let (server, node, agent, id) = waiting(LONG);
    agent.kill9();
    server.change(|world| world.jobs.get_mut(&id).expect("queued").confirm_wait = None);
    let _agent = node.start();
    server.wait_waiting(&id);
    server.confirm(&id);
    assert_eq!(server.wait_end(&id).error_msg, None);
    assert_eq!(is_changed(&node), [true, true]);
}

#[test]
fn a_cancel_of_a_waiting_job_undoes_it_at_once() {
    let (server, node, _agent, id) = waiting(LONG);
    server.cancel(&id);
    let end = server.wait_end(&id);
    assert_eq!((end.cancelled, end.error_msg), (Some(true), None));
    assert_undone(&server, &node, &id);
}

#[test]
fn a_failed_step_is_undone_too_and_keeps_its_exit_code() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue(&script(node.dir.path(), LONG, "exit 7", ":"));
    let end = server.wait_end(&id);
    assert_eq!((end.exit_code, end.error_msg), (Some(7), None));
    assert_undone(&server, &node, &id);
    assert!(!server.stdout(&id).contains("waits"));
}

#[test]
fn a_step_that_runs_too_long_or_is_cancelled_is_undone() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let hanging = script(node.dir.path(), LONG, "echo ready; sleep 300", ":");
    let id = server.queue_with(&hanging, |job| job.timeout_seconds = 1);
    let end = server.wait_end(&id);
    assert_eq!(end.timed_out, Some(true));
    assert_eq!(end.error_msg.as_deref(), Some("timed out after 1 s"));
    assert_undone(&server, &node, &id);
    let id = server.queue(&hanging);
    server.wait_output(&id, "ready");
    server.cancel(&id);
    let end = server.wait_end(&id);
    assert_eq!((end.cancelled, end.error_msg), (Some(true), None));
    assert_undone(&server, &node, &id);
}

#[test]
fn the_wait_does_not_count_against_the_timeout() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue_with(&script(node.dir.path(), 3, ":", ":"), |job| {
        job.timeout_seconds = 1;
    });
    assert_not_confirmed(&server.wait_end(&id));
}

#[test]
fn an_undo_goes_on_after_one_that_fails() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    for fault in ["exit 3", "kill -9 $$"] {
        let id = server.queue(&script(node.dir.path(), 1, ":", fault));
        let end = server.wait_end(&id);
        assert_eq!(end.error_msg.as_deref(), Some("undo failed: Second"));
        assert_eq!(end.exit_code, Some(0));
        let (stdout, stderr) = (server.stdout(&id), server.stderr(&id));
        let last = "==> undo [2/2] Second\n==> undo [1/2] First\nundo 1 of one\n";
        assert!(stdout.ends_with(last), "{stdout}");
        assert!(stderr.ends_with("==> undo failed: Second\n"), "{stderr}");
        assert_eq!(is_changed(&node), [false, true]);
    }
}

#[test]
fn a_script_that_changes_nothing_does_not_wait() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("# hyprbox: confirm 3600\necho 'nothing to do'");
    assert_eq!(server.wait_end(&id).error_msg, None);
    assert_eq!(server.stdout(&id), "nothing to do\n");
}

#[test]
fn after_a_reboot_a_waiting_job_is_undone_before_anything_else() {
    let (server, mut node, agent, id) = waiting(LONG);
    server.wait_waiting(&id);
    agent.kill9();
    end_jobs(&node.state());
    assert_eq!(is_changed(&node), [true, true]);
    let boot = node.dir.path().join("boot");
    std::fs::write(&boot, "second").expect("written");
    node.set("HYPRBOX_BOOT_ID_FILE", boot.display().to_string());
    // Nothing answers, and another job is queued.
    server.change(|world| world.down = true);
    let next = server.queue(&format!("ls {}", node.dir.path().display()));
    let agent = node.start();
    agent.wait_log("interrupted; undoing it");
    wait_until("it is undone", || is_changed(&node) == [false, false]);
    server.change(|world| world.down = false);
    assert_not_confirmed(&server.wait_end(&id));
    assert_undone(&server, &node, &id);
    server.wait_end(&next);
    assert_eq!(server.stdout(&next), "boot\nstate\n");
}

#[test]
fn a_reboot_during_a_step_or_an_undo_is_followed_by_an_undo() {
    let server = Server::start();
    let node = Node::new(&server);
    let go = node.dir.path().join("go");
    let hangs = format!(
        "if [[ ! -e {} ]]; then echo ready; sleep 300; fi",
        go.display()
    );
    // In a step.
    let agent = node.start();
    let id = server.queue(&script(node.dir.path(), LONG, &hangs, ":"));
    server.wait_output(&id, "ready");
    agent.kill9();
    end_jobs(&node.state());
    let agent = node.start();
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, None);
    assert_eq!(
        end.error_msg.as_deref(),
        Some("the job's supervisor was killed")
    );
    assert_undone(&server, &node, &id);
    // In an undo: why the job was undone stays known.
    let id = server.queue(&script(node.dir.path(), 1, ":", &hangs));
    server.wait_output(&id, "ready");
    agent.kill9();
    end_jobs(&node.state());
    std::fs::write(&go, "").expect("written");
    let _agent = node.start();
    assert_not_confirmed(&server.wait_end(&id));
    assert_undone(&server, &node, &id);
}

#[test]
fn a_killed_supervisor_leaves_an_undo_to_the_agent() {
    let (server, node, _agent, id) = waiting(LONG);
    for pid in supervisors(&node.state()) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("runs");
    }
    assert_not_confirmed(&server.wait_end(&id));
    assert_undone(&server, &node, &id);
}

#[test]
fn a_shutdown_leaves_the_undo_to_the_next_start() {
    let (server, node, agent, id) = waiting(LONG);
    server.wait_waiting(&id);
    agent.term();
    for pid in supervisors(&node.state()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("runs");
    }
    wait_until("the supervisor ends", || {
        supervisors(&node.state()).is_empty()
    });
    assert_eq!(is_changed(&node), [true, true]);
    let _agent = node.start();
    assert_not_confirmed(&server.wait_end(&id));
    assert_undone(&server, &node, &id);
}

#[test]
fn a_job_is_confirmed_on_the_node_without_a_server() {
    let (server, node, agent, id) = waiting(LONG);
    server.change(|world| world.down = true);
    let wrong = node.output(&["confirm", "00000000-0000-4000-8000-000000000000"]);
    assert_eq!(wrong.status.code(), Some(1));
    let output = node.output(&["confirm"]);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stdout, format!("job {id} is confirmed: its changes stay\n"));
    let again = node.output(&["confirm", &id]);
    assert_eq!(again.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&again.stderr).into_owned();
    let expected = format!("job {id} does not wait for a confirmation on this node");
    assert!(stderr.contains(&expected), "{stderr}");
    server.change(|world| world.down = false);
    assert_eq!(server.wait_end(&id).error_msg, None);
    assert_eq!(is_changed(&node), [true, true]);
    drop(agent);
    let none = node.output(&["confirm"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no job on this node waits"));
}

#[test]
fn what_a_step_keeps_is_private_and_goes_with_the_job() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue(&script(
        node.dir.path(),
        LONG,
        "ln -s /etc/passwd $HYPRBOX_UNDO_DIR/link; mkdir -m 0 $HYPRBOX_UNDO_DIR/deep",
        ":",
    ));
    server.wait_waiting(&id);
    let undo = node.state().join("jobs").join(&id).join("undo");
    let mode = undo.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    server.confirm(&id);
    server.wait_end(&id);
    wait_until("it goes", || !undo.exists());
}
