//! An agent that does what a test says, one call at a time.

use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, Call, Field, Person, eventually, id_of};

/// An agent of a node.
#[derive(Clone)]
pub struct FakeAgent {
    client: reqwest::Client,
    url: String,
    pub node_id: String,
    pub token: String,
    /// The founding document's agent has none.
    pub instance: Option<String>,
}

/// A chunk of text.
pub fn chunk(stream: &str, offset: u64, data: &str) -> Value {
    json!({"stream": stream, "offset": offset, "data": data})
}

/// A chunk of any bytes.
pub fn bytes_chunk(stream: &str, offset: u64, data: &[u8]) -> Value {
    json!({"stream": stream, "offset": offset, "dataBase64": STANDARD.encode(data)})
}

impl FakeAgent {
    pub(crate) fn new(client: &reqwest::Client, url: &str, node_id: &str, token: &str) -> Self {
        Self {
            client: client.clone(),
            url: url.to_owned(),
            node_id: node_id.to_owned(),
            token: token.to_owned(),
            instance: Some("one".to_owned()),
        }
    }

    /// The same node's token in another agent.
    pub fn instance(&self, instance: &str) -> Self {
        Self {
            instance: Some(instance.to_owned()),
            ..self.clone()
        }
    }

    /// The founding document's agent, which names no instance.
    pub fn founding(&self) -> Self {
        Self {
            instance: None,
            ..self.clone()
        }
    }

    /// The same agent, after the server moved.
    pub fn at(&self, server: &super::Server) -> Self {
        self.at_url(server.url())
    }

    /// The same agent, wherever the server is now.
    pub fn at_url(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(&self.client, &self.url, method, path).bearer(&self.token)
    }

    /// A poll with more of a query: `wait=5&capacity=0`.
    pub fn poll(&self, more: &str) -> Call {
        let agent = self.query('&');
        let path = format!("/api/jobs/pending?nodeId={}{agent}&{more}", self.node_id);
        self.call("GET", &path)
    }

    /// Sends a poll that waits. Returns once `watcher`'s server, which must be this agent's, has
    /// received the poll.
    #[track_caller]
    pub fn open_poll(&self, watcher: &Person, more: &str) -> JoinHandle<Answer> {
        let path = format!("/api/nodes/{}", self.node_id);
        let seen = || watcher.get(&path).ok()["lastSeenAt"].clone();
        let before = seen();
        let poll = self.poll(more).send_later();
        eventually("the poll to count as a sign of life", || {
            (seen() != before).then_some(())
        });
        poll
    }

    /// `?agent=one`, or nothing.
    fn query(&self, sign: char) -> String {
        let instance = self.instance.as_deref();
        instance.map_or_else(String::new, |instance| format!("{sign}agent={instance}"))
    }

    /// Claims a job, which must be there.
    #[track_caller]
    pub fn claim(&self) -> Value {
        let answer = self.poll("").ok();
        assert!(answer["job"].is_object(), "no job: {answer}");
        answer["job"].clone()
    }

    /// Claims a job, which must be there; its id.
    #[track_caller]
    pub fn claim_id(&self) -> String {
        id_of(&self.claim())
    }

    /// Polls without waiting, and finds no job.
    #[track_caller]
    pub fn finds_nothing(&self, more: &str) {
        let answer = self.poll(more).ok();
        assert_eq!(answer["job"], Value::Null, "{answer}");
    }

    pub fn output_call(&self, job_id: &str, body: &Value) -> Call {
        let path = format!("/api/jobs/{job_id}/output{}", self.query('?'));
        self.call("POST", &path).json(body)
    }

    /// Sends chunks, which must be taken.
    #[track_caller]
    pub fn output(&self, job_id: &str, chunks: &[Value]) -> Value {
        self.output_call(job_id, &json!({"chunks": chunks})).ok()
    }

    /// Sends text to stdout at an offset.
    #[track_caller]
    pub fn say(&self, job_id: &str, offset: u64, text: &str) -> Value {
        self.output(job_id, &[chunk("stdout", offset, text)])
    }

    pub fn complete(&self, job_id: &str, body: &Value) -> Call {
        let path = format!("/api/jobs/{job_id}/complete{}", self.query('?'));
        self.call("POST", &path).json(body)
    }

    /// The script ended with 0.
    #[track_caller]
    pub fn succeed(&self, job_id: &str) -> Value {
        self.complete(job_id, &json!({"exitCode": 0})).ok()
    }

    pub fn heartbeat(&self, body: &Value) -> Call {
        let path = format!("/api/nodes/{}/heartbeat", self.node_id);
        self.call("POST", &path).json(body)
    }

    /// A heartbeat like the real agent's.
    #[track_caller]
    pub fn beat(&self) {
        let body = json!({"instance": self.instance, "hostname": "host", "agentVersion": "0.1.0",
            "os": {"id": "debian", "versionId": "12", "prettyName": "Debian GNU/Linux 12"}, "intervalSeconds": 30});
        assert_eq!(self.heartbeat(&body).ok(), json!({}));
    }

    /// What `output` says of where to go on.
    #[track_caller]
    pub fn where_to_go_on(&self, job_id: &str) -> (u64, u64) {
        let answer = self.output(job_id, &[]);
        (answer.count("stdoutBytes"), answer.count("stderrBytes"))
    }
}
