//! Replaces the secret key while no server runs: everything that is sealed is sealed with the new
//! key in one transaction, which also names the new key. A rotation that is killed before the
//! commit changes nothing, and one that is killed after it is finished by the next start.

use std::path::Path;

use super::life::key::{KeyError, SecretKey, cant};
use crate::crypto::random_bytes;
use crate::signing::NextFile;
use crate::store::sealed::{self, Sealed};
use crate::store::{Store, StoreError, Tx, server_state};

/// What a rotation has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRotation {
    /// Values that were sealed with the new key.
    pub sealed: u64,
    /// Values that the old key could not open. They are as they were.
    pub unreadable: u64,
}

/// Replaces the key in `file`. `record` writes to the audit log.
///
/// # Errors
/// A server runs, or the key file can't be read or replaced.
pub async fn rotate_secret_key(
    store: &Store,
    file: &Path,
    record: impl FnOnce(&mut dyn Tx) -> Result<(), StoreError> + Send + 'static,
) -> Result<KeyRotation, KeyError> {
    let missing = || KeyError(format!("there is no key file {}", file.display()));
    let old = SecretKey::load(file)?.ok_or_else(missing)?;
    // An interrupted rotation is finished first.
    let old = finish_key_rotation(store, file, old).await?;
    let next = NextFile::of(file);
    let (new, text) = SecretKey::generate();
    next.prepare(text.as_bytes())
        .map_err(|error| cant(&next.path(), "create", &error))?;
    let work = move |tx: &mut dyn Tx| {
        if server_state::count_servers(tx)? > 0 {
            let message = "a server runs over this database: stop every server of it first";
            return Err(KeyError(message.to_owned()));
        }
        let known = server_state::key_digest(tx)?;
        if tx.is_shared() && known.is_some_and(|known| known != old.database_digest()) {
            let message =
                "the key file does not hold the key of this database: run this on a server of it";
            return Err(KeyError(message.to_owned()));
        }
        let mut rotation = KeyRotation {
            sealed: 0,
            unreadable: 0,
        };
        for row in sealed::list(tx)? {
            match seal_again(&row, &old, &new) {
                Some(sealed) => {
                    sealed::replace(tx, &row, sealed)?;
                    rotation.sealed += 1;
                }
                None => rotation.unreadable += 1,
            }
        }
        server_state::set_key_digest(tx, new.database_digest())?;
        record(tx)?;
        Ok(rotation)
    };
    let rotation = store.write(work).await?;
    next.replace()
        .map_err(|error| cant(file, "replace", &error))?;
    Ok(rotation)
}

/// What a row has sealed, sealed with the new key and the same nonce of the secrets' digest, which
/// a job's envelope names.
fn seal_again(row: &Sealed, old: &SecretKey, new: &SecretKey) -> Option<Vec<u8>> {
    let bound_to = row.kind.bound_to(&row.id);
    let (secrets, nonce) = old.unseal(&bound_to, &row.sealed).ok()?;
    let nonce = nonce.unwrap_or_else(random_bytes);
    new.seal(&bound_to, &secrets, &nonce).ok()
}

/// Gives the next key the name of the key file, if the database names it: a rotation was
/// interrupted. Returns the key in use.
pub async fn finish_key_rotation(
    store: &Store,
    file: &Path,
    key: SecretKey,
) -> Result<SecretKey, KeyError> {
    let next = NextFile::of(file);
    let Some(new) = SecretKey::load(&next.path())? else {
        return Ok(key);
    };
    let known = store.read(server_state::key_digest).await?;
    if known != Some(new.database_digest()) {
        return Ok(key);
    }
    next.replace()
        .map_err(|error| cant(file, "replace", &error))?;
    tracing::info!(file = %file.display(), "finished an interrupted rotation of the secret key");
    Ok(new)
}
