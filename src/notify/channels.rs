//! Makes, changes and deletes channels.

use serde::Deserialize;
use serde_json::Value;

use super::settings::{SECRET, Settings, SettingsRequest};
use super::{ChannelView, Notifications, NotifyError};
use crate::audit::{self, Entry};
use crate::auth::User;
use crate::http::FieldErrors;
use crate::store::channel::{self, Channel, ChannelKind};
use crate::store::sealed::SealedKind;
use crate::store::{StoreError, Tx, server_state};

/// The most channels. Each may have a few attempts under way, which bounds those of the server.
const CHANNELS_MAX: u64 = 100;
/// Longest name, in characters.
const NAME_MAX: usize = 255;

/// The body of `POST /api/channels`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct AddChannel {
    /// What people call it: 1 to 255 characters.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// The kind of receiver.
    pub kind: ChannelKind,
    /// The settings of its kind.
    pub settings: SettingsRequest,
    /// Whether messages wait.
    #[serde(default)]
    pub paused: Option<bool>,
}

/// The body of `PATCH /api/channels/:id`: the fields to change.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub struct ChannelChange {
    #[serde(default)]
    pub name: Option<String>,
    /// The settings to change. `***` and absent ones stay as they are, `null` removes one. A
    /// webhook gets a new secret if its secret is removed.
    #[serde(default)]
    pub settings: Option<SettingsRequest>,
    /// `false` resumes the channel: messages of the last three days are sent.
    #[serde(default)]
    pub paused: Option<bool>,
}

/// Binds the sealed bytes to the channel.
pub(super) fn context(channel_id: &str) -> String {
    SealedKind::Channel.bound_to(channel_id)
}

fn check_name(name: &str, faults: &mut FieldErrors) {
    let is_plain = !name.chars().any(char::is_control) && !name.trim().is_empty();
    faults.check(
        (1..=NAME_MAX).contains(&name.chars().count()) && is_plain,
        "name",
        "must have 1 to 255 printable characters",
    );
}

fn record(
    tx: &mut dyn Tx,
    user: &User,
    action: &'static str,
    channel: &Channel,
) -> Result<(), StoreError> {
    let detail = format!("channel {}: {}", channel.id, channel.name);
    audit::record(tx, Entry::by(&user.email, action).saying(&detail))
}

/// Shows the secret that was made, this once.
fn reveal(view: &mut ChannelView, made: Option<String>) {
    if let (Some(secret), Some(settings)) = (made, view.settings.as_object_mut()) {
        settings.insert(SECRET.to_owned(), Value::from(secret));
    }
}

impl Notifications {
    /// All channels, oldest first.
    pub async fn channels(&self) -> Result<Vec<ChannelView>, NotifyError> {
        let read = |tx: &mut dyn Tx| {
            let all = channel::list(tx)?.into_iter();
            all.map(|channel| Ok(ChannelView::read(tx, channel)?))
                .collect()
        };
        self.store.read(read).await
    }

    /// One channel.
    pub async fn channel(&self, id: String) -> Result<ChannelView, NotifyError> {
        let read = move |tx: &mut dyn Tx| {
            let channel = channel::find(tx, &id)?.ok_or(NotifyError::ChannelNotFound)?;
            Ok(ChannelView::read(tx, channel)?)
        };
        self.store.read(read).await
    }

    /// Makes a channel.
    pub async fn add_channel(
        &self,
        user: &User,
        request: AddChannel,
    ) -> Result<ChannelView, NotifyError> {
        let mut faults = FieldErrors::default();
        check_name(&request.name, &mut faults);
        let mut settings = Settings::default();
        let made = settings.apply(request.kind, request.settings, &mut faults);
        faults.into_faults().map_err(NotifyError::Fields)?;
        let id = uuid::Uuid::now_v7().to_string();
        let (plain, sealed) = self.store_settings(&id, &settings)?;
        let user = user.clone();
        let work = move |tx: &mut dyn Tx| {
            tx.lock("channels")?;
            if channel::count(tx)? >= CHANNELS_MAX {
                return Err(NotifyError::TooMany(CHANNELS_MAX, "channels"));
            }
            let channel = Channel {
                id,
                name: request.name,
                kind: request.kind,
                settings: plain,
                sealed,
                is_paused: request.paused.unwrap_or(false),
                paused_because: None,
                created_at: server_state::now(tx)?,
            };
            channel::insert(tx, &channel)?;
            record(tx, &user, "channel.add", &channel)?;
            Ok(ChannelView::read(tx, channel)?)
        };
        let mut view = self.store.write(work).await?;
        reveal(&mut view, made);
        Ok(view)
    }

    /// Changes, pauses or resumes a channel.
    pub async fn change_channel(
        &self,
        user: &User,
        id: String,
        change: ChannelChange,
    ) -> Result<ChannelView, NotifyError> {
        let (notifications, user) = (self.clone(), user.clone());
        let work = move |tx: &mut dyn Tx| {
            let mut channel = channel::find_locked(tx, &id)?.ok_or(NotifyError::ChannelNotFound)?;
            let mut faults = FieldErrors::default();
            let only_pause = change.name.is_none() && change.settings.is_none();
            if let Some(name) = change.name {
                check_name(&name, &mut faults);
                channel.name = name;
            }
            let mut made = None;
            if let Some(request) = change.settings {
                let mut settings = notifications.open_settings(&channel);
                made = settings.apply(channel.kind, request, &mut faults);
                (channel.settings, channel.sealed) =
                    notifications.store_settings(&id, &settings)?;
            }
            faults.into_faults().map_err(NotifyError::Fields)?;
            if let Some(is_paused) = change.paused {
                channel.is_paused = is_paused;
                channel.paused_because = None;
            }
            channel::update(tx, &channel)?;
            let action = match change.paused {
                Some(true) if only_pause => "channel.pause",
                Some(false) if only_pause => "channel.resume",
                _ => "channel.change",
            };
            record(tx, &user, action, &channel)?;
            notifications.outbox.wake_sender(tx);
            Ok::<_, NotifyError>((ChannelView::read(tx, channel)?, made))
        };
        let (mut view, made) = self.store.write(work).await?;
        reveal(&mut view, made);
        Ok(view)
    }

    /// Deletes a channel with its rules and deliveries.
    pub async fn remove_channel(&self, user: &User, id: String) -> Result<(), NotifyError> {
        let (user, outbox) = (user.clone(), self.outbox.clone());
        let work = move |tx: &mut dyn Tx| {
            let channel = channel::find_locked(tx, &id)?.ok_or(NotifyError::ChannelNotFound)?;
            channel::delete(tx, &id)?;
            outbox.wake_watch(tx);
            Ok(record(tx, &user, "channel.remove", &channel)?)
        };
        self.store.write(work).await
    }

    /// The settings of a channel. Secret ones are missing if the key file is not the one that
    /// sealed them.
    pub(super) fn open_settings(&self, channel: &Channel) -> Settings {
        let sealed = channel.sealed.as_deref();
        let opened = sealed.and_then(|sealed| self.unseal(&context(&channel.id), sealed));
        Settings {
            plain: serde_json::from_str(&channel.settings).unwrap_or_default(),
            secrets: opened.unwrap_or_default(),
        }
    }

    fn store_settings(
        &self,
        id: &str,
        settings: &Settings,
    ) -> Result<(String, Option<Vec<u8>>), NotifyError> {
        let sealed = self.seal(&context(id), &settings.secrets)?.sealed;
        let plain = Value::Object(settings.plain.clone()).to_string();
        Ok((plain, sealed))
    }
}
