//! The timeout for a request's head, with one timer per connection. A timer per head would be
//! inserted into the runtime's wheel and removed again for every request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use super::replay_stream::StreamState;

type SharedSleep = Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>;

/// How much longer a connection may be idle after a request. Agents and most proxies close idle
/// connections after at most 60 s. They must close first: if the server did, it could cut off a
/// request that is on its way.
const IDLE_EXTENSION: Duration = Duration::from_secs(45);

/// The connection's timer.
pub(super) struct HeadTimer {
    one: SharedSleep,
    connection: Arc<StreamState>,
}

impl HeadTimer {
    pub(super) fn new(connection: Arc<StreamState>) -> Self {
        Self {
            one: SharedSleep::default(),
            connection,
        }
    }
}

/// The timeout of one head. It shares the connection's timer, which may fire too early and is then
/// set again.
struct HeadSleep {
    deadline: tokio::time::Instant,
    one: SharedSleep,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let more = if self.connection.has_request() {
            IDLE_EXTENSION
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
        crate::sync::lock(&self.one)
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
        // The timer may have been set for an earlier head, and fire before this deadline.
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
    use crate::server::replay_stream::ReplayStream;

    fn fresh() -> Arc<StreamState> {
        ReplayStream::new(bytes::Bytes::new(), tokio::io::empty()).state()
    }

    #[tokio::test]
    async fn a_connection_may_be_idle_longer_after_a_request() {
        let connection = fresh();
        let timer = HeadTimer::new(Arc::clone(&connection));
        connection.record_request();
        let now = Instant::now();
        let mut idle = timer.sleep_until(now);
        tokio::select! {
            biased;
            () = &mut idle => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        let one = timer.one.lock().expect("not poisoned");
        let set_for = one.as_ref().expect("it is set").deadline();
        assert_eq!(set_for, (now + IDLE_EXTENSION).into());
    }

    #[tokio::test]
    async fn each_head_has_its_full_timeout() {
        let (timer, start) = (HeadTimer::new(fresh()), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let first = timer.sleep_until(at(100));
        tokio::select! {
            // In this order, because a busy machine may poll both after both times.
            biased;
            () = tokio::time::sleep_until(at(50).into()) => {}
            () = first => panic!("too early"),
        }
        timer.sleep_until(at(200)).await;
        assert!(Instant::now() >= at(200));
        timer.sleep_until(at(250)).await;
        assert!(Instant::now() >= at(250));
        // A deadline before the previous one.
        let long = timer.sleep(Duration::from_secs(3_600));
        tokio::select! {
            () = long => panic!("too early"),
            () = tokio::task::yield_now() => {}
        }
        timer.sleep_until(at(300)).await;
        // A deadline in the past completes at once.
        timer.sleep_until(at(10)).await;
    }
}
