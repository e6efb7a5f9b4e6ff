//! A state folder that can't be used: the agent reports it, takes no jobs, and keeps sending
//! heartbeats.

use std::path::Path;

use crate::agent::{Agent, Node, wait_until};
use crate::server::Server;

/// Starts an agent, and checks that it sends heartbeats and takes no job. Then `fix` repairs the
/// folder, and the job runs.
pub fn assert_reported_and_recovered(node: &Node, server: &Server, fix: impl FnOnce(&Path)) {
    let agent = node.start();
    let id = server.queue("exit 0");
    agent.wait_log("no jobs are taken until this is fixed");
    let beats = server.wait_for("a heartbeat", |world| {
        (!world.heartbeats.is_empty()).then_some(world.heartbeats.len())
    });
    server.wait_for("more heartbeats", |world| {
        (world.heartbeats.len() >= beats + 2).then_some(())
    });
    assert_eq!(server.world().jobs[&id].claims, 0);
    fix(&node.state());
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    assert!(agent.log().contains("state folder"));
    server.wait_for("a heartbeat with the instance", |world| {
        world.heartbeats.last()?.instance.clone()
    });
}

pub fn node(server: &Server) -> Node {
    let mut node = Node::new(server);
    node.set("HYPRBOX_INTERVAL", "1s");
    node
}

#[test]
fn a_file_in_the_place_of_the_folder() {
    let server = Server::start();
    let node = node(&server);
    std::fs::write(node.state(), "not a folder").unwrap();
    assert_reported_and_recovered(&node, &server, |state| std::fs::remove_file(state).unwrap());
}

#[test]
fn a_corrupt_instance() {
    let server = Server::start();
    let node = node(&server);
    std::fs::create_dir(node.state()).unwrap();
    std::fs::write(node.state().join("instance"), b"\xff\x00garbage").unwrap();
    assert_reported_and_recovered(&node, &server, |state| {
        std::fs::remove_file(state.join("instance")).unwrap();
    });
}

#[test]
fn a_folder_that_others_can_write_to() {
    let server = Server::start();
    let node = node(&server);
    std::fs::create_dir(node.state()).unwrap();
    for mode in [0o777, 0o1777, 0o770] {
        chmod(&node.state(), mode);
        let check = node.output(&["check"]);
        let text = String::from_utf8(check.stdout).unwrap();
        let fix = format!("chmod go-w {}", node.state().display());
        assert!(!check.status.success() && text.contains(&fix), "{text}");
    }
    assert_reported_and_recovered(&node, &server, |state| {
        assert_eq!(
            std::fs::read_dir(state).unwrap().count(),
            0,
            "nothing is written there"
        );
        chmod(state, 0o700);
    });
}

#[test]
fn a_folder_that_becomes_open_while_the_agent_runs() {
    let server = Server::start();
    let node = node(&server);
    let agent = node.start();
    let first = server.queue("exit 0");
    server.wait_end(&first);
    chmod(&node.state(), 0o777);
    // The open poll may still claim a job.
    agent.term();
    assert_reported_and_recovered(&node, &server, |state| chmod(state, 0o700));
}

#[test]
fn a_folder_below_one_that_others_can_write_to() {
    let server = Server::start();
    let node = node(&server);
    chmod(node.dir.path(), 0o777);
    assert_reported_and_recovered(&node, &server, |state| {
        chmod(state.parent().unwrap(), 0o755)
    });
}

#[test]
fn links_in_the_place_of_files() {
    for name in [
        "agent.lock",
        "instance.tmp",
        "probe",
        "starts",
        "ended",
        "jobs",
    ] {
        let server = Server::start();
        let node = node(&server);
        let victim = node.dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::fs::create_dir(node.state()).unwrap();
        std::os::unix::fs::symlink(&victim, node.state().join(name)).unwrap();
        let check = node.output(&["check"]);
        let text = String::from_utf8(check.stdout).unwrap();
        assert!(!check.status.success() && text.contains(name), "{text}");
        assert_reported_and_recovered(&node, &server, |state| {
            std::fs::remove_file(state.join(name)).unwrap();
        });
        assert_eq!(
            std::fs::read_to_string(victim).unwrap(),
            "precious",
            "{name}"
        );
    }
}

fn chmod(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("ours");
}

#[test]
fn a_script_that_is_not_the_queued_one_never_starts() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let ran = node.dir.path().join("ran");
    let script = format!("touch {}", ran.display());
    let wrong = server.queue_with(&script, |job| job.script_sha256 = "0".repeat(64));
    let end = server.wait_end(&wrong);
    assert_eq!(end.exit_code, None);
    let why = end.error_msg.unwrap();
    assert!(
        why.contains("scriptSha256") && why.contains("not started"),
        "{why}"
    );
    assert!(!ran.exists());
    assert!(!agent.log().contains("touch"));
    let right = server.queue_with("exit 6", |job| {
        "0657509451f8e458e3e184e4ceb9a7d32c041d9ad2fd29463880547cf4bb8adc"
            .clone_into(&mut job.script_sha256);
    });
    assert_eq!(server.wait_end(&right).exit_code, Some(6));
}

#[test]
fn a_folder_of_jobs_that_cannot_be_read() {
    let server = Server::start();
    let node = node(&server);
    std::fs::create_dir(node.state()).unwrap();
    std::fs::write(node.state().join("jobs"), "not a folder").unwrap();
    assert_reported_and_recovered(&node, &server, |state| {
        std::fs::remove_file(state.join("jobs")).unwrap();
    });
}

