//! Schedules: what they queue when, and what becomes of each due time. Tests move a due time with
//! SQL, since the shortest schedule is due once a minute. One file, because its tests share these
//! few helpers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    FakeAgent, Field, Person, Server, eventually, id_of, pass, reaches, with_node,
};

/// A schedule of `note` on the nodes of this selector, with more fields; its id.
#[track_caller]
pub(crate) fn add(person: &Person, more: Value) -> String {
    id_of(&person.post("/api/schedules", &body(more)).gives(201).json())
}

pub(crate) fn body(more: Value) -> Value {
    let mut body = json!({"name": "nightly", "preset": "note", "nodes": ["n1"],
        "cron": "0 3 1 1 *", "timeZone": "Europe/Berlin"});
    let fields = body.as_object_mut().expect("an object");
    // `null` leaves a field out.
    for (name, value) in more.as_object().expect("an object") {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    body
}

/// Makes the schedule due now.
fn make_due(server: &Server, id: &str) {
    let database = server.database();
    let now = database.now();
    let changed = database.execute(&format!(
        "UPDATE schedules SET next_due_at = {now} WHERE id = '{id}'"
    ));
    assert_eq!(changed, 1);
}

#[track_caller]
fn slots(person: &Person, id: &str) -> Vec<Value> {
    person
        .get(&format!("/api/schedules/{id}/slots"))
        .ok()
        .list("slots")
}

/// Makes it due, and waits for the slot after those that it has.
#[track_caller]
pub(crate) fn next_slot(server: &Server, person: &Person, id: &str) -> Value {
    let before = slots(person, id).len();
    make_due(server, id);
    eventually("a slot", || {
        let slots = slots(person, id);
        (slots.len() > before).then(|| slots[0].clone())
    })
}

pub(crate) fn show(person: &Person, id: &str) -> Value {
    person.get(&format!("/api/schedules/{id}")).ok()
}

fn runs_of(server: &Server, id: &str) -> i64 {
    server.database().number(&format!(
        "SELECT count(*) FROM runs WHERE schedule_id = '{id}'"
    ))
}

fn end_job(agent: &FakeAgent) {
    let id = agent.claim_id();
    agent.succeed(&id);
}

#[test]
fn a_schedule_has_every_field() {
    let (_server, admin, _agent) = with_node();
    let made = admin
        .post("/api/schedules", &body(json!({"params": {"text": "hi"}})))
        .gives(201);
    let id = id_of(&made.json());
    assert_eq!(made.header("location"), format!("/api/schedules/{id}"));
    let shown = show(&admin, &id);
    assert_eq!(shown, made.json());
    for (field, wanted) in [
        ("name", json!("nightly")),
        ("preset", json!("note")),
        ("params", json!({"text": "hi"})),
        ("nodes", json!(["n1"])),
        ("selector", Value::Null),
        ("kind", json!("apply")),
        (
            "plan",
            json!({"canary": 0, "batch": "100%", "pauseSeconds": 0, "maxFailures": 0}),
        ),
        ("ifOffline", json!("wait")),
        ("cron", json!("0 3 1 1 *")),
        ("timeZone", json!("Europe/Berlin")),
        ("overlap", json!("skip")),
        ("missed", json!("once")),
        ("expiresInSeconds", Value::Null),
        ("timeoutSeconds", Value::Null),
        ("pingUrl", Value::Null),
        ("paused", json!(false)),
        ("pausedBecause", Value::Null),
        ("lastSlot", Value::Null),
        ("createdBy", json!(admin.id)),
        ("createdByEmail", json!(admin.email)),
    ] {
        assert_eq!(shown[field], wanted, "{field}");
    }
    // The first of January at 3 in Berlin.
    assert!(shown.field("nextDueAt").ends_with("-01-01T02:00:00.000Z"));
    let listed = admin.get("/api/schedules").ok().list("schedules");
    assert_eq!(listed, [shown]);
}

#[test]
fn every_fault_is_named_at_once() {
    let (_server, admin, _agent) = with_node();
    let wrong = body(
        json!({"name": "", "cron": "0 0 31 2 *", "timeZone": "Europe/Berln",
        "params": {"port": 0}, "timeoutSeconds": 0, "expiresInSeconds": 5, "pingUrl": "ftp://x",
        "plan": {"batch": "0%"}}),
    );
    let answer = admin.post("/api/schedules", &wrong).gives(400);
    assert_eq!(
        answer.fields(),
        [
            "cron",
            "expiresInSeconds",
            "name",
            "params.port",
            "pingUrl",
            "plan.batch",
            "timeZone",
            "timeoutSeconds"
        ]
    );
    assert!(answer.text().contains("did you mean Europe/Berlin?"));
    let answer = admin
        .post("/api/schedules", &body(json!({"selector": "x"})))
        .gives(400);
    assert_eq!(answer.fields(), ["selector"]);
    let answer = admin
        .post(
            "/api/schedules",
            &body(json!({"selector": "(", "nodes": null})),
        )
        .gives(400);
    assert_eq!(answer.fields(), ["selector"]);
    admin
        .post("/api/schedules", &body(json!({"nodes": ["gone", "n1"]})))
        .refused(404, "node_not_found");
    admin
        .post("/api/schedules", &body(json!({"preset": "gone"})))
        .refused(404, "preset_not_found");
    admin
        .post("/api/schedules", &body(json!({"often": true})))
        .gives(400);
    assert_eq!(admin.get("/api/schedules").ok(), json!({"schedules": []}));
}

#[test]
fn a_preview_shows_five_times_in_both_zones() {
    let (_server, admin, _agent) = with_node();
    let times = admin
        .post(
            "/api/schedules/preview",
            &json!({"cron": "30 2 * * *", "timeZone": "Asia/Kolkata"}),
        )
        .ok()
        .list("times");
    assert_eq!(times.len(), 5);
    for time in &times {
        assert!(time.field("utc").ends_with("T21:00:00.000Z"), "{time}");
        assert!(time.field("local").ends_with("T02:30:00+05:30"), "{time}");
    }
    let wrong = json!({"cron": "* * *", "timeZone": "Nowhere"});
    let answer = admin.post("/api/schedules/preview", &wrong).gives(400);
    assert_eq!(answer.fields(), ["cron", "timeZone"]);
}

#[test]
fn a_due_time_queues_one_run_with_the_makers_name() {
    let (server, admin, agent) = with_node();
    let id = add(&admin, json!({"params": {"text": "by the clock"}}));
    let slot = next_slot(&server, &admin, &id);
    assert_eq!(
        (slot.field("outcome"), &slot["detail"]),
        ("ran".to_owned(), &Value::Null)
    );
    let run = admin
        .get(&format!("/api/runs/{}", slot.field("runId")))
        .ok();
    assert_eq!(run["scheduleId"], json!(id));
    assert_eq!(run["createdByEmail"], json!(admin.email));
    assert_eq!(run["params"]["text"], "by the clock");
    end_job(&agent);
    let shown = show(&admin, &id);
    assert_eq!(shown["lastSlot"], slot);
    assert!(shown.field("nextDueAt").ends_with("-01-01T02:00:00.000Z"));
    assert_eq!(runs_of(&server, &id), 1);
}

#[test]
fn a_run_that_has_not_ended_is_waited_for_cancelled_or_in_the_way() {
    let (server, admin, agent) = with_node();
    let skip = add(&admin, json!({}));
    assert_eq!(next_slot(&server, &admin, &skip)["outcome"], "ran");
    let slot = next_slot(&server, &admin, &skip);
    assert_eq!(
        (slot.field("outcome"), slot.field("detail")),
        ("skipped".to_owned(), "still running".to_owned())
    );
    end_job(&agent);
    assert_eq!(next_slot(&server, &admin, &skip)["outcome"], "ran");
    end_job(&agent);

    let queue = add(&admin, json!({"overlap": "queue"}));
    let first = next_slot(&server, &admin, &queue).field("runId");
    let second = next_slot(&server, &admin, &queue).field("runId");
    let third = next_slot(&server, &admin, &queue);
    assert_eq!(
        (third.field("outcome"), third.field("detail")),
        ("skipped".to_owned(), "still running".to_owned())
    );
    let job = agent.claim();
    agent.finds_nothing(&format!("running={}", id_of(&job)));
    let running = admin.get(&format!("/api/runs/{first}")).ok();
    assert_eq!(running["jobs"][0]["id"], job["id"]);
    let waiting = admin.get(&format!("/api/runs/{second}")).ok();
    assert_eq!(waiting["jobs"][0]["holds"][0]["kind"], "batch");
    agent.succeed(&id_of(&job));
    end_job(&agent);
    assert_eq!(
        admin.get(&format!("/api/runs/{second}")).ok()["status"],
        "SUCCEEDED"
    );

    let cancel = add(&admin, json!({"overlap": "cancel"}));
    let first = next_slot(&server, &admin, &cancel).field("runId");
    let second = next_slot(&server, &admin, &cancel).field("runId");
    let cancelled = admin.get(&format!("/api/runs/{first}")).ok();
    assert_eq!(cancelled["status"], "CANCELLED");
    end_job(&agent);
    assert_eq!(
        admin.get(&format!("/api/runs/{second}")).ok()["status"],
        "SUCCEEDED"
    );
}

#[test]
fn due_times_of_a_paused_schedule_are_skipped_and_it_can_be_run_by_hand() {
    let (server, admin, agent) = with_node();
    let id = add(&admin, json!({"paused": true}));
    let slot = next_slot(&server, &admin, &id);
    assert_eq!(
        (slot.field("outcome"), slot.field("detail")),
        ("skipped".to_owned(), "paused".to_owned())
    );
    let run = admin
        .call("POST", &format!("/api/schedules/{id}/run"))
        .gives(201)
        .json();
    assert_eq!(run["scheduleId"], json!(id));
    end_job(&agent);
    assert_eq!(slots(&admin, &id).len(), 1);
    let resumed = admin
        .call("PATCH", &format!("/api/schedules/{id}"))
        .json(&json!({"paused": false}))
        .ok();
    assert_eq!(resumed["paused"], false);
    assert_eq!(next_slot(&server, &admin, &id)["outcome"], "ran");
}

#[test]
fn a_server_that_was_down_runs_once_or_not_at_all() {
    for (missed, outcome, detail) in [
        ("once", "ran", "late"),
        ("skip", "missed", "the server was down"),
    ] {
        let (mut server, admin, _agent) = with_node();
        let id = add(&admin, json!({"cron": "* * * * *", "missed": missed}));
        let ago = server.database().ago("150 seconds");
        server.terminate();
        server
            .database()
            .execute(&format!("UPDATE schedules SET next_due_at = {ago}"));
        server.start_again();
        let admin = admin.at_url(server.url());
        let found = eventually("slots", || {
            let slots = slots(&admin, &id);
            (!slots.is_empty()).then_some(slots)
        });
        assert!((3..=4).contains(&found.len()), "{found:?}");
        assert_eq!(
            (found[0].field("outcome"), found[0].field("detail")),
            (outcome.to_owned(), detail.to_owned())
        );
        for slot in &found[1..] {
            assert_eq!(
                (slot.field("outcome"), slot.field("detail")),
                ("missed".to_owned(), "the server was down".to_owned())
            );
        }
        assert_eq!(runs_of(&server, &id), i64::from(missed == "once"));
    }
}

#[test]
fn a_long_outage_leaves_a_thousand_slots_and_one_that_counts_the_rest() {
    let (mut server, admin, _agent) = with_node();
    let id = add(&admin, json!({"cron": "* * * * *"}));
    let ago = server.database().ago("2 days");
    server.terminate();
    server
        .database()
        .execute(&format!("UPDATE schedules SET next_due_at = {ago}"));
    server.start_again();
    let admin = admin.at_url(server.url());
    eventually("slots", || (!slots(&admin, &id).is_empty()).then_some(()));
    let count = server
        .database()
        .number("SELECT count(*) FROM schedule_slots");
    assert_eq!(count, 1_001);
    let rest = server
        .database()
        .texts("SELECT detail FROM schedule_slots ORDER BY due_at LIMIT 1");
    // Two days have 2,880 minutes, and the first due time was between two of them.
    let counted = |count: u32| format!("the server was down; this slot counts {count} due times");
    assert!(
        (1_880..=1_882).any(|count| rest[0] == counted(count)),
        "{rest:?}"
    );
    // The pages follow each other.
    let page = admin
        .get(&format!("/api/schedules/{id}/slots?limit=200"))
        .ok();
    let next = page.field("nextCursor");
    let second = admin
        .get(&format!(
            "/api/schedules/{id}/slots?limit=200&cursor={next}"
        ))
        .ok();
    assert!(second["slots"][0].field("dueAt") < page["slots"][199].field("dueAt"));
}

#[test]
fn a_selector_or_preset_that_fails_at_a_due_time_makes_a_skipped_slot() {
    let (server, admin, _agent) = with_node();
    let id = add(&admin, json!({"selector": "role=none", "nodes": null}));
    let slot = next_slot(&server, &admin, &id);
    assert_eq!(
        (slot.field("outcome"), slot.field("detail")),
        ("skipped".to_owned(), "no node matched".to_owned())
    );
    let change = json!({"nodes": ["n1"], "params": {"extra": "x"}});
    let changed = admin
        .call("PATCH", &format!("/api/schedules/{id}"))
        .json(&change)
        .ok();
    assert_eq!(
        (&changed["selector"], &changed["nodes"]),
        (&Value::Null, &json!(["n1"]))
    );
    crate::harness::write_preset(
        &server.setup().presets_dir(),
        "note",
        "name: note\ntitle: No extra\ndescription: For tests.\ntargets: [any]\nrisk: low\ntimeout: 10m\nsteps:\n  - { name: A, run: \"true\" }\n",
    );
    let slot = next_slot(&server, &admin, &id);
    assert_eq!(slot["outcome"], "skipped");
    assert_eq!(
        slot.field("detail"),
        "preset broken: params.extra is unknown: note takes no params"
    );
}

#[test]
fn two_changes_at_the_same_moment_both_stay() {
    let (_server, admin, _agent) = with_node();
    let id = add(&admin, json!({}));
    let path = format!("/api/schedules/{id}");
    for round in 1..=20_i64 {
        let change = |body: Value| {
            let answer = admin.call("PATCH", &path).json(&body);
            move || answer.ok()
        };
        std::thread::scope(|scope| {
            scope.spawn(change(json!({"timeoutSeconds": round})));
            scope.spawn(change(json!({"expiresInSeconds": 60 + round})));
            scope.spawn(change(json!({"params": {"text": round.to_string()}})));
        });
        let after = show(&admin, &id);
        let fields = ["timeoutSeconds", "expiresInSeconds", "params"].map(|field| &after[field]);
        let text = json!({"text": round.to_string()});
        assert_eq!(fields, [&json!(round), &json!(60 + round), &text]);
    }
}

#[test]
fn a_due_time_waits_for_a_sign_key_that_can_be_used() {
    let (server, admin, _agent) = with_node();
    let id = add(&admin, json!({}));
    let path = server.setup().data_dir().join("sign.key");
    let kept = std::fs::read(&path).expect("reads");
    let replace = |bytes: &[u8]| {
        // A new file, as a rename is: its stamp differs for certain.
        let next = path.with_extension("next");
        std::fs::write(&next, bytes).expect("writes");
        std::fs::rename(&next, &path).expect("renames");
    };
    replace(hyprbox_signing::SignKey::generate("").to_file().as_bytes());
    make_due(&server, &id);
    let words = ["can't run due schedules", "Jobs can't be signed"];
    eventually("the failure in the log", || {
        server.logged(&words).then_some(())
    });
    assert_eq!(slots(&admin, &id), Vec::<Value>::new());
    replace(&kept);
    let slot = eventually("a slot", || slots(&admin, &id).first().cloned());
    assert_eq!(slot["outcome"], "ran");
    assert_eq!(runs_of(&server, &id), 1);
}

#[test]
fn a_schedule_whose_maker_may_no_longer_queue_waits_for_a_new_one() {
    let (mut server, admin, _agent) = with_node();
    let (ann, ben) = (
        server.person("ann", "OPERATOR"),
        server.person("ben", "OPERATOR"),
    );
    let id = add(&ann, json!({}));
    let path = format!("/api/schedules/{id}");
    ben.call("PATCH", &path)
        .json(&json!({"paused": true}))
        .refused(403, "forbidden");
    ben.call("DELETE", &path).refused(403, "forbidden");
    ben.call("POST", &format!("{path}/run"))
        .refused(403, "forbidden");
    admin
        .call("PATCH", &format!("/api/users/{}", ann.id))
        .json(&json!({"role": "VIEWER"}))
        .ok();
    let paused = show(&ben, &id);
    assert_eq!(paused["paused"], true);
    assert!(paused.field("pausedBecause").contains(&ann.email));
    let slot = next_slot(&server, &admin, &id);
    assert_eq!(
        (slot.field("outcome"), slot.field("detail")),
        ("skipped".to_owned(), "paused".to_owned())
    );
    ben.call("PATCH", &path)
        .json(&json!({"paused": false, "name": "mine"}))
        .refused(403, "forbidden");
    let resumed = ben
        .call("PATCH", &path)
        .json(&json!({"paused": false}))
        .ok();
    assert_eq!(
        (&resumed["createdBy"], &resumed["pausedBecause"]),
        (&json!(ben.id), &Value::Null)
    );
    let slot = next_slot(&server, &admin, &id);
    let run = admin
        .get(&format!("/api/runs/{}?scope=all", slot.field("runId")))
        .ok();
    assert_eq!(run["createdByEmail"], json!(ben.email));
    ben.call("DELETE", &path).gives(204);
    ben.get(&path).refused(404, "schedule_not_found");
}

#[test]
fn viewers_read_and_do_not_change() {
    let (mut server, admin, _agent) = with_node();
    let viewer = server.person("vic", "VIEWER");
    let id = add(&admin, json!({}));
    show(&viewer, &id);
    slots(&viewer, &id);
    viewer
        .post("/api/schedules", &body(json!({})))
        .refused(403, "forbidden");
    viewer
        .call("PATCH", &format!("/api/schedules/{id}"))
        .json(&json!({"paused": true}))
        .refused(403, "forbidden");
    viewer.get("/api/secrets").refused(403, "forbidden");
}

#[test]
fn a_thousand_schedules_that_are_due_at_the_same_moment_make_one_run_each() {
    const SCHEDULES: i64 = 1_000;
    let (server, admin, _agent) = with_node();
    for number in 0..SCHEDULES {
        add(&admin, json!({"name": format!("s{number}")}));
    }
    let database = server.database();
    let now = database.now();
    database.execute(&format!("UPDATE schedules SET next_due_at = {now}"));
    reaches("slots", 1_000, || {
        let count = database.number("SELECT count(*) FROM schedule_slots");
        usize::try_from(count).expect("a count")
    });
    for (what, sql) in [
        (
            "runs",
            "SELECT count(*) FROM runs WHERE schedule_id IS NOT NULL",
        ),
        ("schedules", "SELECT count(DISTINCT schedule_id) FROM runs"),
        (
            "slots",
            "SELECT count(DISTINCT run_id) FROM schedule_slots WHERE outcome = 'ran'",
        ),
        ("jobs", "SELECT count(DISTINCT run_id) FROM jobs"),
    ] {
        assert_eq!(database.number(sql), SCHEDULES, "{what}");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_one_slot_and_one_run_of_each_due_time() {
    let (mut server, mut admin, _agent) = with_node();
    let id = add(&admin, json!({"overlap": "cancel"}));
    for round in 1..=8_u64 {
        make_due(&server, &id);
        // Moments before, within and after the second in which the due time is acted on.
        pass(
            Duration::from_millis(round * 170),
            "the kill comes at another moment each round",
        );
        server.kill9();
        server.start_again();
        admin = admin.at_url(server.url());
        eventually("a slot of the round", || {
            (slots(&admin, &id).len() as u64 == round).then_some(())
        });
    }
    assert_eq!(runs_of(&server, &id), 8);
    let runs: std::collections::BTreeSet<String> = slots(&admin, &id)
        .iter()
        .map(|slot| slot.field("runId"))
        .collect();
    assert_eq!(runs.len(), 8);
}
