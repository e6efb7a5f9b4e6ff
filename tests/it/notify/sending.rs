//! When messages are sent: retries, receivers that misbehave, and servers that are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyprbox_signing::millis_of_rfc3339;
use serde_json::{Value, json};

use super::receiver::{Receiver, Reply, is_about};
use super::{deliveries, webhook};
use crate::harness::{
    Authority, FakeAgent, Field, Person, Setup, eventually, eventually_within, id_of, once_within,
    with_node,
};
use crate::stepped_clock::SteppedClock;

const ON: &[&str] = &["job_failed"];

fn fail(admin: &Person, agent: &FakeAgent) {
    let job = admin.queue("n1");
    agent.claim();
    agent.complete(&job, &json!({"exitCode": 3})).gives(200);
}

fn settled(admin: &Person, channel: &str, state: &str) -> Value {
    eventually("a settled delivery", || {
        let delivery = deliveries(admin, channel).into_iter().next()?;
        (delivery["state"] == state).then_some(delivery)
    })
}

#[test]
fn a_failed_attempt_is_repeated_with_the_same_id() {
    let (_server, admin, agent) = with_node();
    let receiver = Receiver::with(|number, _| match number {
        0 => Reply::words(500, "try later"),
        _ => Reply::words(202, "thanks"),
    });
    let channel = webhook(&admin, &receiver.url, ON);
    fail(&admin, &agent);
    let (first, second) = (receiver.nth(1), receiver.nth(2));
    assert!(
        is_about(second.at - first.at, 5.0, 5.0),
        "{:?}",
        second.at - first.at
    );
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    assert_ne!(
        first.header("webhook-signature"),
        second.header("webhook-signature")
    );
    let delivery = settled(&admin, &channel, "delivered");
    let attempts = delivery.list("attempts");
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0]["status"], 500);
    assert_eq!(attempts[0]["answer"], "try later");
    assert!(attempts[0].field("error").contains("500"));
    assert_eq!(attempts[1]["answer"], "thanks");
    assert_eq!(attempts[1]["error"], Value::Null);
}

#[test]
fn a_receiver_that_answers_500_for_an_hour_delays_no_other_and_gets_its_message() {
    let (mut clock, mut server) = SteppedClock::start(Setup::new());
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let broken = Receiver::with(move |_, _| match well.load(Ordering::Relaxed) {
        true => Reply::status(200),
        false => Reply::status(500),
    });
    let fine = Receiver::start();
    let channel = webhook(&admin, &broken.url, ON);
    webhook(&admin, &fine.url, ON);
    fail(&admin, &agent);
    fine.nth(1);
    let first = || deliveries(&admin, &channel).pop().expect("a delivery");
    let ms = |text: String| millis_of_rfc3339(&text).expect("a time");
    let began = clock.now_ms();
    let pauses = [5.0, 30.0, 120.0, 600.0, 3_600.0, 21_600.0];
    for (round, pause) in pauses.into_iter().enumerate() {
        let delivery = eventually("the attempt", || {
            let delivery = first();
            (delivery.list("attempts").len() > round).then_some(delivery)
        });
        assert_eq!(delivery["state"], "pending");
        let next = ms(delivery.field("nextAttemptAt"));
        let last = ms(delivery.list("attempts")[round].field("at"));
        let passed = Duration::from_millis(u64::try_from(next - last).expect("later"));
        assert!(is_about(passed, pause, 5.0), "{round}: {passed:?}");
        if pause > 3_600.0 {
            is_well.store(true, Ordering::Relaxed);
        }
        clock.set_ms(next);
        // The message of another job reaches the other receiver meanwhile.
        fail(&admin, &agent);
        fine.nth(round + 2);
    }
    assert!(clock.now_ms() - began > 3_600_000);
    let delivered = eventually("the delivery", || {
        let delivery = first();
        (delivery["state"] == "delivered").then_some(delivery)
    });
    let statuses: Vec<Value> = delivered
        .list("attempts")
        .iter()
        .map(|attempt| attempt["status"].clone())
        .collect();
    assert_eq!(statuses, [500, 500, 500, 500, 500, 500, 200]);
    let id = delivered.field("id");
    let same = broken.received().into_iter();
    let same = same.filter(|request| request.header("webhook-id") == id);
    assert_eq!(same.count(), 7);
}

