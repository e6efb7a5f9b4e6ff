//! The test button of a channel.

use super::receiver::{Outcome, attempt};
use super::{ChannelTest, Notifications, NotifyError};
use crate::audit::{self, Entry};
use crate::auth::User;
use crate::outbox::Message;
use crate::store::{Tx, channel, server_state};

impl From<Outcome> for ChannelTest {
    fn from(outcome: Outcome) -> Self {
        Self {
            ok: outcome.error.is_none(),
            status: outcome.status,
            answer: outcome.answer.or(outcome.error).unwrap_or_default(),
        }
    }
}

impl Notifications {
    /// Sends a message now, also while the channel is paused.
    pub async fn test_channel(&self, user: &User, id: String) -> Result<ChannelTest, NotifyError> {
        let actor = user.email.clone();
        let work = move |tx: &mut dyn Tx| {
            let channel = channel::find(tx, &id)?.ok_or(NotifyError::ChannelNotFound)?;
            let detail = format!("channel {id}: {}", channel.name);
            audit::record(tx, Entry::by(&actor, "channel.test").saying(&detail))?;
            Ok::<_, NotifyError>((channel, server_state::now(tx)?))
        };
        let (channel, now) = self.store.write(work).await?;
        let message = Message {
            event: None,
            object: None,
            reason: format!("{} tests the channel {}", user.email, channel.name),
            stderr_tail: None,
            path: format!("/channels/{}", channel.id),
        };
        let body = self.outbox.body(&message, now).to_string();
        let delivery_id = uuid::Uuid::now_v7().to_string();
        let settings = self.open_settings(&channel);
        Ok(attempt(channel.kind, &settings, &delivery_id, &body, now)
            .await
            .into())
    }
}
