//! Schedules of servers that share a database: each due time makes one run, also when the clock
//! that counts for all of them is set.

use serde_json::json;

use crate::harness::{Database, Server, Setup, eventually, with_node};
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

/// Puts a clock in the place of the database's, which `set` moves.
fn fake_clock(database: &Database) {
    for sql in [
        "CREATE SCHEMA fake",
        "CREATE TABLE fake.clock (seconds bigint NOT NULL)",
        "INSERT INTO fake.clock VALUES (0)",
        "CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
         'SELECT pg_catalog.clock_timestamp() + (SELECT seconds FROM fake.clock) * interval ''1 second'''",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = fake, pg_catalog, public', current_database()); END $$",
    ] {
        database.execute_all(sql);
    }
}

/// Sets the clock so many seconds ahead of the machine's.
fn set(database: &Database, seconds: i64) {
    database.execute(&format!("UPDATE fake.clock SET seconds = {seconds}"));
}

/// Waits until the server has acted on a due time that is now, by its clock.
#[track_caller]
fn acts(database: &Database, id: &str) {
    let slots = format!("SELECT count(*) FROM schedule_slots WHERE schedule_id = '{id}'");
    let before = database.number(&slots);
    database.execute(&format!(
        "UPDATE schedules SET next_due_at = fake.clock_timestamp() WHERE id = '{id}'"
    ));
    eventually("a slot of the other schedule", || {
        (database.number(&slots) > before).then_some(())
    });
}

#[test]
fn a_clock_that_steps_makes_no_second_run_and_leaves_a_slot_of_each_due_time() {
    let (mut server, admin, _agent) = with_node();
    let database = server.database();
    if database.sqlite().is_some() {
        return;
    }
    fake_clock(&database);
    server.restart();
    let admin = admin.at_url(server.url());
    // By it the test knows that the server has read its clock.
    let other = add(&admin, json!({"overlap": "cancel"}));
    let id = add(
        &admin,
        json!({"overlap": "cancel", "cron": "0,20,40 * * * *", "timeZone": "UTC"}),
    );
    let slots = |more: &str| {
        let sql = format!("SELECT count(*) FROM schedule_slots WHERE schedule_id = '{id}' {more}");
        database.number(&sql)
    };
    // Slots of each due time up to now, without a gap.
    let has_no_gap = |ahead: i64| {
        let sql = format!(
            "SELECT count(*) FROM (SELECT due_at - lag(due_at) OVER (ORDER BY due_at) AS step
             FROM schedule_slots WHERE schedule_id = '{id}') AS steps WHERE step <> interval '20 minutes'"
        );
        assert_eq!(database.number(&sql), 0, "{ahead} s ahead");
    };
    for (ahead, due) in [
        (3_600, 3),
        (0, 0),
        (3_600, 0),
        (90_000, 72),
        (3_600, 0),
        (90_000, 0),
    ] {
        let before = (slots(""), slots("AND outcome = 'ran'"));
        set(&database, ahead);
        acts(&database, &other);
        let is_seen = || (slots("") >= before.0 + due).then_some(());
        eventually("the slots of a step", is_seen);
        let new = slots("") - before.0;
        // A due time of the real clock may come meanwhile.
        assert!((due..=due + 1).contains(&new), "{ahead}: {new} slots");
        let ran = slots("AND outcome = 'ran'") - before.1;
        assert!(ran <= 1 + new - due, "{ahead}: {ran} runs");
        assert!(due == 0 || ran >= 1, "{ahead}: {ran} runs");
        has_no_gap(ahead);
    }
    assert_eq!(
        database.number(&format!(
            "SELECT count(*) FROM runs WHERE schedule_id = '{id}'"
        )),
        slots("AND outcome = 'ran'")
    );
}
