//! A request's params: accepted values, faults, and presets in the API.

use serde_json::{Map, Value, json};

use super::bash::{preset, values};
use crate::presets::{Catalog, Preset, PresetList, Values};

fn all_types() -> Preset {
    preset(
        r#"
targets: [any]
params:
  free: { type: string }
  admin: { type: string, pattern: "^[a-z_][a-z0-9_-]{0,31}$", required: true }
  tag: { type: string, maxLength: 3, default: ü€🦀 }
  level: { type: int, min: -5, max: 5, default: 0 }
  above: { type: int, min: 1 }
  any_int: { type: int }
  force: { type: bool, default: false }
  mode: { type: enum, values: [fast, "slow, safe"], default: fast }
  ssh_port: { type: port, default: 22, description: Port that sshd listens on }
  token: { type: secret, description: For the registry }
steps:
- { name: One, run: 'true' }
"#,
    )
}

/// The fault of one param if the required params are set.
fn fault(name: &str, value: &Value) -> Option<String> {
    let mut given = json!({"admin": "root", "token": "swordfish"});
    given[name] = value.clone();
    let given = given.as_object().expect("an object");
    match Values::check(&all_types(), given) {
        Ok(_) => None,
        Err(mut errors) => {
            assert_eq!(errors.fields.len(), 1, "{errors}");
            errors.fields.remove(&format!("params.{name}"))
        }
    }
}

#[test]
fn values_of_each_type() {
    let good = [
        ("free", json!("")),
        ("free", json!("x".repeat(65_536))),
        ("free", json!("🦀".repeat(65_536))),
        ("admin", json!("_a-1")),
        ("tag", json!("🦀🦀🦀")),
        ("level", json!(-5)),
        ("above", json!(i64::MAX)),
        ("any_int", json!(i64::MIN)),
        ("force", json!(true)),
        ("mode", json!("slow, safe")),
        ("ssh_port", json!(1)),
        ("ssh_port", json!(65_535)),
        ("token", json!("🦀🦀🦀🦀")),
        ("token", json!("\n\n\n\n")),
        ("token", json!("x".repeat(65_536))),
    ];
    for (name, value) in good {
        assert_eq!(fault(name, &value), None, "{name}");
    }
    let port = "must be 1 to 65535";
    let no_port = "must be a whole number, 1 to 65535";
    let bad = [
        (
            "free",
            json!("a\0b"),
            "must not contain a NUL character, which bash can't hold",
        ),
        (
            "free",
            json!("x".repeat(65_537)),
            "must have at most 65536 characters",
        ),
        ("free", json!(1), "must be a string"),
        ("free", Value::Null, "must be a string"),
        ("free", json!(["a"]), "must be a string"),
        (
            "admin",
            json!("root\n"),
            "must match ^[a-z_][a-z0-9_-]{0,31}$",
        ),
        (
            "admin",
            json!("root; id"),
            "must match ^[a-z_][a-z0-9_-]{0,31}$",
        ),
        ("tag", json!("abcd"), "must have at most 3 characters"),
        ("level", json!(6), "must be -5 to 5"),
        ("level", json!(1.0), "must be a whole number, -5 to 5"),
        ("above", json!(0), "must be at least 1"),
        (
            "any_int",
            json!(u64::MAX),
            "must be -9223372036854775808 to 9223372036854775807",
        ),
        (
            "any_int",
            json!(1e300),
            "must be a whole number, -9223372036854775808 to 9223372036854775807",
        ),
        ("force", json!("true"), "must be true or false"),
        ("force", json!(1), "must be true or false"),
        ("mode", json!("slow"), "must be one of fast, slow, safe"),
        ("mode", json!(0), "must be one of fast, slow, safe"),
        ("ssh_port", json!(0), port),
        ("ssh_port", json!(65_536), port),
        ("ssh_port", json!(-1), port),
        ("ssh_port", json!("22"), no_port),
        ("ssh_port", json!(22.0), no_port),
        ("ssh_port", Value::Null, no_port),
        ("ssh_port", json!({}), no_port),
        ("token", json!("abc"), "must have 4 to 65536 characters"),
        (
            "token",
            json!("x".repeat(65_537)),
            "must have 4 to 65536 characters",
        ),
        (
            "token",
            json!("abc\0d"),
            "must not contain a NUL character, which bash can't hold",
        ),
        ("token", Value::Null, "must be a string"),
        (
            "SSH_PORT",
            json!(22),
            "is unknown: test takes free, admin, tag, level, above, any_int, force, mode, ssh_port, token",
        ),
    ];
    for (name, value, message) in bad {
        assert_eq!(fault(name, &value).as_deref(), Some(message), "{name}");
    }
    // As JSON text, which distinguishes 22.0 and 2.2e1 from 22.
    for text in ["22.0", "2.2e1", "22e0", "1e400"] {
        let parsed: Result<Value, _> = serde_json::from_str(text);
        let refused = parsed.is_err() || fault("ssh_port", &parsed.expect("a number")).is_some();
        assert!(refused, "{text}");
    }
}

