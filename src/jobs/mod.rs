//! The life of a job, from the queue to its end; the only folder that changes a job's state.

mod error;
mod life;
mod live;
mod log;
mod node_routes;
mod preset_routes;
mod routes;
mod view;

use std::sync::Arc;

use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

pub use error::JobError;
pub use life::door::{Door, Said};
pub use life::key::{KeyError, SecretKey};
pub use life::queue::{Idempotency, QueueRequest, Queued};
pub use log::diff::unified as unified_diff;
pub use log::steps::{Step, StepState};
pub use log::window::OutputEnd;
pub use routes::{JobPage, Scope, find_for};
pub use view::{JobDetail, JobView};

use crate::auth::OperatorScope;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::presets::Catalog;
use crate::store::Store;

/// What the jobs' part of the server is told at its start.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Kept bytes per stream.
    pub stdout_max_bytes: u64,
    /// How long a RUNNING job lives without a sign of life.
    pub lease_seconds: u64,
    /// Days that finished jobs are kept.
    pub keep_days: Option<u64>,
    /// Whose jobs an OPERATOR may read.
    pub operator_scope: OperatorScope,
}

/// The jobs' part of the server; clones share it.
#[derive(Clone)]
pub struct Jobs(Arc<Parts>);

/// What every clone shares.
pub struct Parts {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) nodes: Nodes,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) metrics: Metrics,
    limits: Limits,
    key: SecretKey,
    polls: life::claim::Polls,
    tails: live::tail::Tails,
    audited_views: live::dashboard_stream::AuditedViews,
    viewers: live::viewers::Viewers,
    comparing: log::comparing::Turns,
    stopping: watch::Receiver<bool>,
}

impl std::ops::Deref for Jobs {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Jobs {
    /// Puts the parts together. `stopping` turns true when the server goes down: open polls and
    /// streams then end.
    pub fn new(
        nodes: Nodes,
        catalog: Arc<Catalog>,
        metrics: Metrics,
        limits: Limits,
        key: SecretKey,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (store, hub) = (nodes.store.clone(), Arc::clone(&nodes.hub));
        let tails = live::tail::Tails::new(store.clone(), Arc::clone(&hub), metrics.clone());
        let polls = life::claim::Polls::default();
        Self(Arc::new(Parts {
            store,
            hub,
            nodes,
            catalog,
            metrics,
            limits,
            key,
            polls,
            tails,
            audited_views: live::dashboard_stream::AuditedViews::default(),
            viewers: live::viewers::Viewers::default(),
            comparing: log::comparing::Turns::default(),
            stopping,
        }))
    }

    /// The endpoints of jobs, for people and for agents, and those of nodes that count or end jobs.
    pub fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .merge(routes::routes())
            .merge(log::detail::routes())
            .merge(log::routes::routes())
            .merge(live::stream::routes())
            .merge(live::dashboard_stream::routes())
            .merge(life::agent_routes::routes())
            .merge(node_routes::routes())
            .merge(preset_routes::routes())
            .with_state(self.clone())
    }

    /// Turns true when the server goes down.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // An error says that the server's own end is gone: then it is going down, too.
        let _gone = stopping.wait_for(|stopping| *stopping).await;
    }
}
