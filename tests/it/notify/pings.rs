//! Pings: of the server, and of schedules.

use serde_json::json;

use super::receiver::{Receiver, Reply};
use crate::harness::{Server, with_node};
use crate::schedules;

#[test]
fn a_healthy_server_calls_its_ping_address() {
    let receiver = Receiver::start();
    let url = format!("{}/ping/abc", receiver.url);
    let _server = Server::with(&[("HYPRBOX_PING_URL", &url)]);
    let ping = receiver.nth(1);
    assert_eq!(
        (ping.method.as_str(), ping.path.as_str()),
        ("GET", "/ping/abc")
    );
}

#[test]
fn a_schedule_calls_its_address_at_start_success_and_failure() {
    let (server, admin, agent) = with_node();
    // The first call fails and is repeated before the next one.
    let receiver = Receiver::with(|number, _| match number {
        0 => Reply::Close,
        _ => Reply::status(200),
    });
    let url = format!("{}/abc?x=1", receiver.url);
    let schedule = schedules::add(&admin, json!({"pingUrl": url}));
    let paths = |count: usize| -> Vec<String> {
        receiver.nth(count);
        receiver
            .received()
            .into_iter()
            .map(|one| one.path)
            .collect()
    };
    schedules::next_slot(&server, &admin, &schedule);
    agent.succeed(&agent.claim_id());
    assert_eq!(paths(3), ["/abc/start?x=1", "/abc/start?x=1", "/abc?x=1"]);
    schedules::next_slot(&server, &admin, &schedule);
    let job = agent.claim_id();
    agent.complete(&job, &json!({"exitCode": 3})).gives(200);
    assert_eq!(paths(5)[3..], ["/abc/start?x=1", "/abc/fail?x=1"]);
}
