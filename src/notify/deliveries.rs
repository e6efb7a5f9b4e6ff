//! Lists deliveries, and sends one again.

use super::{DeliveryPage, DeliveryView, Notifications, NotifyError};
use crate::audit::{self, Entry};
use crate::auth::User;
use crate::outbox::TRIED_FOR_MS;
use crate::store::delivery::{self, DeliveryState};
use crate::store::{Tx, channel, server_state};

impl Notifications {
    /// A page of a channel's deliveries before the id `before`, newest first.
    pub async fn deliveries(
        &self,
        channel_id: String,
        before: Option<String>,
        limit: u64,
    ) -> Result<DeliveryPage, NotifyError> {
        let read = move |tx: &mut dyn Tx| {
            channel::find(tx, &channel_id)?.ok_or(NotifyError::ChannelNotFound)?;
            // One more than requested shows whether there is a next page.
            let before = before.as_deref();
            Ok::<_, NotifyError>(delivery::list(tx, &channel_id, before, limit + 1)?)
        };
        let mut found = self.store.read(read).await?;
        let has_more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let last = found.last().map(|delivery| delivery.id.clone());
        Ok(DeliveryPage {
            deliveries: found.into_iter().map(DeliveryView::from).collect(),
            next_cursor: last.filter(|_| has_more),
        })
    }

    /// Sends a delivery again, whatever became of it, and tries for three more days.
    pub async fn resend(&self, user: &User, id: String) -> Result<DeliveryView, NotifyError> {
        let (user, outbox) = (user.clone(), self.outbox.clone());
        let work = move |tx: &mut dyn Tx| {
            let mut delivery =
                delivery::find_locked(tx, &id)?.ok_or(NotifyError::DeliveryNotFound)?;
            let now = server_state::now(tx)?;
            delivery.state = DeliveryState::Pending;
            delivery.next_attempt_at = Some(now);
            delivery.give_up_at = now.plus_millis(TRIED_FOR_MS);
            delivery.tries = 0;
            delivery::update(tx, &delivery)?;
            let detail = format!("delivery {id} of channel {}", delivery.channel_id);
            let entry = Entry::by(&user.email, "delivery.resend").saying(&detail);
            audit::record(tx, entry)?;
            outbox.wake_sender(tx);
            Ok(DeliveryView::from(delivery))
        };
        self.store.write(work).await
    }

    /// Number of deliveries of the last 30 days that were given up.
    pub async fn failed_deliveries(&self) -> Result<u64, NotifyError> {
        self.store
            .read(|tx| Ok::<_, NotifyError>(delivery::count_failed(tx)?))
            .await
    }
}
