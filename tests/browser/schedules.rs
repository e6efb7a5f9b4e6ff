//! Schedules in the browser: the form with its live preview, the strip of due times, stored
//! secrets, and the overview in the morning after a bad night.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Database, Field, Person, Server, eventually, id_of};
use crate::looks::check;

/// Pictures and checks at both widths, light and dark.
pub(crate) fn pictures(browser: &Browser, name: &str) {
    for (width, size) in [(1_280, "wide"), (360, "narrow")] {
        browser.size(width, 900);
        for scheme in ["light", "dark"] {
            browser.colours(scheme);
            browser.picture(&format!("{name}-{size}-{scheme}"));
            check(browser, &format!("{name} {size} {scheme}"));
        }
    }
    browser.colours("light");
    browser.size(1_280, 900);
}

fn schedule(person: &Person, name: &str, more: Value) -> String {
    let mut body = json!({"name": name, "preset": "note", "nodes": ["n1"],
        "cron": "30 2 * * *", "timeZone": "Europe/Berlin"});
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    id_of(&person.post("/api/schedules", &body).gives(201).json())
}

fn add_slot(
    database: &Database,
    schedule: &str,
    hours: u32,
    outcome: &str,
    run: Option<&str>,
    detail: &str,
) {
    let at = database.ago(&format!("{hours} hours"));
    let run = run.map_or("NULL".to_owned(), |run| format!("'{run}'"));
    let detail = match detail {
        "" => "NULL".to_owned(),
        detail => format!("'{detail}'"),
    };
    database.execute(&format!(
        "INSERT INTO schedule_slots (schedule_id, due_at, outcome, run_id, detail) VALUES ('{schedule}', {at}, '{outcome}', {run}, {detail})"
    ));
}

/// A run of the schedule that ended so; its id.
fn run(admin: &Person, agent: &crate::harness::FakeAgent, schedule: &str, exit_code: u8) -> String {
    let made = admin.post(&format!("/api/schedules/{schedule}/run"), &json!({}));
    let run = id_of(&made.gives(201).json());
    let job = eventually("a job", || {
        let job = agent.poll("wait=1").ok()["job"].clone();
        job.is_object().then(|| id_of(&job))
    });
    agent.complete(&job, &json!({"exitCode": exit_code})).ok();
    run
}

#[test]
fn a_schedule_is_made_with_a_preview_that_follows_the_typing() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1").beat();
    admin.add_node("db-01");
    let browser = Browser::of(&server, &admin);
    browser.open("/schedules");
    browser.see("Nothing is scheduled yet");
    pictures(&browser, "schedules-empty");
    browser.press("New schedule");
    browser.see("What the schedule runs");
    browser.choose("#f-preset", "note");
    browser.press("Continue");
    browser.see("Add the schedule");
    // The browser's own zone, until a person chooses one.
    let own = browser.js("Intl.DateTimeFormat().resolvedOptions().timeZone");
    assert_eq!(
        browser.js("document.getElementById('f-time_zone').value"),
        own
    );
    browser.fill("#f-name", "nightly note");
    browser.fill("[id='f-p.text']", "typed before");
    browser.fill("#f-time_zone", "Asia/Kolkata");
    browser.fill("#f-cron", "30 2 * * *");
    browser.until("document.querySelectorAll('#times td.main').length === 5");
    let rows = browser.text("#times");
    assert!(
        rows.contains("02:30 +05:30") && rows.contains(" 21:00"),
        "{rows}"
    );
    browser.fill("#f-cron", "30 2 * *");
    browser.until("document.getElementById('f-cron').getAttribute('aria-invalid') === 'true'");
    browser.see("must have five fields".trim_start_matches("must"));
    assert_eq!(
        browser.js("document.querySelectorAll('#times td').length"),
        0
    );
    browser.fill("#f-time_zone", "Asia/Kolkatta");
    browser.see("did you mean Asia/Kolkata?");
    browser.fill("#f-time_zone", "Asia/Kolkata");
    browser.fill("#f-cron", "0 6 * * mon-fri");
    browser.until("document.querySelectorAll('#times td.main').length === 5");
    // The server draws the same rows.
    let live = browser.js(
        "[...document.querySelectorAll('#times td:not(:last-child)')].map((e) => e.textContent)",
    );
    browser.js("document.getElementById('preview-times').hidden = false");
    browser.press("Preview");
    browser.until("document.getElementById('times-h')");
    let drawn = browser.js(
        "[...document.querySelectorAll('#times td:not(:last-child)')].map((e) => e.textContent)",
    );
    assert_eq!(live, drawn);
    // Another preset keeps what was typed.
    browser.choose("#f-preset", "vault");
    browser.see("No stored secret is for this preset");
    assert_eq!(
        browser.js("document.getElementById('f-name').value"),
        "nightly note"
    );
    pictures(&browser, "schedule-form-secret");
    browser.choose("#f-preset", "note");
    browser.until("document.getElementById('f-p.text')");
    browser.fill("[id='f-p.text']", "typed again");
    browser.js("document.querySelector('[name=nodes][value=n1]').click()");
    browser.until("document.querySelectorAll('#times td.main').length === 5");
    pictures(&browser, "schedule-form");
    browser.press("Add the schedule");
    browser.see("Due times so far");
    browser.see("Asia/Kolkata");
    browser.see("It has not been due yet.");
    pictures(&browser, "schedule-new");
    let schedules = admin.get("/api/schedules").ok().list("schedules");
    assert_eq!(schedules[0]["params"]["text"], "typed again");
    assert_eq!(schedules[0]["nodes"], json!(["n1"]));
    browser.press("Delete");
    browser.say_yes();
    browser.see("Nothing is scheduled yet");
    // The expression that was half typed was refused.
    let complaints = browser.complaints();
    let is_preview =
        |line: &String| line.contains("/api/schedules/preview") && line.contains("400");
    assert!(complaints.iter().all(is_preview), "{complaints:#?}");
}

