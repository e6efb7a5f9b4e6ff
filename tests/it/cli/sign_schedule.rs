//! Standing envelopes: a person signs a schedule in advance, and its jobs run on nodes that require
//! signatures, within what was signed.

use hyprbox_signing::{JOB_NAMESPACE, SignKey, StandingEnvelope};
use serde_json::{Value, json};

use super::sign::{World, world};
use crate::harness::{Field, eventually, write_preset};
use crate::schedules::{add, next_slot, show};

fn schedule(world: &World) -> String {
    let fields = json!({"preset": "shell", "params": {"code": "echo standing"}});
    add(&world.admin, fields)
}

/// Runs the schedule by hand; its job.
fn run(world: &World, id: &str) -> String {
    let path = format!("/api/schedules/{id}/run");
    let run = world.admin.call("POST", &path).gives(201).json();
    job_of(world, &run.field("id"))
}

fn job_of(world: &World, run: &str) -> String {
    let shown = world.admin.get(&format!("/api/runs/{run}")).ok();
    shown["jobs"][0].field("id")
}

#[track_caller]
fn is_refused(world: &World, job: &str, words: &str) {
    let message = world.done(job).field("errorMsg");
    assert!(
        message.starts_with("refused: ") && message.contains(words),
        "{message}"
    );
}

#[test]
fn a_signed_schedule_runs_without_a_person_up_to_its_limit() {
    let world = world();
    let id = schedule(&world);
    assert_eq!(show(&world.admin, &id)["standing"], Value::Null);
    let unsigned = run(&world, &id);
    assert!(world.waits(&unsigned));
    world.admin.cancel(&unsigned).gives(200);
    let (cli, key) = (world.cli(), world.key_file());
    let sign = |more: &[&str]| {
        let words = [&["schedules", "sign", &id, "--key", &key][..], more].concat();
        cli.run(&words)
    };
    sign(&[]).ends(125).says("--yes");
    sign(&[
        "--from",
        "2026-01-02T00:00:00Z",
        "--until",
        "2026-01-01T00:00:00Z",
        "--yes",
    ])
    .says("--until must be later");
    sign(&["--max-per-day", "2", "--yes"])
        .ends(0)
        .says("echo standing")
        .says("at most 2 times a day (UTC)")
        .says(&world.ada.public().fingerprint());
    let standing = &show(&world.admin, &id)["standing"];
    assert_eq!(
        standing["signedBy"],
        json!({"fingerprint": world.ada.public().fingerprint(), "comment": "ada@example.org"})
    );
    assert_eq!(standing["nodes"], json!(["n1"]));
    assert_eq!(standing["maxPerDay"], 2);
    let shown = cli.run(&["schedules", "show", &id]).ends(0).text();
    assert!(shown.contains("at most 2 jobs a day on n1"), "{shown}");
    let slot = next_slot(&world.server, &world.admin, &id);
    let by_slot = job_of(&world, &slot.field("runId"));
    world.ran(&by_slot);
    let job = world.admin.job(&by_slot);
    assert_eq!(standing["scriptSha256"], job["scriptSha256"]);
    let signatures = world
        .admin
        .get(&format!("/api/jobs/{by_slot}/signatures"))
        .ok();
    assert_eq!(signatures["personSignature"], Value::Null);
    let envelope = signatures.field("standingEnvelope");
    let parsed = StandingEnvelope::parse(&envelope).expect("an envelope");
    assert_eq!(
        (&parsed.schedule, &parsed.preset),
        (&id, &"shell".to_owned())
    );
    // Runs by hand count.
    world.ran(&run(&world, &id));
    let third = run(&world, &id);
    is_refused(&world, &third, "allows 2 jobs a day (UTC) on this node");
    let page = world.admin.get("/metrics").gives(200).text();
    assert!(page.contains("hyprbox_jobs_refused_total{reason=\"limit\"} 1\n"));
    let entries = world.admin.get("/api/audit?limit=50").ok().list("entries");
    assert!(
        entries
            .iter()
            .any(|entry| entry["action"] == "schedule.sign")
    );
}

#[test]
fn signing_a_schedule_releases_those_of_its_waiting_jobs_that_it_covers() {
    let world = world();
    let id = schedule(&world);
    let other = add(
        &world.admin,
        json!({"preset": "shell", "params": {"code": "echo other"}}),
    );
    let (first, second) = (run(&world, &id), run(&world, &id));
    let (third, foreign) = (run(&world, &id), run(&world, &other));
    for job in [&first, &second, &third, &foreign] {
        assert!(world.waits(job));
    }
    let key = world.key_file();
    let sign = |more: &[&str]| {
        let words = [
            &["schedules", "sign", &id, "--key", &key, "--yes"][..],
            more,
        ]
        .concat();
        world.cli().run(&words).ends(0);
    };
    // Not valid yet.
    sign(&[
        "--from",
        "2999-01-01T00:00:00Z",
        "--until",
        "2999-02-01T00:00:00Z",
    ]);
    assert!(world.waits(&first));
    // The oldest two are released: the node's agent would refuse the third.
    sign(&["--max-per-day", "2"]);
    world.ran(&first);
    world.ran(&second);
    let signed_by = &world.admin.job(&first)["signedBy"];
    assert_eq!(signed_by["comment"], "ada@example.org");
    assert!(world.waits(&third), "the third waits");
    assert!(world.waits(&foreign), "another schedule's job waits");
}

