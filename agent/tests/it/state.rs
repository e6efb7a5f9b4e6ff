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
    server.wait_for("a heartbeat with the instance", |world| {
        world.heartbeats.last()?.instance.clone()
    });
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

/// A small file system of its own for a node's state. `None` where this user may not mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(node: &Node) -> Option<Self> {
        let dir = node.state();
        std::fs::create_dir(&dir).expect("made");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(&dir)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("not tried: this user may not mount a tmpfs");
        }
        mounted.then_some(Self(dir))
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("fill")).expect("made");
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("fill")).expect("was there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let lazily = ["-l".as_ref(), self.0.as_os_str()];
        let _ = std::process::Command::new("umount").args(lazily).status();
    }
}

#[test]
fn a_full_disk() {
    let server = Server::start();
    let node = node(&server);
    let Some(disk) = SmallDisk::mount(&node) else {
        return;
    };
    disk.fill();
    is_told_and_recovers(&node, &server, |_| disk.clear());
}

#[test]
fn a_disk_that_fills_up_between_two_jobs() {
    let server = Server::start();
    let node = node(&server);
    let Some(disk) = SmallDisk::mount(&node) else {
        return;
    };
    let agent = node.start();
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    disk.fill();
    let id = server.queue("exit 0");
    let end = server.wait_end(&id);
    let why = end.error_msg.unwrap();
    assert!(why.contains("No space left on device"), "{why}");
    agent.wait_log("no jobs are taken until this is mended");
    let next = server.queue("exit 0");
    disk.clear();
    assert_eq!(server.wait_end(&next).exit_code, Some(0));
}

#[test]
fn a_job_that_fills_the_disk_still_has_its_end() {
    let server = Server::start();
    let node = node(&server);
    let Some(disk) = SmallDisk::mount(&node) else {
        return;
    };
    let _agent = node.start();
    let fill = disk.0.join("fill").display().to_string();
    let id = server.queue(&format!(
        "cat /dev/zero > {fill} 2> /dev/null; seq 1 500000; exit 5"
    ));
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(5));
    let written: u64 = (1..=500_000)
        .map(|n: u64| n.to_string().len() as u64 + 1)
        .sum();
    assert_eq!(end.stdout_bytes, Some(written));
    disk.clear();
    // And one whose own output is larger than the disk keeps the newest.
    let id = server.queue("seq 1 2000000; exit 6");
    assert_eq!(server.wait_end(&id).exit_code, Some(6));
    assert!(server.stdout(&id).ends_with("\n1999999\n2000000\n"));
}
