//! Signed jobs: an agent runs what its server has signed, and nothing else. The server of these
//! tests is hostile: it has the agent's token, and sends whatever an attacker would. One file,
//! because all tests share that server.

use std::path::PathBuf;
use std::process::Command;

use hyprbox_protocol::{ClaimedJob, CompleteRequest, Secrets, SignKeyChange, to_hex};
use hyprbox_signing::{
    Envelope, JOB_NAMESPACE, KeyChange, ROTATION_NAMESPACE, SignKey, secrets_digest,
};
use ring::digest::{SHA256, digest};

use crate::agent::{Agent, Node};
use crate::server::Server;

/// A node whose agent knows its server's key.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) node: Node,
    pub(super) key: SignKey,
}

pub(super) fn world() -> World {
    let world = unpinned();
    world.trust(&world.key.public().to_line());
    world
}

/// A node whose agent knows no key yet.
pub(super) fn unpinned() -> World {
    let server = Server::start();
    let mut node = Node::new(&server);
    let trusted = node.dir.path().join("trusted_servers");
    node.set("HYPRBOX_TRUSTED_SERVERS", trusted.display().to_string());
    World {
        server,
        node,
        key: SignKey::generate("server"),
    }
}

impl World {
    pub(super) fn trusted(&self) -> PathBuf {
        self.node.dir.path().join("trusted_servers")
    }

    pub(super) fn trust(&self, lines: &str) {
        std::fs::write(self.trusted(), lines).expect("writes");
    }

    /// Requires signatures by these people.
    pub(super) fn require(&mut self, signers: &str) {
        let path = self.node.dir.path().join("signers");
        std::fs::write(&path, signers).expect("writes");
        self.node.set("HYPRBOX_SIGNERS", path.display().to_string());
    }

    /// Queues a job whose script leaves a mark, and waits for its end. Whether it left the mark.
    fn run(&self, edit: impl FnOnce(&mut ClaimedJob)) -> (CompleteRequest, bool) {
        let mark = self.node.dir.path().join("mark");
        let script = format!("touch {}", mark.display());
        let id = self.server.queue_with(&script, edit);
        let end = self.server.wait_end(&id);
        let ran = mark.exists();
        let _removed = std::fs::remove_file(&mark);
        (end, ran)
    }

    /// The job runs.
    #[track_caller]
    pub(super) fn runs(&self, edit: impl FnOnce(&mut ClaimedJob)) {
        let (end, ran) = self.run(edit);
        assert_eq!((end.exit_code, ran), (Some(0), true), "{end:?}");
        assert_eq!(end.refused, None);
    }

    /// The job is refused for this reason, with these words, and nothing of it runs.
    #[track_caller]
    pub(super) fn refuses(&self, reason: &str, words: &str, edit: impl FnOnce(&mut ClaimedJob)) {
        let (end, ran) = self.run(edit);
        let message = end.error_msg.unwrap_or_default();
        assert!(!ran, "{reason}: it ran");
        assert_eq!(end.refused.as_deref(), Some(reason), "{message}");
        assert!(message.starts_with("refused: "), "{message}");
        assert!(message.contains(words), "{message}");
        assert_eq!(end.exit_code, None);
    }

    /// What the server signs for the job.
    fn signed(&self) -> impl FnOnce(&mut ClaimedJob) {
        |job| sign(job, &self.key, |_| {})
    }
}

/// The time in the form of envelopes.
pub(super) fn at(offset: &str) -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ", "-d", offset])
        .output()
        .expect("date runs");
    String::from_utf8(output.stdout)
        .expect("ASCII")
        .trim()
        .to_owned()
}

