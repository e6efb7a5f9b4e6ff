//! When credentials were last used: kept in memory, and written to the database every few seconds.

use std::collections::HashMap;
use std::sync::Mutex;

use super::session::SESSION_MILLIS;
use super::{Auth, Credential};
use crate::clock::{self, Timestamp};
use crate::store::{StoreError, Tx, node_token, session, user_token};
use crate::sync::lock;

/// Rows per transaction, so that other writes get through in between.
const ROWS: usize = 200;
/// How often expired sessions are deleted, in milliseconds.
const PRUNE_EVERY_MILLIS: i64 = 3_600_000;

/// Uses that are not in the database yet.
#[derive(Default)]
pub(super) struct LastUse {
    pending: Mutex<HashMap<Credential, Timestamp>>,
    pruned_at: Mutex<Option<Timestamp>>,
}

impl LastUse {
    pub(super) fn record(&self, credential: Credential, at: Timestamp) {
        lock(&self.pending).insert(credential, at);
    }

    /// The last use, if it is not in the database yet.
    pub(super) fn get(&self, credential: &Credential) -> Option<Timestamp> {
        lock(&self.pending).get(credential).copied()
    }

    fn all(&self) -> Vec<(Credential, Timestamp)> {
        let pending = lock(&self.pending);
        let mut all: Vec<_> = pending.iter().map(|(of, at)| (of.clone(), *at)).collect();
        // Every server writes in this order: different orders could deadlock.
        all.sort_unstable_by(|(one, _), (other, _)| sort_key(one).cmp(&sort_key(other)));
        all
    }

    /// Drops rows that are in the database now, unless the credential was used again meanwhile.
    fn remove_written(&self, rows: &[(Credential, Timestamp)]) {
        let mut pending = lock(&self.pending);
        for (credential, at) in rows {
            if pending.get(credential) == Some(at) {
                pending.remove(credential);
            }
        }
    }

    fn is_time_to_prune(&self, now: Timestamp) -> bool {
        let mut pruned_at = lock(&self.pruned_at);
        let due = pruned_at.is_none_or(|at| now.millis_since(at).abs() >= PRUNE_EVERY_MILLIS);
        if due {
            *pruned_at = Some(now);
        }
        due
    }
}

impl Auth {
    /// Writes pending last uses to the database; called every few seconds and at shutdown. A use
    /// that can't be written stays pending.
    pub async fn flush_last_used(&self) -> Result<(), StoreError> {
        for rows in self.inner.last_use.all().chunks(ROWS) {
            let written = rows.to_vec();
            let write = move |tx: &mut dyn Tx| written.iter().try_for_each(|row| touch(tx, row));
            self.inner.store.write(write).await?;
            self.inner.last_use.remove_written(rows);
        }
        let now = clock::now();
        if self.inner.last_use.is_time_to_prune(now) {
            let since = now.plus_millis(-SESSION_MILLIS);
            let prune = move |tx: &mut dyn Tx| session::prune(tx, since);
            self.inner.store.write(prune).await?;
        }
        Ok(())
    }

    /// When a personal or node token was last used, if that is not in the database yet: for lists.
    pub fn last_used(&self, credential: &Credential) -> Option<Timestamp> {
        self.inner.last_use.get(credential)
    }
}

fn sort_key(credential: &Credential) -> (u8, &[u8]) {
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
