//! The pages of schedules, without JavaScript.

use serde_json::{Value, json};

use crate::harness::{Answer, Database, Field, Person, id_of, with_node, with_operator};
use crate::schedules::{add, next_slot, show};

/// A form's post by a browser that proves where it comes from.
pub(crate) fn submit(person: &Person, path: &str, form: &[(&str, &str)]) -> Answer {
    let form: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    let call = person.browser("POST", path);
    let call = call.header("Sec-Fetch-Site", "same-origin");
    call.body("application/x-www-form-urlencoded", form.join("&"))
        .send()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(crate) fn page(person: &Person, path: &str) -> String {
    person.browser("GET", path).gives(200).text()
}

#[track_caller]
pub(crate) fn has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[track_caller]
pub(crate) fn lacks(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(!page.contains(part), "{part}: {page}");
    }
}

/// Adds a due time of the past, `hours` ago.
fn add_slot(database: &Database, schedule: &str, hours: u32, outcome: &str, detail: &str) {
    let at = database.ago(&format!("{hours} hours"));
    database.execute(&format!(
        "INSERT INTO schedule_slots (schedule_id, due_at, outcome, detail) VALUES ('{schedule}', {at}, '{outcome}', '{detail}')"
    ));
}

#[test]
fn the_list_shows_the_next_time_the_last_state_and_a_strip() {
    let (server, admin, agent) = with_node();
    let empty = page(&admin, "/schedules");
    has(
        &empty,
        &["Nothing is scheduled yet", "href=\"/schedules/new\""],
    );
    let id = add(
        &admin,
        json!({"name": "nightly <b>", "cron": "0 3 * * *", "selector": "!gpu", "nodes": null}),
    );
    let slot = next_slot(&server, &admin, &id);
    agent
        .complete(&agent.claim_id(), &json!({"exitCode": 1}))
        .ok();
    let database = server.database();
    add_slot(&database, &id, 1, "skipped", "still running");
    add_slot(&database, &id, 2, "missed", "the server was down");
    let paused = add(&admin, json!({"name": "paused by me", "paused": true}));
    let list = page(&admin, "/schedules");
    has(
        &list,
        &[
            "nightly &lt;b&gt;",
            "<code>!gpu</code>",
            " at 03:00</time>, Europe/Berlin",
            "data-ahead",
            &format!("href=\"/runs/{}\"", slot.field("runId")),
            "aria-label=\"Last 3 due times: 1 failed, 1 skipped, 1 missed\"",
            ": the server was down</title>",
            ": still running</title>",
            "By a person. Due times are skipped.",
            &format!("href=\"/schedules/{paused}\""),
        ],
    );
    let found = page(&admin, "/schedules?q=PAUSED+note");
    has(&found, &["paused by me"]);
    lacks(&found, &["nightly"]);
    has(
        &page(&admin, "/schedules?q=nothing"),
        &["No schedule matches."],
    );
}

#[test]
fn a_schedule_shows_its_due_times_page_by_page_and_its_runs() {
    let (server, admin, agent) = with_node();
    let id = add(&admin, json!({"params": {"text": "by the clock"}}));
    let ran = next_slot(&server, &admin, &id);
    agent.succeed(&agent.claim_id());
    let database = server.database();
    for hours in 1..=40 {
        add_slot(&database, &id, hours, "missed", &format!("number {hours}"));
    }
    let address = format!("/schedules/{id}");
    let first = page(&admin, &address);
    let run = format!("/runs/{}", ran.field("runId"));
    has(
        &first,
        &[
            &format!("href=\"{run}\" aria-label=\"Succeeded, "),
            "role=\"img\" aria-label=\"Missed, ",
            "number 29",
            "by the clock",
            "1 of 1 ended",
            &format!("href=\"/runs?schedule={id}\""),
            "Next due times",
        ],
    );
    lacks(&first, &["number 30"]);
    let (_, rest) = first.split_once("?before=").expect("an older page");
    let older = rest.split('"').next().expect("a number");
    let second = page(&admin, &format!("{address}?before={older}"));
    has(&second, &["number 30", "number 40", "Newest"]);
    lacks(&second, &["number 29", ">Older<"]);
    // The run names what made it, and the list of runs is filtered by it.
    has(
        &page(&admin, &run),
        &["By the schedule", &format!("href=\"{address}\"")],
    );
    let runs = page(&admin, &format!("/runs?schedule={id}"));
    has(&runs, &["Runs of the schedule", &run]);
    admin.delete(&format!("/api/schedules/{id}")).gives(204);
    has(&page(&admin, &run), &["one that was deleted"]);
    admin.browser("GET", &address).gives(404);
}