/// What an honest server says about the job.
fn envelope_of(job: &ClaimedJob) -> Envelope {
    let nonce = [7; 32];
    Envelope {
        v: 1,
        server: "0199".to_owned(),
        job: job.id.clone(),
        node: "node-1".to_owned(),
        preset: job.preset.clone(),
        kind: "apply".to_owned(),
        script_sha256: to_hex(digest(&SHA256, job.script.as_bytes())),
        timeout_seconds: job.timeout_seconds,
        secrets_digest: (!job.secrets.is_empty()).then(|| secrets_digest(&nonce, &job.secrets)),
        created_at: job.created_at.clone(),
        expires_at: None,
        by: "ada@example.org".to_owned(),
    }
}

/// Signs the job with an envelope that `edit` has changed.
pub(super) fn sign(job: &mut ClaimedJob, key: &SignKey, edit: impl FnOnce(&mut Envelope)) {
    job.created_at = at("now");
    job.script_sha256 = to_hex(digest(&SHA256, job.script.as_bytes()));
    if !job.secrets.is_empty() {
        job.secrets_nonce = Some("07".repeat(32));
    }
    let mut envelope = envelope_of(job);
    edit(&mut envelope);
    job.created_at.clone_from(&envelope.created_at);
    put(job, key, &envelope.to_json());
}

fn put(job: &mut ClaimedJob, key: &SignKey, envelope: &str) {
    job.signature = Some(key.sign(JOB_NAMESPACE, envelope.as_bytes()));
    job.envelope = Some(envelope.to_owned());
}

pub(super) fn person_signs(job: &mut ClaimedJob, key: &SignKey) {
    let envelope = job.envelope.clone().expect("an envelope");
    job.person_signature = Some(key.sign(JOB_NAMESPACE, envelope.as_bytes()));
}

#[test]
fn a_job_that_the_server_signed_runs_and_one_that_it_did_not_is_refused() {
    let world = world();
    let _agent = world.node.start();
    world.runs(world.signed());
    world.refuses("unsigned", "no envelope or signature", |_| {});
    world.refuses("unsigned", "no envelope or signature", |job| {
        sign(job, &world.key, |_| {});
        job.signature = None;
    });
    world.refuses("unsigned", "no envelope or signature", |job| {
        sign(job, &world.key, |_| {});
        job.envelope = None;
    });
    world.refuses("malformed", "can't be read", |job| {
        sign(job, &world.key, |_| {});
        job.signature = Some("-----BEGIN SSH SIGNATURE-----\n".to_owned());
    });
    let stranger = SignKey::generate("");
    world.refuses("signer", &stranger.public().fingerprint(), |job| {
        sign(job, &stranger, |_| {});
    });
    // Signed by the right key, for another purpose.
    world.refuses("signature", "another purpose", |job| {
        sign(job, &world.key, |_| {});
        let envelope = job.envelope.clone().expect("an envelope");
        job.signature = Some(world.key.sign("file", envelope.as_bytes()));
    });
}

#[test]
fn what_differs_from_the_envelope_never_runs() {
    let world = world();
    let _agent = world.node.start();
    world.refuses("node", "node-2", |job| {
        sign(job, &world.key, |envelope| {
            envelope.node = "node-2".to_owned()
        });
    });
    world.refuses("job", "another-job", |job| {
        sign(job, &world.key, |envelope| {
            envelope.job = "another-job".to_owned()
        });
    });
    world.refuses("job", "timeout", |job| {
        sign(job, &world.key, |_| {});
        job.timeout_seconds += 1;
    });
    world.refuses("job", "preset", |job| {
        sign(job, &world.key, |_| {});
        job.preset = "other".to_owned();
    });
    world.refuses("script", "SHA-256", |job| {
        sign(job, &world.key, |_| {});
        job.script.push_str("\n# one more line");
        job.script_sha256 = to_hex(digest(&SHA256, job.script.as_bytes()));
    });
    let secrets = |value: &str| Secrets::from_iter([("token".to_owned(), value.to_owned())]);
    world.runs(|job| {
        job.secrets = secrets("hunter22");
        sign(job, &world.key, |_| {});
    });
    world.refuses("secrets", "the secrets are not", |job| {
        job.secrets = secrets("hunter22");
        sign(job, &world.key, |_| {});
        job.secrets = secrets("hunter23");
    });
    world.refuses("secrets", "the secrets are not", |job| {
        job.secrets = secrets("hunter22");
        sign(job, &world.key, |_| {});
        job.secrets = Secrets::default();
    });
    world.refuses("secrets", "the secrets are not", |job| {
        sign(job, &world.key, |_| {});
        job.secrets = secrets("hunter22");
    });
    world.refuses("secrets", "the secrets are not", |job| {
        job.secrets = secrets("hunter22");
        sign(job, &world.key, |_| {});
        job.secrets_nonce = Some("08".repeat(32));
    });
    world.refuses("version", "upgrade the agent", |job| {
        sign(job, &world.key, |_| {});
        let envelope = job.envelope.clone().expect("an envelope");
        put(job, &world.key, &envelope.replacen("\"v\":1", "\"v\":2", 1));
    });
    world.refuses("malformed", "can't be read", |job| {
        sign(job, &world.key, |_| {});
        put(job, &world.key, "{\"v\":1}");
    });
}

