//! Somebody who writes the database: each attack is refused, and the job says why.

use hyprbox_signing::{Envelope, JOB_NAMESPACE, SignKey};
use serde_json::json;

use super::{World, world};
use crate::harness::{Field, RealAgent, id_of};

/// What an attacker does to a queued job, by its id and the id of another queued job.
struct Attack {
    sql: fn(&str, &str) -> String,
    reason: &'static str,
    words: &'static str,
}

const EVIL: &str = "id -un";

const ATTACKS: &[Attack] = &[
    Attack {
        sql: |id, _| format!("UPDATE jobs SET script = '{EVIL}' WHERE id = '{id}'"),
        reason: "script",
        words: "the script was changed after the job was queued",
    },
    Attack {
        sql: |id, _| {
            let sha256 = evil_sha256();
            format!(
                "UPDATE jobs SET script = '{EVIL}', script_sha256 = '{sha256}' WHERE id = '{id}'"
            )
        },
        reason: "script",
        words: "SHA-256 differs",
    },
    Attack {
        sql: |id, _| format!("UPDATE jobs SET timeout_seconds = 86400 WHERE id = '{id}'"),
        reason: "job",
        words: "timeout",
    },
    Attack {
        sql: |id, _| format!("UPDATE jobs SET preset = 'note' WHERE id = '{id}'"),
        reason: "job",
        words: "preset",
    },
    Attack {
        sql: |id, other| {
            format!(
                "UPDATE jobs SET signature = (SELECT signature FROM jobs AS theirs WHERE theirs.id = '{other}') WHERE id = '{id}'"
            )
        },
        reason: "signature",
        words: "does not verify",
    },
    Attack {
        sql: |id, other| {
            format!(
                "UPDATE jobs SET envelope = (SELECT envelope FROM jobs AS theirs WHERE theirs.id = '{other}'),
                     signature = (SELECT signature FROM jobs AS theirs WHERE theirs.id = '{other}') WHERE id = '{id}'"
            )
        },
        reason: "job",
        words: "the envelope is for the job",
    },
    Attack {
        sql: |id, _| format!("UPDATE jobs SET envelope = NULL, signature = NULL WHERE id = '{id}'"),
        reason: "unsigned",
        words: "no envelope or signature",
    },
    Attack {
        sql: |id, _| {
            format!(
                "UPDATE jobs SET envelope = replace(envelope, '\"node\":\"n1\"', '\"node\":\"n2\"') WHERE id = '{id}'"
            )
        },
        reason: "signature",
        words: "does not verify",
    },
    Attack {
        sql: |id, _| format!("UPDATE jobs SET signature = 'none' WHERE id = '{id}'"),
        reason: "malformed",
        words: "can't be read",
    },
];

/// The SHA-256 of the attacker's script, as the attacker computes it.
fn evil_sha256() -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(EVIL);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_job_that_was_changed_in_the_database_never_runs() {
    let world = world();
    let other = world.queue();
    let jobs: Vec<String> = ATTACKS.iter().map(|_| world.queue()).collect();
    for (attack, id) in ATTACKS.iter().zip(&jobs) {
        let sql = (attack.sql)(id, &other);
        assert_eq!(world.server.database().execute(&sql), 1, "{sql}");
    }
    let _agent = world.agent();
    assert_eq!(world.done(&other)["status"], "SUCCEEDED");
    for (attack, id) in ATTACKS.iter().zip(&jobs) {
        world.is_refused(id, attack.words);
    }
    assert_eq!(world.marks(), 1, "only the job that nobody changed");
    for reason in ["script", "job", "signature", "unsigned", "malformed"] {
        let expected = ATTACKS.iter().filter(|attack| attack.reason == reason);
        assert_eq!(world.refused(reason), expected.count() as u64, "{reason}");
    }
    // The node shows how many, and the last one.
    let node = world.admin.get("/api/nodes/n1").ok();
    let last = jobs.last().expect("a job");
    assert_eq!(node["refused"]["count"], json!(ATTACKS.len()));
    assert_eq!(node["refused"]["jobId"], json!(last));
    let because = node["refused"].field("because");
    assert!(
        because.starts_with("the server's signature can't be read"),
        "{because}"
    );
}

