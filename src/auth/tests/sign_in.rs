//! Registration, sign-in, and changing one's own password.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use super::{PASSWORD, Server};

#[tokio::test]
async fn the_first_user_needs_the_code_and_becomes_admin() {
    let server = Server::start(false);
    let wanted = json!({"email": "ada@x", "password": PASSWORD});
    let refused = server
        .call("POST", "/api/auth/register", "", wanted.clone())
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let token = server.set_up().await;
    let me = server
        .call("GET", "/api/auth/me", &token, Value::Null)
        .await;
    assert_eq!(me.text("/role"), "ADMIN");
    assert_eq!(me.text("/email"), "ada@example.org");
    assert_eq!(me.text("/name"), "ada");
    let closed = server.call("POST", "/api/auth/register", "", wanted).await;
    assert_eq!(closed.status, StatusCode::FORBIDDEN);
    assert!(
        !server
            .auth
            .ensure_admin("b@x", PASSWORD)
            .await
            .expect("no need")
    );
}

#[tokio::test]
async fn of_two_concurrent_first_users_one_wins() {
    let server = Server::start(false);
    let register = |email: &'static str| {
        let body =
            json!({"email": email, "password": PASSWORD, "setupCode": server.auth.setup_code()});
        server.call("POST", "/api/auth/register", "", body)
    };
    let (a, b, c) = tokio::join!(register("a@x"), register("b@x"), register("c@x"));
    let made = [a, b, c]
        .iter()
        .filter(|answer| answer.status == StatusCode::CREATED)
        .count();
    assert_eq!(made, 1);
}

#[tokio::test]
async fn ten_wrong_passwords_block_the_address() {
    let server = Server::start(false);
    server.set_up().await;
    for _ in 0..9 {
        assert_eq!(
            server
                .login("ada@example.org", "wrong password")
                .await
                .status,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(
        server.login("ada@example.org", PASSWORD).await.status,
        StatusCode::OK,
        "resets"
    );
    let wrong = || server.login("ada@example.org", "wrong password");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let (a, b, c, d, e) = tokio::join!(wrong(), wrong(), wrong(), wrong(), wrong());
        statuses.extend([a, b, c, d, e].map(|answer| answer.status.as_u16()));
    }
    assert_eq!(
        statuses.iter().filter(|status| **status == 401).count(),
        10,
        "{statuses:?}"
    );
    let closed = server.login("ADA@example.org", PASSWORD).await;
    assert_eq!(closed.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = closed.headers[header::RETRY_AFTER]
        .to_str()
        .expect("text")
        .parse()
        .expect("number");
    assert!((1..=60).contains(&seconds));
    let elsewhere = Request::post("/api/auth/login")
        .header("x-forwarded-for", "203.0.113.9")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(
            json!({"email": "ada@example.org", "password": PASSWORD}).to_string(),
        ));
    assert_eq!(
        server.send(elsewhere.expect("request")).await.status,
        StatusCode::OK
    );
    assert_eq!(
        server.login("nobody@x", PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions() {
    let server = Server::start(false);
    let first = server.set_up().await;
    let second = server
        .login("ada@example.org", PASSWORD)
        .await
        .text("/token");
    let wrong = json!({"oldPassword": "not the password", "password": "another password"});
    let refused = server.call("PATCH", "/api/auth/me", &second, wrong).await;
    assert_eq!(
        (refused.status.as_u16(), refused.text("/code").as_str()),
        (401, "wrong_password")
    );
    let short = json!({"oldPassword": PASSWORD, "password": "short"});
    let refused = server.call("PATCH", "/api/auth/me", &second, short).await;
    assert!(refused.body["fields"]["password"].is_string());
    let right = json!({"oldPassword": PASSWORD, "password": "another password"});
    assert_eq!(
        server
            .call("PATCH", "/api/auth/me", &second, right)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        server
            .call("GET", "/api/auth/me", &first, Value::Null)
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        server
            .call("GET", "/api/auth/me", &second, Value::Null)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        server
            .call("POST", "/api/auth/logout", &second, Value::Null)
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        server
            .call("GET", "/api/auth/me", &second, Value::Null)
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_one_time_code_signs_in_once() {
    let server = Server::start(false);
    let admin = server.set_up().await;
    let id = server
        .call("GET", "/api/auth/me", &admin, Value::Null)
        .await
        .text("/id");
    let code = server.auth.one_time_code(&id);
    let token = server.auth.redeem(&code).await.expect("a session");
    assert_eq!(
        server
            .call("GET", "/api/auth/me", &token, Value::Null)
            .await
            .status,
        StatusCode::OK
    );
    assert!(server.auth.redeem(&code).await.is_err());
}

#[tokio::test]
async fn odd_bodies_never_cause_a_500() {
    let server = Server::start(true);
    let admin = server.set_up().await;
    let huge = "x".repeat(200_000);
    for body in [
        json!([]),
        json!("x"),
        json!(7),
        json!({}),
        json!({"email": null, "password": null}),
        json!({"email": ["a"], "password": {"a": 1}}),
        json!({"email": "\u{0}@\u{0}", "password": "\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}", "name": "\u{0}"}),
        json!({"email": huge, "password": huge, "name": huge, "role": huge, "setupCode": huge}),
        json!({"name": "x", "expiresInDays": 1e300}),
        json!({"name": "x", "expiresInDays": -9_223_372_036_854_775_808_i64}),
        json!({"oldPassword": huge, "password": "long enough now"}),
        json!({"extra": {"deep": 1}}),
    ] {
        for (method, path) in [
            ("POST", "/api/auth/register"),
            ("POST", "/api/auth/login"),
            ("PATCH", "/api/auth/me"),
            ("POST", "/api/auth/tokens"),
            ("POST", "/api/users"),
            ("PATCH", "/api/users/x"),
        ] {
            let answer = server.call(method, path, &admin, body.clone()).await;
            let status = answer.status.as_u16();
            assert!((400..500).contains(&status), "{method} {path} {status}");
        }
    }
}
