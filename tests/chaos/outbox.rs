//! A server that is killed at random moments around the sending of notifications: every message
//! arrives at least once, with the same id and body at each attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::harness::receiver::{Receiver, Reply};
use crate::harness::{Field, eventually_within, id_of, pass, with_node};
use crate::random::Random;
use crate::setting;

/// How long receivers take to answer, in milliseconds, so that kills also come between a request
/// and its answer.
const ANSWER_MS: u64 = 300;
/// An attempt that a kill has interrupted is repeated at the server's next start or 20 s later.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_server_that_is_killed_around_its_notifications_loses_none() {
    let kills = setting("HYPRBOX_CHAOS_OUTBOX_KILLS", 50);
    let mut random = Random::about(setting("HYPRBOX_CHAOS_SEED", 1), &["outbox"], 0);
    let (mut server, mut admin, mut agent) = with_node();
    let receiver = Receiver::with(|number, _| {
        let wait = Duration::from_millis(number as u64 * 97 % ANSWER_MS);
        pass(wait, "the receiver is slow");
        Reply::status(200)
    });
    let body = json!({"name": "ops", "kind": "webhook", "settings": {"url": receiver.url}});
    let channel = id_of(&admin.post("/api/channels", &body).gives(201).json());
    let rule = json!({"channelId": channel, "on": ["job_failed"]});
    admin.post("/api/rules", &rule).gives(201);
    for _ in 0..kills {
        let job = admin.queue("n1");
        agent.claim();
        // The answer means that the job's end and its message are committed.
        agent.complete(&job, &json!({"exitCode": 3})).gives(200);
        pass(
            Duration::from_millis(random.below(2 * ANSWER_MS)),
            "the kill comes at a random moment",
        );
        server.kill9();
        server.start_again();
        (admin, agent) = (admin.at_url(server.url()), agent.at_url(server.url()));
    }
    let path = format!("/api/channels/{channel}/deliveries?limit=200");
    let delivered = eventually_within(PATIENCE, "every message", || {
        let all = admin.get(&path).ok().list("deliveries");
        assert_eq!(all.len() as u64, kills, "one message of each job");
        all.iter()
            .all(|one| one["state"] == "delivered")
            .then_some(all)
    });
    let mut arrived = BTreeMap::new();
    for request in receiver.received() {
        let body = arrived
            .entry(request.header("webhook-id").to_owned())
            .or_insert_with(|| request.body.clone());
        assert_eq!(*body, request.body, "another body with the same id");
    }
    for delivery in &delivered {
        assert!(
            arrived.remove(&delivery.field("id")).is_some(),
            "{delivery}"
        );
    }
    assert!(arrived.is_empty(), "{arrived:?}");
}
