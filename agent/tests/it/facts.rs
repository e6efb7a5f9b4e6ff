//! The facts about the machine that the agent sends with its heartbeats.

use std::path::Path;

use hyprbox_protocol::{HeartbeatRequest, MachineFacts};

use crate::agent::Node;
use crate::server::{Fault, Server};

/// A folder that stands for `/` with a machine of this much memory.
fn describe_machine(root: &Path, memory_kib: u64) {
    std::fs::create_dir_all(root.join("proc")).expect("creates");
    let write = |path: &str, text: &str| std::fs::write(root.join(path), text).expect("writes");
    write("proc/stat", "btime 1764064200\n");
    write("proc/meminfo", &format!("MemTotal: {memory_kib} kB\n"));
}

fn facts_of(beat: &HeartbeatRequest) -> Option<MachineFacts> {
    let json = &beat.facts.as_ref()?.0;
    Some(serde_json::from_str(json).expect("facts"))
}

/// Waits for so many heartbeats in all. Returns the memory that each of them reported.
fn memory(server: &Server, count: usize) -> Vec<Option<u64>> {
    server.wait_for("heartbeats", |world| {
        (world.heartbeats.len() >= count).then_some(())
    });
    let world = server.world();
    let beats = world.heartbeats.iter().take(count);
    beats.map(|beat| facts_of(beat)?.memory_bytes).collect()
}

#[test]
fn facts_come_with_the_first_heartbeat_and_again_only_when_they_change() {
    let server = Server::start();
    let mut node = Node::new(&server);
    let root = node.dir.path().join("root");
    describe_machine(&root, 2_048);
    node.set("HYPRBOX_INTERVAL", "1s");
    node.set("HYPRBOX_FACTS_ROOT", root.display().to_string());
    let agent = node.start();
    assert_eq!(memory(&server, 3), [Some(2_097_152), None, None]);
    let facts = facts_of(&server.world().heartbeats[0]).expect("facts");
    assert_eq!(facts.booted_at.as_deref(), Some("2025-11-25T09:50:00Z"));
    assert!(facts.arch.is_some() && facts.kernel.is_some() && facts.cpus > Some(0));
    describe_machine(&root, 4_096);
    let known = server.world().heartbeats.len();
    let later = memory(&server, known + 3);
    let changes: Vec<_> = later.into_iter().skip(known).flatten().collect();
    assert_eq!(changes, [4_194_304]);
    // The last heartbeat of an agent has none, and the next agent's first one has them.
    assert!(agent.term().success());
    let known = server.world().heartbeats.len();
    assert_eq!(server.world().heartbeats[known - 1].facts, None);
    let _next = node.start();
    assert_eq!(memory(&server, known + 1)[known], Some(4_194_304));
}

#[test]
fn facts_are_sent_again_until_the_server_has_them() {
    let server = Server::start();
    let mut node = Node::new(&server);
    let root = node.dir.path().join("root");
    describe_machine(&root, 2_048);
    node.set("HYPRBOX_INTERVAL", "1s");
    node.set("HYPRBOX_FACTS_ROOT", root.display().to_string());
    server.change(|world| {
        let faults = [Fault::LoseAnswer, Fault::Status(503)];
        world.faults.insert("heartbeat", faults.into());
    });
    let _agent = node.start();
    let sent = memory(&server, 4);
    // The answers to the first two were lost and refused. The refused one may be recorded or not.
    let count = sent.iter().flatten().count();
    assert!((2..=3).contains(&count), "{sent:?}");
    assert!(sent[0].is_some() && sent[3].is_none(), "{sent:?}");
}