#[test]
fn altered_bytes_of_envelope_and_signature_are_refused() {
    let world = world();
    let _agent = world.node.start();
    let flip = |text: &mut Option<String>, share: usize| {
        let mut bytes = text.take().expect("a text").into_bytes();
        let at = bytes.len() * share / 8;
        bytes[at] ^= 1;
        *text = Some(String::from_utf8(bytes).expect("ASCII"));
    };
    // Each byte is altered in hyprbox-signing's own tests.
    for share in 0..8 {
        for of_signature in [false, true] {
            let (end, ran) = world.run(|job| {
                sign(job, &world.key, |_| {});
                let text = if of_signature {
                    &mut job.signature
                } else {
                    &mut job.envelope
                };
                flip(text, share);
            });
            assert!(
                !ran && end.refused.is_some(),
                "{share} {of_signature}: {end:?}"
            );
        }
    }
}

#[test]
fn an_expired_or_ancient_job_is_refused_also_after_the_clock_was_set_back() {
    let world = world();
    let agent = world.node.start();
    let expiring = |when: &'static str| {
        let key = &world.key;
        move |job: &mut ClaimedJob| {
            sign(job, key, |envelope| envelope.expires_at = Some(at(when)));
        }
    };
    world.runs(expiring("1 hour"));
    world.refuses("expired", "has expired at", expiring("1 second ago"));
    world.refuses("expired", "400 days", |job| {
        sign(job, &world.key, |envelope| {
            envelope.created_at = at("401 days ago")
        });
    });
    world.runs(|job| {
        sign(job, &world.key, |envelope| {
            envelope.created_at = at("399 days ago")
        });
    });
    // For the agent, a clock that was set back by two days is one that has shown a later time.
    world.runs(|job| {
        sign(job, &world.key, |envelope| {
            envelope.created_at = at("2 days")
        });
    });
    world.refuses("expired", "has expired at", expiring("1 hour"));
    drop(agent);
    let _again = world.node.start();
    world.refuses("expired", "has expired at", expiring("1 day"));
    world.runs(expiring("3 days"));
}

