//! Processes that outlive their script: they are ended and named, or kept if the script or its
//! preset says so.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Node, marked, supervisors, wait_until};
use crate::private::Nobody;
use crate::server::Server;

const KEEP: &str = "# A preset\n#\n# hyprbox: keep-processes\n\n";

/// Processes that outlive their job. Dropping them kills them.
struct Kept(Vec<i32>);

impl Drop for Kept {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

impl Kept {
    /// The processes that a job's stdout names, one pid per line.
    fn of(server: &Server, id: &str) -> Self {
        let stdout = server.stdout(id);
        Self(
            stdout
                .lines()
                .map(|pid| pid.parse().expect("a pid"))
                .collect(),
        )
    }
}

fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn one_process_is_named_in_the_singular() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("sleep 300 > /dev/null 2>&1 & echo $!");
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    let pid = server.stdout(&id).trim().to_owned();
    assert_eq!(
        server.stderr(&id),
        format!("hyprbox: ended 1 process that the script left behind: sleep ({pid})\n")
    );
    assert!(!is_alive(pid.parse().unwrap()));
}

#[test]
fn at_most_five_processes_are_named() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("for i in 1 2 3 4 5 6 7; do sleep 300 & echo $!; done");
    server.wait_end(&id);
    let pids = server.stdout(&id);
    let mut pids: Vec<i32> = pids.lines().map(|pid| pid.parse().unwrap()).collect();
    pids.sort_unstable();
    let named: Vec<String> = pids[..5]
        .iter()
        .map(|pid| format!("sleep ({pid})"))
        .collect();
    assert_eq!(
        server.stderr(&id),
        format!(
            "hyprbox: ended 7 processes that the script left behind: {}\n",
            named.join(", ")
        )
    );
}

#[test]
fn names_are_shown_without_escapes_and_secrets() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let script = "IFS= read -r -d '' s <&3; exec 3<&-\n\
                  (printf 'a\\e[1mb' > /proc/$BASHPID/comm; sleep 300; :) &\n\
                  (printf \"$s\" > /proc/$BASHPID/comm; sleep 300; :) & sleep 0.2";
    let id = server.queue_with(script, |job| {
        job.secrets.insert("s".to_owned(), "hush-hush".to_owned());
    });
    server.wait_end(&id);
    let stderr = server.stderr(&id);
    assert!(stderr.starts_with("hyprbox: ended 4 processes"), "{stderr}");
    assert!(stderr.contains("a?[1mb ("), "{stderr}");
    assert!(
        stderr.contains("*** (") && !stderr.contains("hush"),
        "{stderr}"
    );
}

#[test]
fn a_preset_may_leave_its_processes_running() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let script =
        format!("{KEEP}set -e\nsleep 301 > /dev/null 2>&1 & echo $!; setsid sleep 302 & echo $!");
    let id = server.queue(&script);
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    let kept = Kept::of(&server, &id);
    let [first, second] = kept.0[..] else {
        panic!("two pids");
    };
    let (low, high) = (first.min(second), first.max(second));
    assert_eq!(
        server.stderr(&id),
        format!("hyprbox: left 2 processes running: sleep ({low}), sleep ({high})\n")
    );
    // Neither the next job, nor its cancel, nor its end touches them.
    let next = server.queue("echo ready; sleep 300");
    server.wait_output(&next, "ready");
    server.cancel(&next);
    assert_eq!(server.wait_end(&next).cancelled, Some(true));
    let last = server.queue("exit 3");
    assert_eq!(server.wait_end(&last).exit_code, Some(3));
    assert_eq!(server.stderr(&last), "");
    assert!(kept.0.iter().all(|pid| is_alive(*pid)));
}

#[test]
fn keep_processes_counts_only_in_the_comments_at_the_head() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    for script in [
        "set -e\n# hyprbox: keep-processes\nsleep 300 & :",
        "# hyprbox: keep-processes-not\nsleep 300 & :",
        ": '\n# hyprbox: keep-processes\n'\nsleep 300 & :",
    ] {
        let id = server.queue(script);
        server.wait_end(&id);
        let stderr = server.stderr(&id);
        assert!(stderr.starts_with("hyprbox: ended 1 process "), "{stderr}");
    }
}

#[test]
fn a_command_may_release_one_process_tree() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    // The released process keeps writing to the job's pipe, and starts a child.
    let script = "HYPRBOX_KEEP=1 nohup bash -c 'sleep 303 & echo $!; while :; do echo tick >&2; sleep 0.05; done' & echo $!\n\
                  HYPRBOX_KEEP=0 sleep 300 & until [ -e /proc/$!/exe ]; do :; done; sleep 0.5";
    let id = server.queue(script);
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    let kept = Kept::of(&server, &id);
    let [daemon, child] = kept.0[..] else {
        panic!("two pids: {}", server.stdout(&id));
    };
    let stderr = server.stderr(&id);
    let lines: Vec<&str> = stderr.lines().filter(|line| *line != "tick").collect();
    let [.., left, ended] = &lines[..] else {
        panic!("two lines: {stderr}");
    };
    assert!(
        left.starts_with("hyprbox: left 3 processes running: "),
        "{left}"
    );
    assert!(left.contains(&format!("bash ({daemon})")), "{left}");
    assert!(left.contains(&format!("sleep ({child})")), "{left}");
    assert!(
        ended.starts_with("hyprbox: ended 1 process that the script left behind: sleep ("),
        "{ended}"
    );
    // The process keeps running although its output is discarded, and delays no later job.
    let calls = server.world().calls.len();
    for _ in 0..3 {
        let next = server.queue("exit 0");
        assert_eq!(server.wait_end(&next).exit_code, Some(0));
        assert_eq!(server.stderr(&next), "");
    }
    assert_eq!(server.world().calls.len(), calls + 3, "no call is about it");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
        let after = stat
            .rsplit(')')
            .next()
            .map(str::to_owned)
            .unwrap_or_default();
        // Page faults of its children grow each time it starts one.
        after
            .split_whitespace()
            .nth(8)
            .and_then(|n| n.parse::<u64>().ok())
    };
    let before = ticks().expect("it is alive");
    wait_until("it keeps running", || {
        ticks().expect("it is alive") > before
    });
    assert!(is_alive(child));
    drop(kept);
    for pid in marked(&format!("HYPRBOX_JOB_ID={id}")) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    wait_until("the old supervisor exits after it", || {
        supervisors(&node.state()).is_empty()
    });
}

