//! The server's sign key: every job is signed with it when it is queued, so that agents run only
//! what a server with the key has queued, whatever the database says.
//!
//! The private key is in a file that is never in the database or in a backup. The database names
//! the public key, so that a server that has lost the file, or has another one, does not start.

mod key_file;
mod next_file;
mod rotation;
mod verify_command;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use hyprbox_signing::{Envelope, JOB_NAMESPACE, SignKey, SignedKeyChange};
use tokio::time::Instant;

use crate::clock;
use crate::store::sign_key::{self, SignKeyRecord};
use crate::store::{Store, StoreError, Tx};
use crate::sync::{lock, read, write};
pub use key_file::SignKeyError;
use key_file::{FileStamp, KeyFile};
pub use next_file::NextFile;
pub use rotation::{Rotation, rotate};
pub use verify_command::verify_command;

/// How often a server that shares its database checks whether another one has changed the key.
const RECHECK: Duration = Duration::from_secs(2);

/// Signs jobs. Cheap to clone.
#[derive(Clone)]
pub struct ServerSigner(Arc<Parts>);

struct Parts {
    store: Store,
    file: PathBuf,
    current: RwLock<Arc<CurrentKey>>,
    checked_at: Mutex<Instant>,
}

/// The key that signs, and what agents must know to trust it.
#[derive(Debug)]
pub struct CurrentKey {
    key: SignKey,
    server_id: String,
    /// Statements by which earlier keys named their successors, oldest first.
    changes: Vec<SignedKeyChange>,
    /// Why this server must not sign.
    fault: Option<String>,
    stamp: Option<FileStamp>,
}

/// An envelope and the server's signature over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub envelope: String,
    pub signature: String,
}

/// The key can't be used until an operator has fixed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CantSign(pub String);

impl CurrentKey {
    /// Signs an envelope.
    pub fn sign(&self, envelope: &Envelope) -> Result<Signed, CantSign> {
        if let Some(fault) = &self.fault {
            return Err(CantSign(fault.clone()));
        }
        let envelope = envelope.to_json();
        let signature = self.key.sign(JOB_NAMESPACE, envelope.as_bytes());
        Ok(Signed {
            envelope,
            signature,
        })
    }

    /// The id that envelopes name.
    pub fn server_id(&self) -> &str {
        &self.server_id
    }

    /// The public key, as in a public key file.
    pub fn public_line(&self) -> String {
        self.key.public().to_line()
    }

    /// The public key's fingerprint.
    pub fn fingerprint(&self) -> String {
        self.key.public().fingerprint()
    }

    /// The statements by which earlier keys named their successors, oldest first.
    pub fn changes(&self) -> &[SignedKeyChange] {
        &self.changes
    }
}

