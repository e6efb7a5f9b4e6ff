//! The sign key: its file, its rotation, and what OpenSSH's own program says to its signatures.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;

use super::world;
use crate::config::refused;
use crate::harness::{Field, Setup, id_of};
use crate::upgrade::version_1;

#[test]
fn the_key_is_made_once_and_is_neither_in_the_database_nor_in_a_backup() {
    let mut world = world();
    let path = world.server.setup().data_dir().join("sign.key");
    let mode = path.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let text = std::fs::read_to_string(&path).expect("reads");
    let secret: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
    let part = &secret[1][..40];
    assert!(!world.server.database().files_hold(part));
    if world.server.database().sqlite().is_some() {
        let backup = world.server.setup().folder().join("backup.db");
        let words = ["backup", backup.to_str().expect("UTF-8")];
        assert!(world.server.setup().run(&words).status.success());
        let bytes = std::fs::read(&backup).expect("reads");
        let holds = |part: &str| {
            bytes
                .windows(part.len())
                .any(|window| window == part.as_bytes())
        };
        assert!(!holds(part));
        let public = world.key().public().to_line();
        assert!(holds(&public), "the public key is there");
    }
    world.server.restart();
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), text);
}

#[test]
fn a_server_with_another_key_does_not_start() {
    let mut world = world();
    world.queue();
    assert!(world.server.terminate().success());
    let path = world.server.setup().data_dir().join("sign.key");
    let kept = std::fs::read(&path).expect("reads");
    let setup = world.server.into_setup();
    let other = hyprbox_signing::SignKey::generate("");
    std::fs::write(&path, other.to_file().as_bytes()).expect("writes");
    let line = refused(&setup);
    assert!(line.contains("does not hold the key"), "{line}");
    std::fs::write(&path, "nonsense").expect("writes");
    let line = refused(&setup);
    assert!(line.contains("OpenSSH"), "{line}");
    std::fs::write(&path, kept).expect("writes");
    setup.start();
}

#[test]
fn a_lost_key_is_replaced_unless_another_server_may_have_it() {
    let mut world = world();
    assert!(world.server.terminate().success());
    let path = world.server.setup().data_dir().join("sign.key");
    let lost = world.key().public().fingerprint();
    let setup = world.server.into_setup();
    std::fs::remove_file(&path).expect("removes");
    if setup.database().sqlite().is_some() {
        let server = setup.start();
        let words = "the sign key was missing, so the server has created another one";
        server.wait_for_log(&[words]);
        let new = std::fs::read_to_string(&path).expect("a new key");
        let new = hyprbox_signing::SignKey::parse(&new).expect("a key");
        assert_ne!(new.public().fingerprint(), lost);
        return;
    }
    let line = refused(&setup);
    for words in [
        "sign.key",
        "missing",
        "HYPRBOX_SIGN_KEY_FILE",
        "--compromised",
        &lost,
    ] {
        assert!(line.contains(words), "{line}");
    }
    assert!(!path.exists(), "no key was made");
}

