//! The file of the sign key.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hyprbox_signing::{PrivateKeyError, SignKey};
use zeroize::Zeroizing;

use super::NextFile;
use crate::store::StoreError;
use crate::store::sign_key::SignKeyRecord;

/// More than the file of an ed25519 key has.
const FILE_MAX: u64 = 16 * 1_024;

/// Why the server can't start with its sign key, as one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SignKeyError {
    #[error("can't {verb} the sign key {path} (HYPRBOX_SIGN_KEY_FILE): {error}")]
    Io {
        verb: &'static str,
        path: String,
        error: io::Error,
    },
    #[error(
        "HYPRBOX_SIGN_KEY_FILE={path:?} is not usable: it must be an ed25519 key in OpenSSH's format without a passphrase: {error}"
    )]
    Unusable {
        path: String,
        error: PrivateKeyError,
    },
    #[error(
        "the sign key {path} (HYPRBOX_SIGN_KEY_FILE) is missing, and agents trust only jobs that it signs ({fingerprint}): \
         copy the file from another server of this database or from your own copy; if it is lost, run \
         `hyprbox admin rotate-sign-key --compromised` and enrol every node again"
    )]
    Missing { path: String, fingerprint: String },
    #[error("{0}")]
    OtherKey(String),
    #[error(
        "another server of this database has just created the sign key: copy its file to this server (HYPRBOX_SIGN_KEY_FILE)"
    )]
    OtherServerFirst,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Changes when the file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    inode: u64,
    modified: (i64, i64),
}

/// The key file, and next to it the one that replaces it.
pub(super) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    fn next(&self) -> NextFile<'_> {
        NextFile::of(&self.path)
    }

    pub(super) fn stamp(&self) -> Option<FileStamp> {
        let about = std::fs::metadata(&self.path).ok()?;
        Some(FileStamp {
            inode: about.ino(),
            modified: (about.mtime(), about.mtime_nsec()),
        })
    }

    /// The key; `None` if the file does not exist.
    pub(super) fn read(&self) -> Result<Option<SignKey>, SignKeyError> {
        read_key(&self.path)
    }

    /// Writes the next key durably, without using it yet.
    pub(super) fn prepare(&self, key: &SignKey) -> Result<(), SignKeyError> {
        let next = self.next();
        next.prepare(key.to_file().as_bytes())
            .map_err(|error| cant("create", &next.path(), error))
    }

    /// Gives the next key the name of the file, if it is the key that the database names.
    pub(super) fn finish_replacement(
        &self,
        public_line: &str,
    ) -> Result<Option<SignKey>, SignKeyError> {
        let next = self.next();
        let key = read_key(&next.path())?;
        let Some(key) = key.filter(|key| key.public().to_line() == public_line) else {
            return Ok(None);
        };
        next.replace()
            .map_err(|error| cant("replace", &self.path, error))?;
        Ok(Some(key))
    }

    /// Why a server whose file is missing, or has another key than `record`, does not start.
    pub(super) fn refuse(&self, is_missing: bool, record: &SignKeyRecord) -> SignKeyError {
        if !is_missing {
            return SignKeyError::OtherKey(self.other_key());
        }
        let key = hyprbox_signing::PublicKey::parse_line(&record.public_key);
        SignKeyError::Missing {
            path: self.path.display().to_string(),
            fingerprint: key.map_or_else(String::new, |(key, _)| key.fingerprint()),
        }
    }

    /// The message about a key that the database does not name.
    pub(super) fn other_key(&self) -> String {
        format!(
            "HYPRBOX_SIGN_KEY_FILE={:?} does not hold the key with which jobs of this database are signed: copy the file from \
             the server on which the key was created or rotated; if that key is lost, run `hyprbox admin rotate-sign-key \
             --compromised` and enrol every node again",
            self.path.display()
        )
    }
}

fn read_key(path: &Path) -> Result<Option<SignKey>, SignKeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cant("read", path, error)),
    };
    let mut text = Zeroizing::new(String::with_capacity(1_024));
    file.take(FILE_MAX)
        .read_to_string(&mut text)
        .map_err(|error| cant("read", path, error))?;
    let key = SignKey::parse(&text).map_err(|error| SignKeyError::Unusable {
        path: path.display().to_string(),
        error,
    })?;
    Ok(Some(key))
}

fn cant(verb: &'static str, path: &Path, error: io::Error) -> SignKeyError {
    SignKeyError::Io {
        verb,
        path: path.display().to_string(),
        error,
    }
}
