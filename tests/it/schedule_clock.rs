//! Schedules while somebody sets the clock: no due time is missed silently, and none runs twice.

use std::time::Duration;

use hyprbox_signing::millis_of_rfc3339;
use serde_json::{Value, json};

use crate::harness::{Field, Person, Setup, eventually, pass};
use crate::schedules::add;
use crate::stepped_clock::SteppedClock;

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// Due time, outcome and detail of each slot, oldest first.
fn slots(person: &Person, id: &str) -> Vec<(i64, String, Value)> {
    let path = format!("/api/schedules/{id}/slots?limit=200");
    let mut slots = person.get(&path).ok().list("slots");
    slots.reverse();
    let slot = |slot: &Value| {
        let due_at = millis_of_rfc3339(&slot.field("dueAt")).expect("a time");
        (due_at, slot.field("outcome"), slot["detail"].clone())
    };
    slots.iter().map(slot).collect()
}

#[test]
fn a_clock_that_steps_an_hour_or_a_day_makes_no_double_and_misses_nothing_silently() {
    let (mut clock, mut server) = SteppedClock::start(Setup::new());
    let admin = server.admin();
    admin.add_node("n1");
    // A session ends when the clock steps by a day.
    let token = admin
        .post("/api/auth/tokens", &json!({"name": "test"}))
        .gives(201)
        .json()
        .field("token");
    let admin = admin.with_token(&token);
    let hourly = json!({"cron": "0 * * * *", "timeZone": "UTC", "overlap": "cancel"});
    let id = add(&admin, hourly);
    let shown = admin.get(&format!("/api/schedules/{id}")).ok();
    let first = millis_of_rfc3339(&shown.field("nextDueAt")).expect("a time");
    let has = |count: usize| {
        eventually("slots", || {
            let slots = slots(&admin, &id);
            assert!(slots.len() <= count, "{slots:?}");
            (slots.len() == count).then_some(())
        });
    };
    let stays = |count: usize| {
        pass(Duration::from_secs(4), "due times are read every second");
        has(count);
    };
    // A due time that comes after the step is on time.
    clock.set_ms(first - 2 * SECOND);
    has(1);
    clock.step_ms(HOUR);
    has(2);
    clock.step_ms(-HOUR);
    stays(2);
    clock.step_ms(HOUR);
    stays(2);
    clock.set_ms(first + 2 * HOUR - 2 * SECOND);
    has(3);
    clock.step_ms(DAY);
    has(27);
    clock.step_ms(-DAY);
    stays(27);
    clock.step_ms(DAY);
    stays(27);
    clock.set_ms(first + 27 * HOUR - 2 * SECOND);
    has(28);
    for (number, (due_at, outcome, detail)) in (0_i64..).zip(slots(&admin, &id)) {
        assert_eq!(due_at, first + number * HOUR, "slot {number}");
        let wanted = match number {
            0 | 2 | 27 => ("ran", Value::Null),
            1 | 26 => ("ran", json!("late")),
            _ => ("missed", json!("the server was down")),
        };
        assert_eq!((outcome.as_str(), detail), wanted, "slot {number}");
    }
    let runs = "SELECT count(*) FROM runs WHERE schedule_id IS NOT NULL";
    assert_eq!(server.database().number(runs), 5);
}