#[test]
fn every_job_is_signed_and_ssh_keygen_verifies_it() {
    let world = world();
    let folder = world.folder.path();
    std::fs::write(
        folder.join("allowed"),
        format!("server {}", world.sign_keys()),
    )
    .expect("writes");
    let single = world.queue();
    let body = json!({"preset": "vault", "nodes": ["n1"], "params": {"key": "swordfish"}, "expiresInSeconds": 600});
    let run = world.admin.post("/api/runs", &body).gives(201).json();
    let run_id = id_of(&run);
    let shown = world.admin.get(&format!("/api/runs/{run_id}")).ok();
    let of_run = shown["jobs"][0].field("id");
    let verifies = |job: &serde_json::Value, message: &str| {
        std::fs::write(folder.join("job.sig"), job.field("signature")).expect("writes");
        let mut child = Command::new("ssh-keygen")
            .args([
                "-Y",
                "verify",
                "-f",
                "allowed",
                "-I",
                "server",
                "-n",
                "hyprbox-job-v1",
                "-s",
                "job.sig",
            ])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("OpenSSH is installed");
        child
            .stdin
            .take()
            .expect("stdin")
            .write_all(message.as_bytes())
            .expect("writes");
        let output = child.wait_with_output().expect("ends");
        String::from_utf8_lossy(&output.stdout).contains("Good")
    };
    for id in [&single, &of_run] {
        let job = world.node.claim();
        assert_eq!(&id_of(&job), id);
        let envelope = job.field("envelope");
        assert!(!envelope.contains('\n'));
        assert!(verifies(&job, &envelope), "{envelope}");
        assert!(!verifies(&job, &envelope.replacen("n1", "n2", 1)));
        let parsed = world.envelope(id);
        let detail = world.admin.job(id);
        assert_eq!(parsed.node, "n1");
        assert_eq!(parsed.by, "admin@example.org");
        assert_eq!(parsed.kind, "apply");
        assert_eq!(parsed.preset, detail.field("preset"));
        assert_eq!(parsed.script_sha256, detail.field("scriptSha256"));
        assert_eq!(parsed.created_at, detail.field("createdAt"));
        assert_eq!(parsed.expires_at.as_deref(), detail["expiresAt"].as_str());
        assert_eq!(json!(parsed.timeout_seconds), detail["timeoutSeconds"]);
        // The nonce travels only with secrets.
        let has_secret = id == &of_run;
        assert_eq!(parsed.secrets_digest.is_some(), has_secret);
        assert_eq!(job["secretsNonce"].is_string(), has_secret, "{job}");
        assert_eq!(job.get("personSignature"), None);
        world.node.succeed(id);
    }
}

