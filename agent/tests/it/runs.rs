//! Jobs that run without faults.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Node, marked, supervisor_ahead, supervisors, wait_until};
use crate::server::Server;

#[test]
fn a_script_runs_and_its_end_is_reported() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("echo out; sleep 0.05; echo err >&2; sleep 0.05; echo out2; exit 3");
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(3));
    assert_eq!(end.error_msg, None);
    assert_eq!(end.signal, None);
    assert_eq!((end.cancelled, end.timed_out), (None, None));
    assert_eq!((end.stdout_bytes, end.stderr_bytes), (Some(9), Some(4)));
    let world = server.world();
    let chunks: Vec<&[u8]> = world.jobs[&id]
        .arrivals
        .iter()
        .map(|(_, b)| &b[..])
        .collect();
    assert_eq!(chunks, [&b"out\n"[..], b"err\n", b"out2\n"]);
    assert!(world.heads.iter().all(|head| {
        head.to_ascii_lowercase()
            .contains(&format!("authorization: bearer {}", node.token()))
    }));
}

#[test]
fn a_script_has_a_clean_environment_and_a_session_of_its_own() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("SOMETHING_ELSE", "1");
    node.set("HYPRBOX_FORCE", "1");
    let agent = node.start();
    let id = server.queue(
        "env -u PWD -u SHLVL -u _ | sort; pwd; echo $(ps -o sid=,pgid= -p $$) $$; ls /proc/$$/fd; \
         tr '\\0' '\\n' < /proc/$PPID/environ; echo that was all",
    );
    server.wait_end(&id);
    let stdout = server.stdout(&id);
    let mut lines = stdout.lines();
    let mut env: Vec<&str> = lines.by_ref().take(10).collect();
    env.sort_unstable();
    let expected = [
        "HOME=/root".to_owned(),
        "HYPRBOX_FORCE=1".to_owned(),
        format!("HYPRBOX_JOB_ID={id}"),
        "HYPRBOX_NODE_ID=node-1".to_owned(),
        "LANG=C.UTF-8".to_owned(),
        "LOGNAME=root".to_owned(),
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        "SHELL=/bin/bash".to_owned(),
        "TERM=dumb".to_owned(),
        "USER=root".to_owned(),
    ];
    assert_eq!(env, expected);
    assert_eq!(lines.next(), Some("/"));
    let ids: Vec<&str> = lines.next().unwrap().split(' ').collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let rest: Vec<&str> = lines.collect();
    assert_eq!(rest, ["0", "1", "2", "that was all"]);
    assert!(!stdout.contains(&node.token()));
    assert_eq!(marked(&node.token()), [agent.pid()]);
}

#[test]
fn jobs_run_one_after_the_other() {
    let server = Server::start();
    let node = Node::new(&server);
    let log = node.dir.path().join("log");
    let script = |n| {
        format!(
            "echo begin{n} >> {0}; sleep 0.1; echo end{n} >> {0}",
            log.display()
        )
    };
    let ids: Vec<String> = (0..4).map(|n| server.queue(&script(n))).collect();
    let _agent = node.start();
    for id in &ids {
        assert_eq!(server.wait_end(id).exit_code, Some(0));
    }
    let text = std::fs::read_to_string(log).unwrap();
    let expected: String = (0..4).map(|n| format!("begin{n}\nend{n}\n")).collect();
    assert_eq!(text, expected);
    wait_until("no job's folder is left", || {
        std::fs::read_dir(node.state().join("jobs"))
            .unwrap()
            .next()
            .is_none()
    });
    wait_until("no supervisor is left", || {
        supervisors(&node.state()).is_empty()
    });
}

#[test]
fn output_arrives_while_the_script_runs() {
    let server = Server::start();
    server.change(|world| world.flush_ms = 1500);
    let node = Node::new(&server);
    let _agent = node.start();
    let go = node.dir.path().join("go");
    let id = server.queue(&format!(
        "echo first; until [ -e {} ]; do sleep 0.01; done; printf second",
        go.display()
    ));
    server.wait_output(&id, "first");
    std::fs::write(go, "").unwrap();
    server.wait_end(&id);
    assert_eq!(server.stdout(&id), "first\nsecond");
}

#[test]
fn bytes_that_are_not_utf_8_arrive_unchanged() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("printf '\\xff\\x00\\xc3\\xa9\\xe2\\x82'; printf '\\x01\"\\\\' >&2");
    server.wait_end(&id);
    let world = server.world();
    assert_eq!(world.jobs[&id].streams[0], b"\xff\x00\xc3\xa9\xe2\x82");
    assert_eq!(world.jobs[&id].streams[1], b"\x01\"\\");
}

#[test]
fn half_a_character_is_not_held_back_for_long() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("printf 'ab\\xe2\\x82'; sleep 300");
    server.wait_for("the half character", |world| {
        (world.jobs[&id].streams[0] == b"ab\xe2\x82").then_some(())
    });
    server.cancel(&id);
    server.wait_end(&id);
}