#[test]
fn a_job_that_was_moved_to_another_node_never_runs() {
    let world = world();
    world.admin.add_node("n2");
    let id = world.admin.queue_with("n2", "shell", json!({"code": "id"}));
    let sql = format!("UPDATE jobs SET node_id = 'n1' WHERE id = '{id}'");
    assert_eq!(world.server.database().execute(&sql), 1);
    let _agent = world.agent();
    world.is_refused(&id, "the envelope is for the node n2");
    assert_eq!(world.refused("node"), 1);
}

/// Params are in the script, which is signed. What else the row says about them is for reading.
#[test]
fn params_that_were_changed_in_the_database_change_nothing_that_runs() {
    let world = world();
    let id = world.queue();
    let sql = format!("UPDATE jobs SET params = '{{\"code\":\"id\"}}' WHERE id = '{id}'");
    assert_eq!(world.server.database().execute(&sql), 1);
    let _agent = world.agent();
    assert_eq!(world.done(&id)["status"], "SUCCEEDED");
    assert_eq!(world.marks(), 1, "what was queued");
}

#[test]
fn secrets_that_were_taken_away_or_swapped_in_the_database_reach_no_script() {
    let world = world();
    let queue = |key: &str| world.admin.queue_with("n1", "vault", json!({"key": key}));
    let [first, second, third] = ["swordfish", "halibut", "mackerel"].map(queue);
    let database = world.server.database();
    database.execute(&format!("DELETE FROM job_secrets WHERE job_id = '{first}'"));
    database.execute(&format!(
        "UPDATE job_secrets SET sealed = (SELECT sealed FROM job_secrets AS theirs WHERE theirs.job_id = '{third}')
         WHERE job_id = '{second}'"
    ));
    let _agent = world.agent();
    world.is_refused(&first, "the secrets are not those that were signed");
    assert_eq!(world.refused("secrets"), 1);
    let second = world.done(&second);
    assert_eq!(
        (&second["status"], &second["errorMsg"]),
        (&json!("FAILED"), &json!("secret can't be unsealed"))
    );
    assert_eq!(world.done(&third)["status"], "SUCCEEDED");
}

#[test]
fn a_row_that_somebody_inserts_never_runs() {
    let world = world();
    let id = world.queue();
    let copy = |new: &str, columns: &str| {
        format!(
            "INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds,
                 script_sha256, lines, params, script, queue_no{columns})
             SELECT '{new}', status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds,
                 script_sha256, lines, params, script, queue_no + 1{columns} FROM jobs WHERE id = '{id}'"
        )
    };
    let bare = "01990000-0000-7000-8000-000000000001";
    let copied = "01990000-0000-7000-8000-000000000002";
    let database = world.server.database();
    assert_eq!(database.execute(&copy(bare, "")), 1);
    assert_eq!(database.execute(&copy(copied, ", envelope, signature")), 1);
    let _agent = world.agent();
    world.is_refused(bare, "no envelope or signature");
    world.is_refused(copied, &format!("the envelope is for the job {id}"));
    assert_eq!(world.done(&id)["status"], "SUCCEEDED");
    assert_eq!(world.marks(), 1);
}

/// An agent from before jobs were signed checks nothing, so the server itself hands out no row
/// without an envelope.
#[test]
fn an_older_agent_gets_no_row_that_somebody_inserted() {
    let world = world();
    let id = world.queue();
    let sql = format!("UPDATE jobs SET envelope = NULL WHERE id = '{id}'");
    assert_eq!(world.server.database().execute(&sql), 1);
    world.node.finds_nothing("");
    world.is_refused(&id, "no envelope or signature");
}

