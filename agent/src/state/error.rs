//! Why the state folder can't be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::trusted_dir::TrustFault;

/// The state folder, or something in it, can't be used. The text is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It can't be read or written.
    #[error("state folder: {}: {error}", path.display())]
    Io {
        /// The file or folder at fault.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Other users can change its content.
    #[error("state folder: {0}")]
    Untrusted(TrustFault),
    /// A file in it does not hold what the agent wrote.
    #[error("state folder: {} is corrupt; move it away to start as a new agent instance", .0.display())]
    Corrupt(PathBuf),
    /// Another agent is using it.
    #[error("state folder: {} is used by another agent; stop that agent, or set HYPRBOX_STATE_DIR to another folder", .0.display())]
    Taken(PathBuf),
}

impl StateError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |error| Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}
