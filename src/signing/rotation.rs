//! Replaces the sign key, while the server may be running.

use std::path::Path;

use hyprbox_signing::{KeyChange, ROTATION_NAMESPACE, SignKey};

use super::key_file::{KeyFile, SignKeyError};
use crate::clock;
use crate::store::sign_key::{self, SignKeyRecord};
use crate::store::{Store, StoreError, Tx};

/// A rotation that was done.
#[derive(Debug)]
pub struct Rotation {
    /// The fingerprint of the new key.
    pub fingerprint: String,
    /// Jobs that were cancelled, because a stolen key may have signed them.
    pub cancelled: u64,
}

/// Replaces the key. The old key names the new one as its successor, so that agents follow. With
/// `is_compromised` it does not, and `cancel_queued` cancels what is queued.
pub async fn rotate(
    store: &Store,
    file: &Path,
    is_compromised: bool,
    cancel_queued: impl FnOnce(&mut dyn Tx) -> Result<u64, StoreError> + Send + 'static,
) -> Result<Rotation, SignKeyError> {
    let files = KeyFile::new(file);
    let known = store.read(|tx| sign_key::list(tx)).await?;
    if let Some(record) = known.last() {
        // An interrupted rotation is finished first.
        files.finish_replacement(&record.public_key)?;
    }
    let old = if is_compromised { None } else { files.read()? };
    match (&old, known.last()) {
        (Some(old), Some(record)) if old.public().to_line() == record.public_key => {}
        (_, Some(_)) if is_compromised => {}
        (old, Some(record)) => return Err(files.refuse(old.is_none(), record)),
        (_, None) => {
            return Err(SignKeyError::OtherKey(
                "this database names no sign key yet: start the server once, which creates it"
                    .to_owned(),
            ));
        }
    }
    let new = SignKey::generate("hyprbox");
    files.prepare(&new)?;
    let (public, fingerprint) = (new.public().to_line(), new.public().fingerprint());
    let to = public.clone();
    let cancelled = store
        .write(move |tx| {
            let now = clock::now();
            let id = uuid::Uuid::now_v7().to_string();
            let server = sign_key::server_id(tx, &id)?;
            let statement = old.map(|old| {
                let change = KeyChange {
                    v: 1,
                    server,
                    from: old.public().to_line(),
                    to: to.clone(),
                    at: now.to_string(),
                };
                let json = change.to_json();
                let signature = old.sign(ROTATION_NAMESPACE, json.as_bytes());
                (json, signature)
            });
            let seq = sign_key::list(tx)?.last().map_or(0, |last| last.seq) + 1;
            let record = SignKeyRecord {
                seq,
                public_key: to,
                created_at: now,
                statement,
            };
            sign_key::insert(tx, &record)?;
            cancel_queued(tx)
        })
        .await?;
    files.finish_replacement(&public)?;
    Ok(Rotation {
        fingerprint,
        cancelled,
    })
}