#[test]
fn all_faults_at_once() {
    let given = json!({"ssh_port": 0, "level": "x", "nope": 1, "free": "fine"});
    let errors = Values::check(&all_types(), given.as_object().expect("an object"));
    let fields: Vec<(String, String)> = errors.expect_err("bad").fields.into_iter().collect();
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            ("params.admin", "is required"),
            ("params.level", "must be a whole number, -5 to 5"),
            (
                "params.nope",
                "is unknown: test takes free, admin, tag, level, above, any_int, force, mode, ssh_port, token"
            ),
            ("params.ssh_port", "must be 1 to 65535"),
            ("params.token", "is required"),
        ]
    );
    let none = preset("targets: [any]\nsteps:\n- { name: One, run: 'true' }");
    let given = json!({"x": 1});
    let errors = Values::check(&none, given.as_object().expect("an object")).expect_err("unknown");
    assert_eq!(
        errors.fields["params.x"],
        "is unknown: test takes no params"
    );
    assert!(Values::check(&none, &Map::new()).is_ok());
}

/// A job's params: the values used, including defaults, without absent ones, secrets masked.
#[test]
fn params_of_a_job() {
    let values = values(
        &all_types(),
        json!({"admin": "root", "token": "swordfish", "level": 3}),
    );
    assert_eq!(
        Value::Object(values.shown()),
        json!({
            "admin": "root", "tag": "ü€🦀", "level": 3, "force": false, "mode": "fast", "ssh_port": 22, "token": "***"
        })
    );
    let debug = format!("{values:?}");
    assert!(
        debug.contains("***") && !debug.contains("swordfish"),
        "{debug}"
    );
    assert_eq!(
        values.secrets().get("token").map(String::as_str),
        Some("swordfish")
    );
    assert_eq!(values.into_secrets().len(), 1);
}

/// The API has every field; a field without a value is `null`.
#[test]
fn presets_in_the_api() {
    let dir = tempfile::tempdir().expect("a temp folder");
    let text = "name: demo\ntitle: Demo\ndescription: |\n  What it does.\ntargets: [debian, ubuntu]\nrisk: high\ntimeout: 90s\n\
                params:\n  port: { type: port, default: 22, description: Where }\n  mode: { type: enum, values: [a, b] }\n  \
                key: { type: secret }\n  user: { type: string, pattern: '[a-z]+', maxLength: 8, required: true }\n\
                steps:\n- { name: One, run: 'true' }\n";
    std::fs::write(dir.path().join("demo.yaml"), text).expect("written");
    std::fs::write(dir.path().join("bad.yaml"), "name: bad\n").expect("written");
    let catalog = Catalog::open(Some(dir.path()));
    let list = serde_json::to_value(PresetList::from(&*catalog.current())).expect("JSON");
    let names: Vec<&str> = list["presets"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|preset| preset["name"].as_str())
        .collect();
    assert!(
        names.is_sorted() && names.contains(&"system-report"),
        "{names:?}"
    );
    assert_eq!(
        list["errors"],
        json!([{"file": "bad.yaml", "line": 1, "column": 1, "message": "missing field `targets`"}])
    );
    let demo = list["presets"].as_array().expect("a list").iter();
    let demo = demo.into_iter().find(|preset| preset["name"] == "demo");
    let param = |name: &str, kind: &str, more: Value| {
        let mut param = json!({
            "name": name, "type": kind, "required": false, "default": null, "description": "", "min": null, "max": null,
            "pattern": null, "maxLength": null, "values": null
        });
        for (key, value) in more.as_object().expect("an object") {
            param[key] = value.clone();
        }
        param
    };
    assert_eq!(
        demo,
        Some(&json!({
            "name": "demo", "title": "Demo", "description": "What it does.", "targets": ["debian", "ubuntu"], "derivatives": false,
            "risk": "high", "timeoutSeconds": 90, "keepProcesses": false, "confirmSeconds": null, "source": text, "origin": "folder", "version": null, "savedBy": null, "savedAt": null,
            "commit": null, "hides": [],
            "params": [
                param("port", "port", json!({"default": 22, "description": "Where", "min": 1, "max": 65535})),
                param("mode", "enum", json!({"values": ["a", "b"]})),
                param("key", "secret", json!({"required": true, "maxLength": 65536})),
                param("user", "string", json!({"required": true, "pattern": "[a-z]+", "maxLength": 8})),
            ]
        }))
    );
}
