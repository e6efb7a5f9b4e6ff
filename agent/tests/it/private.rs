//! What an agent that is not root hides from its own jobs, and secrets that must not stay in memory
//! or core files.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::agent::{Node, end_jobs, supervisor_ahead, supervisors, wait_until};
use crate::server::Server;

const NOBODY: u32 = 65_534;

/// A node whose agent runs as the user nobody.
pub struct Nobody {
    pub server: Server,
    pub node: Node,
    program: PathBuf,
}

/// The agent of [`Nobody`].
pub struct NobodysAgent<'a> {
    child: Child,
    node: &'a Node,
}

impl Nobody {
    /// Returns `None` if this user can't become nobody.
    pub fn new() -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can become nobody");
            return None;
        }
        let server = Server::start();
        let mut node = Node::new(&server);
        // In a folder where the user nobody can run it.
        let program = node.dir.path().join("hyprbox-agent");
        std::fs::copy(env!("CARGO_BIN_EXE_hyprbox-agent"), &program).expect("copied");
        std::fs::set_permissions(node.dir.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        std::fs::create_dir(node.state()).expect("made");
        chown(node.state(), Some(NOBODY), Some(NOBODY)).expect("root may");
        node.env.retain(|(name, _)| name != "HOME");
        Some(Self {
            server,
            node,
            program,
        })
    }

    pub fn start(&self) -> NobodysAgent<'_> {
        self.start_with(&["run"])
    }

    /// Starts the agent with a /proc that hides other users' processes. Returns `None` if that
    /// can't be mounted.
    pub fn start_where_others_are_hidden(&self) -> Option<NobodysAgent<'_>> {
        let hide = "mount -t proc -o hidepid=invisible proc /proc && exec \"$@\"";
        let hidden = |program: &[&str]| {
            let mut command = std::process::Command::new("unshare");
            command
                .args([
                    "--mount",
                    "--propagation",
                    "private",
                    "/bin/bash",
                    "-c",
                    hide,
                    "bash",
                ])
                .args(program)
                .env_clear()
                .envs(self.node.env.iter().cloned())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        if !hidden(&["/bin/true"])
            .status()
            .is_ok_and(|status| status.success())
        {
            eprintln!("SKIPPED: a /proc with hidepid can't be mounted");
            return None;
        }
        let program = self.program.display().to_string();
        let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let child = hidden(&["setpriv", ids[0], ids[1], ids[2], &program, "run"])
            .spawn()
            .expect("starts");
        Some(NobodysAgent {
            child,
            node: &self.node,
        })
    }

    fn start_with(&self, args: &[&str]) -> NobodysAgent<'_> {
        let child = std::process::Command::new(&self.program)
            .args(args)
            .env_clear()
            .envs(self.node.env.iter().cloned())
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        NobodysAgent {
            child,
            node: &self.node,
        }
    }
}

impl NobodysAgent<'_> {
    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for NobodysAgent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_jobs(&self.node.state());
    }
}

/// Tries to read the agent and the supervisor, as a process of the same user could.
const SPY: &str = "for pid in AGENT $PPID; do for file in environ mem maps auxv; do \
    head -c 1 /proc/$pid/$file > /dev/null 2>&1 && echo \"$file of $pid is open\"; done; \
    ls /proc/$pid/fd > /dev/null 2>&1 && echo \"fds of $pid are open\"; done\n\
    grep -alF TOKEN /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2> /dev/null\n\
    cat /proc/self/environ > /dev/null && echo own is open; id -un; exit 0";

#[test]
fn a_job_of_an_agent_that_is_not_root_cannot_read_the_token() {
    let Some(nobody) = Nobody::new() else {
        return;
    };
    let token = nobody.node.token();
    // The token is in the environment, or in a flag that must disappear from the command line.
    let flag = format!("--node-token={token}");
    for args in [&["run"][..], &["run", &flag, "--interval", "5s"]] {
        let agent = nobody.start_with(args);
        // In two parts, so that the search does not find the script itself.
        let (head, tail) = token.split_at(8);
        let spy = SPY
            .replace("AGENT", &agent.pid().to_string())
            .replace("TOKEN", &format!("'{head}''{tail}'"));
        let id = nobody.server.queue(&spy);
        assert_eq!(nobody.server.wait_end(&id).exit_code, Some(0));
        assert_eq!(nobody.server.stdout(&id), "own is open\nnobody\n");
    }
}

