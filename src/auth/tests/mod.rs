//! The endpoints as a client sees them, with a real database.

mod credentials;
mod people;
mod sign_in;

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
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
            is_public_url_set: true,
            trusted_proxies: vec!["127.0.0.1/32".parse().expect("network")],
            ..AuthConfig::default()
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

    /// Registers the first ADMIN and returns their token.
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
