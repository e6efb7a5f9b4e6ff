//! Forms that become schedules: what they take over, and that no typed secret is kept.

use serde_json::json;

use crate::harness::with_node;
use crate::schedule_pages::{has, lacks, page, submit};

#[test]
fn a_queue_form_becomes_a_schedule_without_its_typed_secret() {
    let (_server, admin, _agent) = with_node();
    has(
        &page(&admin, "/presets/note"),
        &["href=\"/schedules/new?preset=note\"", "value=\"schedule\""],
    );
    let carried = submit(
        &admin,
        "/schedules/new?preset=note",
        &[
            ("do", "schedule"),
            ("node", "n1"),
            ("p.text", "carried over"),
            ("timeout", "77"),
        ],
    );
    has(
        &carried.is(200).text(),
        &[
            "\ncarried over</textarea>",
            "value=\"n1\" checked",
            "value=\"77\"",
        ],
    );
    let secret = submit(
        &admin,
        "/schedules/new?preset=vault",
        &[
            ("do", "schedule"),
            ("node", "n1"),
            ("p.key", "typed-in-here"),
        ],
    );
    let secret = secret.is(200).text();
    has(
        &secret,
        &["name=\"s.key\"", "No stored secret is for this preset"],
    );
    lacks(&secret, &["typed-in-here", "name=\"p.key\""]);
}

#[test]
fn a_form_that_outlives_its_session_is_kept_without_secrets() {
    let (mut server, admin, _agent) = with_node();
    let ann = server.person("ann", "OPERATOR");
    let submit = |fields: &[(&str, &str)]| {
        submit(&ann, "/schedules/new?preset=vault", fields)
            .is(401)
            .text()
    };
    admin.delete(&format!("/api/users/{}", ann.id)).gives(204);
    // From the preset's form, in which a secret was typed.
    let kept = submit(&[
        ("do", "schedule"),
        ("node", "n1"),
        ("p.key", "typed-in-here"),
    ]);
    has(&kept, &["Your session has ended", "name=\"typed.node\""]);
    lacks(&kept, &["typed-in-here"]);
    let kept = submit(&[
        ("preset", "vault"),
        ("name", "nightly"),
        ("s.key", "restic"),
    ]);
    has(
        &kept,
        &["name=\"typed.name\" value=\"nightly\"", "value=\"restic\""],
    );
    // Once signed in again, the form is shown and nothing is made.
    let again = [
        ("typed", "1"),
        ("typed.preset", "note"),
        ("typed.name", "restored one"),
        ("typed.cron", "@daily"),
        ("typed.time_zone", "Asia/Tokyo"),
    ];
    let shown = crate::schedule_pages::submit(&admin, "/schedules/new", &again)
        .is(200)
        .text();
    has(
        &shown,
        &[
            "Nothing has been sent yet",
            "value=\"restored one\"",
            "value=\"Asia/Tokyo\"",
        ],
    );
    assert_eq!(admin.get("/api/schedules").ok()["schedules"], json!([]));
}