#[test]
fn the_first_key_is_learned_once_and_then_binding() {
    let world = unpinned();
    let agent = world.node.start();
    // An old server signs nothing.
    let (end, ran) = world.run(|_| {});
    assert!(ran, "{end:?}");
    assert!(agent.log().contains("is not signed and runs nevertheless"));
    // Half a signature is not an old server's.
    world.refuses("unsigned", "without a signature", |job| {
        sign(job, &world.key, |_| {});
        job.signature = None;
    });
    world.refuses("signature", "does not verify", |job| {
        sign(job, &world.key, |_| {});
        let envelope = job.envelope.take().expect("an envelope");
        job.envelope = Some(envelope.replacen("node-1", "node-2", 1));
    });
    assert!(!world.trusted().exists());
    world.runs(world.signed());
    let fingerprint = world.key.public().fingerprint();
    assert!(agent.log().contains(&fingerprint), "{}", agent.log());
    let learned = std::fs::read_to_string(world.trusted()).expect("reads");
    assert!(learned.contains(&world.key.public().to_line()), "{learned}");
    world.refuses("unsigned", "no envelope", |_| {});
    world.refuses("signer", "does not know", |job| {
        sign(job, &SignKey::generate(""), |_| {});
    });
    drop(agent);
    let _agent = world.node.start();
    world.refuses("unsigned", "no envelope", |_| {});
    world.runs(world.signed());
    world.server.wait_for("the key's fingerprint", |all| {
        let last = all.heartbeats.last()?;
        (last.trusted_keys.as_deref() == Some(std::slice::from_ref(&fingerprint))).then_some(())
    });
}

/// A man in the middle: the agent's server is another machine, reached over plain http through a
/// proxy that answers in its place.
fn through_a_proxy(world: &mut World) {
    let proxy = format!("http://{}", world.server.addr);
    world.node.set("HYPRBOX_API_URL", "http://jobs.example.org");
    world.node.set("HYPRBOX_INSECURE_HTTP", "1");
    world.node.set("http_proxy", proxy);
}

#[test]
fn over_plain_http_an_agent_learns_no_key_and_a_stripped_signature_is_refused() {
    let mut stranger = unpinned();
    through_a_proxy(&mut stranger);
    let agent = stranger.node.start();
    stranger.refuses("signer", "plain http", stranger.signed());
    assert!(!stranger.trusted().exists());
    drop(agent);

    let mut world = world();
    through_a_proxy(&mut world);
    let _agent = world.node.start();
    world.runs(world.signed());
    world.refuses("unsigned", "no envelope or signature", |job| {
        sign(job, &world.key, |_| {});
        (job.envelope, job.signature) = (None, None);
    });
}

fn change(from: &SignKey, to: &SignKey, by: &SignKey) -> SignKeyChange {
    let statement = KeyChange {
        v: 1,
        server: "0199".to_owned(),
        from: from.public().to_line(),
        to: to.public().to_line(),
        at: at("now"),
    }
    .to_json();
    SignKeyChange {
        signature: by.sign(ROTATION_NAMESPACE, statement.as_bytes()),
        statement,
    }
}

#[test]
fn an_agent_follows_several_rotations_and_trusts_the_old_key_only_for_what_was_queued() {
    let world = world();
    let agent = world.node.start();
    let [second, third, thief] = ["", "", ""].map(SignKey::generate);
    let queued_before = at("1 minute ago");
    world.runs(world.signed());
    // Somebody else's statements change nothing.
    for forged in [
        change(&world.key, &thief, &thief),
        change(&thief, &thief, &thief),
    ] {
        world.refuses("signer", "does not know", |job| {
            sign(job, &thief, |_| {});
            job.sign_key_changes = vec![forged];
        });
    }
    let changes = vec![
        change(&world.key, &second, &world.key),
        change(&second, &third, &second),
    ];
    world.runs(|job| {
        sign(job, &third, |_| {});
        job.sign_key_changes.clone_from(&changes);
    });
    for old in [&world.key, &second] {
        world.refuses("signer", "has replaced the key", |job| {
            sign(job, old, |envelope| envelope.created_at = at("5 seconds"));
        });
        world.runs(|job| {
            sign(job, old, |envelope| {
                envelope.created_at.clone_from(&queued_before)
            });
        });
        // A key that was replaced names no other one.
        world.refuses("signer", "does not know", |job| {
            sign(job, &thief, |_| {});
            job.sign_key_changes = vec![change(old, &thief, old)];
        });
    }
    drop(agent);
    let _agent = world.node.start();
    world.runs(|job| sign(job, &third, |_| {}));
    world.refuses("signer", "has replaced the key", |job| {
        sign(job, &world.key, |envelope| {
            envelope.created_at = at("5 seconds")
        });
    });
}