#[test]
fn a_row_that_was_set_back_runs_no_second_time() {
    let world = world();
    let id = world.queue();
    let mut agent = world.agent();
    assert_eq!(world.done(&id)["status"], "SUCCEEDED");
    let database = world.server.database();
    let set_back = format!(
        "UPDATE jobs SET status = 'QUEUED', started_at = NULL, finished_at = NULL, exit_code = NULL, claimed_by = NULL,
             claimed_process = NULL, complete_digest = NULL WHERE id = '{id}'"
    );
    assert_eq!(database.execute(&set_back), 1);
    // The agent answers with the end that the job had.
    assert_eq!(world.done(&id)["status"], "SUCCEEDED");
    // An agent that has forgotten the end has not forgotten the job.
    agent.terminate();
    std::fs::remove_file(agent.state().join("ended")).expect("removes");
    agent.start_again();
    assert_eq!(database.execute(&set_back), 1);
    let job = world.done(&id);
    assert_eq!(job["errorMsg"], "this node has already run this job");
    assert_eq!(world.refused("replayed"), 1);
    assert_eq!(world.marks(), 1);
}

#[test]
fn an_expiry_that_was_moved_in_the_database_revives_no_job() {
    let world = world();
    let body = json!({"preset": "note", "nodeId": "n1", "expiresInSeconds": 60});
    let job = world.admin.post("/api/jobs", &body).gives(201).json();
    let id = id_of(&job);
    let envelope = world.envelope(&id);
    assert_eq!(envelope.expires_at.as_deref(), job["expiresAt"].as_str());
    let sql = format!("UPDATE jobs SET expires_at = NULL WHERE id = '{id}'");
    assert_eq!(world.server.database().execute(&sql), 1);
    // The node has seen a later time than the expiry, and its clock was set back since.
    let later = hyprbox_signing::millis_of_rfc3339(&job.field("expiresAt")).expect("a time") + 1;
    let state = world.file("state");
    std::fs::create_dir(&state).expect("creates");
    std::fs::write(state.join("latest-time"), later.to_string()).expect("writes");
    let _agent = RealAgent::with_state(&world.server, &world.node, &state);
    world.is_refused(&id, "has expired at");
    assert_eq!(world.refused("expired"), 1);
}

/// Somebody who writes the database and has a key, but not the server's.
#[test]
fn a_job_that_another_key_signed_never_runs() {
    let world = world();
    let id = world.queue();
    world.sign_with(&SignKey::generate("mine"), &id, |_| {});
    let _agent = world.agent();
    world.is_refused(&id, "does not know the key SHA256:");
    assert_eq!(world.refused("signer"), 1);
    assert_eq!(world.marks(), 0);
}

impl World {
    /// The envelope of a queued job.
    pub(super) fn envelope(&self, id: &str) -> Envelope {
        let query = format!("SELECT envelope FROM jobs WHERE id = '{id}'");
        let texts = self.server.database().texts(&query);
        Envelope::parse(&texts[0]).expect("an envelope")
    }

    /// Signs a queued job with a key, in the database.
    pub(super) fn sign_with(&self, key: &SignKey, id: &str, edit: impl FnOnce(&mut Envelope)) {
        let mut envelope = self.envelope(id);
        edit(&mut envelope);
        let json = envelope.to_json();
        let signature = key.sign(JOB_NAMESPACE, json.as_bytes());
        let sql = format!(
            "UPDATE jobs SET envelope = '{json}', signature = '{signature}' WHERE id = '{id}'"
        );
        assert_eq!(self.server.database().execute(&sql), 1);
    }
}

/// A migration signs what is queued, once; the database can't ask for it again.
#[test]
fn a_database_that_forgets_its_key_makes_the_server_sign_nothing() {
    let mut world = world();
    let id = world.queue();
    world.server.kill9();
    world.server.database().execute_all(&format!(
        "DELETE FROM sign_keys; UPDATE jobs SET script = '{EVIL}', script_sha256 = '{}', envelope = NULL, signature = NULL
         WHERE id = '{id}';",
        evil_sha256()
    ));
    world.server.start_again();
    let envelopes = "SELECT CAST(count(envelope) AS TEXT) FROM jobs";
    assert_eq!(world.server.database().texts(envelopes), ["0"]);
    let node = world.node.at(&world.server);
    node.finds_nothing("");
    world.admin = world.server.admin();
    world.is_refused(&id, "no envelope or signature");
}
