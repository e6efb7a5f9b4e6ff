//! Upgrades of the agent on a node with signers: a job installs only the program that a signer has
//! named, whatever the server offers.

use hyprbox_signing::{JOB_NAMESPACE, SignKey};
use serde_json::{Value, json};
use sha2::Digest;

use crate::agent_upgrade::{Machine, NEWER, Shipping, agent_of};
use crate::harness::{Field, Person, eventually};

const OWN: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A node that runs only what Ada has signed, with its agent.
fn node(shipping: &Shipping, ada: &SignKey) -> Machine {
    let mut node = shipping.node();
    let signers = node.at("signers");
    std::fs::write(&signers, format!("ada {}\n", ada.public().to_line())).expect("writes");
    let signers = signers.display().to_string();
    node.variables.push(("HYPRBOX_SIGNERS".to_owned(), signers));
    node.start();
    eventually("the node to require signatures", || {
        (shipping.view()["requiresSignatures"] == true).then_some(())
    });
    node
}

fn sign(admin: &Person, id: &str, key: &SignKey) {
    let envelope = admin.get(&format!("/api/jobs/{id}/envelope")).gives(200);
    let signature = key.sign(JOB_NAMESPACE, envelope.text().as_bytes());
    let body = json!({"signature": signature});
    admin
        .post(&format!("/api/jobs/{id}/signatures"), &body)
        .ok();
}

#[test]
fn a_job_installs_only_the_program_that_a_signer_has_named() {
    let newer = agent_of(NEWER);
    let shipping = Shipping::start(&newer);
    let admin = &shipping.admin;
    let [ada, eve] = ["ada", "eve"].map(SignKey::generate);
    let node = node(&shipping, &ada);
    let before = std::fs::read(node.program()).expect("reads");
    let run = |preset: &str, params: Value, key: &SignKey| {
        let id = admin.queue_with("n1", preset, params);
        sign(admin, &id, key);
        let job = shipping.end_of(&id);
        let log = admin.log(&id, "both");
        (job, String::from_utf8(log).expect("UTF-8"))
    };
    let is_refused = |(job, log): (Value, String), words: &str| {
        assert_eq!(job["status"], "FAILED", "{log}");
        assert!(log.contains(words), "{log}");
        assert!(std::fs::read(node.program()).expect("reads") == before);
    };
    is_refused(run("agent-upgrade", json!({}), &ada), "this job names none");
    let other = json!({"sha256": "0".repeat(64)});
    is_refused(run("agent-upgrade", other, &ada), "which was named");
    let named = || json!({"sha256": sha256(&newer)});
    let (job, _) = run("agent-upgrade", named(), &eve);
    let message = job.field("errorMsg");
    assert!(message.contains("not one of this node's signers"), "{job}");
    // The server offers another program than the one that was signed.
    let evil = [newer.as_slice(), b"evil"].concat();
    shipping.ship(&evil);
    is_refused(run("agent-upgrade", named(), &ada), "which was named");
    shipping.ship(&newer);
    let (job, log) = run("agent-upgrade", named(), &ada);
    assert_eq!(job["status"], "SUCCEEDED", "{log}");
    let is_now = |version: &str| {
        assert_eq!(
            node.version("hyprbox-agent"),
            format!("hyprbox-agent {version}\n")
        );
    };
    is_now(NEWER);
    // A job brings the old program back only if the job names it.
    let back =
        |more: &str| json!({"code": format!("{} upgrade --back {more}", node.program().display())});
    let (job, log) = run("shell", back(""), &ada);
    assert_eq!(job["status"], "FAILED", "{log}");
    assert!(log.contains("this job names none"), "{log}");
    is_now(NEWER);
    // Root at the machine is not restricted.
    node.upgrades(&["--back"], &format!("is {OWN} again"));
    is_now(OWN);
    shipping.ship(&evil);
    node.upgrades(&[], &format!("the server ships {NEWER}"));
    is_now(NEWER);
    let (job, log) = run(
        "shell",
        back(&format!("--sha256 {}", sha256(&before))),
        &ada,
    );
    assert_eq!(job["status"], "SUCCEEDED", "{log}");
    is_now(OWN);
}

#[test]
fn without_signers_a_job_may_name_a_program_and_need_not() {
    let newer = agent_of(NEWER);
    let shipping = Shipping::start(&newer);
    let mut node = shipping.node();
    node.start();
    let run = |params: Value| {
        let id = shipping.admin.queue_with("n1", "agent-upgrade", params);
        shipping.end_of(&id).field("status")
    };
    assert_eq!(run(json!({"sha256": "0".repeat(64)})), "FAILED");
    assert_eq!(run(json!({"sha256": sha256(&newer)})), "SUCCEEDED");
    assert_eq!(run(json!({})), "SUCCEEDED");
    let body = json!({"preset": "agent-upgrade", "nodeId": "n1", "params": {"sha256": "XY"}});
    shipping
        .admin
        .post("/api/jobs", &body)
        .refused(400, "bad_input");
}
