//! What pages and `hyprbox doctor` say about signatures.

use std::process::Command;

use hyprbox_signing::{JOB_NAMESPACE, SignKey};
use serde_json::{Value, json};

use super::world;
use crate::harness::{Field, Person};

fn page(person: &Person, path: &str) -> String {
    person.browser("GET", path).gives(200).text()
}

/// The commands on a job's page that verify its signatures.
fn verify_commands(person: &Person, id: &str) -> Vec<String> {
    let page = page(person, &format!("/jobs/{id}"));
    let plain = |text: &str| {
        let text = text.replace("&lt;", "<").replace("&gt;", ">");
        text.replace("&quot;", "\"").replace("&amp;", "&")
    };
    let blocks = page.split("<pre class=\"code\" tabindex=\"0\">").skip(1);
    blocks
        .filter_map(|block| block.split("</pre>").next())
        .filter(|block| block.contains("ssh-keygen -Y verify"))
        .map(plain)
        .collect()
}

fn says(command: &str) -> String {
    let output = Command::new("bash").args(["-c", command]).output();
    String::from_utf8_lossy(&output.expect("bash runs").stdout).into_owned()
}

#[test]
fn the_page_of_a_job_shows_how_to_sign_it_and_commands_that_verify_it() {
    let world = world();
    let beat = json!({"instance": "one", "intervalSeconds": 30, "requiresSignatures": true, "trustedKeys": []});
    world.node.heartbeat(&beat).gives(200);
    let id = world.queue();
    let sign = format!("hyprbox jobs sign {id}");
    assert!(page(&world.admin, &format!("/jobs/{id}")).contains(&sign));
    let commands = verify_commands(&world.admin, &id);
    assert_eq!(commands.len(), 1);
    let key = world.key().public().fingerprint();
    assert_eq!(
        says(&commands[0]),
        format!("Good \"{JOB_NAMESPACE}\" signature for server with ED25519 key {key}\n")
    );
    let altered = commands[0].replacen("\"node\":\"n1\"", "\"node\":\"n2\"", 1);
    assert_ne!(altered, commands[0]);
    assert_eq!(says(&altered), "Could not verify signature.\n");
    let ada = SignKey::generate("it's <ada>");
    let envelope = world.admin.get(&format!("/api/jobs/{id}/envelope"));
    let signature = ada.sign(JOB_NAMESPACE, envelope.gives(200).text().as_bytes());
    let body = json!({"signature": signature, "comment": ada.comment()});
    world
        .admin
        .post(&format!("/api/jobs/{id}/signatures"), &body)
        .ok();
    let shown = page(&world.admin, &format!("/jobs/{id}"));
    assert!(!shown.contains(&sign));
    assert!(shown.contains("it's &lt;ada&gt;"), "{shown}");
    let commands = verify_commands(&world.admin, &id);
    assert_eq!(commands.len(), 2);
    let key = ada.public().fingerprint();
    assert_eq!(
        says(&commands[1]),
        format!("Good \"{JOB_NAMESPACE}\" signature for person with ED25519 key {key}\n")
    );
}

/// The findings of `hyprbox doctor` about signatures.
fn findings(world: &super::World) -> Vec<Value> {
    let output = world.server.setup().run(&["doctor", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = answer.list("findings");
    let is_about = |finding: &Value| finding["what"] == "signing";
    findings.into_iter().filter(is_about).collect()
}

#[test]
fn doctor_and_the_nodes_page_say_what_an_attacker_with_the_database_can_still_do() {
    let world = world();
    assert_eq!(findings(&world), [] as [Value; 0], "no agent has connected");
    let own = world.key().public().fingerprint();
    for (reported, health, words) in [
        (json!({}), "warn", "can run any script here as root"),
        (
            json!({"trustedKeys": []}),
            "warn",
            "can make the agent trust a key of their own",
        ),
        (
            json!({"trustedKeys": ["SHA256:other"]}),
            "warn",
            "are refused",
        ),
        (
            json!({"trustedKeys": [own]}),
            "ok",
            "can make themselves an ADMIN",
        ),
        (
            json!({"trustedKeys": [own], "requiresSignatures": true}),
            "ok",
            "no signer of the node has signed",
        ),
    ] {
        let mut beat = json!({"instance": "one", "intervalSeconds": 30, "agentVersion": "0.1.0"});
        beat.as_object_mut()
            .expect("an object")
            .extend(reported.as_object().expect("an object").clone());
        world.node.heartbeat(&beat).gives(200);
        let shown = page(&world.admin, "/nodes/n1").replace("&#39;", "'");
        assert!(shown.contains(words), "{words}: {shown}");
        let found = findings(&world);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["health"], health, "{found:?}");
        let seen = found[0].field("seen");
        assert!(seen.starts_with("n1: ") && seen.contains(words), "{seen}");
        let names_key = reported["trustedKeys"] == json!([own]);
        if names_key {
            assert!(shown.contains(&own) && seen.contains(&own), "{seen}");
        }
    }
    // After a rotation the agent follows with its next job.
    let beat = json!({"instance": "one", "intervalSeconds": 30, "agentVersion": "0.1.0", "trustedKeys": [own]});
    let rotated = world.server.setup().run(&["admin", "rotate-sign-key"]);
    assert!(rotated.status.success());
    world.node.heartbeat(&beat).gives(200);
    world.queue();
    let words = "learns with its next job";
    assert!(page(&world.admin, "/nodes/n1").contains(words));
    assert!(findings(&world)[0].field("seen").contains(words));
}