#[test]
fn a_cancel_also_ends_released_processes() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue(&format!(
        "{KEEP}HYPRBOX_KEEP=1 setsid sleep 300 & echo ready; wait"
    ));
    server.wait_output(&id, "ready");
    server.cancel(&id);
    assert_eq!(server.wait_end(&id).cancelled, Some(true));
    assert_eq!(server.stderr(&id), "");
    assert!(marked(&format!("HYPRBOX_JOB_ID={id}")).is_empty());
}

#[test]
fn a_released_process_outlives_a_killed_supervisor() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue(
        "HYPRBOX_KEEP=1 setsid sleep 300 & setsid sleep 304 & echo $!; echo ready >&2; wait",
    );
    server.wait_output(&id, "ready");
    let is_released = |pid: &i32| {
        let environment = std::fs::read_to_string(format!("/proc/{pid}/environ"));
        environment.is_ok_and(|text| text.contains("HYPRBOX_KEEP=1"))
    };
    // Until its exec, the released process has the environment of bash.
    wait_until("both have started", || {
        let all = marked(&format!("HYPRBOX_JOB_ID={id}"));
        all.len() == 3 && all.iter().any(is_released)
    });
    for pid in supervisors(&node.state()) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    server.wait_end(&id);
    let left = Kept(marked(&format!("HYPRBOX_JOB_ID={id}")));
    assert_eq!(left.0.len(), 1);
    assert!(is_released(&left.0[0]));
}

/// Makes the kernel reuse bash's pid, if this user may.
#[test]
fn the_exit_of_another_process_with_bashs_pid_is_not_bashs() {
    let last_pid = "/proc/sys/kernel/ns_last_pid";
    if std::fs::OpenOptions::new()
        .write(true)
        .open(last_pid)
        .is_err()
    {
        eprintln!("SKIPPED: {last_pid} can't be written");
        return;
    }
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    // A leftover process starts children until one has the pid of bash. When the leftover exits,
    // that child becomes the supervisor's.
    let script = |code: i32, other: i32| {
        format!(
            "pid=$$\n\
             setsid bash -c 'while [ -e /proc/'$pid' ]; do :; done\n\
             for i in {{1..200}}; do echo $(('$pid' - 1)) > {last_pid}; (sleep 0.1; exit {other}) & \
             if [ $! = '$pid' ]; then echo taken; break; fi; done' &\n\
             exit {code}"
        )
    };
    for (code, other) in [(1, 0), (0, 1), (7, 9)] {
        let mut taken = false;
        for _ in 0..20 {
            let id = server.queue(&script(code, other));
            assert_eq!(server.wait_end(&id).exit_code, Some(i64::from(code)));
            taken = server.stdout(&id).contains("taken");
            if taken {
                break;
            }
        }
        assert!(taken, "bash's pid was never reused");
    }
}

#[test]
fn a_process_of_another_user_is_reported_and_delays_no_job() {
    let Some(nobody) = Nobody::new() else {
        return;
    };
    let _agent = nobody.start();
    assert_reported_without_delay(&nobody, "sleep");
}

#[test]
fn a_process_that_proc_hides_is_reported_and_delays_no_job() {
    let Some(nobody) = Nobody::new() else {
        return;
    };
    if let Some(_agent) = nobody.start_where_others_are_hidden() {
        assert_reported_without_delay(&nobody, "a hidden process");
    }
}

/// Leaves a process behind that the agent's user may not kill, and checks the name in the report.
fn assert_reported_without_delay(nobody: &Nobody, name: &str) {
    let (server, node) = (&nobody.server, &nobody.node);
    // A program that always runs as root.
    let slumber = node.dir.path().join("slumber");
    std::fs::copy("/usr/bin/setpriv", &slumber).expect("copied");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(&slumber, mode).expect("ours");
    let id = server.queue(&format!(
        "{} --reuid=0 --clear-groups sleep 305 > /dev/null 2>&1 & echo $!; sleep 0.5",
        slumber.display()
    ));
    let end = server.wait_end(&id);
    let kept = Kept::of(server, &id);
    assert_eq!((end.exit_code, end.error_msg), (Some(0), None));
    assert_eq!(
        server.stderr(&id),
        format!("hyprbox: could not end 1 process: {name} ({})\n", kept.0[0])
    );
    let next = server.queue("sleep 0.1; exit 4");
    assert_eq!(server.wait_end(&next).exit_code, Some(4));
    assert_eq!(server.stderr(&next), "");
    assert!(is_alive(kept.0[0]));
}
