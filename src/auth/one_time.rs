//! One-time codes that sign a user in, for the link that `hyprbox demo` prints. They are in memory,
//! so a restart voids them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::token::{digest, random_text};
use super::{Auth, session};
use crate::http::ApiError;
use crate::store::audit::{self, Entry};
use crate::store::{Tx, user};
use crate::sync::lock;

/// How long a code is valid.
const VALID_FOR: Duration = Duration::from_secs(3_600);

/// Unused codes, by their SHA-256: user and expiry.
#[derive(Default)]
pub(super) struct OneTime(Mutex<HashMap<[u8; 32], (String, Instant)>>);

impl OneTime {
    fn add(&self, user_id: &str, now: Instant) -> String {
        let code = random_text();
        let mut codes = lock(&self.0);
        codes.retain(|_, (_, end)| *end > now);
        codes.insert(digest(&code), (user_id.to_owned(), now + VALID_FOR));
        code
    }

    /// Uses up a code and returns its user.
    fn take(&self, code: &str, now: Instant) -> Option<String> {
        let mut codes = lock(&self.0);
        let (user_id, end) = codes.remove(&digest(code))?;
        (end > now).then_some(user_id)
    }
}

impl Auth {
    /// Creates a code that signs this user in once, within an hour.
    pub fn one_time_code(&self, user_id: &str) -> String {
        self.inner.one_time.add(user_id, Instant::now())
    }

    /// Starts a session for a code and returns its token; a 401 if the code was used or has
    /// expired.
    pub async fn redeem(&self, code: &str) -> Result<String, ApiError> {
        let invalid =
            || ApiError::unauthorized("This link was already used or has expired; sign in instead");
        let user_id = self.inner.one_time.take(code, Instant::now());
        let user_id = user_id.ok_or_else(invalid)?;
        let start = move |tx: &mut dyn Tx| {
            let account = user::find(tx, &user_id)?.ok_or_else(invalid)?;
            let token = session::start(tx, &account)?.ok_or_else(invalid)?;
            let entry = Entry::by(&account.user.email, "user.login");
            audit::insert(tx, entry.saying("one-time link"))?;
            Ok(token)
        };
        self.inner.store.write::<_, ApiError>(start).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_works_once_and_expires() {
        let (codes, now) = (OneTime::default(), Instant::now());
        let code = codes.add("ada", now);
        assert_eq!(codes.take("other", now), None);
        assert_eq!(codes.take(&code, now).as_deref(), Some("ada"));
        assert_eq!(codes.take(&code, now), None);
        let code = codes.add("ada", now);
        assert_eq!(codes.take(&code, now + VALID_FOR), None);
    }
}
