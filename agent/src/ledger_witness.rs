//! The newest entry of the server's ledger that this agent has seen: the file `ledger_head` in the
//! state folder. The agent sends it with each heartbeat, so that the server notices a history that
//! was cut or replaced.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyprbox_protocol::LedgerHead;

use crate::trusted_dir::{self, own_file};

/// The newest entry, in memory and on the disk.
pub(crate) struct LedgerWitness {
    path: PathBuf,
    head: Mutex<Option<LedgerHead>>,
}

impl LedgerWitness {
    /// Reads what an earlier agent has kept.
    pub(crate) fn open(state_dir: &Path) -> Self {
        let path = state_dir.join("ledger_head");
        let kept = trusted_dir::read(&path).ok();
        let head = kept.and_then(|json| serde_json::from_slice(&json).ok());
        Self {
            path,
            head: Mutex::new(head),
        }
    }

    pub(crate) fn head(&self) -> Option<LedgerHead> {
        self.lock().clone()
    }

    /// Keeps an entry that the server has named, unless a newer one is known. Nothing is synced:
    /// after a power loss the file may have an older entry, which is as true.
    pub(crate) fn keep(&self, named: Option<LedgerHead>) {
        let Some(named) = named.filter(LedgerHead::is_well_formed) else {
            return;
        };
        let mut head = self.lock();
        if head.as_ref().is_some_and(|known| known.seq >= named.seq) {
            return;
        }
        if let Err(error) = self.write(&named) {
            tracing::warn!("the newest entry of the ledger can't be kept: {error}");
        }
        *head = Some(named);
    }

    fn write(&self, head: &LedgerHead) -> io::Result<()> {
        let json = serde_json::to_vec(head).map_err(io::Error::other)?;
        let draft = self.path.with_extension("tmp");
        let mut options = own_file();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .open(&draft)?;
        io::Write::write_all(&mut file, &json)?;
        std::fs::rename(&draft, &self.path)
    }

    fn lock(&self) -> MutexGuard<'_, Option<LedgerHead>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64) -> Option<LedgerHead> {
        Some(LedgerHead {
            seq,
            hash: format!("{seq:064x}"),
        })
    }

    #[test]
    fn the_newest_entry_is_kept_and_survives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let witness = LedgerWitness::open(folder.path());
        assert_eq!(witness.head(), None);
        witness.keep(head(7));
        witness.keep(head(5));
        witness.keep(None);
        let short = LedgerHead {
            seq: 9,
            hash: "abc".to_owned(),
        };
        witness.keep(Some(short));
        for witness in [witness, LedgerWitness::open(folder.path())] {
            assert_eq!(witness.head(), head(7));
        }
        std::fs::write(folder.path().join("ledger_head"), "{").expect("writes");
        assert_eq!(LedgerWitness::open(folder.path()).head(), None);
    }
}
