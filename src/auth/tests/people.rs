//! Roles, users, and their audit entries.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{PASSWORD, Server};

#[tokio::test]
async fn a_pending_user_sees_only_their_account() {
    let server = Server::start(true);
    let admin = server.set_up().await;
    let body = json!({"email": "bob@x", "password": PASSWORD});
    let answer = server
        .call("POST", "/api/auth/register", "", body.clone())
        .await;
    assert_eq!(answer.text("/user/role"), "PENDING");
    let token = answer.text("/token");
    let again = server.call("POST", "/api/auth/register", "", body).await;
    assert_eq!(
        (again.status, again.text("/code").as_str()),
        (StatusCode::CONFLICT, "email_taken")
    );
    for (method, path, status) in [
        ("GET", "/api/auth/me", 200),
        ("GET", "/api/auth/tokens", 403),
        ("GET", "/api/users", 403),
        ("GET", "/viewer", 403),
        ("GET", "/api/audit", 403),
        ("GET", "/node", 401),
    ] {
        let answer = server.call(method, path, &token, Value::Null).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
    let id = answer.text("/user/id");
    let promoted = server
        .call(
            "PATCH",
            &format!("/api/users/{id}"),
            &admin,
            json!({"role": "VIEWER"}),
        )
        .await;
    assert_eq!(promoted.text("/role"), "VIEWER");
    let revoked = server
        .call("GET", "/api/auth/me", &token, Value::Null)
        .await;
    assert_eq!(revoked.status, StatusCode::UNAUTHORIZED);
    let token = server.login("BOB@x", PASSWORD).await.text("/token");
    assert_eq!(
        server
            .call("GET", "/viewer", &token, Value::Null)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        server
            .call("POST", "/operator", &token, Value::Null)
            .await
            .status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn users_are_added_and_removed_but_the_last_admin_stays() {
    let server = Server::start(false);
    let admin = server.set_up().await;
    let me = server
        .call("GET", "/api/auth/me", &admin, Value::Null)
        .await
        .text("/id");
    let mine = format!("/api/users/{me}");
    let faults = json!({"email": "x", "password": "short", "name": "a\u{0}", "role": "KING"});
    let refused = server.call("POST", "/api/users", &admin, faults).await;
    assert_eq!(
        refused.body["fields"]
            .as_object()
            .map(|fields| fields.len()),
        Some(4)
    );
    for (method, body) in [
        ("PATCH", json!({"role": "VIEWER"})),
        ("DELETE", Value::Null),
    ] {
        let refused = server.call(method, &mine, &admin, body).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{method}");
    }
    let bob = server.add(&admin, "bob@x", "OPERATOR").await;
    let session = server.login("bob@x", PASSWORD).await.text("/token");
    let made = server
        .call("POST", "/api/auth/tokens", &session, json!({"name": "ci"}))
        .await
        .text("/token");
    assert_eq!(
        server
            .call("POST", "/operator", &made, Value::Null)
            .await
            .status,
        StatusCode::OK
    );
    let path = format!("/api/users/{bob}");
    assert_eq!(
        server
            .call("DELETE", &path, &admin, Value::Null)
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    for token in [&session, &made] {
        assert_eq!(
            server
                .call("GET", "/api/auth/me", token, Value::Null)
                .await
                .status,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(
        server
            .call("DELETE", &path, &admin, Value::Null)
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let users = server.call("GET", "/api/users", &admin, Value::Null).await;
    assert_eq!(users.body["users"].as_array().map(Vec::len), Some(1));
    assert!(users.body["users"][0].get("password_hash").is_none());
}

#[tokio::test]
async fn the_audit_log_is_listed_newest_first_in_pages() {
    let server = Server::start(false);
    let admin = server.set_up().await;
    server.login("ada@example.org\u{0}", "x").await;
    server.add(&admin, "bob@x", "VIEWER").await;
    let mut actions = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .call(
                "GET",
                &format!("/api/audit?limit=1{cursor}"),
                &admin,
                Value::Null,
            )
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        actions.push(page.text("/entries/0/action"));
        let Some(next) = page.body["nextCursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(actions, ["user.add", "user.login_failed", "user.register"]);
    let filtered = server
        .call(
            "GET",
            "/api/audit?action=user.add&actor=ada@example.org",
            &admin,
            Value::Null,
        )
        .await;
    assert_eq!(filtered.text("/entries/0/detail"), "bob@x as VIEWER");
    assert_eq!(filtered.body["entries"].as_array().map(Vec::len), Some(1));
    for query in ["limit=0", "limit=201", "limit=x", "cursor=x", "actor=%00"] {
        let refused = server
            .call("GET", &format!("/api/audit?{query}"), &admin, Value::Null)
            .await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn two_admins_who_remove_each_other_leave_one() {
    let server = Server::start(false);
    let ada = server.set_up().await;
    let bob_id = server.add(&ada, "bob@x", "ADMIN").await;
    let bob = server.login("bob@x", PASSWORD).await.text("/token");
    let ada_id = server
        .call("GET", "/api/auth/me", &ada, Value::Null)
        .await
        .text("/id");
    let (path_a, path_b) = (
        format!("/api/users/{ada_id}"),
        format!("/api/users/{bob_id}"),
    );
    let (a, b) = tokio::join!(
        server.call("DELETE", &path_b, &ada, Value::Null),
        server.call("PATCH", &path_a, &bob, json!({"role": "VIEWER"})),
    );
    let done = [a, b]
        .iter()
        .filter(|answer| answer.status.is_success())
        .count();
    assert_eq!(done, 1);
    let users = server.auth.users().await.expect("reads");
    assert_eq!(
        users
            .iter()
            .filter(|user| user.role == crate::auth::Role::Admin)
            .count(),
        1
    );
}
