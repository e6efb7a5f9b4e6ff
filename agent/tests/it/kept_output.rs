//! Jobs whose output the server wants all of: the spool grows while the server is away, up to its
//! limits.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use hyprbox_protocol::to_hex;
use nix::sys::statvfs::statvfs;
use ring::digest::{SHA256, digest};

use crate::agent::{Agent, Node, high_water_kib, supervisor_ahead, supervisors, wait_until};
use crate::full_disk::SmallDisk;
use crate::server::Server;

/// The length of `seq 1 last`.
fn length_of_seq(last: u64) -> u64 {
    let digits = |width: u32| (10_u64.pow(width) - 1).min(last) + 1 - 10_u64.pow(width - 1);
    (1..=last.ilog10() + 1)
        .map(|width| digits(width) * (u64::from(width) + 1))
        .sum()
}

/// A script that waits for the file `go`, prints the numbers up to `last`, and leaves the SHA-256
/// of all its output in the file `sum`.
fn numbers(dir: &Path, last: u64) -> String {
    let dir = dir.display();
    format!(
        "{{ echo ready; until [ -e {dir}/go ]; do sleep 0.01; done; seq 1 {last}; }} \
         | tee >(sha256sum > {dir}/sum.tmp; mv {dir}/sum.tmp {dir}/sum)\n\
         until [ -e {dir}/sum ]; do sleep 0.01; done"
    )
}

/// A job that has printed `ready`, and whose server is away since then.
struct Away {
    server: Server,
    node: Node,
    id: String,
    /// The length of its output.
    total: u64,
}

impl Away {
    fn begin(server: Server, node: Node, last: u64, keep_output: bool) -> (Self, Agent) {
        let agent = node.start();
        let script = numbers(node.dir.path(), last);
        let id = server.queue_with(&script, |claim| claim.keep_output = keep_output);
        server.wait_output(&id, "ready");
        server.change(|world| world.down = true);
        let total = length_of_seq(last) + "ready\n".len() as u64;
        let away = Self {
            server,
            node,
            id,
            total,
        };
        (away, agent)
    }

    fn job(&self) -> PathBuf {
        self.node.state().join("jobs").join(&self.id)
    }

    /// Lets the script print its numbers, and waits until the job has ended.
    fn let_it_end(&self) {
        std::fs::write(self.node.dir.path().join("go"), "").expect("written");
        wait_until("the job's end", || self.job().join("exit").exists());
    }

    /// The bytes of the job's spool.
    fn spool_bytes(&self) -> u64 {
        let entries = std::fs::read_dir(self.job()).expect("the job's folder");
        let sizes = entries.map(|entry| {
            let entry = entry.expect("a file");
            let name = entry.file_name().into_string().expect("UTF-8");
            let is_spool = ["stdout.", "stderr.", "index."]
                .iter()
                .any(|kind| name.starts_with(kind));
            if is_spool {
                entry.metadata().expect("its size").len()
            } else {
                0
            }
        });
        sizes.sum()
    }

    fn come_back(&self) {
        self.server.change(|world| world.down = false);
    }

    /// Expects that the server has all output, whose SHA-256 the script computed.
    fn assert_complete(&self) {
        let end = self.server.wait_end(&self.id);
        assert_eq!((end.exit_code, end.error_msg), (Some(0), None));
        assert_eq!(end.stdout_bytes, Some(self.total));
        let world = self.server.world();
        let job = &world.jobs[&self.id];
        assert_eq!(job.dropped, [0, 0]);
        assert_eq!(job.streams[0].len() as u64, self.total);
        let sum = std::fs::read_to_string(self.node.dir.path().join("sum")).expect("written");
        let received = to_hex(digest(&SHA256, &job.streams[0]));
        assert_eq!(sum.split(' ').next(), Some(received.as_str()));
        assert_eq!(end.stdout_sha256, Some(received));
    }

    /// Expects that the newest output has arrived, and that exactly the rest is counted as dropped.
    /// Returns how much has arrived.
    fn assert_newest_arrived(&self, last: u64) -> u64 {
        assert_eq!(
            self.server.wait_end(&self.id).stdout_bytes,
            Some(self.total)
        );
        let world = self.server.world();
        let job = &world.jobs[&self.id];
        let arrived = job.streams[0].len() as u64;
        assert_eq!(job.dropped, [self.total - arrived, 0]);
        // One gap: before it is what was being sent when the server went away, after it the newest.
        let mut script = String::from("ready\n");
        (1..=last).for_each(|number| writeln!(script, "{number}").expect("fits"));
        let (written, received) = (script.as_bytes(), &job.streams[0]);
        let before = written.iter().zip(received).take_while(|(a, b)| a == b);
        let newest = &received[before.count()..];
        assert!(written.ends_with(newest));
        assert!(arrived - newest.len() as u64 <= 2 << 20, "{}", newest.len());
        arrived
    }
}

