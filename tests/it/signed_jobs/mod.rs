//! Signed jobs, with the real server and the real agent: whoever writes the database decides
//! nothing about what runs on a node.

mod attacks;
mod key;
mod pages;

use std::path::PathBuf;

use hyprbox_signing::SignKey;
use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, RealAgent, Server, eventually};

/// A server and a node whose agent, once started, knows the server's key.
struct World {
    server: Server,
    admin: Person,
    node: FakeAgent,
    folder: tempfile::TempDir,
}

fn world() -> World {
    let mut server = Server::start();
    let admin = server.admin();
    let node = admin.add_node("n1");
    let world = World {
        server,
        admin,
        node,
        folder: tempfile::tempdir().expect("a folder"),
    };
    std::fs::write(world.file("trusted_servers"), world.sign_keys()).expect("writes");
    world
}

impl World {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The keys that a node receives when it is enrolled.
    fn sign_keys(&self) -> String {
        let call = self.admin.call("POST", "/api/nodes/n1/enrolments");
        let code = call.gives(201).json().field("code");
        let enrolled = self.server.post("/api/enrol", &json!({"code": code})).ok();
        let keys: Vec<String> = serde_json::from_value(enrolled["signKeys"].clone()).expect("keys");
        assert!(keys.iter().all(|key| key.starts_with("ssh-ed25519 AAAA")));
        keys.join("\n") + "\n"
    }

    /// The server's key.
    fn key(&self) -> SignKey {
        let path = self.server.setup().data_dir().join("sign.key");
        SignKey::parse(&std::fs::read_to_string(path).expect("reads")).expect("a key")
    }

    fn agent(&self) -> RealAgent {
        self.agent_with(&[])
    }

    fn agent_with(&self, variables: &[(&str, &str)]) -> RealAgent {
        let trusted = self.file("trusted_servers").display().to_string();
        let mut all = vec![("HYPRBOX_TRUSTED_SERVERS", trusted.as_str())];
        all.extend(variables);
        RealAgent::with_variables(&self.server, &self.node, &all)
    }

    /// Queues a job that leaves a mark.
    fn queue(&self) -> String {
        let code = format!("echo ran >> {}", self.file("mark").display());
        self.admin.queue_with("n1", "shell", json!({"code": code}))
    }

    /// How often the script of [`World::queue`] has run.
    fn marks(&self) -> usize {
        std::fs::read_to_string(self.file("mark"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    fn done(&self, id: &str) -> Value {
        eventually("the job's end", || {
            let job = self.admin.job(id);
            let status = job.field("status");
            (status != "QUEUED" && status != "RUNNING").then_some(job)
        })
    }

    /// The job was refused, with these words.
    #[track_caller]
    fn is_refused(&self, id: &str, words: &str) {
        let job = self.done(id);
        let message = job["errorMsg"].as_str().unwrap_or_default();
        assert_eq!(job["status"], "FAILED", "{job}");
        assert!(
            message.starts_with("refused: ") && message.contains(words),
            "{message}"
        );
    }

    /// How many jobs were refused for this reason.
    fn refused(&self, reason: &str) -> u64 {
        let page = self.admin.get("/metrics").gives(200).text();
        let name = format!("hyprbox_jobs_refused_total{{reason=\"{reason}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().expect("a number"))
    }
}
