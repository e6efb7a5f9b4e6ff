//! Schedules of servers that share a database: each due time makes one run.

use serde_json::json;

use crate::harness::{Server, Setup, eventually, with_node};
use crate::schedules::add;

/// Schedules that are due at the same moment.
const SCHEDULES: i64 = 100;
/// How often all of them are due.
const ROUNDS: i64 = 10;

/// Another server over the first one's database, with its key.
fn beside(first: &Server) -> Server {
    let key = first.setup().data_dir().join("secret.key");
    Setup::new()
        .with("HYPRBOX_DATABASE_URL", &first.database().url())
        .with("HYPRBOX_SECRET_KEY_FILE", key.to_str().expect("UTF-8"))
        .start()
}

#[test]
fn three_servers_make_one_run_of_each_of_a_thousand_due_times() {
    let (server, admin, _agent) = with_node();
    let database = server.database();
    if database.sqlite().is_some() {
        return;
    }
    let _others = [beside(&server), beside(&server)];
    for _ in 0..SCHEDULES {
        add(&admin, json!({"overlap": "cancel"}));
    }
    let count = |sql: &str| database.number(sql);
    for round in 1..=ROUNDS {
        let now = database.now();
        database.execute(&format!("UPDATE schedules SET next_due_at = {now}"));
        eventually("a slot of each due time", || {
            (count("SELECT count(*) FROM schedule_slots") == round * SCHEDULES).then_some(())
        });
    }
    assert_eq!(
        count("SELECT count(*) FROM runs WHERE schedule_id IS NOT NULL"),
        ROUNDS * SCHEDULES
    );
    assert_eq!(
        count("SELECT count(DISTINCT run_id) FROM schedule_slots WHERE outcome = 'ran'"),
        ROUNDS * SCHEDULES
    );
}