#[test]
fn all_output_of_an_outage_arrives_and_the_agents_memory_does_not_grow() {
    let server = Server::start();
    let node = Node::new(&server);
    // About 100 MiB.
    let (away, agent) = Away::begin(server, node, 12_000_000, true);
    let processes = || {
        let mut all = supervisors(&away.node.state());
        all.extend(supervisor_ahead(&away.node.state()));
        all.push(agent.pid());
        all
    };
    let before: Vec<(i32, u64)> = processes()
        .into_iter()
        .map(|pid| (pid, high_water_kib(pid)))
        .collect();
    away.let_it_end();
    assert!(away.spool_bytes() >= away.total);
    away.come_back();
    away.server.wait_for("half of the output", |world| {
        (world.jobs[&away.id].streams[0].len() as u64 > away.total / 2).then_some(())
    });
    for (pid, idle) in before {
        let grown = high_water_kib(pid).saturating_sub(idle);
        assert!(
            grown < 16 * 1024,
            "{pid} grew by {grown} KiB over {idle} KiB"
        );
    }
    away.assert_complete();
}

#[test]
fn nothing_is_lost_if_the_agent_is_killed_again_and_again() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("HYPRBOX_SPOOL_MAX", "100MiB");
    let (mut away, mut agent) = Away::begin(server, node, 8_000_000, true);
    // The limit is the job's, from its claim to its end.
    away.node.set("HYPRBOX_SPOOL_MAX", "4MiB");
    agent.kill9();
    away.let_it_end();
    away.come_back();
    for part in 1..4 {
        agent = away.node.start();
        away.server.wait_for("more output", |world| {
            (world.jobs[&away.id].streams[0].len() as u64 > part * away.total / 5).then_some(())
        });
        agent.kill9();
    }
    // What the server has acknowledged is removed, except the last 8 MiB.
    let arrived = away.server.world().jobs[&away.id].streams[0].len() as u64;
    let waiting = away.total - arrived;
    let on_disk = away.spool_bytes();
    assert!(
        (waiting..waiting + (12 << 20)).contains(&on_disk),
        "{on_disk} bytes on the disk, {waiting} to be sent"
    );
    let _agent = away.node.start();
    away.assert_complete();
}

#[test]
fn the_oldest_output_beyond_the_limit_is_dropped_and_counted() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("HYPRBOX_SPOOL_MAX", "16MiB");
    let last = 5_000_000;
    let (away, _agent) = Away::begin(server, node, last, true);
    away.let_it_end();
    let on_disk = away.spool_bytes();
    let max = 16 << 20;
    assert!((max - (2 << 20)..=max).contains(&on_disk), "{on_disk}");
    away.come_back();
    let arrived = away.assert_newest_arrived(last);
    assert!(arrived >= 14 << 20, "{arrived}");
}

#[test]
fn without_the_servers_request_the_newest_output_is_kept_as_before() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("HYPRBOX_SPOOL_MAX", "1TiB");
    let last = 4_000_000;
    let (away, _agent) = Away::begin(server, node, last, false);
    away.let_it_end();
    assert!(away.spool_bytes() < 10 << 20, "{}", away.spool_bytes());
    away.come_back();
    let arrived = away.assert_newest_arrived(last);
    assert!((7 << 20..9 << 20).contains(&arrived), "{arrived}");
}

#[test]
fn the_spool_never_grows_into_the_last_tenth_of_the_disk() {
    let server = Server::start();
    let node = Node::new(&server);
    let Some(_disk) = SmallDisk::mount(&node, "64m") else {
        return;
    };
    let last = 12_000_000;
    let (away, _agent) = Away::begin(server, node, last, true);
    away.let_it_end();
    let about = statvfs(&away.node.state()).expect("mounted");
    let (free, all) = (about.blocks_available(), about.blocks());
    assert!(free * 10 >= all, "{free} of {all} blocks are free");
    assert!(away.spool_bytes() > 50 << 20, "{}", away.spool_bytes());
    away.come_back();
    assert!(away.assert_newest_arrived(last) > 50 << 20);
}
