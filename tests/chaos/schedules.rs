//! A server that is killed at random moments around due times: every due time has one slot, and at
//! most one run.

use std::time::Duration;

use serde_json::json;

use crate::harness::{eventually, id_of, pass, with_node};
use crate::random::Random;
use crate::setting;

#[test]
fn a_server_that_is_killed_around_due_times_makes_one_run_of_each() {
    let kills = setting("HYPRBOX_CHAOS_SCHEDULE_KILLS", 50);
    let mut random = Random::about(setting("HYPRBOX_CHAOS_SEED", 1), &["schedules"], 0);
    let (mut server, admin, _agent) = with_node();
    let schedules: Vec<String> = (0..3)
        .map(|number| {
            let body = json!({"name": format!("s{number}"), "preset": "note", "nodes": ["n1"],
                "cron": "0 3 1 1 *", "timeZone": "UTC", "overlap": "cancel"});
            id_of(&admin.post("/api/schedules", &body).gives(201).json())
        })
        .collect();
    let count = schedules.len() as i64;
    for round in 1..=i64::try_from(kills).expect("a count") {
        // Some servers are killed before they have read the schedules, some while they act on
        // them, and some afterwards.
        let now = server.database().now();
        let make_due = format!("UPDATE schedules SET next_due_at = {now}");
        assert_eq!(server.database().execute(&make_due), schedules.len());
        pass(
            Duration::from_millis(random.below(1_500)),
            "the kill comes at a random moment",
        );
        server.kill9();
        server.start_again();
        eventually("a slot of each due time", || {
            let slots = server
                .database()
                .number("SELECT count(*) FROM schedule_slots");
            assert!(slots <= round * count, "{slots} slots in round {round}");
            (slots == round * count).then_some(())
        });
        let runs = "SELECT count(*) FROM runs WHERE schedule_id IS NOT NULL";
        assert_eq!(
            server.database().number(runs),
            round * count,
            "round {round}"
        );
    }
    for check in [
        "SELECT count(*) FROM schedule_slots WHERE outcome <> 'ran'",
        "SELECT count(*) - count(DISTINCT run_id) FROM schedule_slots",
        "SELECT count(*) FROM schedule_slots WHERE run_id NOT IN (SELECT id FROM runs)",
        "SELECT count(*) FROM runs WHERE schedule_id IS NOT NULL AND id NOT IN (SELECT run_id FROM schedule_slots)",
    ] {
        assert_eq!(server.database().number(check), 0, "{check}");
    }
}
