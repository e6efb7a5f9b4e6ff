//! Log lines and output that nobody reads, and signals from the terminal.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Node, end_jobs, wait_until};
use crate::server::Server;

struct AgentProcess<'a>(Child, &'a Node);

impl AgentProcess<'_> {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    fn run_two_jobs(&mut self, server: &Server) {
        for _ in 0..2 {
            let id = server.queue("echo out; exit 9");
            assert_eq!(server.wait_end(&id).exit_code, Some(9));
            assert_eq!(server.stdout(&id), "out\n");
        }
        assert!(
            self.0.try_wait().expect("a child").is_none(),
            "the agent has exited"
        );
    }
}

impl Drop for AgentProcess<'_> {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        end_jobs(&self.1.state());
    }
}

fn run<'a>(node: &'a Node, stderr: impl Into<Stdio>) -> AgentProcess<'a> {
    let child = node
        .command(&["run"])
        .env("HYPRBOX_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn();
    AgentProcess(child.expect("starts"), node)
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().expect("a pipe")
}

#[test]
fn a_log_that_can_not_be_written_changes_nothing() {
    let server = Server::start();
    let node = Node::new(&server);
    let (reader, writer) = pipe();
    drop(reader);
    run(&node, writer).run_two_jobs(&server);
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    run(&node, full).run_two_jobs(&server);
}

#[test]
fn a_log_whose_reader_has_stopped_reading_changes_nothing() {
    let server = Server::start();
    let node = Node::new(&server);
    let (reader, writer) = pipe();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    run(&node, writer).run_two_jobs(&server);
    drop(reader);
}

#[test]
fn the_agent_works_without_a_standard_error() {
    let server = Server::start();
    let node = Node::new(&server);
    let child = Command::new("sh")
        .args(["-c", "exec \"$0\" run 2>&- >&-"])
        .arg(env!("CARGO_BIN_EXE_hyprbox-agent"))
        .env_clear()
        .envs(node.env.iter().cloned())
        .spawn();
    AgentProcess(child.expect("starts"), &node).run_two_jobs(&server);
}

#[test]
fn commands_whose_reader_is_gone_exit_with_141() {
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
    let mut agent = AgentProcess(child.expect("starts"), &node);
    let polls = server.world().polls.len();
    server.wait_for("a poll", |world| (world.polls.len() > polls).then_some(()));
    kill(agent.pid(), Signal::SIGHUP).expect("runs");
    agent.run_two_jobs(&server);
}

#[test]
fn signals_that_the_starter_blocked_or_ignored_arrive() {
    let server = Server::start();
    let node = Node::new(&server);
    let child = Command::new("perl")
        .args([
            "-MPOSIX",
            "-e",
            "$SIG{CHLD} = 'IGNORE'; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM, SIGCHLD, SIGHUP)); exec @ARGV",
        ])
        .arg(env!("CARGO_BIN_EXE_hyprbox-agent"))
        .arg("run")
        .env_clear()
        .envs(node.env.iter().cloned())
        .stderr(Stdio::null())
        .spawn();
    let mut agent = AgentProcess(child.expect("starts"), &node);
    agent.run_two_jobs(&server);
    kill(agent.pid(), Signal::SIGTERM).expect("runs");
    assert!(agent.0.wait().expect("a child").success());
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
    let mut agent = AgentProcess(child, &node);
    let id = server.queue(
        "for i in 1 2 3 4 5; do setsid sleep 1000 & done; echo ready; echo $PPID; sleep 1000",
    );
    let mut has_exited = false;
    wait_until("the script starts", || {
        has_exited = agent.0.try_wait().expect("a child").is_some();
        has_exited || server.stdout(&id).contains("ready")
    });
    if has_exited {
        eprintln!("SKIPPED: a process namespace can't be created here");
        return;
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
    agent.run_two_jobs(&server);
}
