//! How long clients may take over a request's head: one timer a connection, however many requests
//! come on it. Each head with a timer of its own would put one into the runtime's wheel and take it
//! out again, for every request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use super::rewound::State;

type OneSleep = Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>;

/// How much longer a connection may be idle after a request. Agents and most proxies close theirs
/// after 60 s at most: whoever closes first must not be the server, as a request may be on its way
/// just then.
const IDLE_LONGER: Duration = Duration::from_secs(45);

/// The connection's timer.
pub(super) struct HeadTimer {
    one: OneSleep,
    connection: Arc<State>,
}

impl HeadTimer {
    pub(super) fn new(connection: Arc<State>) -> Self {
        Self {
            one: OneSleep::default(),
            connection,
        }
    }
}

/// A wait for one head. What it waits with is the connection's, and may end too early: then it is
/// set anew.
struct HeadSleep {
    deadline: tokio::time::Instant,
    one: OneSleep,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let more = if self.connection.is_asked() {
            IDLE_LONGER
        } else {
            Duration::ZERO
        };
        Box::pin(HeadSleep {
            deadline: (deadline + more).into(),
            one: Arc::clone(&self.one),
        })
    }
}

impl Sleep for HeadSleep {}

impl HeadSleep {
    fn one(&self) -> MutexGuard<'_, Option<Pin<Box<tokio::time::Sleep>>>> {
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let mut one = self.one();
        let sleep = one.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        // Set for an earlier head, it may be over before this one's time is.
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::rewound::Rewound;

    fn fresh() -> Arc<State> {
        Rewound::new(bytes::Bytes::new(), tokio::io::empty()).state()
    }

    #[tokio::test]
    async fn a_connection_may_be_idle_longer_after_a_request() {
        let connection = fresh();
        let timer = HeadTimer::new(Arc::clone(&connection));
        connection.note_asked();
        let now = Instant::now();
        let mut idle = timer.sleep_until(now);
        tokio::select! {
            biased;
            () = &mut idle => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        let one = timer.one.lock().expect("nobody else has it");
        let set_for = one.as_ref().expect("it is set").deadline();
        assert_eq!(set_for, (now + IDLE_LONGER).into());
    }

    #[tokio::test]
    async fn each_head_has_its_whole_time() {
        let (timer, start) = (HeadTimer::new(fresh()), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let first = timer.sleep_until(at(100));
        tokio::select! {
            () = first => panic!("too early"),
            () = tokio::time::sleep_until(at(50).into()) => {}
        }
        timer.sleep_until(at(200)).await;
        assert!(Instant::now() >= at(200));
        timer.sleep_until(at(250)).await;
        assert!(Instant::now() >= at(250));
        // An earlier end than that of the one before.
        let long = timer.sleep(Duration::from_secs(3_600));
        tokio::select! {
            () = long => panic!("too early"),
            () = tokio::task::yield_now() => {}
        }
        timer.sleep_until(at(300)).await;
        // A time that is over is over.
        timer.sleep_until(at(10)).await;
    }
}
