//! The viewers of event streams: how many streams each user and address has open, and whether a
//! viewer still has access.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::auth::{Caller, User};
use crate::clock;
use crate::http::{ApiError, Budget, Meter};
use crate::jobs::Jobs;
use crate::jobs::access::ScopedViewer;
use crate::sync::lock;

/// Most open event streams of one user.
const USER_MAX: usize = 64;
/// Most open event streams of one address, which a whole team may share.
const ADDRESS_MAX: usize = 512;
/// Seconds until a refused client should try again.
const RETRY_AFTER: u64 = 5;
/// Approximate memory of an open stream.
const STREAM_BYTES: usize = 128 * 1024;

/// The open event streams.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Viewers(Arc<Mutex<OpenCounts>>);

#[derive(Debug, Default)]
struct OpenCounts {
    by_user: HashMap<String, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// Counts as an open stream until it is dropped.
#[derive(Debug)]
pub(in crate::jobs) struct OpenStream {
    open: Arc<Mutex<OpenCounts>>,
    user_id: String,
    address: IpAddr,
    budget: Budget,
}

impl Viewers {
    /// Counts one more open stream. Fails with 429 if the user or the address has too many.
    pub(in crate::jobs) fn open(&self, user: &User, meter: &Meter) -> Result<OpenStream, ApiError> {
        let mut open = lock(&self.0);
        let address = meter.address();
        let too_many = |who_has: &str, most: usize| {
            let message = format!(
                "{who_has} {most} event streams open, which is the limit. Close one first, such as a dashboard tab"
            );
            let mut error = ApiError::too_many(message, RETRY_AFTER);
            error.code = "too_many_streams";
            error
        };
        if open
            .by_user
            .get(&user.id)
            .is_some_and(|count| *count >= USER_MAX)
        {
            return Err(too_many("You have", USER_MAX));
        }
        if open
            .by_address
            .get(&address)
            .is_some_and(|count| *count >= ADDRESS_MAX)
        {
            return Err(too_many("Your address has", ADDRESS_MAX));
        }
        *open.by_user.entry(user.id.clone()).or_default() += 1;
        *open.by_address.entry(address).or_default() += 1;
        Ok(OpenStream {
            open: Arc::clone(&self.0),
            user_id: user.id.clone(),
            address,
            budget: meter.budget().clone(),
        })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        count_down(&mut open.by_user, &self.user_id);
        count_down(&mut open.by_address, &self.address);
        drop(open);
        self.budget.record_released(STREAM_BYTES);
    }
}

fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Returns when the request's credentials no longer allow the stream: the session was revoked or
/// has expired, or the user has a lower role.
pub(in crate::jobs) async fn until_access_ends(jobs: &Jobs, parts: Parts) {
    let mut credentials = jobs.hub.credentials();
    // The first check covers changes between the request's own check and the line above.
    while let Some(caller) = check_access(jobs, &parts).await {
        let expired = async {
            match caller.expires_at {
                Some(at) => clock::reached(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = credentials.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            // The session may have been extended meanwhile.
            () = expired => {}
        }
    }
}

/// The request's caller, if it may still open the stream.
async fn check_access(jobs: &Jobs, parts: &Parts) -> Option<Caller> {
    let mut parts = parts.clone();
    let viewer = ScopedViewer::from_request_parts(&mut parts, jobs).await;
    viewer.ok()?;
    Caller::from_request_parts(&mut parts, &()).await.ok()
}