#[test]
fn a_job_whose_files_are_corrupt_is_reported() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let id = server.queue("echo ready; sleep 300");
    server.wait_output(&id, "ready");
    agent.kill9();
    for pid in crate::agent::supervisors(&node.state()) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    }
    wait_until("the supervisor is gone", || {
        crate::agent::supervisors(&node.state()).is_empty()
    });
    let job = node.state().join("jobs").join(&id);
    for file in std::fs::read_dir(&job).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            std::fs::write(file.path(), b"\xde\xad\xbe\xef garbage").unwrap();
        }
    }
    let _agent = node.start();
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, None);
    let why = end.error_msg.unwrap();
    assert!(why.contains("can't be read"), "{why}");
    assert_eq!(server.world().jobs[&id].claims, 1);
}

#[test]
fn two_agents_never_share_a_folder() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    let second = node.output(&["run"]);
    assert_eq!(second.status.code(), Some(2));
    let line = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(line.contains("is used by another agent"), "{line}");
}

/// Starts the agent in a mount namespace, after the commands of `prepare`. `None` if this user may
/// not create one.
fn start_in_namespace(node: &Node, prepare: &str) -> Option<Agent> {
    let may = std::process::Command::new("unshare")
        .args(["-m", "true"])
        .status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this user may not create a mount namespace");
        return None;
    }
    let script = format!("{prepare}\nexec \"$0\" \"$@\"");
    Some(node.start_with(&["unshare", "-m", "/bin/sh", "-c", &script]))
}

fn wait_problem(server: &Server, words: &str) {
    server.wait_for(words, |world| {
        let beat = world.heartbeats.last()?;
        let problem = beat.problem.as_deref()?;
        problem.contains(words).then_some(())
    });
}

#[test]
fn a_node_without_bash_takes_no_job_and_says_so() {
    let server = Server::start();
    let node = node(&server);
    let Some(_agent) = start_in_namespace(&node, "mount --bind /dev/null /bin/bash") else {
        return;
    };
    wait_problem(&server, "/bin/bash can't be started: Permission denied");
    let id = server.queue("exit 0");
    server.wait_for("polls that ask for no job", |world| {
        (world.polls.iter().filter(|poll| poll.capacity == 0).count() >= 2).then_some(())
    });
    assert_eq!(server.world().jobs[&id].claims, 0);
}

#[test]
fn a_node_without_proc_takes_no_job_and_says_so() {
    let server = Server::start();
    let node = node(&server);
    let Some(_agent) = start_in_namespace(&node, "mount -t tmpfs tmpfs /proc") else {
        return;
    };
    wait_problem(&server, "/proc is not usable: /proc/self/exe: No such file");
    let id = server.queue("exit 0");
    server.wait_for("polls that ask for no job", |world| {
        (world.polls.iter().filter(|poll| poll.capacity == 0).count() >= 2).then_some(())
    });
    assert_eq!(server.world().jobs[&id].claims, 0);
}

/// A folder that not even root can write to.
struct Immutable(std::path::PathBuf);

impl Immutable {
    /// Returns `None` if this user or this file system can't.
    fn make(dir: &Path) -> Option<Self> {
        let made = chattr("+i", dir);
        if !made {
            eprintln!("SKIPPED: {} can't be made immutable", dir.display());
        }
        made.then(|| Self(dir.to_owned()))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        chattr("-i", &self.0);
    }
}

fn chattr(change: &str, dir: &Path) -> bool {
    let mut command = std::process::Command::new("chattr");
    let output = command.arg(change).arg(dir).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_folder_that_becomes_immutable_while_the_agent_runs() {
    let server = Server::start();
    let node = node(&server);
    let _agent = node.start();
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    let Some(immutable) = Immutable::make(&node.state()) else {
        return;
    };
    wait_problem(&server, "can't be written to: Operation not permitted");
    let id = server.queue("exit 0");
    server.wait_for("a poll that asks for no job", |world| {
        (world.polls.last()?.capacity == 0).then_some(())
    });
    assert_eq!(server.world().jobs[&id].claims, 0);
    drop(immutable);
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
}

/// The agent can't know whether the job has run before, so the job waits and is not failed.
#[test]
fn a_job_waits_while_the_list_of_jobs_that_have_run_is_unreadable() {
    let server = Server::start();
    let node = node(&server);
    std::fs::create_dir(node.state()).unwrap();
    // A full file, because that is read at each job. Any id lies between these two.
    let full = node.state().join("ran.1");
    let ids = [[0x00; 16], [0xff; 16]].concat();
    std::fs::write(&full, &ids).unwrap();
    std::fs::write(node.state().join("ran.2"), b"").unwrap();
    let agent = node.start();
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    std::fs::remove_file(&full).unwrap();
    std::fs::create_dir(&full).unwrap();
    let id = server.queue("exit 0");
    wait_problem(&server, "ran.1: Is a directory");
    agent.wait_log(&format!("job {id} waits: state folder: "));
    server.wait_for("polls that ask for no job", |world| {
        (world.polls.iter().filter(|poll| poll.capacity == 0).count() >= 2).then_some(())
    });
    let is_open = |id: &str| server.world().jobs[id].end.is_none();
    assert!(is_open(&id), "{}", agent.log());
    std::fs::remove_dir(&full).unwrap();
    std::fs::write(&full, &ids).unwrap();
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
}
