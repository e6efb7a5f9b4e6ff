//! Whether the store accepts a write, checked at most once a second.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::clock;
use crate::http::ApiError;
use crate::store::{Store, StoreError, server_state};
use crate::tasks::TASKS;

/// How long a result is reused.
const VALID_FOR: Duration = Duration::from_secs(1);
/// How long a write may take before the store is reported as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last result and its time.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Result<(), String>)>>);

impl Readiness {
    /// `Err` with the reason if a background task has died or the store accepts no write.
    /// Concurrent callers share one check.
    pub(super) async fn check(&self, store: &Store) -> Result<(), String> {
        if let Some(fault) = TASKS.fault() {
            return Err(fault);
        }
        let mut last = self.0.lock().await;
        if let Some((at, result)) = last.as_ref()
            && at.elapsed() < VALID_FOR
        {
            return result.clone();
        }
        let write = store.write(|tx| server_state::touch_readiness(tx, clock::now()));
        let result = match tokio::time::timeout(PATIENCE, write).await {
            // The endpoint is public, so the cause, which may name a path, is only logged.
            Ok(written) => written.map_err(|error: StoreError| ApiError::from(error).message),
            Err(_) => Err(format!(
                "the database did not accept a write within {} s",
                PATIENCE.as_secs()
            )),
        };
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
