//! Changing, pausing and choosing nodes on the command line.

use serde_json::json;

use super::Cli;
use crate::harness::with_node;

#[test]
fn a_node_is_edited_labelled_and_paused() {
    let (server, admin, agent) = with_node();
    let cli = Cli::of(&server, &admin);
    cli.run(&["nodes", "edit", "n1", "--name", "Web one"])
        .ends(0)
        .says("n1 is now called Web one.");
    let label = |changes: &[&str]| cli.run(&[&["nodes", "label", "n1"][..], changes].concat());
    label(&["role=web", "zone=a"])
        .ends(0)
        .says("Labels of n1: role=web, zone=a");
    label(&["zone-", "gpu="])
        .ends(0)
        .says("Labels of n1: gpu=, role=web");
    let node = admin.get("/api/nodes/n1").ok();
    assert_eq!(node["labels"], json!({"gpu": "", "role": "web"}));
    assert_eq!(node["name"], "Web one");
    label(&["role"])
        .ends(64)
        .says("must be KEY=VALUE, or KEY- to remove the label");
    label(&["=x"])
        .ends(125)
        .says("must have a key of 1 to 63 characters");

    let waits = admin.queue("n1");
    cli.run(&["nodes", "pause", "n1"])
        .ends(0)
        .says("Paused n1: its agent gets no jobs. 1 queued.");
    agent.finds_nothing("");
    cli.run(&["run", "note", "-n", "n1"]).ends(0).says(
        "n1 is paused: the job can start once an ADMIN resumes it (hyprbox nodes resume n1).",
    );
    let listed = cli.run(&["nodes", "list"]).ends(0).text();
    assert!(
        listed.contains("paused") && listed.contains("role=web"),
        "{listed}"
    );
    assert!(
        cli.run(&["nodes", "show", "n1"])
            .ends(0)
            .text()
            .contains("paused")
    );
    cli.run(&["nodes", "resume", "n1"])
        .ends(0)
        .says("Resumed n1.");
    assert_eq!(agent.claim_id(), waits);
    cli.run(&["nodes", "pause", "n1", "n2"])
        .ends(127)
        .says("there is no node \"n2\"");
    assert_eq!(admin.get("/api/nodes/n1").ok()["paused"], true);
    let resumed = cli.run(&["nodes", "resume", "n1", "--json"]).ends(0).json();
    assert_eq!(resumed["paused"], false);
}

#[test]
fn nodes_are_listed_by_a_selector() {
    let (server, admin, _agent) = with_node();
    let cli = Cli::of(&server, &admin);
    let body = json!({"id": "web-1", "labels": {"role": "web"}});
    admin.post("/api/nodes", &body).gives(201);
    let list = |selector: &str| cli.run(&["nodes", "list", "--selector", selector]);
    let found = list("role in (web, db), !gpu").ends(0).text();
    assert!(found.contains("web-1") && !found.contains("n1 "), "{found}");
    list("role=db").ends(0).says("No node matches.");
    list("role web").ends(125).says(
        "selector: expected `=`, `==`, `!=`, `in`, `notin`, `,` or the end at character 6, but found `w`",
    );
}

#[test]
fn a_node_shows_its_machine() {
    let (server, admin, agent) = with_node();
    let facts = json!({"arch": "aarch64", "cpus": 4, "memoryBytes": 8_589_934_592_u64, "rebootRequired": true,
        "disks": [{"mount": "/srv", "sizeBytes": 2_199_023_255_552_u64, "freeBytes": 1_536}],
        "addresses": ["192.0.2.7"], "virtualization": "none"});
    agent.heartbeat(&json!({"facts": facts})).ok();
    let shown = Cli::of(&server, &admin)
        .run(&["nodes", "show", "n1"])
        .ends(0)
        .text();
    for words in [
        "aarch64",
        "8.0 GiB",
        "/srv (1.5 KiB of 2.0 TiB free)",
        "192.0.2.7",
        "needed for updates",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(
        !shown.contains("updates  "),
        "unknown facts are left out: {shown}"
    );
}
