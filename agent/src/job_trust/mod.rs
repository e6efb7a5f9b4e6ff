//! Decides whether a job may run here, before anything of it is written down or reaches bash.
//!
//! The server's key must have signed the job's envelope, and the job must be the one in the
//! envelope. If the node has a list of signers, one of them must have signed it as well, so that
//! not even the server decides alone what runs here.

mod latest_time;
mod signers_file;
mod standing;
mod trusted_servers;

use std::time::UNIX_EPOCH;

use hyprbox_protocol::{ClaimedJob, Refusal, to_hex};
use hyprbox_signing::{
    Envelope, EnvelopeError, JOB_NAMESPACE, SignatureError, Signers, SshSignature,
    millis_of_rfc3339, secrets_digest,
};
use ring::digest::{SHA256, digest};

use crate::clock;
use crate::config::Config;
use crate::heartbeat::SharedReport;
use latest_time::LatestTime;
pub(crate) use signers_file::{SIGNERS_DEFAULT, SignersFile};
use standing::StandingUses;
pub(crate) use trusted_servers::TrustedServers;

/// An envelope that is older is refused. The agent remembers for longer which jobs it has run.
const OLDEST_MS: i64 = 400 * 24 * 3_600 * 1_000;

/// Why a job does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Permanently: the server must know.
    Refused(Refusal, String),
    /// The files that decide can't be read or written now, so the job waits.
    Problem(String),
}

fn refused(reason: Refusal, because: impl Into<String>) -> Denial {
    Denial::Refused(reason, because.into())
}

/// What this node trusts.
pub(crate) struct JobTrust {
    node_id: String,
    servers: TrustedServers,
    signers: SignersFile,
    latest: LatestTime,
    standing_uses: StandingUses,
}

impl JobTrust {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            node_id: config.node_id.clone(),
            servers: TrustedServers::of(config),
            signers: SignersFile::of(config),
            latest: LatestTime::open(&config.state_dir),
            standing_uses: StandingUses::of(&config.state_dir),
        }
    }

    /// Keeps track of the time, while the state folder can be used.
    pub(crate) fn observe_time(&mut self) {
        self.latest.record(now_ms());
    }

    /// Reports to the server what this node requires.
    pub(crate) fn report(&self, shared: &SharedReport) {
        let requires_signatures = self.signers.exists();
        let trusted_keys = self.servers.fingerprints();
        shared.change(|report| {
            report.requires_signatures = requires_signatures;
            report.trusted_keys = trusted_keys;
        });
    }

    /// Whether the job may run. `forgotten_ms`: the newest job that this node has run and forgotten
    /// was queued then.
    pub(crate) fn check(
        &mut self,
        job: &ClaimedJob,
        forgotten_ms: Option<i64>,
    ) -> Result<(), Denial> {
        let signers = self.signers.read()?;
        let (Some(json), Some(armored)) = (&job.envelope, &job.signature) else {
            return self.check_unsigned(job, signers.is_some());
        };
        let signature = parse(armored, "the server's signature")?;
        let changes = &job.sign_key_changes;
        let trusted = self.servers.keys_for(&signature, json, changes)?;
        verify(&signature, json, "the server's signature")?;
        let envelope = Envelope::parse(json).map_err(|error| match error {
            EnvelopeError::Version(_) => refused(
                Refusal::Version,
                format!("{error}: upgrade the agent of this node"),
            ),
            EnvelopeError::Malformed => refused(Refusal::Malformed, error.to_string()),
        })?;
        let created_ms = time(&envelope.created_at)?;
        if trusted
            .find(signature.key(), JOB_NAMESPACE, created_ms)
            .is_none()
        {
            return Err(refused(
                Refusal::Signer,
                format!(
                    "the server has replaced the key {} that signed the job",
                    signature.key().fingerprint()
                ),
            ));
        }
        self.check_subject(job, &envelope)?;
        check_content(job, &envelope)?;
        let now = self.latest.latest(now_ms());
        check_age(&envelope, created_ms, now, forgotten_ms)?;
        if let Some(signers) = signers {
            match &job.person_signature {
                Some(armored) => check_person(armored, json, &signers, now)?,
                None => {
                    let standing = standing::check(job, &envelope, &self.node_id, &signers, now)?;
                    self.standing_uses.count(&standing, &job.id, now)?;
                }
            }
        }
        self.latest.record_job(now.max(created_ms));
        Ok(())
    }

    fn check_unsigned(&self, job: &ClaimedJob, needs_person: bool) -> Result<(), Denial> {
        if needs_person || self.servers.knows_any()? {
            return Err(refused(
                Refusal::Unsigned,
                "the job has no envelope or signature",
            ));
        }
        if job.envelope.is_some() || job.signature.is_some() {
            let because = "the job has an envelope without a signature, or a signature alone";
            return Err(refused(Refusal::Unsigned, because));
        }
        tracing::warn!(
            "[jobrunner] job {} is not signed and runs nevertheless: this agent knows no key of its server, which is older; upgrade the server",
            job.id
        );
        Ok(())
    }

    /// Whether the envelope is about this job on this node.
    fn check_subject(&self, job: &ClaimedJob, envelope: &Envelope) -> Result<(), Denial> {
        if envelope.node != self.node_id {
            return Err(refused(
                Refusal::Node,
                format!("the envelope is for the node {}", envelope.node),
            ));
        }
        if envelope.job != job.id {
            return Err(refused(
                Refusal::Job,
                format!("the envelope is for the job {}", envelope.job),
            ));
        }
        let differs = if envelope.preset != job.preset {
            Some("preset")
        } else if envelope.timeout_seconds != job.timeout_seconds {
            Some("timeout")
        } else if envelope.created_at != job.created_at {
            Some("time of queueing")
        } else {
            None
        };
        match differs {
            Some(what) => Err(refused(
                Refusal::Job,
                format!("the job's {what} is not the one in the envelope"),
            )),
            None => Ok(()),
        }
    }
}

