//! Standing envelopes against a hostile server: the agent runs what a signer has signed in advance,
//! within its limits, and counts by itself.

use hyprbox_protocol::{ClaimedJob, to_hex};
use hyprbox_signing::{JOB_NAMESPACE, SignKey, StandingEnvelope};
use ring::digest::{SHA256, digest};

use crate::signed::{World, at, person_signs, sign, world};

/// A node that requires Ada's signature, and her key.
fn with_ada() -> (World, SignKey) {
    let mut world = world();
    let ada = SignKey::generate("");
    world.require(&format!("ada {}\n", ada.public().to_line()));
    (world, ada)
}

/// Signs the job as the server, and gives it a standing envelope that `edit` has changed.
fn cover(
    job: &mut ClaimedJob,
    server: &SignKey,
    person: &SignKey,
    edit: impl FnOnce(&mut StandingEnvelope),
) {
    sign(job, server, |_| {});
    let mut standing = StandingEnvelope {
        v: 1,
        server: "0199".to_owned(),
        schedule: "0199-schedule".to_owned(),
        preset: job.preset.clone(),
        script_sha256: to_hex(digest(&SHA256, job.script.as_bytes())),
        nodes: vec!["node-0".to_owned(), "node-1".to_owned()],
        from: at("1 hour ago"),
        until: at("1 day"),
        max_per_day: 2,
    };
    edit(&mut standing);
    let json = standing.to_json();
    job.standing_signature = Some(person.sign(JOB_NAMESPACE, json.as_bytes()));
    job.standing_envelope = Some(json);
}

#[test]
fn a_standing_envelope_counts_only_for_what_it_names() {
    let (world, ada) = with_ada();
    let _agent = world.node.start();
    let refuses = |reason: &str, words: &str, edit: fn(&mut StandingEnvelope)| {
        world.refuses(reason, words, |job| cover(job, &world.key, &ada, edit));
    };
    refuses("node", "does not name this node", |standing| {
        standing.nodes = vec!["node-2".to_owned()];
    });
    refuses("script", "another script", |standing| {
        standing.script_sha256 = "ab".repeat(32);
    });
    refuses("job", "another preset", |standing| {
        standing.preset = "other".to_owned();
    });
    refuses("job", "another server", |standing| {
        standing.server = "other".to_owned();
    });
    refuses("limit", "counts only from", |standing| {
        standing.from = at("1 hour");
    });
    refuses("limit", "has ended at", |standing| {
        standing.until = at("1 second ago");
    });
    refuses("limit", "allows 0 jobs a day", |standing| {
        standing.max_per_day = 0;
    });
    refuses("version", "upgrade the agent", |standing| standing.v = 2);
    refuses("malformed", "a time that can't be read", |standing| {
        standing.until = "tomorrow".to_owned();
    });
    let eve = SignKey::generate("");
    world.refuses("signer", "not one of this node's signers", |job| {
        cover(job, &world.key, &eve, |_| {});
    });
    world.refuses("signer", "not one of this node's signers", |job| {
        cover(job, &world.key, &world.key, |_| {});
    });
    world.refuses("unsigned", "nobody has signed this one", |job| {
        cover(job, &world.key, &ada, |_| {});
        job.standing_signature = None;
    });
    // Neither kind of envelope stands for the other.
    world.refuses("malformed", "the standing envelope can't be read", |job| {
        sign(job, &world.key, |_| {});
        person_signs(job, &ada);
        job.standing_envelope.clone_from(&job.envelope);
        job.standing_signature = job.person_signature.take();
    });
    world.refuses("malformed", "can't be read", |job| {
        cover(job, &world.key, &ada, |_| {});
        job.standing_envelope = Some("{}".to_owned());
        job.standing_signature = Some(ada.sign(JOB_NAMESPACE, b"{}"));
    });
    // The server's checks hold as well.
    world.refuses("script", "SHA-256", |job| {
        cover(job, &world.key, &ada, |_| {});
        job.script.push_str("\ntrue");
    });
    for share in 0..8 {
        world.refuses("signature", "does not verify", |job| {
            cover(job, &world.key, &ada, |_| {});
            let mut bytes = job.standing_envelope.take().expect("a text").into_bytes();
            let at = bytes.len() * share / 8;
            bytes[at] ^= 1;
            job.standing_envelope = Some(String::from_utf8(bytes).expect("ASCII"));
        });
    }
    world.runs(|job| cover(job, &world.key, &ada, |_| {}));
}

#[test]
fn the_agent_counts_by_itself_across_restarts() {
    let (world, ada) = with_ada();
    let agent = world.node.start();
    let cover_all = |job: &mut ClaimedJob| cover(job, &world.key, &ada, |_| {});
    world.runs(cover_all);
    drop(agent);
    let _agent = world.node.start();
    world.runs(cover_all);
    world.refuses(
        "limit",
        "allows 2 jobs a day (UTC) on this node, and 2 have run",
        cover_all,
    );
    // Another envelope for the same schedule does not start again.
    world.refuses("limit", "and 2 have run", |job| {
        cover(job, &world.key, &ada, |standing| {
            standing.until = at("2 days")
        });
    });
    world.runs(|job| {
        cover(job, &world.key, &ada, |standing| {
            standing.schedule = "another".to_owned();
        });
    });
    // A person's own signature is not counted.
    world.runs(|job| {
        sign(job, &world.key, |_| {});
        person_signs(job, &ada);
    });
    // A new day, in UTC, by the latest time that the node has seen.
    world.runs(|job| {
        sign(job, &world.key, |envelope| {
            envelope.created_at = at("1 day")
        });
        person_signs(job, &ada);
    });
    world.runs(|job| {
        cover(job, &world.key, &ada, |standing| {
            standing.until = at("3 days")
        });
    });
}
