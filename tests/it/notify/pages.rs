//! The pages of channels, rules and deliveries, without JavaScript.

use serde_json::{Value, json};

use super::receiver::{Receiver, Reply};
use super::{add_channel, add_rule, deliveries};
use crate::harness::{Answer, Database, Field, Person, Server};
use crate::schedule_pages::{has, lacks, page};

fn submit(person: &Person, path: &str, form: &str) -> Answer {
    let call = person.browser("POST", path);
    let call = call.header("Sec-Fetch-Site", "same-origin");
    call.body("application/x-www-form-urlencoded", form).send()
}

/// Writes a message of a channel with one attempt, as an operator would.
fn add_delivery(database: &Database, id: &str, channel: &str, state: &str, attempt: &str) {
    let (now, later) = (database.now(), database.in_future("1 hours"));
    let next = if state == "pending" {
        later.as_str()
    } else {
        "NULL"
    };
    database.execute(&format!(
        "INSERT INTO deliveries (id, channel_id, event, message, state, created_at, next_attempt_at, give_up_at, attempts)
         VALUES ('{id}', '{channel}', 'job_failed', '{{}}', '{state}', {now}, {next}, {later}, '[{attempt}]')"
    ));
}

#[test]
fn the_first_channel_proposes_its_rule_and_shows_a_secret_once() {
    let mut server = Server::start();
    let admin = server.admin();
    let empty = page(&admin, "/channels");
    has(
        &empty,
        &["href=\"/channels/new?kind=ntfy\"", "kept and tried again"],
    );
    let form = page(&admin, "/channels/new?kind=webhook");
    for event in [
        "job_failed",
        "run_failed",
        "job_recovered",
        "job_lost",
        "schedule_missed",
    ] {
        has(&form, &[&format!("value=\"{event}\" checked")]);
    }
    lacks(&form, &["value=\"node_offline\" checked"]);
    admin.browser("GET", "/channels/new?kind=pager").gives(400);

    let wrong = submit(
        &admin,
        "/channels/new?kind=webhook",
        "name=ops&set.url=nowhere&secret=short-secret&on=job_lost",
    );
    let wrong = wrong.is(400).text();
    has(
        &wrong,
        &[
            "value=\"ops\"",
            "value=\"nowhere\"",
            "Must be an address that begins",
            "value=\"job_lost\" checked",
        ],
    );
    lacks(&wrong, &["short-secret"]);
    let made = submit(
        &admin,
        "/channels/new?kind=webhook",
        "name=ops&set.url=http%3A%2F%2F127.0.0.1%3A1%2F&secret=&on=job_failed&on=job_lost",
    );
    let made = made.is(200).text();
    has(&made, &["whsec_", "is shown only now", "A job failed"]);
    let channel = admin.get("/api/channels").ok().list("channels")[0].clone();
    let address = format!("/channels/{}", channel.field("id"));
    lacks(&page(&admin, &address), &["whsec_"]);
    let rules = admin.get("/api/rules").ok().list("rules");
    assert_eq!(rules[0]["on"], json!(["job_failed", "job_lost"]));
    has(
        &page(&admin, "/channels"),
        &["ops", "Active", "A job failed", "all delivered"],
    );
    // The second one proposes nothing.
    lacks(&page(&admin, "/channels/new?kind=ntfy"), &["checked"]);
    let ann = server.person("ann", "OPERATOR");
    for path in ["/channels", address.as_str(), "/channels/new?kind=ntfy"] {
        ann.browser("GET", path).gives(403);
    }
}

