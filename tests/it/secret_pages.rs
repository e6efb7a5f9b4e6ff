//! The page of stored secrets, and the forms that take them.

use serde_json::json;

use crate::harness::{Answer, Person, with_node, write_preset};
use crate::schedule_pages::{has, page};
use crate::schedules::{add, show};

fn submit(person: &Person, path: &str, form: &str) -> Answer {
    let call = person.browser("POST", path);
    let call = call.header("Sec-Fetch-Site", "same-origin");
    call.body("application/x-www-form-urlencoded", form).send()
}

const VALUE: &str = "hunter22-hunter22";

#[test]
fn secrets_are_stored_replaced_and_removed_on_their_page() {
    let (mut server, admin, _agent) = with_node();
    let ann = server.person("ann", "OPERATOR");
    let eve = server.person("eve", "VIEWER");
    has(
        &page(&admin, "/secrets"),
        &["No secret is stored.", "value=\"vault\""],
    );
    let stored = submit(
        &admin,
        "/secrets",
        &format!("name=restic&secret={VALUE}&presets=vault"),
    );
    assert_eq!(stored.is(303).header("location"), "/secrets");
    let shown = page(&admin, "/secrets");
    has(
        &shown,
        &["restic", "vault", "from the presets folder", &admin.email],
    );
    assert!(!shown.contains("hunter22"), "{shown}");
    let read = page(&ann, "/secrets");
    has(&read, &["restic"]);
    assert!(
        !read.contains("<form method=\"post\" action=\"/secrets"),
        "{read}"
    );
    eve.browser("GET", "/secrets").gives(403);
    submit(&ann, "/secrets", "name=x&secret=12345&presets=vault").is(403);
    submit(&ann, "/secrets/restic/remove", "").is(403);

    // The form is shown again with all but the value.
    let wrong = submit(&admin, "/secrets", "name=No+Name&secret=abc&presets=vault");
    let wrong = wrong.is(400).text();
    has(
        &wrong,
        &[
            "value=\"No Name\"",
            "value=\"vault\" checked",
            "Must have 1 to 63",
        ],
    );
    assert!(!wrong.contains("abc"), "{wrong}");
    let replace = page(&admin, "/secrets?name=restic");
    has(
        &replace,
        &["value=\"restic\"", "value=\"vault\" checked", " open"],
    );

    let id = add(
        &admin,
        json!({"name": "nightly", "preset": "vault", "params": {"key": {"secret": "restic"}}}),
    );
    has(
        &page(&admin, "/secrets"),
        &[&format!("href=\"/schedules/{id}\"")],
    );
    let refused = submit(&admin, "/secrets/restic/remove", "").is(409).text();
    has(
        &refused,
        &["names this secret", &format!("href=\"/schedules/{id}\"")],
    );
    admin.delete(&format!("/api/schedules/{id}")).gives(204);
    submit(&admin, "/secrets/restic/remove", "").is(303);
    assert_eq!(admin.get("/api/secrets").ok(), json!({"secrets": []}));
    submit(&admin, "/secrets/restic/remove", "").is(303);
}

#[test]
fn a_preset_of_another_origin_is_not_offered_the_secret() {
    let (server, admin, _agent) = with_node();
    let body = json!({"value": VALUE, "presets": ["vault"]});
    admin
        .call("PUT", "/api/secrets/restic")
        .json(&body)
        .gives(201);
    has(
        &page(&admin, "/presets/vault"),
        &["name=\"s.key\"", "<option value=\"restic\">"],
    );
    // One saved in the app takes the name once the folder's is gone.
    let source = std::fs::read_to_string(server.presets_dir().join("vault.yaml")).expect("a file");
    std::fs::remove_file(server.presets_dir().join("vault.yaml")).expect("removes");
    let saved = admin.call("PUT", "/api/presets/vault");
    saved
        .header("if-none-match", "*")
        .json(&json!({"source": source}))
        .gives(201);
    let form = page(&admin, "/presets/vault");
    assert!(!form.contains("restic"), "{form}");
    has(
        &page(&admin, "/secrets"),
        &["the preset in use has another origin and may not use it"],
    );
    write_preset(&server.presets_dir(), "vault", &source);
}

#[test]
fn forms_take_a_stored_secret_in_place_of_a_typed_one() {
    let (_server, admin, agent) = with_node();
    let body = json!({"value": VALUE, "presets": ["vault"]});
    admin
        .call("PUT", "/api/secrets/restic")
        .json(&body)
        .gives(201);
    let queued = submit(
        &admin,
        "/presets/vault",
        "node=n1&s.key=restic&p.key=&do=queue",
    );
    let job = queued.is(303).header("location");
    let id = job.trim_start_matches("/jobs/");
    assert_eq!(admin.job(id)["params"], json!({"key": "***"}));
    let claimed = agent.claim();
    assert_eq!(claimed["secrets"]["key"], VALUE);
    agent.succeed(id);
    // The choice is kept while something else is wrong, and neither of both is a fault.
    let again = submit(
        &admin,
        "/presets/vault",
        "node=gone&s.key=restic&p.key=&do=queue",
    );
    has(
        &again.is(404).text(),
        &["<option value=\"restic\" selected>"],
    );
    let neither = submit(&admin, "/presets/vault", "node=n1&s.key=&p.key=&do=queue");
    has(&neither.is(400).text(), &["Is required."]);

    let form = page(&admin, "/schedules/new?preset=vault");
    has(
        &form,
        // A check needs none.
        &["name=\"s.key\"", "<option value=\"restic\">"],
    );
    assert!(!form.contains("name=\"p.key\""), "{form}");
    let made = submit(
        &admin,
        "/schedules/new",
        "preset=vault&name=x&nodes=n1&s.key=restic&cron=%40daily&time_zone=UTC",
    );
    let address = made.is(303).header("location");
    let schedule = show(&admin, address.trim_start_matches("/schedules/"));
    assert_eq!(schedule["params"], json!({"key": {"secret": "restic"}}));
    has(
        &page(&admin, &format!("{address}/edit")),
        &["<option value=\"restic\" selected>"],
    );
    // A typed value is never kept with a schedule.
    let typed = submit(
        &admin,
        "/schedules/new",
        "preset=vault&name=x&nodes=n1&s.key=&p.key=typed-in-here&cron=%40daily&time_zone=UTC",
    );
    let typed = typed.is(400).text();
    has(&typed, &["stored secret"]);
    assert!(!typed.contains("typed-in-here"), "{typed}");
}
