//! The signatures of a job, with the commands that verify them.

use hyprbox_signing::{JOB_NAMESPACE, SshSignature};
use serde::Serialize;

use super::escape::shell;
use crate::store::{StoreError, Tx, job, standing_envelope};

/// A signed text and one signature over it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignedText {
    /// `server`, `person` or `standing`.
    pub(super) by: &'static str,
    /// What was signed, byte for byte.
    pub(super) envelope: String,
    /// OpenSSH's SSHSIG, armored.
    pub(super) signature: String,
    /// The key that the signature names, as in a public key file.
    pub(super) key: String,
    /// `SHA256:…`
    pub(super) fingerprint: String,
    /// Commands for a shell that verify the signature.
    pub(super) verify: String,
}

impl SignedText {
    /// `None` if the signature can't be read.
    fn new(by: &'static str, envelope: String, signature: String) -> Option<Self> {
        let parsed = SshSignature::parse(&signature).ok()?;
        let key = parsed.key().to_line();
        let verify = verify(by, &envelope, &signature, &key);
        Some(Self {
            by,
            fingerprint: parsed.key().fingerprint(),
            envelope,
            signature,
            key,
            verify,
        })
    }

    /// Who signed, in words.
    pub(super) fn title(&self) -> &'static str {
        match self.by {
            "person" => "A person's signature",
            "standing" => "A person's signature over the schedule's jobs",
            _ => "The server's signature",
        }
    }
}

/// Every signature that covers the job.
pub(super) fn read(tx: &mut dyn Tx, job_id: &str) -> Result<Vec<SignedText>, StoreError> {
    let Some(stored) = job::signatures(tx, job_id)? else {
        return Ok(Vec::new());
    };
    let mut signed = Vec::new();
    if let Some(envelope) = stored.envelope {
        let of_job = [
            ("server", stored.signature),
            ("person", stored.person_signature),
        ];
        for (by, signature) in of_job {
            let text = signature.and_then(|text| SignedText::new(by, envelope.clone(), text));
            signed.extend(text);
        }
    }
    if let Some(id) = stored.standing_id
        && let Some(standing) = standing_envelope::find(tx, &id)?
    {
        let text = SignedText::new("standing", standing.envelope, standing.signature);
        signed.extend(text);
    }
    Ok(signed)
}

fn verify(by: &str, envelope: &str, signature: &str, key: &str) -> String {
    let (file, signer) = (format!("{by}.envelope"), format!("{by} {key}"));
    format!(
        "printf %s {} > {file}\n\
         printf '%s\\n' {} > {file}.sig\n\
         printf '%s\\n' {} > {file}.signers\n\
         ssh-keygen -Y verify -n {JOB_NAMESPACE} -I {by} -f {file}.signers -s {file}.sig < {file}",
        shell(envelope),
        shell(signature.trim_end()),
        shell(&signer),
    )
}