impl ServerSigner {
    /// Reads the key file `file`. At the first start over a database that names no key, creates the
    /// file and lets `sign_existing` sign what is queued. A key file that exists never makes the
    /// server sign rows that it finds: whoever writes the database could have put them there.
    pub async fn open(
        store: Store,
        file: &Path,
        sign_existing: impl FnOnce(&mut dyn Tx, &CurrentKey) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<Self, SignKeyError> {
        let files = KeyFile::new(file);
        let (key, is_new) = match files.read()? {
            Some(key) => (key, false),
            None => (SignKey::generate("hyprbox"), true),
        };
        let known = store.read(|tx| sign_key::list(tx)).await?;
        let key = match known.last() {
            Some(record) if key.public().to_line() == record.public_key => key,
            // A rotation, or a first start, was interrupted before the file got its name.
            Some(record) => match files.finish_replacement(&record.public_key)? {
                Some(key) => key,
                // A restored backup: it never contains the key. No other server can have it.
                None if is_new && !store.is_shared() => replace_lost(&store, file, record).await?,
                None => return Err(files.refuse(is_new, record)),
            },
            None => {
                if is_new {
                    files.prepare(&key)?;
                }
                let pinned = pin(&store, key, is_new, sign_existing).await?;
                if is_new {
                    files.finish_replacement(&pinned.public().to_line())?;
                }
                pinned
            }
        };
        let (server_id, changes) = read_database(&store).await?;
        let current = CurrentKey {
            key,
            server_id,
            changes: changes_of(changes),
            fault: None,
            stamp: files.stamp(),
        };
        Ok(Self(Arc::new(Parts {
            store,
            file: file.to_owned(),
            current: RwLock::new(Arc::new(current)),
            checked_at: Mutex::new(Instant::now()),
        })))
    }

    /// The key as this server last read it.
    pub fn known(&self) -> Arc<CurrentKey> {
        Arc::clone(&read(&self.0.current))
    }

    /// The key that signs now. Reads it again if a rotation has replaced it.
    pub async fn current(&self) -> Result<Arc<CurrentKey>, StoreError> {
        let known = self.known();
        let files = KeyFile::new(&self.0.file);
        let stamp = files.stamp();
        if stamp == known.stamp && !self.must_check_database() {
            return Ok(known);
        }
        let records = self.0.store.read(|tx| sign_key::list(tx)).await?;
        let wanted = records.last().map(|record| record.public_key.clone());
        let is_wanted = |key: &SignKey| Some(key.public().to_line()) == wanted;
        let read = match files.read() {
            Ok(Some(key)) => Some(key),
            // The key in memory is as good as the file.
            Ok(None) | Err(_) => SignKey::parse(&known.key.to_file()).ok(),
        };
        let Some(key) = read else { return Ok(known) };
        let fault = (!is_wanted(&key)).then(|| files.other_key());
        if let Some(fault) = &fault
            && known.fault.as_ref() != Some(fault)
        {
            tracing::error!("{fault}");
        }
        let current = Arc::new(CurrentKey {
            key,
            server_id: known.server_id.clone(),
            changes: changes_of(records),
            fault,
            stamp,
        });
        if current.public_line() != known.public_line() {
            tracing::info!(key = %current.key.public().fingerprint(), "jobs are signed with another key from now on");
        }
        *write(&self.0.current) = Arc::clone(&current);
        Ok(current)
    }

    /// On SQLite, only a rotation on this machine changes the key, which changes the file.
    fn must_check_database(&self) -> bool {
        if !self.0.store.is_shared() {
            return false;
        }
        let mut checked_at = lock(&self.0.checked_at);
        let is_due = checked_at.elapsed() >= RECHECK;
        if is_due {
            *checked_at = Instant::now();
        }
        is_due
    }
}

/// Creates a new key in place of one whose file is gone.
async fn replace_lost(
    store: &Store,
    file: &Path,
    lost: &SignKeyRecord,
) -> Result<SignKey, SignKeyError> {
    let files = KeyFile::new(file);
    let rotation = rotate(store, file, true, |_| Ok(0)).await?;
    tracing::warn!(
        key = %rotation.fingerprint,
        "the sign key was missing, so the server has created another one: agents that trust the old key refuse new jobs until their nodes are enrolled again"
    );
    files.read()?.ok_or_else(|| files.refuse(true, lost))
}

async fn read_database(store: &Store) -> Result<(String, Vec<SignKeyRecord>), StoreError> {
    let new = uuid::Uuid::now_v7().to_string();
    store
        .write(move |tx| Ok((sign_key::server_id(tx, &new)?, sign_key::list(tx)?)))
        .await
}

/// Records the key as the one that signs. Returns an error if another server was faster.
async fn pin(
    store: &Store,
    key: SignKey,
    is_new: bool,
    sign_existing: impl FnOnce(&mut dyn Tx, &CurrentKey) -> Result<(), StoreError> + Send + 'static,
) -> Result<SignKey, SignKeyError> {
    let id = uuid::Uuid::now_v7().to_string();
    let public = key.public().to_line();
    let pinned = store
        .write(move |tx| {
            let record = SignKeyRecord {
                seq: 1,
                public_key: public,
                created_at: clock::now(),
                statement: None,
            };
            if !sign_key::insert(tx, &record)? {
                // Another server was faster, perhaps with the same file.
                let known = sign_key::list(tx)?;
                let is_ours =
                    known.last().map(|known| &known.public_key) == Some(&record.public_key);
                return Ok(is_ours.then_some(key));
            }
            let current = CurrentKey {
                key,
                server_id: sign_key::server_id(tx, &id)?,
                changes: Vec::new(),
                fault: None,
                stamp: None,
            };
            if is_new {
                sign_existing(tx, &current)?;
            }
            Ok::<_, StoreError>(Some(current.key))
        })
        .await?;
    pinned.ok_or(SignKeyError::OtherServerFirst)
}

/// The statements since the last key that no earlier one names, oldest first.
fn changes_of(records: Vec<SignKeyRecord>) -> Vec<SignedKeyChange> {
    let newest_first = records.into_iter().rev();
    let statements = newest_first.map_while(|record| record.statement);
    let mut changes: Vec<SignedKeyChange> = statements
        .map(|(statement, signature)| SignedKeyChange {
            statement,
            signature,
        })
        .collect();
    changes.reverse();
    changes
}
