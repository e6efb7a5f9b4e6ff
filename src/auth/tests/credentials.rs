//! Cookies and tokens: which endpoints they open, and for how long.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use std::sync::Arc;

use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tower::ServiceExt;

use super::{PASSWORD, Server};
use crate::clock;
use crate::store::{Change, Statement, StoreError, Tx, values};

#[tokio::test]
async fn a_change_with_the_cookie_needs_proof_and_authorization_takes_precedence() {
    let server = Server::start(false);
    server.set_up().await;
    let signed_in = server.login("ada@example.org", PASSWORD).await;
    let cookie = signed_in.headers[header::SET_COOKIE]
        .to_str()
        .expect("text")
        .to_owned();
    for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Secure"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = cookie.split(';').next().expect("pair").to_owned();
    let request = |method: Method, more: &[(&'static str, &str)]| {
        let mut request = Request::builder()
            .method(method)
            .uri("/api/auth/tokens")
            .header(header::HOST, "box:4000")
            .header(header::COOKIE, &pair)
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        request
            .body(Body::from(r#"{"name": "ci"}"#))
            .expect("request")
    };
    type Row<'r> = (Method, &'r [(&'static str, &'r str)], u16);
    let table: &[Row<'_>] = &[
        (Method::GET, &[("origin", "http://evil")], 200),
        (Method::POST, &[], 403),
        (Method::POST, &[("sec-fetch-site", "same-origin")], 201),
        (Method::POST, &[("origin", "http://box:4000")], 201),
        (
            Method::POST,
            &[("origin", "http://evil"), ("sec-fetch-site", "same-origin")],
            403,
        ),
        (
            Method::POST,
            &[
                ("authorization", "Bearer hbs_bad"),
                ("origin", "http://box:4000"),
            ],
            401,
        ),
    ];
    for (method, more, status) in table {
        let answer = server.send(request(method.clone(), more)).await;
        assert_eq!(
            answer.status.as_u16(),
            *status,
            "{method} {more:?} {}",
            answer.body
        );
    }
    let foreign = Request::post("/api/auth/login")
        .header("sec-fetch-site", "cross-site")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{}"));
    assert_eq!(
        server.send(foreign.expect("request")).await.text("/code"),
        "cross_origin"
    );
}

#[tokio::test]
async fn personal_and_node_tokens_open_only_their_endpoints() {
    let server = Server::start(false);
    let admin = server.set_up().await;
    let made = server
        .call(
            "POST",
            "/api/auth/tokens",
            &admin,
            json!({"name": "ci", "expiresInDays": 1}),
        )
        .await;
    let (id, token) = (made.text("/id"), made.text("/token"));
    assert!(token.starts_with("hbu_"));
    assert_eq!(
        server
            .call("GET", "/viewer", &token, Value::Null)
            .await
            .status,
        StatusCode::OK
    );
    let list = server
        .call("GET", "/api/auth/tokens", &admin, Value::Null)
        .await;
    assert!(
        list.body["tokens"][0]["lastUsedAt"].is_string(),
        "{}",
        list.body
    );
    assert!(!list.body.to_string().contains(&token));
    server.auth.flush_last_used().await.expect("flushes");
    let list = server
        .call("GET", "/api/auth/tokens", &admin, Value::Null)
        .await;
    assert!(
        list.body["tokens"][0]["lastUsedAt"].is_string(),
        "{}",
        list.body
    );

    let node = server.add_node_token().await;
    assert_eq!(
        server.call("GET", "/node", &node, Value::Null).await.status,
        StatusCode::OK
    );
    assert_eq!(
        server
            .call("GET", "/viewer", &node, Value::Null)
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        server
            .call("GET", "/node", &token, Value::Null)
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );

    let path = format!("/api/auth/tokens/{id}");
    let out = server
        .call("POST", "/api/auth/logout", &token, Value::Null)
        .await;
    assert_eq!(out.status, StatusCode::CONFLICT);
    assert_eq!(
        server
            .call("DELETE", &path, &admin, Value::Null)
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        server
            .call("GET", "/viewer", &token, Value::Null)
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        server
            .call("DELETE", &path, &admin, Value::Null)
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        server
            .call("DELETE", "/api/auth/tokens/%00", &admin, Value::Null)
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

/// Runs a statement as an operator might, bypassing `auth`, and publishes the change.
async fn run(server: &Server, sql: &'static str) {
    let statement = Statement::new(sql);
    let work = move |tx: &mut dyn Tx| {
        tx.publish(Change::Credentials);
        let long_ago = clock::now().plus_millis(-30 * 24 * 3_600 * 1_000);
        tx.execute(&statement, values![long_ago])
    };
    let changed = server.store.write::<_, StoreError>(work).await;
    assert!(changed.expect("runs") > 0, "{sql}");
}

#[tokio::test]
async fn sessions_and_tokens_expire() {
    let server = Server::start(false);
    let session = server.set_up().await;
    let ends = json!({"name": "ci", "expiresInDays": 3});
    let made = server
        .call("POST", "/api/auth/tokens", &session, ends)
        .await;
    let token = made.text("/token");
    server.auth.flush_last_used().await.expect("flushes");
    for (holder, sql) in [
        (&token, "UPDATE user_tokens SET expires_at = $1"),
        (&session, "UPDATE sessions SET last_used_at = $1"),
    ] {
        let me = || server.call("GET", "/api/auth/me", holder, Value::Null);
        assert_eq!(me().await.status, StatusCode::OK);
        run(&server, sql).await;
        assert_eq!(me().await.status, StatusCode::UNAUTHORIZED, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revoked_token_fails_at_once_even_under_load() {
    let server = Server::start(false);
    let admin = server.set_up().await;
    for round in 0..20 {
        let made = server
            .call("POST", "/api/auth/tokens", &admin, json!({"name": "ci"}))
            .await;
        let (id, token) = (made.text("/id"), made.text("/token"));
        let all_call = Arc::new(Barrier::new(9));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (app, token) = (server.app.clone(), token.clone());
                let all_call = Arc::clone(&all_call);
                tokio::spawn(async move {
                    assert!(is_accepted(app.clone(), &token).await);
                    all_call.wait().await;
                    while is_accepted(app.clone(), &token).await {
                        // With the cache, a call never waits by itself.
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        all_call.wait().await;
        let path = format!("/api/auth/tokens/{id}");
        let gone = server.call("DELETE", &path, &admin, Value::Null).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        assert!(
            !is_accepted(server.app.clone(), &token).await,
            "round {round}"
        );
        for caller in callers {
            caller.await.expect("ends");
        }
        assert!(
            !is_accepted(server.app.clone(), &token).await,
            "round {round}"
        );
    }
}

async fn is_accepted(app: Router, token: &str) -> bool {
    let request = Request::get("/viewer").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Body::empty()).expect("request");
    app.oneshot(request).await.expect("infallible").status() == StatusCode::OK
}
