//! Channels, rules and deliveries as the API returns them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::settings::shown;
use crate::clock::Timestamp;
use crate::outbox::{EventKind, Rule};
use crate::store::channel::{self, Channel, ChannelKind};
use crate::store::delivery::{Delivery, DeliveryState};
use crate::store::{StoreError, Tx};

/// A channel. A field without a value is `null`, never absent.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelView {
    /// UUIDv7.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The kind of receiver.
    pub kind: ChannelKind,
    /// The settings of its kind. Secret ones read back as `***`. A webhook's secret that the server
    /// has made is shown once, in the answer that made it.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// Whether messages wait.
    pub paused: bool,
    /// Why the server paused it; `null` if a person did.
    #[schema(required = true)]
    pub paused_because: Option<String>,
    /// Number of deliveries that wait for an attempt.
    pub pending_deliveries: u64,
    /// Number of deliveries of the last 30 days that were given up.
    pub failed_deliveries: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// All channels.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChannelList {
    /// Oldest first.
    pub channels: Vec<ChannelView>,
}

/// The result of a test message.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChannelTest {
    /// Whether the receiver has accepted the message.
    pub ok: bool,
    /// The receiver's status, of HTTP or SMTP; `null` if it has not answered.
    #[schema(required = true)]
    pub status: Option<u16>,
    /// The receiver's words, or why there are none.
    pub answer: String,
}

/// Which events go to a channel.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleView {
    /// UUIDv7.
    pub id: String,
    /// The channel's id.
    pub channel_id: String,
    /// The events.
    pub on: Vec<EventKind>,
    /// Only these presets; `null`: every one.
    #[schema(required = true)]
    pub presets: Option<Vec<String>>,
    /// Only these nodes; `null`: every one.
    #[schema(required = true)]
    pub selector: Option<String>,
    /// Only these schedules, by id; `null`: also what no schedule has made.
    #[schema(required = true)]
    pub schedules: Option<Vec<String>>,
    /// Seconds after a node's last sign of life at which `node_offline` is sent; `null` without
    /// that event.
    #[schema(required = true)]
    pub after_seconds: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// All rules.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RuleList {
    /// Oldest first.
    pub rules: Vec<RuleView>,
}

/// An attempt to deliver a message.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AttemptView {
    /// When it began.
    pub at: Timestamp,
    /// The receiver's status, of HTTP or SMTP; `null` if it has not answered.
    #[schema(required = true)]
    pub status: Option<u16>,
    /// Why it failed; `null` if the receiver has accepted the message.
    #[schema(required = true)]
    pub error: Option<String>,
    /// The receiver's words, at most 1,000 characters.
    #[schema(required = true)]
    pub answer: Option<String>,
}

/// A message for a channel, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryView {
    /// UUIDv7; the same at each attempt.
    pub id: String,
    /// The event.
    pub event: String,
    /// What became of it.
    pub state: DeliveryState,
    /// When the event happened.
    pub created_at: Timestamp,
    /// When the next attempt is made; `null` if none is.
    #[schema(required = true)]
    pub next_attempt_at: Option<Timestamp>,
    /// The last 50 attempts, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryPage {
    /// Newest first.
    pub deliveries: Vec<DeliveryView>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl ChannelView {
    /// The channel with the counts of its deliveries, read now.
    pub(super) fn read(tx: &mut dyn Tx, channel: Channel) -> Result<Self, StoreError> {
        let undelivered = channel::undelivered(tx, &channel.id)?;
        let plain: Map<String, Value> = serde_json::from_str(&channel.settings).unwrap_or_default();
        // No kind has more than one secret setting.
        let settings = shown(channel.kind, &plain, |_| channel.sealed.is_some());
        Ok(Self {
            id: channel.id,
            name: channel.name,
            kind: channel.kind,
            settings,
            paused: channel.is_paused,
            paused_because: channel.paused_because,
            pending_deliveries: undelivered.pending,
            failed_deliveries: undelivered.failed,
            created_at: channel.created_at,
        })
    }
}

impl From<Rule> for RuleView {
    fn from(rule: Rule) -> Self {
        Self {
            after_seconds: rule.offline_after(),
            id: rule.id,
            channel_id: rule.channel_id,
            on: rule.events,
            presets: rule.presets,
            selector: rule.selector,
            schedules: rule.schedules,
            created_at: rule.created_at,
        }
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            attempts: serde_json::from_str(&delivery.attempts).unwrap_or_default(),
            id: delivery.id,
            event: delivery.event,
            state: delivery.state,
            created_at: delivery.created_at,
            next_attempt_at: delivery.next_attempt_at,
        }
    }
}
