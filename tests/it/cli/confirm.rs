//! `hyprbox jobs confirm`

use serde_json::json;

use super::Cli;
use crate::harness::with_node;

#[test]
fn a_job_that_waits_is_confirmed_and_another_one_is_not() {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let cli = Cli::of(&server, &admin);
    cli.run(&["jobs", "confirm", &id])
        .ends(125)
        .says("does not wait for a confirmation");
    let wait = json!({"confirmBy": "2026-12-01T12:34:56.000Z", "seconds": 300});
    let body = json!({"chunks": [], "confirmWait": wait});
    agent.output_call(&id, &body).gives(200);
    cli.run(&["jobs", "confirm", &id]).ends(0);
    assert!(admin.job(&id)["confirmRequestedAt"].is_string());
}