/// Whether script and secrets are those that were signed.
fn check_content(job: &ClaimedJob, envelope: &Envelope) -> Result<(), Denial> {
    let sha256 = to_hex(digest(&SHA256, job.script.as_bytes()));
    if sha256 != envelope.script_sha256 || sha256 != job.script_sha256 {
        return Err(refused(
            Refusal::Script,
            "the script is not the one that was signed: its SHA-256 differs",
        ));
    }
    let nonce = job.secrets_nonce.as_deref().and_then(nonce_of_hex);
    let is_same = match (&envelope.secrets_digest, nonce) {
        (None, _) => job.secrets.is_empty(),
        (Some(digest), Some(nonce)) => secrets_digest(&nonce, &job.secrets) == *digest,
        (Some(_), None) => false,
    };
    if is_same {
        return Ok(());
    }
    let because = "the secrets are not those that were signed";
    Err(refused(Refusal::Secrets, because))
}

fn check_age(
    envelope: &Envelope,
    created_ms: i64,
    now: i64,
    forgotten_ms: Option<i64>,
) -> Result<(), Denial> {
    let expires_ms = envelope.expires_at.as_deref().map(time).transpose()?;
    if let Some(at) = &envelope.expires_at
        && expires_ms.is_some_and(|expires_ms| expires_ms <= now)
    {
        let because = format!("the job has expired at {at}");
        return Err(refused(Refusal::Expired, because));
    }
    if now.saturating_sub(created_ms) > OLDEST_MS {
        let because = "the job was queued more than 400 days ago";
        return Err(refused(Refusal::Expired, because));
    }
    if forgotten_ms.is_some_and(|forgotten_ms| created_ms <= forgotten_ms) {
        let because =
            "the job may have run here: it is older than the jobs that this node remembers";
        return Err(refused(Refusal::Replayed, because));
    }
    Ok(())
}

/// Whether one of the node's signers has signed the job.
fn check_person(armored: &str, json: &str, signers: &Signers, now: i64) -> Result<(), Denial> {
    let signature = parse(armored, "the person's signature")?;
    if signers.find(signature.key(), JOB_NAMESPACE, now).is_none() {
        return Err(refused(
            Refusal::Signer,
            format!(
                "the key {} is not one of this node's signers, or not valid now",
                signature.key().fingerprint()
            ),
        ));
    }
    verify(&signature, json, "the person's signature")
}

fn parse(armored: &str, whose: &str) -> Result<SshSignature, Denial> {
    SshSignature::parse(armored).map_err(|error| {
        refused(
            Refusal::Malformed,
            format!("{whose} can't be read: {error}"),
        )
    })
}

fn verify(signature: &SshSignature, json: &str, whose: &str) -> Result<(), Denial> {
    signature
        .verify(JOB_NAMESPACE, json.as_bytes())
        .map_err(|error| match error {
            SignatureError::Malformed => refused(
                Refusal::Malformed,
                format!("{whose} can't be read: {error}"),
            ),
            SignatureError::Wrong | SignatureError::Namespace | SignatureError::NoPresence => {
                refused(Refusal::Signature, format!("{whose} is wrong: {error}"))
            }
        })
}

fn time(text: &str) -> Result<i64, Denial> {
    millis_of_rfc3339(text).ok_or_else(|| {
        refused(
            Refusal::Malformed,
            "the envelope has a time that can't be read",
        )
    })
}

fn now_ms() -> i64 {
    let since_1970 = clock::system_now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The nonce in 64 hex digits.
fn nonce_of_hex(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut nonce = [0; 32];
    for (byte, pair) in nonce.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(nonce)
}
