//! A person with a session.

use serde_json::{Value, json};

use super::{Call, FakeAgent, Field, id_of};

/// Everybody's.
pub const PASSWORD: &str = "correct horse battery";

/// Somebody who is logged in.
#[derive(Clone)]
pub struct Person {
    client: reqwest::Client,
    url: String,
    pub id: String,
    pub email: String,
    pub token: String,
}

impl Person {
    /// From the answer of a login or a registration.
    pub(crate) fn new(client: &reqwest::Client, url: &str, answer: &Value) -> Self {
        Self {
            client: client.clone(),
            url: url.to_owned(),
            id: answer["user"].field("id"),
            email: answer["user"].field("email"),
            token: answer.field("token"),
        }
    }

    /// The server is elsewhere now.
    pub fn moved_to(&mut self, client: &reqwest::Client, url: &str) {
        self.client = client.clone();
        self.url = url.to_owned();
    }

    /// The same person, wherever the server is now.
    pub fn at_url(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// The same person, who shows another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(&self.client, &self.url, method, path).bearer(&self.token)
    }

    /// The same in a browser: with the cookie, and no proof of origin yet.
    pub fn browser(&self, method: &str, path: &str) -> Call {
        Call::new(&self.client, &self.url, method, path).cookie(&self.token)
    }

    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call("POST", path).json(body)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call("DELETE", path)
    }

    /// Adds a node; what comes back is an agent of it, instance `one`.
    #[track_caller]
    pub fn add_node(&self, id: &str) -> FakeAgent {
        let added = self.post("/api/nodes", &json!({"id": id})).gives(201);
        let token = added.json().field("token");
        FakeAgent::new(&self.client, &self.url, id, &token)
    }

    /// An agent of a node that is there, with a token of its own.
    #[track_caller]
    pub fn agent_of(&self, id: &str) -> FakeAgent {
        let made = self.post(&format!("/api/nodes/{id}/tokens"), &json!({}));
        let token = made.gives(201).json().field("token");
        FakeAgent::new(&self.client, &self.url, id, &token)
    }

    /// Queues the preset `note`; its id.
    #[track_caller]
    pub fn queue(&self, node_id: &str) -> String {
        self.queue_with(node_id, "note", json!({}))
    }

    #[track_caller]
    pub fn queue_with(&self, node_id: &str, preset: &str, params: Value) -> String {
        let body = json!({"preset": preset, "nodeId": node_id, "params": params});
        id_of(&self.post("/api/jobs", &body).gives(201).json())
    }

    /// The job as it is now.
    #[track_caller]
    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/jobs/{id}")).ok()
    }

    #[track_caller]
    pub fn cancel(&self, id: &str) -> Call {
        self.call("POST", &format!("/api/jobs/{id}/cancel"))
    }

    #[track_caller]
    pub fn log(&self, id: &str, stream: &str) -> Vec<u8> {
        self.get(&format!("/api/jobs/{id}/log?stream={stream}"))
            .gives(200)
            .body
    }

    /// What the audit log has on a job or a node: `(actor, action)`, newest first.
    #[track_caller]
    pub fn audit(&self, filter: &str) -> Vec<(String, String)> {
        let page = self.get(&format!("/api/audit?limit=200&{filter}")).ok();
        let entries = page["entries"].as_array().expect("entries");
        entries
            .iter()
            .map(|entry| (entry.field("actor"), entry.field("action")))
            .collect()
    }
}
