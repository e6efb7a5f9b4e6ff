//! The memory budget of requests and answers: bodies, also decompressed, and answers that wait for
//! their reader. Each caller and each address is limited to a share, so that the others are always
//! served.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::Notify;

use super::ApiError;

const MIB: usize = 1024 * 1024;
/// Bytes that all requests and answers may take.
const TOTAL_BYTES: usize = 64 * MIB;
/// Bytes for all callers that are not signed in, and for one address of theirs.
const STRANGERS_BYTES: usize = 16 * MIB;
const STRANGER_BYTES: usize = 4 * MIB;
/// Bytes for one user or node: two requests with the largest body fit.
const CALLER_BYTES: usize = 24 * MIB;
/// Bytes for all users and nodes of one address.
const ADDRESS_BYTES: usize = 48 * MIB;

/// Smaller answers are not counted, because the connection itself takes as much memory.
const COUNTED_FROM_BYTES: u64 = 16 * 1024;
/// Large answers are sent as copies of this size, so that the last bytes don't keep the whole
/// answer in memory.
const PIECE_BYTES: usize = 64 * 1024;
/// Released bytes after which the allocator returns free memory to the system.
const TRIM_AFTER_BYTES: usize = 4 * MIB;

/// The owner of counted memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A client at that address that is not signed in.
    Stranger(IpAddr),
    /// All signed-in clients at that address.
    Address(IpAddr),
    /// A user, by id.
    User(String),
    /// A node, by id.
    Node(String),
}

impl Holder {
    fn limit(&self) -> usize {
        match self {
            Self::Stranger(_) => STRANGER_BYTES,
            Self::Address(_) => ADDRESS_BYTES,
            Self::User(_) | Self::Node(_) => CALLER_BYTES,
        }
    }
}

/// The budget. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Budget(Arc<BudgetState>);

#[derive(Debug, Default)]
struct BudgetState {
    held: Mutex<Usage>,
    trim: Notify,
}

#[derive(Debug, Default)]
struct Usage {
    total: usize,
    strangers: usize,
    by_holder: HashMap<Holder, usize>,
    /// Bytes released since the allocator last returned free memory.
    released: usize,
}

impl Budget {
    /// The meter of a request from `address`.
    pub(crate) fn meter(&self, address: IpAddr) -> Meter {
        Meter(Arc::new(MeterState {
            budget: self.clone(),
            address,
            state: Mutex::default(),
        }))
    }

    /// Waits until enough was released to return free memory to the system.
    pub(crate) async fn worth_trimming(&self) {
        self.0.trim.notified().await;
    }

    /// Records that memory outside this budget was released.
    pub(crate) fn record_released(&self, bytes: usize) {
        self.add_released(&mut self.held(), bytes);
    }

    fn held(&self) -> MutexGuard<'_, Usage> {
        crate::sync::lock(&self.0.held)
    }

    fn add_released(&self, held: &mut Usage, bytes: usize) {
        held.released += bytes;
        if held.released >= TRIM_AFTER_BYTES {
            held.released = 0;
            self.0.trim.notify_one();
        }
    }

    fn take(&self, holders: &[Holder], bytes: usize) -> Result<(), ApiError> {
        let mut held = self.held();
        let is_stranger = matches!(holders, [Holder::Stranger(_)]);
        for holder in holders {
            let of_holder = held.by_holder.get(holder).copied().unwrap_or_default();
            if of_holder + bytes > holder.limit() {
                return Err(too_many(holder));
            }
        }
        let is_full = held.total + bytes > TOTAL_BYTES;
        if is_full || (is_stranger && held.strangers + bytes > STRANGERS_BYTES) {
            return Err(ApiError::unavailable(
                "out_of_memory",
                "The server's memory for requests is in use; try again in a moment",
            ));
        }
        held.total += bytes;
        if is_stranger {
            held.strangers += bytes;
        }
        for holder in holders {
            *held.by_holder.entry(holder.clone()).or_default() += bytes;
        }
        Ok(())
    }

    fn release(&self, holders: &[Holder], bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut held = self.held();
        held.total -= bytes;
        if matches!(holders, [Holder::Stranger(_)]) {
            held.strangers -= bytes;
        }
        for holder in holders {
            if let Some(of_holder) = held.by_holder.get_mut(holder) {
                *of_holder -= bytes;
                if *of_holder == 0 {
                    held.by_holder.remove(holder);
                }
            }
        }
        self.add_released(&mut held, bytes);
    }
}

fn too_many(holder: &Holder) -> ApiError {
    let who = match holder {
        Holder::Stranger(_) | Holder::Address(_) => "Requests from your address",
        Holder::User(_) => "Your other requests",
        Holder::Node(_) => "This node's other requests",
    };
    let message =
        format!("{who} have used up their share of the server's memory; try again in a moment");
    ApiError::too_many(message, 1)
}

/// Counts the memory of one request and its answer, as a request extension. Cheap to clone;
/// dropping the last clone releases the memory.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<MeterState>);

#[derive(Debug)]
struct MeterState {
    budget: Budget,
    address: IpAddr,
    state: Mutex<Charges>,
}

#[derive(Debug, Default)]
struct Charges {
    caller: Option<Holder>,
    body: usize,
    answer: usize,
}

impl MeterState {
    fn state(&self) -> MutexGuard<'_, Charges> {
        crate::sync::lock(&self.state)
    }

    fn holders(&self, state: &Charges) -> Vec<Holder> {
        match &state.caller {
            None => vec![Holder::Stranger(self.address)],
            Some(caller) => vec![caller.clone(), Holder::Address(self.address)],
        }
    }
}

