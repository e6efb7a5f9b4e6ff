//! Stored secrets: an ADMIN stores them, and the params of jobs, runs and schedules name them.

use serde_json::{Value, json};

use crate::harness::{id_of, with_node};
use crate::schedules::{add, body, next_slot, show};

#[test]
fn a_stored_secret_takes_the_place_of_a_value() {
    let (server, admin, agent) = with_node();
    let put = |presets: Value| {
        let body = json!({"value": "hunter22-hunter22", "presets": presets});
        admin.call("PUT", "/api/secrets/restic").json(&body)
    };
    put(json!(["vault"])).gives(201);
    let replaced = put(json!(["vault"])).gives(200);
    assert!(!replaced.text().contains("hunter22"));
    let listed = admin.get("/api/secrets").ok();
    assert_eq!(listed["secrets"][0]["presets"], json!(["vault"]));
    assert!(!listed.to_string().contains("hunter22"));
    assert!(!server.database().files_hold("hunter22"));

    let queue = |preset: &str, params: Value| {
        admin.post(
            "/api/jobs",
            &json!({"preset": preset, "nodeId": "n1", "params": params}),
        )
    };
    let job = queue("vault", json!({"key": {"secret": "restic"}}))
        .gives(201)
        .json();
    assert_eq!(job["params"], json!({"key": "***"}));
    let claimed = agent.claim();
    assert_eq!(claimed["secrets"]["key"], "hunter22-hunter22");
    agent.succeed(&id_of(&claimed));
    let unknown = queue("vault", json!({"key": {"secret": "other"}})).gives(400);
    assert_eq!(unknown.fields(), ["params.key"]);
    for odd in [
        json!({"secret": 1}),
        json!({"secret": "restic", "x": "y"}),
        json!({}),
        json!(["restic"]),
    ] {
        assert_eq!(
            queue("vault", json!({"key": odd})).gives(400).fields(),
            ["params.key"]
        );
    }
    // Only a secret param takes one.
    assert_eq!(
        queue("note", json!({"text": {"secret": "restic"}}))
            .gives(400)
            .fields(),
        ["params.text"]
    );

    put(json!(["note"])).gives(200);
    queue("vault", json!({"key": {"secret": "restic"}})).refused(403, "forbidden");
    put(json!([])).gives(400);
    put(json!(["gone"])).gives(400);
    put(json!(["vault"])).gives(200);

    // A schedule keeps the name, never the value.
    let literal = body(json!({"preset": "vault", "params": {"key": "typed-in-here"}}));
    assert_eq!(
        admin.post("/api/schedules", &literal).gives(400).fields(),
        ["params.key"]
    );
    let id = add(
        &admin,
        json!({"preset": "vault", "params": {"key": {"secret": "restic"}}}),
    );
    assert_eq!(
        show(&admin, &id)["params"],
        json!({"key": {"secret": "restic"}})
    );
    admin
        .delete("/api/secrets/restic")
        .refused(409, "secret_in_use");
    next_slot(&server, &admin, &id);
    assert_eq!(agent.claim()["secrets"]["key"], "hunter22-hunter22");
    admin.delete(&format!("/api/schedules/{id}")).gives(204);
    admin.delete("/api/secrets/restic").gives(204);
    admin
        .delete("/api/secrets/restic")
        .refused(404, "secret_not_found");
}
