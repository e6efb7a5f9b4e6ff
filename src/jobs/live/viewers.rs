//! How many event streams are open, for each person and each address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::User;
use crate::http::{ApiError, Budget, Meter};

/// Event streams of one person.
const PERSON_MAX: usize = 64;
/// Event streams of one address, behind which there may be a whole team.
const ADDRESS_MAX: usize = 512;
/// Seconds after which to try again.
const RETRY_AFTER: u64 = 5;
/// About what an open stream takes.
const STREAM_BYTES: usize = 128 * 1024;

/// The event streams that are open.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Viewers(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    by_person: HashMap<String, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// An open stream, until it is dropped.
#[derive(Debug)]
pub(in crate::jobs) struct Viewing {
    open: Arc<Mutex<Open>>,
    person: String,
    address: IpAddr,
    budget: Budget,
}

fn locked(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Viewers {
    /// Counts one more stream; a 429 if the person or the address has too many.
    pub(in crate::jobs) fn open(&self, user: &User, meter: &Meter) -> Result<Viewing, ApiError> {
        let mut open = locked(&self.0);
        let address = meter.address();
        let too_many = |whose: &str, most: usize| {
            let words = format!(
                "{whose} {most} event streams open, the most that are allowed; close one first, such as a tab of the dashboard"
            );
            let mut error = ApiError::too_many(words, RETRY_AFTER);
            error.code = "too_many_streams";
            error
        };
        if open
            .by_person
            .get(&user.id)
            .is_some_and(|count| *count >= PERSON_MAX)
        {
            return Err(too_many("You have", PERSON_MAX));
        }
        if open
            .by_address
            .get(&address)
            .is_some_and(|count| *count >= ADDRESS_MAX)
        {
            return Err(too_many("Your address has", ADDRESS_MAX));
        }
        *open.by_person.entry(user.id.clone()).or_default() += 1;
        *open.by_address.entry(address).or_default() += 1;
        Ok(Viewing {
            open: Arc::clone(&self.0),
            person: user.id.clone(),
            address,
            budget: meter.budget().clone(),
        })
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        let mut open = locked(&self.open);
        count_down(&mut open.by_person, &self.person);
        count_down(&mut open.by_address, &self.address);
        drop(open);
        self.budget.note_released(STREAM_BYTES);
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