#[test]
fn the_morning_after_a_bad_night() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    agent.beat();
    let database = server.database();
    let backup = schedule(&admin, "nightly backup of the databases", json!({}));
    let report = schedule(&admin, "hourly report", json!({"cron": "0 * * * *"}));
    schedule(
        &admin,
        "weekly clean-up",
        json!({"cron": "@weekly", "timeZone": "UTC"}),
    );
    let paused = schedule(&admin, "certificates", json!({"paused": true}));
    let good = run(&admin, &agent, &backup, 0);
    let bad = run(&admin, &agent, &backup, 7);
    for day in 1..30 {
        add_slot(&database, &backup, day * 24 + 6, "ran", Some(&good), "");
    }
    add_slot(&database, &backup, 6, "ran", Some(&bad), "");
    for hour in 1..24 {
        match hour {
            2..5 => add_slot(
                &database,
                &report,
                hour,
                "missed",
                None,
                "the server was down",
            ),
            7 => add_slot(&database, &report, hour, "skipped", None, "still running"),
            _ => add_slot(&database, &report, hour, "ran", Some(&good), ""),
        }
    }
    add_slot(&database, &paused, 3, "skipped", None, "paused");
    let browser = Browser::of(&server, &admin);
    browser.open("/");
    browser.see("3 due times missed");
    browser.see("1 due time skipped: still running");
    browser.see("1 run failed");
    pictures(&browser, "overview-bad-night");
    browser.open("/schedules");
    browser.see("certificates");
    assert_eq!(
        browser.js("document.querySelectorAll('svg.slots').length"),
        3
    );
    pictures(&browser, "schedules-list");
    browser.open(&format!("/schedules/{report}"));
    browser.see("Due times so far");
    pictures(&browser, "schedule-strip");
    browser.open(&format!("/schedules/{backup}"));
    assert_eq!(
        browser.js("document.querySelectorAll('ol.slots li').length"),
        30
    );
    // The newest due time is the last mark, a link to its run.
    let newest =
        browser.js("document.querySelector('ol.slots li:last-child a').getAttribute('href')");
    assert_eq!(newest, format!("/runs/{bad}"));
    pictures(&browser, "schedule-strip-backup");
    browser.press("Pause");
    browser.see("By a person. Due times are skipped.");
    browser.press("Resume");
    browser.see("Next due times");
    browser.is_content();
}

#[test]
fn a_secret_is_stored_and_chosen() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1").beat();
    let browser = Browser::of(&server, &admin);
    browser.open("/secrets");
    browser.press("Store or replace a secret");
    browser.fill("#f-name", "restic");
    browser.fill("#f-secret", "correct horse battery");
    browser.js("document.querySelector('[name=presets][value=vault]').click()");
    pictures(&browser, "secret-form");
    browser.press("Store");
    browser.see("restic");
    browser.see("from the presets folder");
    pictures(&browser, "secrets");
    browser.open("/presets/vault");
    pictures(&browser, "preset-with-secret");
    browser.choose("[id='f-s.key']", "restic");
    browser.press("Queue");
    browser.until("location.pathname.startsWith('/jobs/')");
    browser.is_content();
}
