//! Choosing nodes by a selector: in the API, and on the nodes' page.

use serde_json::{Value, json};

use crate::harness::{Person, Server, id_of};

/// Four nodes. The last one's agent has never connected.
fn fleet() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    for (id, labels, os) in [
        (
            "db-1",
            json!({"role": "db", "zone": "c"}),
            json!({"id": "arch"}),
        ),
        (
            "web-1",
            json!({"role": "web", "zone": "a", "gpu": ""}),
            json!({"id": "debian", "versionId": "12"}),
        ),
        (
            "web-2",
            json!({"role": "web", "zone": "b", "example.com/tier": "1", "größe": "ü b"}),
            json!({"id": "ubuntu", "versionId": "24.04"}),
        ),
        (
            "new",
            json!({"node": "web-1", "os.id": "debian", "os.version": "12"}),
            Value::Null,
        ),
    ] {
        let body = json!({"id": id, "labels": labels});
        admin.post("/api/nodes", &body).gives(201);
        if os.is_object() {
            admin
                .agent_of(id)
                .heartbeat(&json!({"os": os, "intervalSeconds": 30}))
                .ok();
        }
    }
    (server, admin)
}

fn encoded(selector: &str) -> String {
    selector
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect()
}

fn selected(person: &Person, selector: &str) -> Vec<String> {
    let path = format!("/api/nodes?selector={}", encoded(selector));
    let answer = person.get(&path).ok();
    let nodes = answer["nodes"].as_array().expect("nodes").iter();
    nodes.map(id_of).collect()
}

#[test]
fn a_selector_chooses_nodes_by_labels_and_built_in_keys() {
    let (_server, admin) = fleet();
    let cases: &[(&str, &[&str])] = &[
        ("role=web", &["web-1", "web-2"]),
        ("role==web", &["web-1", "web-2"]),
        ("role!=web", &["db-1", "new"]),
        ("zone in (a, b)", &["web-1", "web-2"]),
        ("zone notin (a,b)", &["db-1", "new"]),
        ("gpu", &["web-1"]),
        ("!gpu", &["db-1", "new", "web-2"]),
        ("role=web,!gpu", &["web-2"]),
        ("example.com/tier=1", &["web-2"]),
        ("größe", &["web-2"]),
        ("gpu=", &["web-1"]),
        ("role=nothing", &[]),
        // A label of a built-in key's name never counts, not even while the system is unknown.
        ("node=web-1", &["web-1"]),
        ("node in (web-1,new)", &["new", "web-1"]),
        ("os.id=debian", &["web-1"]),
        ("os.id!=debian", &["db-1", "new", "web-2"]),
        ("!os.id", &["new"]),
        ("os.version=12", &["web-1"]),
        ("!os.version", &["db-1", "new"]),
    ];
    for (selector, nodes) in cases {
        assert_eq!(selected(&admin, selector), *nodes, "{selector}");
    }
    // `+` is a space in a query string.
    let spaced = admin.get("/api/nodes?selector=zone+in+(a)").ok();
    assert_eq!(spaced["nodes"][0]["id"], "web-1");
}

#[test]
fn a_malformed_selector_is_a_400_that_names_the_character() {
    let (_server, admin) = fleet();
    for (selector, place) in [
        ("", "at character 1, but found the end"),
        (" ", "at character 2, but found the end"),
        ("role=web,", "at character 10, but found the end"),
        ("role web", "at character 6, but found `w`"),
        ("zone in (a", "at character 11, but found the end"),
        (
            "role notin ()",
            "expected a value at character 13, but found `)`",
        ),
        (
            "role in ( , )",
            "expected a value at character 13, but found `)`",
        ),
        ("zone in a", "expected `(` at character 9, but found `a`"),
        ("role===web", "at character 7, but found `=`"),
        ("größe=ü b", "at character 9, but found `b`"),
        ("role!=\"web\"", "at character 7, but found `\"`"),
        ("role>1", "at character 5, but found `>`"),
    ] {
        let path = format!("/api/nodes?selector={}", encoded(selector));
        let refused = admin.get(&path).refused(400, "bad_input");
        assert_eq!(refused.fields(), ["selector"], "{selector}");
        let words = refused.json()["fields"]["selector"].clone();
        let words = words.as_str().expect("text");
        assert!(
            words.starts_with("expected ") && words.ends_with(place),
            "{selector}: {words}"
        );
    }
}
