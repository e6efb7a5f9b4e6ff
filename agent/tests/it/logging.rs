//! Log lines and output that nobody takes, and signals of the terminal.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Node, end_jobs, wait_until};
use crate::server::Server;

struct Running<'a>(Child, &'a Node);

impl Running<'_> {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    fn runs_a_job(&mut self, server: &Server) {
        for _ in 0..2 {
            let id = server.queue("echo out; exit 9");
            assert_eq!(server.wait_end(&id).exit_code, Some(9));
            assert_eq!(server.stdout(&id), "out\n");
        }
        assert!(
            self.0.try_wait().expect("a child").is_none(),
            "it has ended"
        );
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        end_jobs(&self.1.state());
    }
}

fn run<'a>(node: &'a Node, stderr: impl Into<Stdio>) -> Running<'a> {
    let child = node
        .command(&["run"])
        .env("HYPRBOX_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn();
    Running(child.expect("starts"), node)
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().expect("a pipe")
}

#[test]
fn a_log_that_nobody_takes_changes_nothing() {
    let server = Server::start();
    let node = Node::new(&server);
    let (reader, writer) = pipe();
    drop(reader);
    run(&node, writer).runs_a_job(&server);
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("it is there");
    run(&node, full).runs_a_job(&server);
}

#[test]
fn a_log_whose_reader_has_stopped_reading_changes_nothing() {
    let server = Server::start();
    let node = Node::new(&server);
    let (reader, writer) = pipe();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    run(&node, writer).runs_a_job(&server);
    drop(reader);
}

#[test]
fn without_a_standard_error_at_all_the_agent_works() {
    let server = Server::start();
    let node = Node::new(&server);
    let child = Command::new("sh")
        .args(["-c", "exec \"$0\" run 2>&- >&-"])
        .arg(env!("CARGO_BIN_EXE_hyprbox-agent"))
        .env_clear()
        .envs(node.env.iter().cloned())
        .spawn();
    Running(child.expect("starts"), &node).runs_a_job(&server);
}

#[test]
fn commands_whose_reader_is_gone_end_with_141() {
    let server = Server::start();
    let node = Node::new(&server);
    for words in [&["--help"][..], &["--version"], &["check"]] {
        let (reader, writer) = pipe();
        drop(reader);
        let out = node
            .command(words)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output();
        let out = out.expect("starts");
        assert_eq!(out.status.code(), Some(141), "{words:?}: {out:?}");
        assert!(out.stderr.is_empty(), "{words:?}: {out:?}");
    }
}

#[test]
fn a_hangup_ends_the_agent_cleanly_unless_it_is_ignored() {
    let server = Server::start();
    let node = Node::new(&server);
    let mut agent = run(&node, Stdio::null());
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    kill(agent.pid(), Signal::SIGHUP).expect("runs");
    assert!(agent.0.wait().expect("a child").success());
    server.wait_for("the last heartbeat", |world| {
        world
            .heartbeats
            .last()?
            .stopping
            .filter(|stopping| *stopping)
    });
    drop(agent);
    let child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" run"])
        .arg(env!("CARGO_BIN_EXE_hyprbox-agent"))
        .env_clear()
        .envs(node.env.iter().cloned())
        .stderr(Stdio::null())
        .spawn();
    let mut agent = Running(child.expect("starts"), &node);
    let polls = server.world().polls.len();
    server.wait_for("a poll", |world| (world.polls.len() > polls).then_some(()));
    kill(agent.pid(), Signal::SIGHUP).expect("runs");
    agent.runs_a_job(&server);
}

#[test]
fn as_process_1_the_agent_leaves_no_zombie() {
    let server = Server::start();
    let node = Node::new(&server);
    let child = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(env!("CARGO_BIN_EXE_hyprbox-agent"))
        .arg("run")
        .env_clear()
        .envs(node.env.iter().cloned())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        eprintln!("SKIPPED: unshare is missing");
        return;
    };
    let mut agent = Running(child, &node);
    let id = server.queue(
        "for i in 1 2 3 4 5; do setsid sleep 1000 & done; echo ready; echo $PPID; sleep 1000",
    );
    loop {
        if agent.0.try_wait().expect("a child").is_some() {
            eprintln!("SKIPPED: no process namespace can be made here");
            return;
        }
        if server.stdout(&id).contains("ready") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let children = |parent: i32| -> Vec<i32> {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let list = std::fs::read_to_string(path).unwrap_or_default();
        list.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    };
    let process_1 = children(agent.pid().as_raw())[0];
    for supervisor in children(process_1) {
        kill(Pid::from_raw(supervisor), Signal::SIGKILL).expect("runs");
    }
    server.wait_end(&id);
    let is_zombie = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
    };
    let next = server.queue("exit 0");
    server.wait_end(&next);
    wait_until("no zombie is left", || {
        !children(process_1).iter().any(is_zombie)
    });
    agent.runs_a_job(&server);
}
