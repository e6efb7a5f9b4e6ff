//! The endpoints as a client sees them, over a real database.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::store::{Change, Listener, Statement, values};

const PASSWORD: &str = "correct horse battery";

struct Server {
    auth: Auth,
    store: Store,
    app: Router,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn text(&self, pointer: &str) -> String {
        let value = self.body.pointer(pointer).and_then(Value::as_str);
        value
            .unwrap_or_else(|| panic!("no {pointer} in {}", self.body))
            .to_owned()
    }
}

impl Server {
    fn start(allow_public_registration: bool) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let heard: Arc<OnceLock<Auth>> = Arc::default();
        let hears = Arc::clone(&heard);
        let listener: Listener = Arc::new(move |changes| {
            if changes.contains(&Change::Credentials)
                && let Some(auth) = hears.get()
            {
                auth.forget();
            }
        });
        let store = Store::open_sqlite(&folder.path().join("test.db"), listener).expect("opens");
        let config = AuthConfig {
            public_url: "https://jobs.example.org".to_owned(),
            allow_public_registration,
            trusted_proxies: vec!["127.0.0.1/32".parse().expect("network")],
        };
        let auth = Auth::new(config, store.clone());
        heard.set(auth.clone()).ok().expect("set once");
        let (routes, _) = routes(auth.clone())
            .merge(crate::audit::routes(store.clone()))
            .split_for_parts();
        let app = routes
            .route("/viewer", get(async |_: Viewer| "ok"))
            .route("/operator", post(async |_: Operator| "ok"))
            .route("/node", get(async |node: NodeIdentity| node.node_id))
            .layer(Extension(auth.clone()));
        Self {
            auth,
            store,
            app,
            _folder: folder,
        }
    }

    async fn send(&self, request: Request) -> Answer {
        let response = self.app.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("body").to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        self.send(request.body(body).expect("request")).await
    }

    /// Registers the first ADMIN and gives their token.
    async fn set_up(&self) -> String {
        let body = json!({"email": "Ada@Example.org", "password": PASSWORD, "setupCode": self.auth.setup_code()});
        let answer = self.call("POST", "/api/auth/register", "", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.text("/token")
    }

    async fn add(&self, admin: &str, email: &str, role: &str) -> String {
        let body = json!({"email": email, "password": PASSWORD, "name": "N", "role": role});
        let answer = self.call("POST", "/api/users", admin, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.text("/id")
    }

    async fn login(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.call("POST", "/api/auth/login", "", body).await
    }

    async fn add_node_token(&self) -> String {
        static NODE: Statement = Statement::new(
            "INSERT INTO nodes (id, name, labels, created_at) VALUES ('n1', 'n1', '{}', $1)",
        );
        static TOKEN: Statement = Statement::new(
            "INSERT INTO node_tokens (id, node_id, prefix, token_sha256, created_at) VALUES ('t1', 'n1', $2, $3, $1)",
        );
        let (token, sha256, prefix) = mint(super::NODE);
        let insert = move |tx: &mut dyn crate::store::Tx| {
            let now = crate::clock::now();
            tx.execute(&NODE, values![now])?;
            tx.execute(&TOKEN, values![now, prefix, sha256])
        };
        self.store
            .write::<_, crate::store::StoreError>(insert)
            .await
            .expect("inserts");
        token
    }
}

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
async fn of_two_first_users_at_once_one_wins() {
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
async fn pending_sees_itself_alone() {
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
async fn ten_wrong_passwords_close_the_door_for_that_address() {
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
async fn the_cookie_needs_proof_for_a_change_and_authorization_beats_it() {
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
async fn personal_and_node_tokens_open_their_own_doors() {
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

#[tokio::test]
async fn users_come_and_go_but_the_last_admin_stays() {
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
async fn what_was_done_is_listed_newest_first_in_pages() {
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
async fn odd_bodies_are_never_a_500() {
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