#[test]
fn the_form_makes_a_schedule_and_changes_it() {
    let (_server, admin, _agent) = with_node();
    has(
        &page(&admin, "/schedules/new"),
        &["<option value=\"note\">note: Says a text"],
    );
    let fresh = page(&admin, "/schedules/new?preset=note&node=n1");
    has(
        &fresh,
        &[
            "name=\"p.text\"",
            "value=\"n1\" checked",
            "<option value=\"Europe/Berlin\">",
        ],
    );
    let fields = [
        ("preset", "note"),
        ("name", "nightly"),
        ("p.text", "at night"),
        ("selector", "role=web"),
        ("canary", "1"),
        ("batch", "20%"),
        ("cron", "30 2 * * mon-fri"),
        ("time_zone", "Asia/Kolkata"),
        ("overlap", "queue"),
        ("missed", "skip"),
        ("expiry", "6h"),
        ("timeout", "90"),
        ("ping_url", "https://example.org/x"),
    ];
    let with = |name: &'static str, value: &'static str| {
        let mut changed: Vec<(&str, &str)> = fields.to_vec();
        changed.retain(|(known, _)| *known != name);
        changed.push((name, value));
        changed
    };
    // The preview keeps what was typed, and queues nothing.
    let preview = submit(&admin, "/schedules/new", &with("do", "preview"));
    let preview = preview.is(200).text();
    has(
        &preview,
        &[
            " 02:30 +05:30",
            " 21:00</td>",
            "\nat night</textarea>",
            "value=\"20%\"",
        ],
    );
    assert_eq!(preview.matches(" 02:30 +05:30").count(), 5);
    let wrong = submit(&admin, "/schedules/new", &with("cron", "0 0 31 2 *"));
    has(
        &wrong.is(400).text(),
        &[
            "Is never due: no such date exists.",
            "value=\"0 0 31 2 *\"",
            "value=\"Asia/Kolkata\"",
            "value=\"nightly\"",
            "<option value=\"queue\" selected>",
        ],
    );
    for (name, value, words) in [
        ("time_zone", "Europe/Berln", "did you mean Europe/Berlin?"),
        ("canary", "one", "Must be a whole number."),
        ("timeout", "0", "Must be 1 to 604800."),
        (
            "ping_url",
            "ftp://x",
            "must be an address".trim_start_matches("must"),
        ),
        (
            "selector",
            "(",
            "id=\"f-selector\" name=\"selector\" type=\"text\" value=\"(\"",
        ),
        ("expiry", "soon", "such as"),
    ] {
        let again = submit(&admin, "/schedules/new", &with(name, value));
        has(
            &again.is(400).text(),
            &[words, "aria-invalid=\"true\"", "\nat night</textarea>"],
        );
    }
    assert_eq!(admin.get("/api/schedules").ok()["schedules"], json!([]));

    let made = submit(&admin, "/schedules/new", &fields).is(303);
    let address = made.header("location");
    let id = address.trim_start_matches("/schedules/").to_owned();
    let schedule = show(&admin, &id);
    for (field, wanted) in [
        ("name", json!("nightly")),
        ("selector", json!("role=web")),
        ("nodes", Value::Null),
        ("cron", json!("30 2 * * mon-fri")),
        ("timeZone", json!("Asia/Kolkata")),
        ("overlap", json!("queue")),
        ("missed", json!("skip")),
        ("expiresInSeconds", json!(21_600)),
        ("timeoutSeconds", json!(90)),
        ("pingUrl", json!("https://example.org/x")),
        (
            "plan",
            json!({"canary": 1, "batch": "20%", "pauseSeconds": 0, "maxFailures": 0}),
        ),
    ] {
        assert_eq!(schedule[field], wanted, "{field}");
    }
    assert_eq!(schedule["params"]["text"], "at night");

    let edit = page(&admin, &format!("{address}/edit"));
    has(
        &edit,
        &[
            "\nat night</textarea>",
            "value=\"role=web\"",
            "value=\"6h\"",
            "value=\"90\"",
            "<option value=\"skip\" selected>Wait for the next",
        ],
    );
    let changed: Vec<(&str, &str)> = vec![
        ("preset", "note"),
        ("name", "hourly"),
        ("p.text", "by day"),
        ("nodes", "n1"),
        ("cron", "@hourly"),
        ("time_zone", "UTC"),
        ("overlap", "skip"),
        ("missed", "once"),
    ];
    submit(&admin, &format!("{address}/edit"), &changed).is(303);
    let schedule = show(&admin, &id);
    for (field, wanted) in [
        ("name", json!("hourly")),
        ("selector", Value::Null),
        ("nodes", json!(["n1"])),
        ("expiresInSeconds", Value::Null),
        ("timeoutSeconds", Value::Null),
        ("pingUrl", Value::Null),
    ] {
        assert_eq!(schedule[field], wanted, "{field}");
    }
    // Another preset shows its params, and keeps the rest.
    let mut other = changed.clone();
    other[0] = ("preset", "vault");
    other.push(("do", "preset"));
    let other = submit(&admin, &format!("{address}/edit"), &other).is(200);
    has(
        &other.text(),
        &["name=\"s.key\"", "value=\"hourly\"", "value=\"@hourly\""],
    );
}

