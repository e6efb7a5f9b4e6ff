//! Deliveries: messages for channels, and their attempts. A delivery is written in the transaction
//! of its event. A server that makes an attempt first moves `next_attempt_at` to the time at which
//! the attempt counts as lost, so that each attempt is made by one server.

use super::{FromValue, Row, Statement, StoreError, Tx, Value, read_all, values};
use crate::clock::Timestamp;

macro_rules! select_deliveries {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT id, channel_id, event, message, state, created_at, next_attempt_at, give_up_at, tries, attempts
             FROM deliveries ",
            $rest
        ))
    };
}

/// What became of a delivery.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits for an attempt.
    Pending,
    /// The receiver has accepted it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl FromValue for DeliveryState {
    fn from_value(value: Value) -> Option<Self> {
        let name = String::from_value(value)?;
        [Self::Pending, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub id: String,
    pub channel_id: String,
    pub event: String,
    /// A JSON object: the body that webhooks get.
    pub message: String,
    pub state: DeliveryState,
    pub created_at: Timestamp,
    pub next_attempt_at: Option<Timestamp>,
    /// When the last attempt is made.
    pub give_up_at: Timestamp,
    /// Failed attempts since it was queued or sent again.
    pub tries: u64,
    /// A JSON list.
    pub attempts: String,
}

fn delivery_of_row(row: &mut Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: row.take()?,
        channel_id: row.take()?,
        event: row.take()?,
        message: row.take()?,
        state: row.take()?,
        created_at: row.take()?,
        next_attempt_at: row.take()?,
        give_up_at: row.take()?,
        tries: row.take()?,
        attempts: row.take()?,
    })
}

fn one(
    tx: &mut dyn Tx,
    statement: &Statement,
    params: &[Value],
) -> Result<Option<Delivery>, StoreError> {
    tx.query_one(statement, params)?
        .map(|mut row| delivery_of_row(&mut row))
        .transpose()
}

/// Adds a pending delivery.
pub fn insert(tx: &mut dyn Tx, delivery: &Delivery) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(
        "INSERT INTO deliveries (id, channel_id, event, message, state, created_at, next_attempt_at, give_up_at, attempts)
         VALUES ($1, $2, $3, $4, 'pending', $5, $6, $7, '[]')",
    );
    let params = values![
        &delivery.id,
        &delivery.channel_id,
        &delivery.event,
        &delivery.message,
        delivery.created_at,
        delivery.next_attempt_at,
        delivery.give_up_at,
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Stores the state, the attempts and the time of the next one.
pub fn update(tx: &mut dyn Tx, delivery: &Delivery) -> Result<(), StoreError> {
    static UPDATE: Statement = Statement::new(
        "UPDATE deliveries SET state = $2, next_attempt_at = $3, give_up_at = $4, tries = $5, attempts = $6, claimed = 0
         WHERE id = $1",
    );
    let params = values![
        &delivery.id,
        delivery.state.as_str(),
        delivery.next_attempt_at,
        delivery.give_up_at,
        delivery.tries,
        &delivery.attempts,
    ];
    tx.execute(&UPDATE, params).map(|_| ())
}

/// Returns the delivery with this id and locks it until the transaction ends.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<Delivery>, StoreError> {
    static FIND: Statement = select_deliveries!("WHERE id = $1 /* for update */");
    one(tx, &FIND, values![id])
}

/// Returns up to `limit` deliveries of a channel before the id `before`, newest first.
pub fn list(
    tx: &mut dyn Tx,
    channel_id: &str,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<Delivery>, StoreError> {
    static LIST: Statement =
        select_deliveries!("WHERE channel_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    // Every id sorts before this.
    let before = before.unwrap_or("~");
    read_all(
        tx.query(&LIST, values![channel_id, before, limit])?,
        delivery_of_row,
    )
}

/// Returns each channel that is not paused and has pending deliveries, with the time of the first
/// attempt.
pub fn next_attempts(tx: &mut dyn Tx) -> Result<Vec<(String, Timestamp)>, StoreError> {
    static NEXT: Statement = Statement::new(
        "SELECT id, (SELECT min(next_attempt_at) FROM deliveries WHERE channel_id = channels.id AND state = 'pending')
         FROM channels WHERE paused = 0",
    );
    let all = read_all(tx.query(&NEXT, &[])?, |row| {
        Ok((row.take()?, row.take_typed_time()?))
    })?;
    let pending = all.into_iter();
    Ok(pending.filter_map(|(id, at)| Some((id, at?))).collect())
}

/// Claims a channel's first delivery that is due, until `lost_at`; `None` if the channel has none
/// or is paused.
pub fn claim_next(
    tx: &mut dyn Tx,
    channel_id: &str,
    now: Timestamp,
    lost_at: Timestamp,
) -> Result<Option<Delivery>, StoreError> {
    static NEXT: Statement = select_deliveries!(
        "WHERE channel_id = $1 AND state = 'pending' AND next_attempt_at <= $2
           AND EXISTS (SELECT 1 FROM channels WHERE id = $1 AND paused = 0)
         ORDER BY next_attempt_at, id LIMIT 1 /* skip locked */"
    );
    static CLAIM: Statement =
        Statement::new("UPDATE deliveries SET next_attempt_at = $2, claimed = 1 WHERE id = $1");
    let Some(mut due) = one(tx, &NEXT, values![channel_id, now])? else {
        return Ok(None);
    };
    tx.execute(&CLAIM, values![&due.id, lost_at])?;
    due.next_attempt_at = Some(lost_at);
    Ok(Some(due))
}

/// Makes attempts due again that a server had begun when it was killed.
pub fn release_claims(tx: &mut dyn Tx, now: Timestamp) -> Result<u64, StoreError> {
    static RELEASE: Statement = Statement::new(
        "UPDATE deliveries SET next_attempt_at = $1, claimed = 0 WHERE state = 'pending' AND claimed = 1",
    );
    tx.execute(&RELEASE, values![now])
}

/// Gives up deliveries of paused channels whose time is over. Returns how many.
pub fn give_up_paused(tx: &mut dyn Tx, now: Timestamp) -> Result<u64, StoreError> {
    static GIVE_UP: Statement = Statement::new(
        "UPDATE deliveries SET state = 'failed', next_attempt_at = NULL, claimed = 0
         WHERE state = 'pending' AND give_up_at <= $1 AND channel_id IN (SELECT id FROM channels WHERE paused = 1)",
    );
    tx.execute(&GIVE_UP, values![now])
}

/// Deletes up to a thousand settled deliveries that were made before `before`. Returns how many.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<u64, StoreError> {
    static PRUNE: Statement = Statement::new(
        "DELETE FROM deliveries WHERE id IN (
             SELECT id FROM deliveries WHERE state <> 'pending' AND created_at < $1 ORDER BY created_at LIMIT 1000)",
    );
    tx.execute(&PRUNE, values![before])
}

/// Counts the deliveries that were given up.
pub fn count_failed(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    static COUNT: Statement =
        Statement::new("SELECT count(*) FROM deliveries WHERE state = 'failed'");
    tx.query_one(&COUNT, &[])?
        .map_or(Ok(0), |mut row| row.take())
}
