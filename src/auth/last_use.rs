//! When credentials were used last: noted in memory, written down together every few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::session::SESSION_MILLIS;
use super::{Auth, Credential};
use crate::clock::{self, Timestamp};
use crate::store::{StoreError, Tx, node_token, session, user_token};

/// Rows per transaction, so that other writes come through between them.
const ROWS: usize = 200;
/// How often sessions that have run out are forgotten, in milliseconds.
const PRUNE_EVERY_MILLIS: i64 = 3_600_000;

/// Uses that are not written down yet.
#[derive(Default)]
pub(super) struct LastUse {
    noted: Mutex<HashMap<Credential, Timestamp>>,
    pruned_at: Mutex<Option<Timestamp>>,
}

impl LastUse {
    pub(super) fn note(&self, credential: Credential, at: Timestamp) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.insert(credential, at);
    }

    /// The last use, where it is not written down yet.
    pub(super) fn of(&self, credential: &Credential) -> Option<Timestamp> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.get(credential).copied()
    }

    fn all(&self) -> Vec<(Credential, Timestamp)> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = noted.iter().map(|(of, at)| (of.clone(), *at)).collect();
        // In one order on every server: two that write the same rows in another order would wait
        // for one another.
        all.sort_unstable_by(|(one, _), (other, _)| place_of(one).cmp(&place_of(other)));
        all
    }

    /// Drops what is written down now, unless it was used again meanwhile.
    fn written(&self, rows: &[(Credential, Timestamp)]) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        for (credential, at) in rows {
            if noted.get(credential) == Some(at) {
                noted.remove(credential);
            }
        }
    }

    fn is_time_to_prune(&self, now: Timestamp) -> bool {
        let mut pruned_at = self
            .pruned_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let due = pruned_at.is_none_or(|at| now.millis_since(at).abs() >= PRUNE_EVERY_MILLIS);
        if due {
            *pruned_at = Some(now);
        }
        due
    }
}

impl Auth {
    /// Writes down the last uses that were noted since; called every few seconds and once at the
    /// end. What can't be written stays noted.
    pub async fn flush_last_used(&self) -> Result<(), StoreError> {
        for rows in self.inner.last_use.all().chunks(ROWS) {
            let written = rows.to_vec();
            let write = move |tx: &mut dyn Tx| written.iter().try_for_each(|row| touch(tx, row));
            self.inner.store.write(write).await?;
            self.inner.last_use.written(rows);
        }
        let now = clock::now();
        if self.inner.last_use.is_time_to_prune(now) {
            let since = now.plus_millis(-SESSION_MILLIS);
            let prune = move |tx: &mut dyn Tx| session::prune(tx, since);
            self.inner.store.write(prune).await?;
        }
        Ok(())
    }

    /// When a personal or a node's token was used last, where that is not in the database yet: for
    /// lists.
    pub fn last_used(&self, credential: &Credential) -> Option<Timestamp> {
        self.inner.last_use.of(credential)
    }
}

fn place_of(credential: &Credential) -> (u8, &[u8]) {
    match credential {
        Credential::Session(sha256) => (0, sha256),
        Credential::UserToken(id) => (1, id.as_bytes()),
        Credential::NodeToken(id) => (2, id.as_bytes()),
    }
}

fn touch(tx: &mut dyn Tx, (credential, at): &(Credential, Timestamp)) -> Result<(), StoreError> {
    match credential {
        Credential::Session(sha256) => session::touch(tx, *sha256, *at),
        Credential::UserToken(id) => user_token::touch(tx, id, *at),
        Credential::NodeToken(id) => node_token::touch(tx, id, *at),
    }
}