#[test]
fn a_rotation_is_followed_and_what_the_old_key_signs_afterwards_is_refused() {
    let world = world();
    let agent = world.agent();
    let first = world.queue();
    assert_eq!(world.done(&first)["status"], "SUCCEEDED");
    let old = world.key();
    drop(agent);
    // Queued before the rotations, and by an agent that was away for two of them.
    let before = world.queue();
    for _ in 0..2 {
        let output = world.server.setup().run(&["admin", "rotate-sign-key"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(text.contains(&world.key().public().fingerprint()), "{text}");
    }
    assert_ne!(world.key().public(), old.public());
    // The old key counts until the end of the second of its rotation.
    let rotated = world
        .server
        .database()
        .number("SELECT count(*) FROM sign_keys");
    assert_eq!(rotated, 3);
    let after = world.queue();
    let forged = world.queue();
    world.sign_with(&old, &forged, |envelope| {
        envelope.created_at = "2999-01-01T00:00:00.000Z".to_owned();
    });
    let _agent = world.agent();
    assert_eq!(world.done(&before)["status"], "SUCCEEDED");
    assert_eq!(world.done(&after)["status"], "SUCCEEDED");
    world.is_refused(&forged, "has replaced the key");
    assert_eq!(world.marks(), 3);
    let audit = world.admin.get("/api/audit?limit=50").ok().list("entries");
    let rotations = audit
        .iter()
        .filter(|entry| entry["action"] == "sign_key.rotate");
    assert_eq!(rotations.count(), 2);
}

#[test]
fn a_stolen_key_is_replaced_without_its_word() {
    let world = world();
    let stolen = world.key();
    let waiting = world.queue();
    let output = world
        .server
        .setup()
        .run(&["admin", "rotate-sign-key", "--compromised"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && text.contains("Cancelled 1 queued jobs"),
        "{text}"
    );
    let job = world.done(&waiting);
    assert_eq!(
        (&job["status"], &job["errorMsg"]),
        (
            &json!("CANCELLED"),
            &json!("cancelled: the server's sign key was replaced")
        )
    );
    // A node that was not enrolled again trusts only the stolen key.
    let agent = world.agent();
    let refused = world.queue();
    world.is_refused(&refused, "enrol the node again");
    drop(agent);
    std::fs::write(world.file("trusted_servers"), world.sign_keys()).expect("writes");
    let agent = world.agent();
    let id = world.queue();
    assert_eq!(world.done(&id)["status"], "SUCCEEDED");
    drop(agent);
    let forged = world.queue();
    world.sign_with(&stolen, &forged, |_| {});
    let _agent = world.agent();
    world.is_refused(&forged, "does not know the key");
    assert_eq!(world.marks(), 1);
}

/// The server that runs has opened the old key; the next job is signed with the new one.
#[test]
fn a_running_server_signs_with_the_new_key_after_a_rotation() {
    let world = world();
    let key_of = |id: &str| {
        let stored = world.admin.get(&format!("/api/jobs/{id}/signatures")).ok();
        let signature = hyprbox_signing::SshSignature::parse(&stored.field("signature"));
        signature.expect("a signature").key().clone()
    };
    let old = world.key();
    assert_eq!(&key_of(&world.queue()), old.public());
    let rotated = world.server.setup().run(&["admin", "rotate-sign-key"]);
    assert!(rotated.status.success());
    let new = world.key();
    assert_ne!(new.public(), old.public());
    crate::harness::eventually("the new key", || {
        (&key_of(&world.queue()) == new.public()).then_some(())
    });
}

/// Only on PostgreSQL: a second server whose copy of the key file was not replaced.
#[test]
fn a_replica_with_an_outdated_key_queues_nothing_until_it_has_the_new_file() {
    let world = world();
    let database = world.server.database();
    if database.sqlite().is_some() {
        return;
    }
    let of_first = world.server.setup().data_dir();
    let path = |name: &str| of_first.join(name).display().to_string();
    let copy = world.file("sign.key").display().to_string();
    std::fs::copy(path("sign.key"), &copy).expect("copies");
    let second = Setup::new()
        .with("HYPRBOX_DATABASE_URL", &database.url())
        .with("HYPRBOX_SECRET_KEY_FILE", &path("secret.key"))
        .with("HYPRBOX_SIGN_KEY_FILE", &copy)
        .start();
    let admin = world.admin.at_url(second.url());
    let queue = || admin.post("/api/jobs", &json!({"preset": "note", "nodeId": "n1"}));
    queue().gives(201);
    let rotated = world.server.setup().run(&["admin", "rotate-sign-key"]);
    assert!(rotated.status.success());
    let refused = crate::harness::eventually("the second server to notice", || {
        let answer = queue().send();
        (answer.status != 201).then_some(answer)
    });
    assert_eq!(refused.status, 503);
    let refused = refused.json();
    assert_eq!(refused["code"], "cant_sign");
    let message = refused.field("error");
    assert!(message.contains("copy the file from"), "{message}");
    std::fs::copy(path("sign.key"), &copy).expect("copies");
    queue().gives(201);
}

/// An agent from before jobs were signed claims a job and is upgraded while the job runs.
#[test]
fn an_agent_that_is_upgraded_while_its_job_runs_reports_its_end() {
    let world = world();
    let id = world.queue();
    let old = json!({"instance": "one", "intervalSeconds": 30, "agentVersion": "0.0.9"});
    world.node.heartbeat(&old).gives(200);
    assert_eq!(world.node.claim_id(), id);
    let key = world.key().public().fingerprint();
    let new = json!({"instance": "one", "intervalSeconds": 30, "agentVersion": "0.1.0",
        "trustedKeys": [key], "requiresSignatures": true});
    world.node.heartbeat(&new).gives(200);
    let waits = world.queue();
    assert_eq!(world.admin.job(&waits)["holds"][0]["kind"], "signature");
    world.node.succeed(&id);
    assert_eq!(world.admin.job(&id)["status"], "SUCCEEDED");
    // And back: the older agent requires nothing, and gets the job.
    world.node.heartbeat(&old).gives(200);
    assert_eq!(world.node.claim_id(), waits);
    world.node.succeed(&waits);
}

#[test]
fn the_jobs_that_wait_when_an_older_server_is_upgraded_are_signed_once() {
    let setup = Setup::new();
    let database = setup.database();
    version_1(&database);
    let mut server = setup.start();
    let admin = server.admin();
    let id = "019a0000-0000-7000-8000-000000000002";
    let node = admin.agent_of("n1");
    let agent = crate::harness::RealAgent::start(&server, &node);
    let job = crate::harness::eventually("the job's end", || {
        let job = admin.get(&format!("/api/jobs/{id}?scope=all")).ok();
        (job["status"] != "QUEUED" && job["status"] != "RUNNING").then_some(job)
    });
    assert_eq!(job["status"], "SUCCEEDED", "{job}");
    drop(agent);
    // A row that comes later has no envelope and never gets one, whatever starts again.
    database.execute("UPDATE jobs SET status = 'QUEUED', envelope = NULL, signature = NULL");
    server.restart();
    let signed = "SELECT CAST(count(envelope) AS TEXT) FROM jobs";
    assert_eq!(database.texts(signed), ["0"]);
}
