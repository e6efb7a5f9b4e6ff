//! `hyprbox admin rotate-secret-key`: what is sealed stays readable, whatever is killed when.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Server, id_of, pass, with_node};

const ROTATE: [&str; 2] = ["admin", "rotate-secret-key"];
const STORED: &str = "hunter22-hunter22";

/// A server with a node, a stored secret, a job that waits with its own secret, and a channel with
/// one.
struct World {
    server: Server,
    admin: Person,
    agent: FakeAgent,
    key_file: PathBuf,
}

impl World {
    fn new() -> Self {
        let (server, admin, agent) = with_node();
        let secret = json!({"value": STORED, "presets": ["vault"]});
        admin
            .call("PUT", "/api/secrets/restic")
            .json(&secret)
            .gives(201);
        let channel = json!({"name": "ops", "kind": "gotify",
            "settings": {"url": "http://127.0.0.1:1/", "token": "very-secret-token"}});
        admin.post("/api/channels", &channel).gives(201);
        let key_file = server.setup().data_dir().join("secret.key");
        let world = Self {
            server,
            admin,
            agent,
            key_file,
        };
        world.queue(json!("swordfish"));
        world
    }

    fn queue(&self, key: Value) -> String {
        let body = json!({"preset": "vault", "nodeId": "n1", "params": {"key": key}});
        id_of(&self.admin.post("/api/jobs", &body).gives(201).json())
    }

    fn next(&self) -> PathBuf {
        self.key_file.with_file_name("secret.key.new")
    }

    fn key(&self) -> String {
        std::fs::read_to_string(&self.key_file).expect("a key file")
    }

    /// How many rotations the audit log has.
    fn rotated(&self) -> i64 {
        let sql = "SELECT count(*) FROM audit_entries WHERE action = 'secret_key.rotate'";
        self.server.database().number(sql)
    }

    #[track_caller]
    fn rotate(&self) -> String {
        let output = self.server.setup().run(&ROTATE);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
        words
    }

    /// Starts the server, and proves that every value can be read.
    #[track_caller]
    fn start_and_read_all(&mut self) {
        self.server.start_again();
        self.admin = self.admin.at_url(self.server.url());
        self.agent = self.agent.at_url(self.server.url());
        self.queue(json!({"secret": "restic"}));
        for value in ["swordfish", STORED] {
            let job = self.agent.claim();
            assert_eq!(job["secrets"]["key"], value);
            self.agent.succeed(&id_of(&job));
        }
        let channels = self.admin.get("/api/channels").ok().list("channels");
        let id = id_of(&channels[0]);
        // The token is needed before the receiver is called, which refuses the connection.
        let tested = self.admin.call("POST", &format!("/api/channels/{id}/test"));
        let answer = tested.ok()["answer"].to_string();
        assert!(answer.contains("refused"), "{answer}");
        self.queue(json!("swordfish"));
    }
}

#[test]
fn everything_sealed_stays_readable_and_the_old_key_opens_nothing() {
    let mut world = World::new();
    let refused = world.server.setup().run(&ROTATE);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(125), "{words}");
    assert!(words.contains("stop"), "{words}");
    assert!(world.server.terminate().success());

    let old = world.key();
    let words = world.rotate();
    // The job's, the stored secret's and the channel's.
    assert!(
        words.contains("Sealed 3 secrets with the new key"),
        "{words}"
    );
    assert_ne!(world.key(), old);
    assert!(!world.next().exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &world.key_file.metadata().expect("there").permissions(),
    );
    assert_eq!(mode & 0o7777, 0o600);
    world.start_and_read_all();

    assert!(world.server.terminate().success());
    std::fs::write(&world.key_file, &old).expect("writes");
    if world.server.database().sqlite().is_none() {
        let words = world.rotate_fails();
        assert!(words.contains("does not hold the key"), "{words}");
        return;
    }
    let words = world.rotate();
    assert!(words.contains("Sealed 0 secrets"), "{words}");
    assert!(words.contains("could not open 3 secrets"), "{words}");
}

impl World {
    fn rotate_fails(&self) -> String {
        let output = self.server.setup().run(&ROTATE);
        assert_eq!(output.status.code(), Some(125));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
fn a_rotation_that_was_interrupted_after_its_commit_is_finished_by_the_next_start() {
    let mut world = World::new();
    assert!(world.server.terminate().success());
    let old = world.key();
    world.rotate();
    let new = world.key();
    // As if it had been killed before the new file got its name.
    std::fs::rename(&world.key_file, world.next()).expect("renames");
    std::fs::write(&world.key_file, &old).expect("writes");
    world.start_and_read_all();
    assert_eq!(world.key(), new);
    assert!(!world.next().exists());

    // As if it had been killed before its commit.
    assert!(world.server.terminate().success());
    std::fs::write(world.next(), &old).expect("writes");
    world.start_and_read_all();
    assert_eq!(world.key(), new);
}

#[test]
fn a_rotation_that_is_killed_at_any_moment_leaves_everything_readable() {
    let mut world = World::new();
    let mut seen = [0, 0];
    for round in 0..12_u64 {
        assert!(world.server.terminate().success());
        let before = world.rotated();
        let mut child = rotation(&world.server);
        pass(
            Duration::from_millis(round * 12),
            "the kill comes at another moment each round",
        );
        let _has_ended = child.kill();
        child.wait().expect("it ends");
        let is_done = world.rotated() > before;
        seen[usize::from(is_done)] += 1;
        world.start_and_read_all();
    }
    assert!(
        seen[0] > 0,
        "the first round is killed at its start: {seen:?}"
    );
}

/// The command, as its own process.
fn rotation(server: &Server) -> std::process::Child {
    let mut command: Command = server.setup().program();
    command
        .args(ROTATE)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}
