//! Signs jobs: when they are queued, and once, at the first start with a sign key, those that wait.

use hyprbox_protocol::Secrets;
use hyprbox_signing::{Envelope, secrets_digest};

use super::key::SecretKey;
use crate::clock::Timestamp;
use crate::crypto::random_bytes;
use crate::jobs::{JobError, Jobs};
use crate::signing::{CantSign, CurrentKey, Signed};
use crate::store::sign_key::{self, UnsignedJob};
use crate::store::{StoreError, Tx};

/// A job's secrets, sealed, and the digest that its envelope names.
#[derive(Debug, Clone, Default)]
pub struct SealedSecrets {
    pub sealed: Option<Vec<u8>>,
    pub digest: Option<String>,
}

/// What an envelope states about a job.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'s> {
    pub job_id: &'s str,
    pub node: &'s str,
    pub preset: &'s str,
    pub kind: &'s str,
    pub script_sha256: &'s str,
    pub timeout_seconds: u64,
    pub secrets_digest: Option<&'s str>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub by: &'s str,
}

impl Statement<'_> {
    /// Signs the statement with the server's key.
    pub fn sign(self, key: &CurrentKey) -> Result<Signed, CantSign> {
        key.sign(&Envelope {
            v: Envelope::VERSION,
            server: key.server_id().to_owned(),
            job: self.job_id.to_owned(),
            node: self.node.to_owned(),
            preset: self.preset.to_owned(),
            kind: self.kind.to_owned(),
            script_sha256: self.script_sha256.to_owned(),
            timeout_seconds: self.timeout_seconds,
            secrets_digest: self.secrets_digest.map(str::to_owned),
            created_at: self.created_at.to_string(),
            expires_at: self.expires_at.map(|at| at.to_string()),
            by: self.by.to_owned(),
        })
    }
}

impl Jobs {
    /// Seals a job's secrets with a new nonce.
    pub fn seal(&self, job_id: &str, secrets: &Secrets) -> Result<SealedSecrets, JobError> {
        if secrets.is_empty() {
            return Ok(SealedSecrets::default());
        }
        let nonce = random_bytes();
        let sealed = self.0.key.seal(job_id, secrets, &nonce);
        Ok(SealedSecrets {
            sealed: Some(sealed.map_err(|_| JobError::CantSeal)?),
            digest: Some(secrets_digest(&nonce, secrets)),
        })
    }
}

impl Jobs {
    /// Opens what [`Jobs::seal`] has sealed for the same id; `None` if the key file is another one.
    pub fn unseal(&self, id: &str, sealed: &[u8]) -> Option<Secrets> {
        let opened = self.0.key.unseal(id, sealed).ok();
        opened.map(|(secrets, _)| secrets)
    }
}

/// Signs every QUEUED job without an envelope. Called once, when a server creates its sign key:
/// from then on, a row without an envelope never runs.
pub fn sign_existing(
    tx: &mut dyn Tx,
    signer: &CurrentKey,
    key: &SecretKey,
) -> Result<(), StoreError> {
    let unsigned = sign_key::list_unsigned(tx)?;
    if !unsigned.is_empty() {
        tracing::info!(jobs = unsigned.len(), "signing the jobs that are queued");
    }
    for job in unsigned {
        sign_one(tx, signer, key, &job)?;
    }
    Ok(())
}

fn sign_one(
    tx: &mut dyn Tx,
    signer: &CurrentKey,
    key: &SecretKey,
    job: &UnsignedJob,
) -> Result<(), StoreError> {
    let mut digest = None;
    if let Some(sealed) = &job.sealed {
        let nonce = random_bytes();
        // A job whose secrets can't be opened stays unsigned, and fails at its claim.
        let Ok((secrets, _)) = key.unseal(&job.id, sealed) else {
            return Ok(());
        };
        let Ok(sealed) = key.seal(&job.id, &secrets, &nonce) else {
            return Ok(());
        };
        sign_key::seal_again(tx, &job.id, sealed)?;
        digest = Some(secrets_digest(&nonce, &secrets));
    }
    let statement = Statement {
        job_id: &job.id,
        node: &job.node_id,
        preset: &job.preset,
        kind: &job.kind,
        script_sha256: &job.script_sha256,
        timeout_seconds: job.timeout_seconds,
        secrets_digest: digest.as_deref(),
        created_at: job.created_at,
        expires_at: job.expires_at,
        by: &job.created_by_email,
    };
    match statement.sign(signer) {
        Ok(signed) => sign_key::sign(tx, &job.id, &signed.envelope, &signed.signature),
        Err(_) => Ok(()),
    }
}
