//! Notifications: channels, rules and deliveries, and the tasks that send messages and pings.

mod channels;
mod deliveries;
mod error;
mod node_watch;
mod ping;
mod receiver;
mod retry;
mod routes;
mod rules;
mod sender;
mod settings;
mod test_message;
mod view;

use utoipa_axum::router::OpenApiRouter;

pub use channels::{AddChannel, ChannelChange};
pub use error::NotifyError;
pub use rules::{AddRule, RuleChange};
pub use settings::{Setting, SettingsRequest};
pub use view::{
    AttemptView, ChannelList, ChannelTest, ChannelView, DeliveryPage, DeliveryView, RuleList,
    RuleView,
};

use crate::jobs::Jobs;

/// Everything that the server does with notifications. Cheap to clone.
#[derive(Clone)]
pub struct Notifications(Jobs);

impl Notifications {
    /// Notifications about these jobs and their nodes.
    pub fn new(jobs: Jobs) -> Self {
        Self(jobs)
    }

    /// The endpoints for channels, rules and deliveries.
    pub fn routes(&self) -> OpenApiRouter {
        routes::routes().with_state(self.clone())
    }
}

impl std::ops::Deref for Notifications {
    type Target = Jobs;

    fn deref(&self) -> &Jobs {
        &self.0
    }
}