#[test]
fn settings_are_changed_without_the_secret_and_a_test_shows_the_other_sides_words() {
    let mut server = Server::start();
    let admin = server.admin();
    let receiver = Receiver::with(|number, _| match number {
        0 => Reply::words(403, "topic <locked>"),
        _ => Reply::words(200, "thanks"),
    });
    let made = submit(
        &admin,
        "/channels/new?kind=ntfy",
        &format!(
            "name=phone&set.url={}&set.topic=alarms&secret=tk_first",
            receiver.url
        ),
    );
    let address = made.is(303).header("location");
    let shown = page(&admin, &address);
    has(
        &shown,
        &[
            "value=\"alarms\"",
            "Leave the field empty to keep it",
            "Remove it",
            "No rule yet",
        ],
    );
    lacks(&shown, &["tk_first"]);
    let refused = submit(&admin, &format!("{address}/test"), "")
        .is(200)
        .text();
    has(
        &refused,
        &[
            "The test message was not accepted",
            "Status 403.",
            "topic &lt;locked&gt;",
        ],
    );
    assert!(
        receiver
            .nth(1)
            .header("authorization")
            .ends_with("tk_first")
    );
    // An empty secret stays, and a new one replaces it.
    let form = format!(
        "name=phone+2&set.url={}&set.topic=other&secret=",
        receiver.url
    );
    submit(&admin, &address, &form).is(303);
    let accepted = submit(&admin, &format!("{address}/test"), "")
        .is(200)
        .text();
    has(
        &accepted,
        &[
            "The test message was accepted",
            "Status 200.",
            "thanks",
            "phone 2",
        ],
    );
    let second = receiver.nth(2);
    assert!(second.header("authorization").ends_with("tk_first"));
    assert!(second.body.contains("other"), "{}", second.body);
    submit(&admin, &address, &format!("{form}&clear=1")).is(303);
    submit(&admin, &format!("{address}/test"), "").is(200);
    assert_eq!(receiver.nth(3).header("authorization"), "");
    let wrong = submit(&admin, &address, "name=&set.url=x&set.topic=a+b")
        .is(400)
        .text();
    has(
        &wrong,
        &[
            "value=\"a b\"",
            "Must have 1 to 64 letters",
            "Must have 1 to 255",
        ],
    );

    submit(&admin, &format!("{address}/pause"), "").is(303);
    has(
        &page(&admin, &address),
        &[
            "Paused",
            "By a person.",
            &format!("action=\"{address}/resume\""),
        ],
    );
    submit(&admin, &format!("{address}/resume"), "").is(303);
    submit(&admin, &format!("{address}/nonsense"), "").is(404);
    submit(&admin, &format!("{address}/delete"), "").is(303);
    assert_eq!(admin.get("/api/channels").ok(), json!({"channels": []}));
    admin.browser("GET", &address).gives(404);
}

#[test]
fn an_email_channel_takes_receivers_by_line() {
    let mut server = Server::start();
    let admin = server.admin();
    let form = "name=mail&set.host=smtp.example.org&set.security=tls&set.username=&secret=&set.from=hyprbox%40example.org\
        &set.to=ann%40example.org%0D%0Aben%40example.org";
    let wrong = submit(
        &admin,
        "/channels/new?kind=email",
        &format!("{form}&set.port=99999"),
    );
    has(
        &wrong.is(400).text(),
        &[
            "ann@example.org\nben@example.org</textarea>",
            "aria-invalid",
        ],
    );
    let made = submit(
        &admin,
        "/channels/new?kind=email",
        &format!("{form}&set.port=465"),
    )
    .is(303);
    let id = made
        .header("location")
        .trim_start_matches("/channels/")
        .to_owned();
    let settings = admin.get(&format!("/api/channels/{id}")).ok()["settings"].clone();
    assert_eq!(
        settings["to"],
        json!(["ann@example.org", "ben@example.org"])
    );
    assert_eq!(
        (&settings["port"], &settings["security"]),
        (&json!(465), &json!("tls"))
    );
}

