//! Nodes: who they are, whether they live, and the tokens of their agents. It knows nothing of
//! jobs.

mod agents;
mod enrol;
mod heartbeat;
mod install;
mod presence;
mod processes;
mod routes;
mod run_clock;
mod tokens;

use std::sync::Arc;

pub(crate) use agents::Agents;
pub use enrol::Enrolment;
pub use install::{Install, is_in_the_clear};
pub use presence::{NodeStatus, Presence};
pub use processes::Standing;
pub use routes::{AddNode, AddedNode, Load, NodeInstance, NodeView};
pub use run_clock::RunClock;
pub(crate) use tokens::no_such_node;
pub use tokens::{MintedToken, TokenView};

use crate::hub::Hub;
use crate::store::Store;

/// The nodes' part of the server; clones share it.
#[derive(Clone)]
pub struct Nodes {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) presence: Arc<Presence>,
    /// How an agent gets onto a machine.
    pub install: Install,
}

impl Nodes {
    /// Knows the nodes that the database has, and how long ago each was seen.
    pub async fn load(
        store: Store,
        hub: Arc<Hub>,
        clock: Arc<RunClock>,
        install: Install,
    ) -> Result<Self, crate::store::StoreError> {
        let known = store.read(|tx| crate::store::node::list(tx)).await?;
        let presence = Arc::new(Presence::new(clock, store.is_shared()));
        for node in &known {
            presence.know(node);
        }
        Ok(Self {
            store,
            hub,
            presence,
            install,
        })
    }

    /// The endpoints of nodes that neither count nor end jobs.
    pub fn routes(&self) -> utoipa_axum::router::OpenApiRouter {
        routes::routes(self.clone())
    }
}