#[test]
fn with_signers_the_servers_signature_is_not_enough() {
    let mut world = world();
    let [ada, eve, old] = ["", "", ""].map(SignKey::generate);
    world.require(&format!(
        "# people\nada namespaces=\"hyprbox-job-v1\" {} ada@example.org\n\
         bob valid-before=\"20200101Z\" {}\n",
        ada.public().to_line(),
        old.public().to_line()
    ));
    let agent = world.node.start();
    // A poll comes only after the server knows that it must hold jobs back.
    world
        .server
        .wait_for("a poll", |all| all.polls.first().map(drop));
    let first = world
        .server
        .world()
        .heartbeats
        .first()
        .expect("it came first")
        .clone();
    assert_eq!(first.requires_signatures, Some(true));
    world.runs(|job| {
        sign(job, &world.key, |_| {});
        person_signs(job, &ada);
    });
    world.refuses("unsigned", "nobody has signed this one", world.signed());
    // A stranger's key, and one that is no longer valid.
    for key in [&eve, &old] {
        world.refuses("signer", "not one of this node's signers", |job| {
            sign(job, &world.key, |_| {});
            person_signs(job, key);
        });
    }
    // The server, whose key is stolen, signs in the person's place.
    world.refuses("signer", "not one of this node's signers", |job| {
        sign(job, &world.key, |_| {});
        person_signs(job, &world.key);
    });
    // A person's signature of another job.
    world.refuses("signature", "does not verify", |job| {
        sign(job, &world.key, |envelope| {
            envelope.job = "another".to_owned()
        });
        person_signs(job, &ada);
        sign(job, &world.key, |_| {});
    });
    // A person's signature replaces none of the server's checks.
    world.refuses("script", "SHA-256", |job| {
        sign(job, &world.key, |_| {});
        person_signs(job, &ada);
        job.script.push_str("\ntrue");
    });
    world.refuses("signer", "does not know", |job| {
        sign(job, &eve, |_| {});
        person_signs(job, &ada);
    });
    drop(agent);
    // An empty list: nothing runs.
    world.require("");
    let _agent = world.node.start();
    world.refuses("signer", "not one of this node's signers", |job| {
        sign(job, &world.key, |_| {});
        person_signs(job, &ada);
    });
}

#[test]
fn a_list_of_signers_that_is_missing_or_changes() {
    let mut world = world();
    let missing = world.node.dir.path().join("nobody");
    world
        .node
        .set("HYPRBOX_SIGNERS", missing.display().to_string());
    let output = world.node.output(&["run"]);
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!output.status.success());
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("HYPRBOX_SIGNERS")
            && text.contains("nobody")
            && text.contains("existing file"),
        "{text}"
    );
    let ada = SignKey::generate("");
    world.require("");
    let _agent = world.node.start();
    let signed = |job: &mut ClaimedJob| {
        sign(job, &world.key, |_| {});
        person_signs(job, &ada);
    };
    world.refuses("signer", "not one of this node's signers", signed);
    std::fs::write(
        world.node.dir.path().join("signers"),
        format!("ada {}\n", ada.public().to_line()),
    )
    .expect("writes");
    world.runs(|job| {
        sign(job, &world.key, |_| {});
        person_signs(job, &ada);
    });
}

#[test]
fn a_job_waits_while_the_files_that_decide_can_not_be_read() {
    let world = world();
    world.trust("not a key\n");
    let agent: Agent = world.node.start();
    let id = world.server.queue_with("exit 0", world.signed());
    agent.wait_log("has no key of a server");
    assert_eq!(world.server.world().jobs[&id].end, None);
    world.trust(&world.key.public().to_line());
    assert_eq!(world.server.wait_end(&id).exit_code, Some(0));
}