#[test]
fn rules_are_added_and_removed_on_the_channels_page() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let channel = add_channel(&admin, "webhook", &json!({"url": "http://127.0.0.1:1/"}));
    let schedule = crate::schedules::add(&admin, json!({"name": "nightly"}));
    let address = format!("/channels/{channel}");
    has(
        &page(&admin, &address),
        &["value=\"job_failed\" checked", "nightly"],
    );
    let wrong = submit(
        &admin,
        &format!("{address}/rules"),
        "on=job_failed&presets=gone&selector=%28&after=9",
    );
    has(
        &wrong.is(400).text(),
        &[
            "which does not exist",
            "value=\"gone\"",
            "value=\"(\"",
            "value=\"9\"",
            "Needs the event node_offline.",
        ],
    );
    let none = submit(&admin, &format!("{address}/rules"), "presets=note").is(400);
    has(&none.text(), &["Must name at least one event"]);
    let form = format!(
        "on=node_offline&on=job_failed&presets=note%2C+vault&selector=role%3Ddb&schedules={schedule}&after=600"
    );
    submit(&admin, &format!("{address}/rules"), &form).is(303);
    let rule = admin.get("/api/rules").ok().list("rules")[0].clone();
    assert_eq!(rule["presets"], json!(["note", "vault"]));
    assert_eq!(rule["schedules"], json!([schedule]));
    assert_eq!(rule["afterSeconds"], json!(600));
    has(
        &page(&admin, &address),
        &[
            "presets note, vault",
            "<code>role=db</code>",
            "A node is offline",
            " for 10 min",
        ],
    );
    // The rule is edited in place, with its values.
    let id = rule.field("id");
    let edit = page(&admin, &format!("{address}?rule={id}"));
    has(
        &edit,
        &[
            "Change the rule",
            "value=\"node_offline\" checked",
            "value=\"note, vault\"",
            "value=\"role=db\"",
            "value=\"600\"",
            &format!("value=\"{schedule}\" checked"),
        ],
    );
    let path = format!("{address}/rules/{id}");
    let wrong = submit(&admin, &path, "on=job_failed&selector=%28").is(400);
    has(&wrong.text(), &["Change the rule", "value=\"(\"", &path]);
    submit(&admin, &path, "on=job_lost&presets=note").is(303);
    let changed = admin.get("/api/rules").ok().list("rules")[0].clone();
    for (field, wanted) in [
        ("id", json!(id)),
        ("on", json!(["job_lost"])),
        ("presets", json!(["note"])),
        ("selector", Value::Null),
        ("schedules", Value::Null),
        ("afterSeconds", Value::Null),
    ] {
        assert_eq!(changed[field], wanted, "{field}");
    }
    let remove = format!("{address}/rules/{id}/remove");
    submit(&admin, &remove, "").is(303);
    assert_eq!(admin.get("/api/rules").ok(), json!({"rules": []}));
}

#[test]
fn messages_are_listed_with_their_attempts_and_sent_again() {
    let mut server = Server::start();
    let admin = server.admin();
    let channel = add_channel(&admin, "webhook", &json!({"url": "http://127.0.0.1:1/"}));
    add_rule(&admin, &channel, &["job_failed"], json!({}));
    let address = format!("/channels/{channel}");
    submit(&admin, &format!("{address}/pause"), "").is(303);
    lacks(&page(&admin, "/"), &["given up"]);
    let database = server.database();
    let attempt = r#"{"at":"2026-11-30T01:02:03.000Z","status":502,"error":"answered 502","answer":"<b>bad gateway"}"#;
    add_delivery(&database, "0193-a", &channel, "failed", attempt);
    add_delivery(&database, "0193-b", &channel, "delivered", attempt);
    add_delivery(&database, "0193-c", &channel, "pending", attempt);
    let shown = page(&admin, &address);
    has(
        &shown,
        &[
            "Given up",
            "Delivered",
            "Waiting",
            "1 attempt, last: 502",
            "answered 502",
            "&lt;b&gt;bad gateway",
            "next attempt ",
        ],
    );
    has(
        &page(&admin, "/"),
        &["1 notification was given up.", "href=\"/channels\""],
    );
    has(&page(&admin, "/channels"), &["1 given up", "1 waiting"]);
    let ann = server.person("ann", "OPERATOR");
    lacks(&page(&ann, "/"), &["given up"]);
    let again = submit(&admin, &format!("{address}/deliveries/0193-a/resend"), "");
    assert_eq!(
        again.is(303).header("location"),
        format!("{address}#deliveries")
    );
    let sent = deliveries(&admin, &channel);
    let first = sent
        .iter()
        .find(|delivery| delivery["id"] == "0193-a")
        .expect("there");
    assert_eq!(first["state"], "pending");
    lacks(&page(&admin, "/"), &["given up"]);
    for number in 0..25 {
        add_delivery(
            &database,
            &format!("0192-{number:02}"),
            &channel,
            "delivered",
            attempt,
        );
    }
    let newest = page(&admin, &address);
    let (_, rest) = newest.split_once("?before=").expect("an older page");
    let cursor = rest.split('"').next().expect("a cursor");
    has(
        &page(&admin, &format!("{address}?before={cursor}")),
        &["Newest"],
    );
}
