//! The life of a job, from the queue to its end. Only this folder changes a job's state.

mod access;
mod drift;
mod error;
mod export;
mod history;
mod key_rotation;
mod life;
mod live;
mod log;
mod node_routes;
mod notices;
mod preset;
mod repeat;
mod routes;
mod run;
mod signatures;
mod stored_secrets;
mod view;

use std::sync::Arc;

use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

pub use access::{Scope, ScopedViewer, find_visible};
pub use drift::{DriftState, DriftStep, DriftStepState, stored_params, stored_steps};
pub use error::JobError;
pub use history::{Activity, EndedWithin, History, RowFacts, SearchPage};
pub use key_rotation::{KeyRotation, finish_key_rotation, rotate_secret_key};
pub use life::cancel::FailRequest;
pub use life::claim_times::{ClaimTimes, EXPIRY_RANGE};
pub use life::key::{KeyError, SecretKey};
pub use life::poll_fast_path::{FastAnswer, PollFastPath};
pub use life::queue::{Idempotency, QueueOutcome, QueueRequest, check_timeout, find_key};
pub use life::render::RenderedPreset;
pub use life::sign::{SealedSecrets, Statement, sign_existing};
pub use live::events::{Counted, DoneEvent, StatusEvent};
pub use log::diff::unified as unified_diff;
pub use log::expected_times::{ExpectedTimes, Progress};
pub use log::last_error::ErrorLine;
pub use log::steps::{Step, StepDuration, StepState};
pub use log::window::OutputEnd;
pub(crate) use node_routes::find_with_load;
pub use preset::{Condition, PresetError, PresetVersionView, SavedPreset, etag_of};
pub(crate) use repeat::Failures;
pub use routes::{JobPage, cursor_of, idempotency_key, since_of};
pub use run::access::{find_visible_run, record_run};
pub use run::advance::RunAdvance;
pub use run::plan::{BatchSize, Plan, PlanRequest};
pub use run::step::RunStep;
pub use run::view::RunView;
pub use signatures::{check_comment, parse_signature};
pub use stored_secrets::{
    AllowedPreset, SetSecretRequest, StoredSecretDetail, StoredSecretList, StoredSecretView,
    refuse_literal_secrets, secret_name,
};
pub use view::{HoldFacts, HoldView, JobDetail, JobView, SignedBy};

use crate::auth::OperatorScope;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::outbox::Outbox;
use crate::presets::Catalog;
use crate::store::Store;

/// The settings of the server that concern jobs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of output that are kept per stream.
    pub stdout_max_bytes: u64,
    /// Seconds after which a RUNNING job whose agent is silent counts as lost.
    pub lease_seconds: u64,
    /// Days for which finished jobs are kept; forever if `None`.
    pub keep_days: Option<u64>,
    /// Which jobs an OPERATOR may read.
    pub operator_scope: OperatorScope,
    /// Whether presets can be saved in the app. Otherwise those that were saved are ignored.
    pub saves_presets: bool,
}

/// Everything that the server does with jobs. Cheap to clone.
///
/// - life: [`Jobs::queue`], [`Jobs::cancel`], [`Jobs::fail`], `poll`, `append`, [`Jobs::complete`],
///   [`Jobs::run_sweeps`]
/// - reading: [`Jobs::page`], [`Jobs::script`], [`Jobs::diff`], [`Jobs::render`],
///   [`Jobs::presets`]; [`find_visible`] checks the user's rights first
/// - lists for the pages: [`Jobs::search`], [`Jobs::history`], [`Jobs::activity`]
/// - nodes, as far as jobs are concerned: [`Jobs::all_nodes`], [`Jobs::one_node`],
///   [`Jobs::nodes_of`], [`Jobs::search_nodes`], [`Jobs::edit_node`], [`Jobs::delete_node`]
/// - HTTP: [`Jobs::routes`], and [`PollFastPath`] in front of it
#[derive(Clone)]
pub struct Jobs(Arc<Services>);

/// The services that the work on jobs needs, shared by all clones of [`Jobs`].
pub struct Services {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) nodes: Nodes,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) metrics: Metrics,
    pub(crate) milestones: life::milestones::Milestones,
    pub(crate) outbox: Outbox,
    limits: Limits,
    key: Arc<SecretKey>,
    run_advance: RunAdvance,
    polls: life::poll::PollTracker,
    tails: live::tail::Tails,
    audited_views: live::dashboard_stream::AuditedViews,
    viewers: live::viewers::Viewers,
    comparing: log::comparing::Turns,
    linting: log::comparing::Turns,
    stopping: watch::Receiver<bool>,
}

impl std::ops::Deref for Jobs {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

impl Jobs {
    /// Builds the services. When `stopping` turns true, the server is shutting down and open polls
    /// and streams end.
    pub fn new(
        nodes: Nodes,
        catalog: Arc<Catalog>,
        metrics: Metrics,
        limits: Limits,
        key: Arc<SecretKey>,
        outbox: Outbox,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (store, hub) = (nodes.store.clone(), Arc::clone(&nodes.hub));
        let tails = live::tail::Tails::new(store.clone(), Arc::clone(&hub), metrics.clone());
        let polls = life::poll::PollTracker::default();
        let milestones = life::milestones::Milestones::new(metrics.clone());
        let run_advance = RunAdvance::new(
            Arc::clone(&nodes.presence),
            milestones.clone(),
            outbox.clone(),
        );
        Self(Arc::new(Services {
            store,
            hub,
            nodes,
            catalog,
            metrics,
            milestones,
            outbox,
            limits,
            key,
            run_advance,
            polls,
            tails,
            audited_views: live::dashboard_stream::AuditedViews::default(),
            viewers: live::viewers::Viewers::default(),
            comparing: log::comparing::Turns::default(),
            linting: log::comparing::Turns::default(),
            stopping,
        }))
    }

    /// The endpoints for jobs, presets, and the nodes that run them.
    pub fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .merge(routes::routes())
            .merge(signatures::routes())
            .merge(log::detail::routes())
            .merge(log::routes::routes())
            .merge(export::routes())
            .merge(live::stream::routes())
            .merge(live::dashboard_stream::routes())
            .merge(life::agent_routes::routes())
            .merge(node_routes::routes())
            .merge(preset::routes::routes())
            .merge(stored_secrets::routes())
            .with_state(self.clone())
    }

    /// What advances runs in the transactions that end their jobs.
    pub fn run_advance(&self) -> RunAdvance {
        self.run_advance.clone()
    }

    /// Waits until the server shuts down.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the sender is gone, and with it the server.
        let _closed = stopping.wait_for(|stopping| *stopping).await;
    }
}
