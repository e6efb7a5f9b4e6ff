//! A state folder that can't be used: the agent says so, takes no jobs, and keeps its heartbeat.

use std::path::Path;

use crate::agent::{Node, wait_until};
use crate::server::Server;

/// Starts an agent, checks that it shows life and takes nothing; then mends the folder, and the job runs.
fn is_told_and_recovers(node: &Node, server: &Server, mend: impl FnOnce(&Path)) {
    let agent = node.start();
    let id = server.queue("exit 0");
    agent.wait_log("no jobs are taken until this is mended");
    let beats = server.wait_for("a heartbeat", |world| {
        (!world.heartbeats.is_empty()).then_some(world.heartbeats.len())
    });
    server.wait_for("more heartbeats", |world| {
        (world.heartbeats.len() >= beats + 2).then_some(())
    });
    assert_eq!(server.world().jobs[&id].claims, 0);
    mend(&node.state());
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    assert!(agent.log().contains("state folder"));
}

fn node(server: &Server) -> Node {
    let mut node = Node::new(server);
    node.set("HYPRBOX_INTERVAL", "1s");
    node
}

#[test]
fn a_file_in_the_place_of_the_folder() {
    let server = Server::start();
    let node = node(&server);
    std::fs::write(node.state(), "not a folder").unwrap();
    is_told_and_recovers(&node, &server, |state| std::fs::remove_file(state).unwrap());
}

#[test]
fn a_corrupt_instance() {
    let server = Server::start();
    let node = node(&server);
    std::fs::create_dir(node.state()).unwrap();
    std::fs::write(node.state().join("instance"), b"\xff\x00garbage").unwrap();
    is_told_and_recovers(&node, &server, |state| {
        std::fs::remove_file(state.join("instance")).unwrap();
    });
}

#[test]
fn a_folder_of_jobs_that_cannot_be_read() {
    let server = Server::start();
    let node = node(&server);
    std::fs::create_dir(node.state()).unwrap();
    std::fs::write(node.state().join("jobs"), "not a folder").unwrap();
    is_told_and_recovers(&node, &server, |state| {
        std::fs::remove_file(state.join("jobs")).unwrap();
    });
}

#[test]
fn a_job_whose_journal_is_corrupt_is_reported() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let id = server.queue("echo ready; sleep 300");
    server.wait_output(&id, "ready");
    agent.kill9();
    for pid in crate::agent::supervisors(&node.state()) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    }
    wait_until("it is dead", || {
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
    assert!(why.contains("not readable"), "{why}");
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