#[test]
fn a_schedule_is_run_paused_resumed_and_deleted_from_its_page() {
    let (_server, admin, agent) = with_node();
    let id = add(&admin, json!({}));
    let address = format!("/schedules/{id}");
    let act = |action: &str| submit(&admin, &format!("{address}/{action}"), &[]);
    let run = act("run").is(303).header("location");
    assert!(run.starts_with("/runs/"), "{run}");
    agent.succeed(&agent.claim_id());
    act("pause").is(303);
    assert_eq!(show(&admin, &id)["paused"], json!(true));
    let paused = page(&admin, &address);
    has(&paused, &[&format!("action=\"{address}/resume\"")]);
    lacks(
        &paused,
        &["Next due times", &format!("action=\"{address}/pause\"")],
    );
    act("resume").is(303);
    assert_eq!(show(&admin, &id)["paused"], json!(false));
    assert!(page(&admin, &address).contains("data-ask=\"Delete nightly?"));
    act("nonsense").is(404);
    assert_eq!(act("delete").is(303).header("location"), "/schedules");
    admin
        .get(&format!("/api/schedules/{id}"))
        .refused(404, "schedule_not_found");
}

#[test]
fn only_its_maker_or_an_admin_has_buttons_until_the_maker_is_gone() {
    let (mut server, ann, _agent) = with_operator();
    let ben = server.person("ben", "OPERATOR");
    let eve = server.person("eve", "VIEWER");
    let admin = server.admin();
    let id = add(&ann, json!({"name": "of ann"}));
    let address = format!("/schedules/{id}");
    let buttons = ["run", "pause", "delete"].map(|action| format!("action=\"{address}/{action}\""));
    for person in [&ann, &admin] {
        let page = page(person, &address);
        has(&page, &buttons.each_ref().map(String::as_str));
    }
    for person in [&ben, &eve] {
        let page = page(person, &address);
        lacks(&page, &buttons.each_ref().map(String::as_str));
    }
    let refused = submit(&ben, &format!("{address}/run"), &[]).is(403).text();
    has(&refused, &["belongs to ann@"]);
    eve.browser("GET", "/schedules/new").gives(403);
    lacks(&page(&eve, "/schedules"), &["/schedules/new", "/secrets"]);

    let change = json!({"role": "VIEWER"});
    admin
        .call("PATCH", &format!("/api/users/{}", ann.id))
        .json(&change)
        .ok();
    let offered = page(&ben, &address);
    has(&offered, &["Resume as yours", "may no longer queue"]);
    lacks(&page(&eve, &address), &["Resume as yours"]);
    submit(&ben, &format!("{address}/resume"), &[]).is(303);
    let schedule = show(&ben, &id);
    assert_eq!(schedule["createdByEmail"], json!(ben.email));
    assert_eq!(schedule["paused"], json!(false));
}

#[test]
fn the_overview_shows_what_is_due_and_what_went_wrong() {
    let (server, admin, agent) = with_node();
    lacks(&page(&admin, "/"), &["id=\"due-h\""]);
    let id = add(&admin, json!({"name": "nightly backup"}));
    let failed = next_slot(&server, &admin, &id);
    agent
        .complete(&agent.claim_id(), &json!({"exitCode": 1}))
        .ok();
    let database = server.database();
    add_slot(&database, &id, 2, "missed", "the server was down");
    add_slot(&database, &id, 3, "missed", "the server was down");
    add_slot(&database, &id, 4, "skipped", "paused");
    add_slot(&database, &id, 30, "skipped", "still running");
    let overview = page(&admin, "/");
    has(
        &overview,
        &[
            "nightly backup",
            "2 due times missed",
            ": the server was down",
            &format!("href=\"/runs/{}\">1 run failed", failed.field("runId")),
            "aria-label=\"Due next\"",
            "Europe/Berlin",
        ],
    );
    lacks(&overview, &["skipped", "still running"]);
    let palette = page(&admin, "/palette?q=schedules");
    has(&palette, &["/schedules"]);
    let job = id_of(&admin.get("/api/jobs").ok().list("jobs")[0]);
    lacks(&page(&admin, &format!("/jobs/{job}")), &["undefined"]);
}
