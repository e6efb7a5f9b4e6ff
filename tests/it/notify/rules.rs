//! Rules: which there can be.

use serde_json::{Value, json};

use super::{add_channel, add_rule};
use crate::harness::{Field, with_node};
use crate::schedules;

#[test]
fn a_rule_is_made_changed_and_goes_with_its_channel() {
    let (_server, admin, _agent) = with_node();
    let channel = add_channel(&admin, "webhook", &json!({"url": "http://127.0.0.1:1/"}));
    let schedule = schedules::add(&admin, json!({}));
    let filters = json!({"presets": ["note", "note"], "selector": "node=n1", "schedules": [schedule],
        "afterSeconds": 60});
    let id = add_rule(
        &admin,
        &channel,
        &["node_offline", "job_failed", "job_failed"],
        filters,
    );
    let rules = || admin.get("/api/rules").ok().list("rules");
    let rule = &rules()[0];
    for (field, wanted) in [
        ("id", json!(id)),
        ("channelId", json!(channel)),
        ("on", json!(["job_failed", "node_offline"])),
        ("presets", json!(["note"])),
        ("selector", json!("node=n1")),
        ("schedules", json!([schedule])),
        ("afterSeconds", json!(60)),
    ] {
        assert_eq!(rule[field], wanted, "{field}");
    }
    let path = format!("/api/rules/{id}");
    let change = |body: Value| admin.call("PATCH", &path).json(&body).ok();
    let cleared =
        change(json!({"presets": null, "selector": null, "schedules": null, "afterSeconds": null}));
    assert_eq!(cleared["presets"], Value::Null);
    assert_eq!(cleared["afterSeconds"], 300, "the default");
    let changed = change(json!({"on": ["run_failed"]}));
    assert_eq!(changed["afterSeconds"], Value::Null);
    assert_eq!(rules(), [changed]);

    let second = add_rule(&admin, &channel, &["job_lost"], json!({}));
    admin.delete(&format!("/api/rules/{second}")).gives(204);
    assert_eq!(rules().len(), 1);
    admin.delete(&format!("/api/channels/{channel}")).gives(204);
    assert_eq!(rules(), [] as [Value; 0]);
    admin.delete(&path).refused(404, "rule_not_found");
    let actions: Vec<String> = admin
        .audit("")
        .into_iter()
        .map(|(_, action)| action)
        .collect();
    for action in ["rule.add", "rule.change", "rule.remove"] {
        assert!(actions.iter().any(|known| known == action), "{actions:?}");
    }
}

#[test]
fn every_fault_of_a_rule_is_named() {
    let (_server, admin, _agent) = with_node();
    let channel = add_channel(&admin, "webhook", &json!({"url": "http://127.0.0.1:1/"}));
    let rule = |more: Value| {
        let mut body = json!({"channelId": channel, "on": ["job_failed"]});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        admin.post("/api/rules", &body)
    };
    for (more, field) in [
        (json!({"on": []}), "on"),
        (json!({"on": ["job_exploded"]}), "on[0]"),
        (json!({"on": ["test"]}), "on[0]"),
        (json!({"on": "job_failed"}), "on"),
        (json!({"presets": []}), "presets"),
        (json!({"presets": ["gone"]}), "presets"),
        (json!({"presets": vec!["note"; 200_000]}), "presets"),
        (json!({"selector": "role in ("}), "selector"),
        (json!({"selector": ""}), "selector"),
        (json!({"schedules": ["gone"]}), "schedules"),
        (json!({"schedules": ["\u{0}"]}), "schedules"),
        (json!({"afterSeconds": 60}), "afterSeconds"),
        (
            json!({"on": ["node_offline"], "afterSeconds": 0}),
            "afterSeconds",
        ),
        (
            json!({"on": ["node_offline"], "afterSeconds": 604_801}),
            "afterSeconds",
        ),
        (
            json!({"on": ["node_offline"], "afterSeconds": -1}),
            "afterSeconds",
        ),
        (json!({"unheardOf": 1}), "unheardOf"),
    ] {
        let answer = rule(more).gives(400);
        assert_eq!(answer.fields(), [field], "{answer:?}");
    }
    rule(json!({"channelId": "gone"})).refused(404, "channel_not_found");
    rule(json!({"channelId": "\u{0}"})).refused(404, "channel_not_found");
    for event in [
        "job_failed",
        "job_recovered",
        "job_lost",
        "run_finished",
        "run_failed",
        "schedule_missed",
        "node_offline",
        "node_online",
        "drift_found",
        "waits_for_signature",
        "backup_failed",
        "history_altered",
    ] {
        rule(json!({"on": [event]})).gives(201);
    }
}