#[test]
fn a_receiver_may_ask_for_time() {
    let (_server, admin, agent) = with_node();
    let receiver = Receiver::with(|number, _| match number {
        0 => Reply::Answer(429, "retry-after: 8\r\ncontent-length: 0\r\n\r\n".into()),
        _ => Reply::status(200),
    });
    webhook(&admin, &receiver.url, ON);
    fail(&admin, &agent);
    let waited = receiver.nth(2).at - receiver.nth(1).at;
    assert!(waited >= Duration::from_secs(8), "{waited:?}");
}

#[test]
fn receivers_that_misbehave_delay_no_other() {
    let (_server, admin, agent) = with_node();
    let authority = Authority::new();
    let bad = [
        Receiver::with(|_, _| Reply::Hang),
        Receiver::with(|_, _| Reply::Flood),
        Receiver::with(|_, _| Reply::status(500)),
        Receiver::with(|_, _| Reply::Close),
        Receiver::with(|_, _| {
            Reply::Answer(302, "location: /\r\ncontent-length: 0\r\n\r\n".into())
        }),
    ];
    let channels: Vec<String> = bad
        .iter()
        .map(|one| webhook(&admin, &one.url, ON))
        .collect();
    // One whose certificate nobody trusts.
    let tls = Setup::new().with_tls(&authority).start();
    let untrusted = webhook(&admin, tls.url(), ON);
    let good = Receiver::start();
    webhook(&admin, &good.url, ON);
    // One that never answers is given 10 s.
    let mut count = 0;
    once_within(Duration::from_secs(10), "five deliveries", || {
        for _ in 0..5 {
            fail(&admin, &agent);
            count += 1;
            good.nth(count);
        }
    });
    let error = |channel: &str| {
        let attempt = eventually("an attempt", || {
            let first = deliveries(&admin, channel).pop()?;
            first["attempts"].get(0).cloned()
        });
        attempt["error"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(error(&channels[0]), "no answer within 10 s");
    // It has said 200 before it flooded; what it says is read up to a limit.
    assert_eq!(error(&channels[1]), "");
    assert!(error(&channels[2]).contains("500"));
    assert!(error(&channels[3]).starts_with("can't send"));
    assert!(error(&channels[4]).contains("redirects are not followed"));
    assert!(
        error(&untrusted).contains("certificate"),
        "{}",
        error(&untrusted)
    );
    let redirected = &bad[4];
    assert!(redirected.received().iter().all(|one| one.method == "POST"));
}

#[test]
fn a_receiver_that_is_gone_pauses_its_channel() {
    let (_server, admin, agent) = with_node();
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let receiver = Receiver::with(move |_, _| match back.load(Ordering::Relaxed) {
        true => Reply::status(200),
        false => Reply::status(410),
    });
    let channel = webhook(&admin, &receiver.url, ON);
    let path = format!("/api/channels/{channel}");
    fail(&admin, &agent);
    let paused = eventually("the pause", || {
        let shown = admin.get(&path).ok();
        (shown["paused"] == true).then_some(shown)
    });
    assert!(paused.field("pausedBecause").contains("410"), "{paused}");
    fail(&admin, &agent);
    assert_eq!(admin.get(&path).ok()["pendingDeliveries"], 2);
    is_back.store(true, Ordering::Relaxed);
    let resumed = admin
        .call("PATCH", &path)
        .json(&json!({"paused": false}))
        .ok();
    assert_eq!(resumed["pausedBecause"], Value::Null);
    receiver.nth(3);
    let all = eventually("both", || {
        let all = deliveries(&admin, &channel);
        all.iter()
            .all(|one| one["state"] == "delivered")
            .then_some(all)
    });
    assert_eq!(all.len(), 2);
    assert_eq!(receiver.received().len(), 3);
}

#[test]
fn a_message_outlives_a_server_that_is_killed_before_and_while_it_is_sent() {
    let (mut server, admin, agent) = with_node();
    let receiver = Receiver::with(|number, _| match number {
        // The server is killed before it gets an answer.
        0 => Reply::Hang,
        _ => Reply::status(200),
    });
    let channel = webhook(&admin, &receiver.url, ON);
    let path = format!("/api/channels/{channel}");
    let pause = |admin: &Person, is_paused: bool| {
        let change = json!({"paused": is_paused});
        admin.call("PATCH", &path).json(&change).gives(200);
    };
    // Committed and not sent.
    pause(&admin, true);
    fail(&admin, &agent);
    server.kill9();
    server.start_again();
    pause(&server.admin(), false);
    let first = receiver.nth(1);
    server.kill9();
    server.start_again();
    let second = eventually_within(Duration::from_secs(60), "the repetition", || {
        receiver.received().get(1).cloned()
    });
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    settled(&server.admin(), &channel, "delivered");
    assert_eq!(receiver.received().len(), 2);
}

#[test]
fn a_message_is_given_up_in_the_end_and_can_be_sent_again() {
    let (server, admin, agent) = with_node();
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let receiver = Receiver::with(move |_, _| match well.load(Ordering::Relaxed) {
        true => Reply::status(200),
        false => Reply::status(500),
    });
    let channel = webhook(&admin, &receiver.url, ON);
    fail(&admin, &agent);
    receiver.nth(1);
    eventually("the next attempt", || {
        let delivery = deliveries(&admin, &channel).remove(0);
        (delivery.list("attempts").len() == 1).then_some(())
    });
    let database = server.database();
    let now = database.now();
    // The three days are over, and the last attempt is due.
    database.execute(&format!(
        "UPDATE deliveries SET give_up_at = {now}, next_attempt_at = {now}"
    ));
    let delivery = settled(&admin, &channel, "failed");
    assert_eq!(delivery["nextAttemptAt"], Value::Null);
    assert_eq!(delivery.list("attempts").len(), 2);
    let shown = || admin.get(&format!("/api/channels/{channel}")).ok();
    assert_eq!(shown()["failedDeliveries"], 1);
    eventually("the log", || {
        server
            .logged(&["ERROR", "given up after three days"])
            .then_some(())
    });
    is_well.store(true, Ordering::Relaxed);
    let id = id_of(&delivery);
    let resent = admin
        .call("POST", &format!("/api/deliveries/{id}/resend"))
        .ok();
    assert_eq!(resent["state"], "pending");
    assert_eq!(receiver.nth(3).header("webhook-id"), id);
    settled(&admin, &channel, "delivered");
    assert_eq!(shown()["failedDeliveries"], 0);
}

#[test]
fn a_list_of_deliveries_has_pages() {
    let (_server, admin, agent) = with_node();
    let channel = webhook(&admin, "http://127.0.0.1:1/", ON);
    for _ in 0..3 {
        fail(&admin, &agent);
    }
    let path = format!("/api/channels/{channel}/deliveries");
    let first = admin.get(&format!("{path}?limit=2")).ok();
    assert_eq!(first.list("deliveries").len(), 2);
    let cursor = first.field("nextCursor");
    let second = admin.get(&format!("{path}?limit=2&cursor={cursor}")).ok();
    assert_eq!(second["nextCursor"], Value::Null);
    let mut all = first.list("deliveries");
    all.extend(second.list("deliveries"));
    let ids: Vec<Value> = all.iter().map(|one| one["id"].clone()).collect();
    let whole: Vec<Value> = deliveries(&admin, &channel)
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(ids, whole);
    admin
        .get(&format!("{path}?cursor=%00"))
        .refused(400, "bad_input");
}

#[test]
fn several_servers_make_each_attempt_once() {
    let (server, admin, agent) = with_node();
    let Some(second) = crate::replicas::beside(&server, &[]) else {
        return;
    };
    let receiver = Receiver::start();
    let channel = webhook(&admin, &receiver.url, ON);
    let there = agent.at(&second);
    for number in 0..40 {
        fail(&admin, if number % 2 == 0 { &agent } else { &there });
    }
    eventually("all of them", || {
        let all = deliveries(&admin, &channel);
        let sent = all.iter().filter(|one| one["state"] == "delivered").count();
        (sent == 40).then_some(())
    });
    let ids: std::collections::HashSet<String> = receiver
        .received()
        .iter()
        .map(|one| one.header("webhook-id").to_owned())
        .collect();
    assert_eq!((ids.len(), receiver.received().len()), (40, 40));
}
