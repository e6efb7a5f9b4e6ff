//! When the next attempt is made.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::crypto::random_bytes;
use crate::store::delivery::Delivery;

/// The pauses after the first failed attempts, in seconds.
const PAUSES: [u64; 5] = [5, 30, 120, 600, 3_600];
/// The pause after each further one.
const LAST_PAUSE: u64 = 6 * 3_600;

/// The time of the attempt after the `tries`th one has failed; `None` if the delivery is given up.
/// The last attempt is made when its three days end.
pub(super) fn next_attempt(
    delivery: &Delivery,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> Option<Timestamp> {
    if now >= delivery.give_up_at {
        return None;
    }
    let pause_ms = jittered(pause(delivery.tries));
    let asked_ms = retry_after.map_or(0, |wait| millis(wait.as_secs()));
    let at = now.plus_millis(pause_ms.max(asked_ms));
    Some(at.min(delivery.give_up_at))
}

/// The pause after so many failed attempts, in seconds.
fn pause(tries: u64) -> u64 {
    let index = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    PAUSES.get(index).copied().unwrap_or(LAST_PAUSE)
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

/// Up to a fifth shorter or longer, so that the messages of one outage don't return all at once.
fn jittered(seconds: u64) -> i64 {
    let base = millis(seconds);
    let random = i64::from(u16::from_le_bytes(random_bytes::<2>()));
    base - base / 5 + base * 2 / 5 * random / i64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::delivery::DeliveryState;

    fn delivery(tries: u64, give_up_ms: i64) -> Delivery {
        Delivery {
            id: "d".into(),
            channel_id: "c".into(),
            event: "job_failed".into(),
            message: "{}".into(),
            state: DeliveryState::Pending,
            created_at: Timestamp::from_millis(0),
            next_attempt_at: None,
            give_up_at: Timestamp::from_millis(give_up_ms),
            tries,
            attempts: "[]".into(),
        }
    }

    #[test]
    fn pauses_grow_and_are_jittered_by_a_fifth() {
        let now = Timestamp::from_millis(1_000_000);
        for (tries, seconds) in [
            (1, 5),
            (2, 30),
            (3, 120),
            (4, 600),
            (5, 3_600),
            (6, 21_600),
            (40, 21_600),
        ] {
            let mut all: Vec<i64> = Vec::new();
            for _ in 0..200 {
                let at = next_attempt(&delivery(tries, i64::MAX), None, now).expect("a time");
                all.push(at.millis_since(now));
            }
            let (low, high) = (seconds * 800, seconds * 1_200);
            assert!(
                all.iter().all(|ms| (low..=high).contains(ms)),
                "{tries}: {all:?}"
            );
            all.dedup();
            assert!(all.len() > 1, "the pause is jittered");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_less() {
        let now = Timestamp::from_millis(1_000_000);
        let wait = |seconds| {
            let asked = Some(Duration::from_secs(seconds));
            let at = next_attempt(&delivery(1, i64::MAX), asked, now).expect("a time");
            at.millis_since(now)
        };
        assert_eq!(wait(100), 100_000);
        assert!(wait(1) >= 4_000);
    }

    #[test]
    fn the_last_attempt_is_made_when_the_three_days_end() {
        let delivery = delivery(20, 5_000_000);
        let at = |ms| next_attempt(&delivery, None, Timestamp::from_millis(ms));
        assert_eq!(at(1_000_000), Some(Timestamp::from_millis(5_000_000)));
        assert_eq!(at(5_000_000), None);
    }
}