impl Drop for MeterState {
    fn drop(&mut self) {
        let (holders, bytes) = {
            let state = self.state();
            (self.holders(&state), state.body + state.answer)
        };
        self.budget.release(&holders, bytes);
    }
}

impl Meter {
    /// The request's meter. Without a budget, the client counts as not signed in.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let found = extensions.get::<Self>().cloned();
        found.unwrap_or_else(|| Budget::default().meter(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }

    /// Counts the request for `caller` from now on, unless it has a caller or counted bytes
    /// already.
    pub(crate) fn sign_in(&self, caller: Holder) {
        let mut state = self.0.state();
        if state.caller.is_none() && state.body + state.answer == 0 {
            state.caller = Some(caller);
        }
    }

    /// Whether the request is authenticated.
    pub(crate) fn is_signed_in(&self) -> bool {
        self.0.state().caller.is_some()
    }

    /// The client's address; an IPv6 address as its /64.
    pub(crate) fn address(&self) -> IpAddr {
        self.0.address
    }

    /// The budget of this meter.
    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Counts bytes of the body, until the answer is ready.
    pub(crate) fn hold_body(&self, bytes: usize) -> Result<(), ApiError> {
        let mut state = self.0.state();
        self.0.budget.take(&self.0.holders(&state), bytes)?;
        state.body += bytes;
        Ok(())
    }

    /// Counts bytes of the answer, until it is sent.
    pub(crate) fn hold_answer(&self, bytes: usize) -> Result<(), ApiError> {
        let mut state = self.0.state();
        self.0.budget.take(&self.0.holders(&state), bytes)?;
        state.answer += bytes;
        Ok(())
    }

    /// Releases the request's body and counts the answer until it is sent. An answer that does not
    /// fit into the budget is replaced by an error.
    pub(crate) fn pass_on(self, response: Response) -> Response {
        let held = {
            let mut state = self.0.state();
            let body = std::mem::take(&mut state.body);
            self.0.budget.release(&self.0.holders(&state), body);
            state.answer
        };
        let length = response.body().size_hint().exact().unwrap_or_default();
        let length = if length < COUNTED_FROM_BYTES {
            0
        } else {
            usize::try_from(length).unwrap_or(usize::MAX)
        };
        if let Err(error) = self.hold_answer(length.saturating_sub(held)) {
            return error.into_response();
        }
        if length.max(held) == 0 {
            return response;
        }
        response.map(|body| {
            Body::new(CountedBody {
                body,
                rest: Bytes::new(),
                _meter: self,
            })
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Meter {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// An answer's body that is counted until it is sent.
struct CountedBody {
    body: Body,
    /// The part of a large frame that was not sent yet.
    rest: Bytes,
    _meter: Meter,
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end @ (None | Some(Err(_))) => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) if data.len() > PIECE_BYTES => self.rest = data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = Bytes::from(BytesMut::from(&self.rest.split_to(length)[..]));
        if self.rest.is_empty() {
            // Even an empty slice would keep the whole frame in memory.
            self.rest = Bytes::new();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn user_at(budget: &Budget, name: &str, last: u8) -> Meter {
        let meter = budget.meter(address(last));
        meter.sign_in(Holder::User(name.to_owned()));
        meter
    }

    fn status(held: Result<(), ApiError>) -> u16 {
        held.err().map_or(200, |error| {
            assert_eq!(error.retry_after, Some(1));
            error.status.as_u16()
        })
    }

    #[test]
    fn callers_are_limited_to_their_share_and_all_memory_is_released() {
        let budget = Budget::default();
        let ann = user_at(&budget, "ann", 1);
        assert_eq!(status(ann.hold_body(CALLER_BYTES)), 200);
        assert_eq!(status(ann.hold_body(1)), 429);
        assert_eq!(status(user_at(&budget, "ann", 2).hold_answer(1)), 429);
        let bob = user_at(&budget, "bob", 1);
        assert_eq!(status(bob.hold_answer(CALLER_BYTES)), 200);
        // The address also has a limit.
        assert_eq!(status(user_at(&budget, "cid", 1).hold_body(1)), 429);
        let cid = user_at(&budget, "cid", 2);
        assert_eq!(status(cid.hold_body(TOTAL_BYTES - 2 * CALLER_BYTES)), 200);
        assert_eq!(status(user_at(&budget, "dan", 3).hold_body(1)), 503);
        drop((ann, bob, cid));
        assert_eq!(status(user_at(&budget, "dan", 3).hold_body(1)), 200);
        let held = budget.held();
        assert_eq!((held.total, held.by_holder.len()), (0, 0));
    }

    #[test]
    fn strangers_leave_most_of_the_budget_to_others() {
        let budget = Budget::default();
        let strangers: Vec<Meter> = (0..4).map(|last| budget.meter(address(last))).collect();
        for stranger in &strangers {
            assert_eq!(status(stranger.hold_body(STRANGER_BYTES)), 200);
            assert_eq!(status(stranger.hold_body(1)), 429);
        }
        assert_eq!(status(budget.meter(address(9)).hold_body(1)), 503);
        assert_eq!(
            status(user_at(&budget, "ann", 1).hold_body(CALLER_BYTES)),
            200
        );
    }

    #[tokio::test]
    async fn an_answer_is_counted_until_it_is_sent() {
        let budget = Budget::default();
        let meter = user_at(&budget, "ann", 1);
        meter.hold_body(100).expect("room");
        let text: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let response = meter.pass_on(Response::new(Body::from(text.clone())));
        assert_eq!(budget.held().total, text.len());
        assert_eq!(response.body().size_hint().exact(), Some(200_000));
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes(), text);
        assert_eq!(budget.held().total, 0);
    }
}
