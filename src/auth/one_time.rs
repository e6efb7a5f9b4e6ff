//! One-time codes that sign a user in: the link that `hyprbox demo` prints. In memory, so a restart
//! voids them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::token::{digest, random_text};
use super::{Auth, session};
use crate::http::ApiError;
use crate::store::audit::{self, Entry};
use crate::store::{Tx, user};

/// How long a code holds.
const HOLDS: Duration = Duration::from_secs(3_600);

/// Codes that nobody has used yet, by their SHA-256: user and end.
#[derive(Default)]
pub(super) struct OneTime(Mutex<HashMap<[u8; 32], (String, Instant)>>);

impl OneTime {
    fn add(&self, user_id: &str, now: Instant) -> String {
        let code = random_text();
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, (_, end)| *end > now);
        codes.insert(digest(&code), (user_id.to_owned(), now + HOLDS));
        code
    }

    /// The user whom a code signs in; it is used up by that.
    fn take(&self, code: &str, now: Instant) -> Option<String> {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (user_id, end) = codes.remove(&digest(code))?;
        (end > now).then_some(user_id)
    }
}

impl Auth {
    /// A code that signs this user in once, within an hour.
    pub fn one_time_code(&self, user_id: &str) -> String {
        self.inner.one_time.add(user_id, Instant::now())
    }

    /// Starts a session for a code and gives its token; a 401 when the code was used or is too old.
    pub async fn redeem(&self, code: &str) -> Result<String, ApiError> {
        let used = || ApiError::unauthorized("This link was used already, or is too old; sign in");
        let user_id = self.inner.one_time.take(code, Instant::now());
        let user_id = user_id.ok_or_else(used)?;
        let start = move |tx: &mut dyn Tx| {
            let account = user::find(tx, &user_id)?.ok_or_else(used)?;
            let token = session::start(tx, &account)?.ok_or_else(used)?;
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
    fn once_and_not_for_ever() {
        let (codes, now) = (OneTime::default(), Instant::now());
        let code = codes.add("ada", now);
        assert_eq!(codes.take("other", now), None);
        assert_eq!(codes.take(&code, now).as_deref(), Some("ada"));
        assert_eq!(codes.take(&code, now), None);
        let code = codes.add("ada", now);
        assert_eq!(codes.take(&code, now + HOLDS), None);
    }
}
