//! Channels: their settings, what is secret, and the test button.

use serde_json::{Value, json};

use super::add_channel;
use super::receiver::{Receiver, Reply};
use crate::harness::{Field, Person, Server, id_of};

fn change(admin: &Person, id: &str, body: &Value) -> Value {
    let call = admin.call("PATCH", &format!("/api/channels/{id}"));
    call.json(body).ok()
}

#[test]
fn a_webhooks_secret_is_made_and_shown_once() {
    let mut server = Server::start();
    let admin = server.admin();
    let body =
        json!({"name": "ops", "kind": "webhook", "settings": {"url": "http://127.0.0.1:1/"}});
    let answer = admin.post("/api/channels", &body).gives(201);
    let made = answer.json();
    let id = id_of(&made);
    assert_eq!(answer.header("location"), format!("/api/channels/{id}"));
    let secret = made["settings"]["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_"), "{secret}");
    let shown = admin.get(&format!("/api/channels/{id}")).ok();
    for (field, wanted) in [
        ("name", json!("ops")),
        ("kind", json!("webhook")),
        (
            "settings",
            json!({"url": "http://127.0.0.1:1/", "secret": "***"}),
        ),
        ("paused", json!(false)),
        ("pausedBecause", Value::Null),
        ("pendingDeliveries", json!(0)),
        ("failedDeliveries", json!(0)),
    ] {
        assert_eq!(shown[field], wanted, "{field}");
    }
    assert_eq!(
        admin.get("/api/channels").ok().list("channels"),
        std::slice::from_ref(&shown)
    );
    assert!(!server.database().files_hold(secret));

    // What is sent back keeps it, and so does nothing.
    let kept = change(&admin, &id, &json!({"settings": shown["settings"]}));
    assert_eq!(kept["settings"], shown["settings"]);
    let kept = change(
        &admin,
        &id,
        &json!({"name": "more", "settings": {"url": "http://h/"}}),
    );
    assert_eq!(
        kept["settings"],
        json!({"url": "http://h/", "secret": "***"})
    );
    // Removing it makes another one.
    let other = change(&admin, &id, &json!({"settings": {"secret": null}}));
    let other = other["settings"]["secret"].as_str().expect("a secret");
    assert!(other.starts_with("whsec_") && other != secret);
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let changed = change(&admin, &id, &json!({"settings": {"secret": given}}));
    assert_eq!(changed["settings"]["secret"], "***");

    admin.delete(&format!("/api/channels/{id}")).gives(204);
    admin
        .get(&format!("/api/channels/{id}"))
        .refused(404, "channel_not_found");
    let actions: Vec<String> = admin
        .audit("")
        .into_iter()
        .map(|(_, action)| action)
        .collect();
    for action in ["channel.add", "channel.change", "channel.remove"] {
        assert!(actions.iter().any(|known| known == action), "{actions:?}");
    }
}

#[test]
fn what_is_secret_reads_back_as_stars_and_is_sealed() {
    let mut server = Server::start();
    let admin = server.admin();
    let hook = "http://127.0.0.1:1/very-secret-hook";
    let mail = json!({"host": "mail.example.org", "port": 587, "security": "starttls",
        "username": "ops", "password": "very-secret-word", "from": "Ops <ops@example.org>",
        "to": ["ann@example.org", "bob@example.org"]});
    for (kind, settings, secret) in [
        (
            "ntfy",
            json!({"url": "https://ntfy.sh", "topic": "ops", "token": "tk_very_secret"}),
            "token",
        ),
        (
            "ntfy",
            json!({"url": "https://ntfy.sh", "topic": "ops"}),
            "none",
        ),
        (
            "gotify",
            json!({"url": "http://gotify.lan", "token": "very-secret-token"}),
            "token",
        ),
        ("slack", json!({"url": hook}), "url"),
        ("discord", json!({"url": hook}), "url"),
        ("email", mail, "password"),
    ] {
        let id = add_channel(&admin, kind, &settings);
        let shown = admin.get(&format!("/api/channels/{id}")).ok();
        for (name, value) in shown["settings"].as_object().expect("settings") {
            let wanted = match settings.get(name) {
                Some(_) if name == secret => json!("***"),
                Some(given) => given.clone(),
                None => Value::Null,
            };
            assert_eq!(*value, wanted, "{kind}: {name}");
        }
        let kept = change(&admin, &id, &json!({"settings": shown["settings"]}));
        assert_eq!(kept["settings"], shown["settings"], "{kind}");
    }
    for secret in ["very-secret", "very_secret"] {
        assert!(!server.database().files_hold(secret), "{secret}");
    }
}

