//! Channels: where notifications go.

use super::{FromValue, Row, Statement, StoreError, Tx, Value, read_all, values};
use crate::clock::Timestamp;

macro_rules! select_channels {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT id, name, kind, settings, sealed, paused, paused_because, created_at FROM channels ",
            $rest
        ))
    };
}

/// The kind of receiver.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// Any address that accepts JSON, as in the Standard Webhooks specification.
    Webhook,
    Ntfy,
    Gotify,
    Slack,
    Discord,
    Email,
}

impl ChannelKind {
    /// The name used in the API and in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Ntfy => "ntfy",
            Self::Gotify => "gotify",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Email => "email",
        }
    }
}

impl FromValue for ChannelKind {
    fn from_value(value: Value) -> Option<Self> {
        let name = String::from_value(value)?;
        [
            Self::Webhook,
            Self::Ntfy,
            Self::Gotify,
            Self::Slack,
            Self::Discord,
            Self::Email,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }
}

/// A channel.
#[derive(Debug, Clone)]
pub struct Channel {
    pub id: String,
    pub name: String,
    pub kind: ChannelKind,
    /// The settings that are not secret, as a JSON object.
    pub settings: String,
    /// The secret settings, sealed.
    pub sealed: Option<Vec<u8>>,
    pub is_paused: bool,
    /// Why the server paused it.
    pub paused_because: Option<String>,
    pub created_at: Timestamp,
}

/// Number of a channel's deliveries that are not delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Waiting for an attempt.
    pub pending: u64,
    /// Given up.
    pub failed: u64,
}

fn channel_of_row(row: &mut Row) -> Result<Channel, StoreError> {
    Ok(Channel {
        id: row.take()?,
        name: row.take()?,
        kind: row.take()?,
        settings: row.take()?,
        sealed: row.take()?,
        is_paused: row.take()?,
        paused_because: row.take()?,
        created_at: row.take()?,
    })
}

fn one(tx: &mut dyn Tx, statement: &Statement, id: &str) -> Result<Option<Channel>, StoreError> {
    tx.query_one(statement, values![id])?
        .map(|mut row| channel_of_row(&mut row))
        .transpose()
}

/// Adds a channel.
pub fn insert(tx: &mut dyn Tx, channel: &Channel) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(
        "INSERT INTO channels (id, name, kind, settings, sealed, paused, paused_because, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    );
    let params = values![
        &channel.id,
        &channel.name,
        channel.kind.as_str(),
        &channel.settings,
        channel.sealed.clone(),
        channel.is_paused,
        channel.paused_because.clone(),
        channel.created_at,
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Changes everything but the id, the kind and the time of creation.
pub fn update(tx: &mut dyn Tx, channel: &Channel) -> Result<(), StoreError> {
    static UPDATE: Statement = Statement::new(
        "UPDATE channels SET name = $2, settings = $3, sealed = $4, paused = $5, paused_because = $6 WHERE id = $1",
    );
    let params = values![
        &channel.id,
        &channel.name,
        &channel.settings,
        channel.sealed.clone(),
        channel.is_paused,
        channel.paused_because.clone(),
    ];
    tx.execute(&UPDATE, params).map(|_| ())
}

/// Pauses a channel for a reason; false if it is paused already.
pub fn pause(tx: &mut dyn Tx, id: &str, because: &str) -> Result<bool, StoreError> {
    static PAUSE: Statement = Statement::new(
        "UPDATE channels SET paused = 1, paused_because = $2 WHERE id = $1 AND paused = 0",
    );
    Ok(tx.execute(&PAUSE, values![id, because])? == 1)
}

/// Deletes a channel with its rules and deliveries; false if it does not exist.
pub fn delete(tx: &mut dyn Tx, id: &str) -> Result<bool, StoreError> {
    static DELETE: Statement = Statement::new("DELETE FROM channels WHERE id = $1");
    Ok(tx.execute(&DELETE, values![id])? == 1)
}

/// Returns the channel with this id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Channel>, StoreError> {
    static FIND: Statement = select_channels!("WHERE id = $1");
    one(tx, &FIND, id)
}

/// Returns the channel with this id and locks it until the transaction ends.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<Channel>, StoreError> {
    static FIND: Statement = select_channels!("WHERE id = $1 /* for update */");
    one(tx, &FIND, id)
}

/// Returns all channels, oldest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Channel>, StoreError> {
    static LIST: Statement = select_channels!("ORDER BY id");
    read_all(tx.query(&LIST, &[])?, channel_of_row)
}

/// Counts the channels.
pub fn count(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    static COUNT: Statement = Statement::new("SELECT count(*) FROM channels");
    tx.query_one(&COUNT, &[])?
        .map_or(Ok(0), |mut row| row.take())
}

/// Counts what a channel has not delivered.
pub fn undelivered(tx: &mut dyn Tx, id: &str) -> Result<Undelivered, StoreError> {
    static COUNT: Statement = Statement::new(
        "SELECT (SELECT count(*) FROM deliveries WHERE channel_id = $1 AND state = 'pending'),
             (SELECT count(*) FROM deliveries WHERE channel_id = $1 AND state = 'failed')",
    );
    let Some(mut row) = tx.query_one(&COUNT, values![id])? else {
        return Ok(Undelivered::default());
    };
    Ok(Undelivered {
        pending: row.take()?,
        failed: row.take()?,
    })
}