#[test]
fn without_a_limit_of_its_own_a_signature_allows_the_due_times_of_a_day() {
    let world = world();
    let fields = json!({"preset": "shell", "params": {"code": "true"}, "cron": "0 1,2 * * *"});
    let id = add(&world.admin, fields);
    let words = [
        "schedules",
        "sign",
        &id,
        "--key",
        &world.key_file(),
        "--yes",
    ];
    // In Berlin, clocks change between the two on one day of the year.
    world.cli().run(&words).ends(0);
    let standing = show(&world.admin, &id)["standing"].clone();
    let most = standing["maxPerDay"].as_u64().expect("a number");
    assert!((2..=3).contains(&most), "{standing}");
}

#[test]
fn a_schedule_whose_script_changes_waits_for_a_person() {
    let world = world();
    let id = schedule(&world);
    let words = [
        "schedules",
        "sign",
        &id,
        "--key",
        &world.key_file(),
        "--yes",
    ];
    world.cli().run(&words).ends(0);
    let theirs = world.server.presets_dir().join("shell.yaml");
    let text = std::fs::read_to_string(&theirs).expect("reads");
    let changed = text.replace("bash -c", "echo changed; bash -c");
    write_preset(&world.server.presets_dir(), "shell", &changed);
    eventually("the changed preset", || {
        let script = world.admin.get(&format!("/api/schedules/{id}/script")).ok();
        script
            .field("script")
            .contains("echo changed")
            .then_some(())
    });
    let slot = next_slot(&world.server, &world.admin, &id);
    let job = job_of(&world, &slot.field("runId"));
    assert!(world.waits(&job), "{}", world.admin.job(&job));
    let words = ["jobs", "sign", &job, "--key", &world.key_file(), "--yes"];
    world.cli().run(&words).ends(0).says("echo changed");
    world.ran(&job);
}

/// Somebody who writes the database gives the standing envelope to another script.
#[test]
fn a_standing_envelope_covers_no_other_script() {
    let world = world();
    let id = schedule(&world);
    let words = [
        "schedules",
        "sign",
        &id,
        "--key",
        &world.key_file(),
        "--yes",
    ];
    world.cli().run(&words).ends(0);
    let job = world
        .admin
        .queue_with("n1", "shell", json!({"code": "id -un"}));
    assert!(world.waits(&job));
    let sql = format!(
        "UPDATE jobs SET held = 0, holds = 0, standing_id = (SELECT id FROM standing_envelopes) WHERE id = '{job}'"
    );
    assert_eq!(world.server.database().execute(&sql), 1);
    is_refused(&world, &job, "the standing envelope is for another script");
}

#[test]
fn a_standing_envelope_that_does_not_fit_is_refused() {
    let world = world();
    let id = schedule(&world);
    let path = format!("/api/schedules/{id}/signatures");
    let script = world.admin.get(&format!("/api/schedules/{id}/script")).ok();
    let good = StandingEnvelope {
        v: 1,
        server: script.field("server"),
        schedule: id.clone(),
        preset: "shell".to_owned(),
        script_sha256: script.field("scriptSha256"),
        nodes: vec!["n1".to_owned()],
        from: "2026-01-01T00:00:00.000Z".to_owned(),
        until: "2099-01-01T00:00:00.000Z".to_owned(),
        max_per_day: 1,
    };
    let body = |envelope: &str, key: &SignKey| json!({"envelope": envelope, "signature": key.sign(JOB_NAMESPACE, envelope.as_bytes())});
    let mut wrong = [(); 5].map(|()| good.clone());
    wrong[0].server = "another".to_owned();
    wrong[1].schedule = "another".to_owned();
    wrong[2].nodes.clear();
    wrong[3].max_per_day = 0;
    wrong[4].until.clone_from(&good.from);
    for envelope in wrong {
        let body = body(&envelope.to_json(), &world.ada);
        let refused = world.admin.post(&path, &body).refused(400, "bad_input");
        let fields = refused.json()["fields"].clone();
        assert!(fields["envelope"].is_string(), "{fields}");
    }
    let mut mixed = body(&good.to_json(), &world.ada);
    mixed["signature"] = body("{}", &world.ada)["signature"].clone();
    let refused = world.admin.post(&path, &mixed).refused(400, "bad_input");
    assert!(refused.json()["fields"]["signature"].is_string());
    assert_eq!(show(&world.admin, &id)["standing"], Value::Null);
    world
        .admin
        .post(&path, &body(&good.to_json(), &world.ada))
        .ok();
    assert_eq!(show(&world.admin, &id)["standing"]["maxPerDay"], 1);
}