#[test]
fn every_fault_of_a_channel_is_named_at_once() {
    let mut server = Server::start();
    let admin = server.admin();
    let refused = |kind: &str, settings: Value| {
        let body = json!({"name": "x", "kind": kind, "settings": settings});
        admin.post("/api/channels", &body).gives(400).fields()
    };
    let mail = json!({"host": "mail.example.org:25", "port": 70000, "security": "tls",
        "password": "pw", "from": "nobody", "to": []});
    for (kind, settings, fields) in [
        ("webhook", json!({}), vec!["settings.url"]),
        ("webhook", json!({"url": "ftp://x"}), vec!["settings.url"]),
        ("webhook", json!({"url": "http://"}), vec!["settings.url"]),
        (
            "webhook",
            json!({"url": "http://x", "secret": "whsec_c2hvcnQ="}),
            vec!["settings.secret"],
        ),
        (
            "webhook",
            json!({"url": "http://x", "secret": "***"}),
            vec!["settings.secret"],
        ),
        (
            "webhook",
            json!({"url": "http://x", "topic": "a"}),
            vec!["settings.topic"],
        ),
        (
            "ntfy",
            json!({"url": "http://x", "topic": "a/b"}),
            vec!["settings.topic"],
        ),
        ("gotify", json!({"url": "http://x"}), vec!["settings.token"]),
        (
            "gotify",
            json!({"url": "http://x", "token": "***"}),
            vec!["settings.token"],
        ),
        (
            "gotify",
            json!({"url": "http://x", "token": "a\r\nb"}),
            vec!["settings.token"],
        ),
        ("slack", json!({"url": "***"}), vec!["settings.url"]),
        ("discord", json!({"url": null}), vec!["settings.url"]),
        (
            "email",
            mail,
            vec![
                "settings.from",
                "settings.host",
                "settings.port",
                "settings.to",
                "settings.username",
            ],
        ),
        (
            "email",
            json!({"security": "none"}),
            vec!["settings.security"],
        ),
        (
            "webhook",
            json!({"url": "http://x", "more": {}}),
            vec!["settings.more"],
        ),
        (
            "webhook",
            json!({"url": ["http://x"]}),
            vec!["settings.url"],
        ),
        ("carrier-pigeon", json!({}), vec!["kind"]),
    ] {
        assert_eq!(refused(kind, settings.clone()), fields, "{kind} {settings}");
    }
    let unnamed = json!({"name": " ", "kind": "slack", "settings": {"url": "https://x/y"}});
    let answer = admin.post("/api/channels", &unnamed).gives(400);
    assert_eq!(answer.fields(), ["name"]);
    // More than a person could want, in one request.
    let many: Vec<String> = (0..100_000).map(|n| format!("a{n}@example.org")).collect();
    let flood = json!({"host": "h", "port": 25, "security": "tls", "from": "a@b.org", "to": many});
    assert_eq!(refused("email", flood), ["settings.to"]);
    assert_eq!(
        admin.get("/api/channels").ok().list("channels"),
        [] as [Value; 0]
    );
}

#[test]
fn a_test_shows_the_other_sides_words() {
    let mut server = Server::start();
    let admin = server.admin();
    let receiver = Receiver::with(|number, _| match number {
        0 => Reply::words(200, "thank you"),
        1 => Reply::words(403, "unknown token"),
        _ => Reply::Answer(
            302,
            "location: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into(),
        ),
    });
    let id = add_channel(&admin, "webhook", &json!({"url": receiver.url}));
    let test = || admin.call("POST", &format!("/api/channels/{id}/test")).ok();
    assert_eq!(
        test(),
        json!({"ok": true, "status": 200, "answer": "thank you"})
    );
    let sent = receiver.nth(1);
    assert_eq!(sent.json()["type"], "test");
    assert_eq!(sent.json()["data"]["event"], "test");
    assert_eq!(
        test(),
        json!({"ok": false, "status": 403, "answer": "unknown token"})
    );
    let redirected = test();
    assert_eq!(
        (&redirected["ok"], &redirected["status"]),
        (&json!(false), &json!(302))
    );
    assert!(
        redirected
            .field("answer")
            .contains("redirects are not followed")
    );
    assert_eq!(receiver.received().len(), 3);

    let closed = add_channel(&admin, "webhook", &json!({"url": "http://127.0.0.1:1/"}));
    let failed = admin
        .call("POST", &format!("/api/channels/{closed}/test"))
        .ok();
    assert_eq!(
        (&failed["ok"], &failed["status"]),
        (&json!(false), &Value::Null)
    );
    assert!(failed.field("answer").contains("refused"), "{failed}");
    // It leaves no delivery.
    assert_eq!(super::deliveries(&admin, &closed), [] as [Value; 0]);
}