#[test]
fn a_flood_arrives_complete_or_with_its_gap_counted() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("seq 1 2500000; echo done >&2");
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(0));
    let world = server.world();
    let job = &world.jobs[&id];
    let expected: String = (1..=2_500_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(end.stdout_bytes, Some(expected.len() as u64));
    assert_eq!(
        job.dropped[0] + job.streams[0].len() as u64,
        expected.len() as u64
    );
    let tail = &expected.as_bytes()[expected.len() - 4_194_304..];
    assert!(job.streams[0].ends_with(tail));
    assert_eq!(job.streams[1], b"done\n");
}

#[test]
fn secrets_are_on_descriptor_3_and_are_masked_in_the_output() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let long = "0123456789abcdef".repeat(4096);
    let script = "IFS= read -r -d '' key <&3; IFS= read -r -d '' password <&3\n\
                  IFS= read -r -d '' more <&3 || exec 3<&-\n\
                  echo \"$password\" >&2; echo \"is $key\"; printf 'hun'; sleep 0.1; printf 'ter2!\\n'\n\
                  echo ${#key} ${#password}; grep -rlF \"$password\" \"$SPOOL\"; exit 0";
    let script = script.replace("\"$SPOOL\"", &node.state().display().to_string());
    let id = server.queue_with(&script, |job| {
        job.secrets
            .insert("password".to_owned(), "hunter2".to_owned());
        job.secrets
            .insert("key".to_owned(), format!("first line\n{long}"));
    });
    server.wait_end(&id);
    assert_eq!(server.stderr(&id), "***\n");
    let length = long.len() + 11;
    assert_eq!(
        server.stdout(&id),
        format!("is ***\n***\n***!\n{length} 7\n")
    );
}

#[test]
fn heartbeats_begin_at_once_and_describe_the_node() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("HYPRBOX_INTERVAL", "1s");
    let agent = node.start();
    server.wait_for("two heartbeats", |world| {
        (world.heartbeats.len() >= 2).then_some(())
    });
    let beat = server.world().heartbeats[0].clone();
    assert!(beat.hostname.is_some_and(|name| !name.is_empty()));
    assert!(beat.os.is_some_and(|os| os.id.is_some()));
    assert_eq!(beat.interval_seconds, Some(1.0));
    assert_eq!(beat.stopping, None);
    let poll = server.wait_for("a poll", |world| world.polls.first().cloned());
    assert_eq!(beat.instance, poll.instance);
    assert!(beat.instance.is_some());
    assert!(agent.term().success());
    let last = server.world().heartbeats.last().cloned().unwrap();
    assert_eq!(last.stopping, Some(true));
}

#[test]
fn a_secret_that_is_larger_than_a_pipe_arrives_complete() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    // The first is small enough for a supervisor that already waits.
    for length in [60, 5_000, 65_536] {
        let value = "s".repeat(length);
        let id = server.queue_with("IFS= read -r -d '' s <&3; echo ${#s}; exec 3<&-", |job| {
            job.secrets.insert("s".to_owned(), value.clone());
        });
        assert_eq!(server.wait_end(&id).exit_code, Some(0));
        assert_eq!(server.stdout(&id), format!("{length}\n"));
    }
}

#[test]
fn a_supervisor_takes_one_job_after_the_other_but_none_after_secrets() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let supervisor_of = |secret: &str| {
        let script = "echo $PPID; cat /proc/$PPID/comm; exec 3<&-; exit 0";
        let id = server.queue_with(script, |job| {
            if !secret.is_empty() {
                job.secrets.insert("s".to_owned(), secret.to_owned());
            }
        });
        assert_eq!(server.wait_end(&id).exit_code, Some(0));
        wait_until("a supervisor waits for the next job", || {
            supervisor_ahead(&node.state()).len() == 1 && supervisors(&node.state()).is_empty()
        });
        server.stdout(&id)
    };
    let first = supervisor_of("");
    assert!(first.ends_with("\nhyprbox-agent\n"), "{first}");
    assert_eq!(supervisor_of(""), first);
    assert_eq!(supervisor_of("hush hush"), first);
    assert_ne!(
        supervisor_of(""),
        first,
        "the last one had a secret in its memory"
    );
}

#[test]
fn a_supervisor_that_got_sigterm_takes_no_further_job() {
    let server = Server::start();
    let node = Node::new(&server);
    let _agent = node.start();
    let id = server.queue("kill -TERM $PPID; echo $PPID");
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    let next = server.queue("echo $PPID");
    assert_eq!(server.wait_end(&next).exit_code, Some(0));
    assert_ne!(server.stdout(&next), server.stdout(&id));
    // The same applies while it waits.
    wait_until("a supervisor waits for the next job", || {
        supervisor_ahead(&node.state()).len() == 1
    });
    for pid in supervisor_ahead(&node.state()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }
    let last = server.queue("echo $PPID");
    assert_eq!(server.wait_end(&last).exit_code, Some(0));
    assert_ne!(server.stdout(&last), server.stdout(&next));
}
