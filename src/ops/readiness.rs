//! Whether the store takes a write, looked at no more than once a second.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::clock;
use crate::http::ApiError;
use crate::store::{Store, StoreError, server_state};
use crate::tasks::TASKS;

/// How long a look counts.
const COUNTS_FOR: Duration = Duration::from_secs(1);
/// How long a write may take before the store counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last look, and when it was.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Result<(), String>)>>);

impl Readiness {
    /// `Err` with the reason when a task of the server has died or the store takes no write. Those
    /// who ask at once share one look.
    pub(super) async fn look(&self, store: &Store) -> Result<(), String> {
        if let Some(fault) = TASKS.fault() {
            return Err(fault);
        }
        let mut last = self.0.lock().await;
        if let Some((at, found)) = last.as_ref()
            && at.elapsed() < COUNTS_FOR
        {
            return found.clone();
        }
        let write = store.write(|tx| server_state::touch_readiness(tx, clock::now()));
        let found = match tokio::time::timeout(PATIENCE, write).await {
            // Anybody may ask, so the cause, which can name a path, goes to the log only.
            Ok(written) => written.map_err(|error: StoreError| ApiError::from(error).message),
            Err(_) => Err(format!(
                "the database took no write within {} s",
                PATIENCE.as_secs()
            )),
        };
        *last = Some((Instant::now(), found.clone()));
        found
    }
}