#[test]
fn the_environment_of_jobs_is_that_of_the_agents_user() {
    let Some(mut nobody) = Nobody::new() else {
        return;
    };
    nobody.node.set("TZ", "Europe/Oslo");
    nobody.node.set("HTTPS_PROXY", "http://proxy:1");
    nobody.node.set("EMPTY", "");
    nobody.node.set("TERM", "xterm");
    nobody.node.set(
        "HYPRBOX_JOB_ENV",
        "HTTPS_PROXY, TZ,EMPTY,NOT_SET,HYPRBOX_JOB_ID",
    );
    nobody.node.set("HYPRBOX_JOB_ID", "another");
    let _agent = nobody.start();
    let id = nobody.server.queue("env -u PWD -u SHLVL -u _ | sort");
    nobody.server.wait_end(&id);
    let user = nix::unistd::User::from_name("nobody")
        .unwrap()
        .expect("it is there");
    let expected = format!(
        "EMPTY=\nHOME={}\nHTTPS_PROXY=http://proxy:1\nHYPRBOX_JOB_ID={id}\nHYPRBOX_NODE_ID=node-1\n\
         LANG=C.UTF-8\nLOGNAME=nobody\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nSHELL=/bin/bash\nTERM=dumb\n\
         TZ=Europe/Oslo\nUSER=nobody\n",
        user.dir.display()
    );
    assert_eq!(nobody.server.stdout(&id), expected);
}

#[test]
fn signals_and_umask_are_the_default_however_the_agent_was_started() {
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.command(&["run"]);
    let mut starter = std::process::Command::new("/bin/bash");
    starter
        .args([
            "-c",
            "trap '' HUP INT QUIT USR1 PIPE TERM RTMIN RTMAX; umask 077; exec \"$@\"",
            "bash",
        ])
        .arg(agent.get_program())
        .arg("run")
        .env_clear()
        .envs(node.env.iter().cloned())
        .stderr(Stdio::null());
    let mut agent = starter.spawn().expect("starts");
    let id = server.queue("cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)'; umask; ulimit -c");
    server.wait_end(&id);
    let _ = agent.kill();
    let _ = agent.wait();
    end_jobs(&node.state());
    let stdout = server.stdout(&id);
    let lines: Vec<&str> = stdout.lines().take(4).collect();
    let none = "0000000000000000";
    assert_eq!(
        lines,
        [
            &format!("SigBlk:\t{none}")[..],
            &format!("SigIgn:\t{none}"),
            &format!("SigCgt:\t{none}"),
            "0022"
        ]
    );
}

/// Returns the contents of a process's writable memory.
fn memory_of(pid: i32) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("root may");
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("root may");
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split(' ').next().expect("a range");
        let (from, to) = range.split_once('-').expect("a range");
        let at = |hex| u64::from_str_radix(hex, 16).expect("hex");
        let mut bytes = vec![0; usize::try_from(at(to) - at(from)).expect("small")];
        if memory.read_exact_at(&mut bytes, at(from)).is_ok() {
            all.extend_from_slice(&bytes);
        }
    }
    all
}

#[test]
fn no_secret_is_left_in_the_agents_memory() {
    if !geteuid().is_root() {
        return;
    }
    let server = Server::start();
    let node = Node::new(&server);
    let agent = node.start();
    let secret = "Zq7-wiped-after-use-4711";
    for long in [false, true] {
        let value = if long {
            secret.repeat(400)
        } else {
            secret.to_owned()
        };
        let id = server.queue_with("IFS= read -r -d '' s <&3; exec 3<&-; exit 0", |job| {
            job.secrets.insert("s".to_owned(), value);
        });
        assert_eq!(server.wait_end(&id).exit_code, Some(0));
        wait_until("its supervisor has exited", || {
            supervisors(&node.state()).is_empty() && supervisor_ahead(&node.state()).len() == 1
        });
        // The next responses overwrite the connection's buffer.
        let next = server.queue("exit 0");
        server.wait_end(&next);
    }
    let memory = memory_of(agent.pid());
    let found = memory
        .windows(secret.len())
        .filter(|bytes| *bytes == secret.as_bytes())
        .count();
    assert_eq!(found, 0, "copies");
}

#[test]
fn the_agent_writes_no_core_file() {
    use std::os::unix::process::ExitStatusExt;
    let server = Server::start();
    let node = Node::new(&server);
    let dumps_core = |program: &[&str], stop: &dyn Fn(i32)| {
        let mut child = std::process::Command::new("/bin/bash")
            .args(["-c", "ulimit -c unlimited; exec \"$@\"", "bash"])
            .args(program)
            .current_dir(node.dir.path())
            .env_clear()
            .envs(node.env.iter().cloned())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        stop(child.id().cast_signed());
        let status = child.wait().expect("a child");
        assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
        status.core_dumped()
    };
    let abort = |pid| kill(Pid::from_raw(pid), Signal::SIGABRT).expect("it runs");
    if !dumps_core(&["/bin/bash", "-c", "kill -ABRT $$"], &|_| {}) {
        eprintln!("SKIPPED: no core files are written here");
        return;
    }
    let program = env!("CARGO_BIN_EXE_hyprbox-agent");
    let dumped = dumps_core(&[program, "run"], &|pid| {
        server.wait_for("a poll", |world| world.polls.first().map(drop));
        abort(pid);
    });
    assert!(!dumped);
    end_jobs(&node.state());
}
