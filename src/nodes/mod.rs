//! Nodes: their facts, whether their agents are alive, and their tokens. Does not depend on jobs.

mod agents;
mod edit;
mod enrol;
mod facts;
mod heartbeat;
mod install;
mod labels;
mod life;
mod load;
mod presence;
mod processes;
mod routes;
mod run_clock;
mod second_instances;
mod selector;
mod signing_state;
mod tokens;

use std::sync::Arc;

pub(crate) use agents::Agents;
pub use edit::EditNode;
pub use enrol::Enrolment;
pub use install::{Install, is_in_the_clear};
pub use life::NodeStatus;
pub use load::Load;
pub use presence::Presence;
pub use processes::Standing;
pub use routes::{AddNode, AddedNode, NodeInstance, NodeView, RefusedView};
pub use run_clock::RunClock;
pub use selector::{Selector, SelectorError};
pub use signing_state::{ServerKeys, SigningState};
pub(crate) use tokens::node_not_found;
pub use tokens::{MintedToken, TokenView};

use crate::hub::Hub;
use crate::ledger::Ledger;
use crate::outbox::Outbox;
use crate::signing::ServerSigner;
use crate::store::Store;

/// Manages nodes. Cheap to clone.
#[derive(Clone)]
pub struct Nodes {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) presence: Arc<Presence>,
    /// Installs agents on machines.
    pub install: Install,
    /// Signs jobs.
    pub(crate) signer: ServerSigner,
    pub(crate) ledger: Ledger,
    pub(crate) outbox: Outbox,
}

impl Nodes {
    /// Loads the nodes from the database.
    pub async fn load(
        store: Store,
        hub: Arc<Hub>,
        clock: Arc<RunClock>,
        install: Install,
        signer: ServerSigner,
        ledger: Ledger,
        outbox: Outbox,
    ) -> Result<Self, crate::store::StoreError> {
        let nodes = store.read(|tx| crate::store::node::list(tx)).await?;
        let presence = Arc::new(Presence::new(clock, store.is_shared()));
        for node in &nodes {
            presence.load(node);
        }
        Ok(Self {
            ledger,
            outbox,
            store,
            hub,
            presence,
            install,
            signer,
        })
    }

    /// The endpoints that don't involve jobs.
    pub fn routes(&self) -> utoipa_axum::router::OpenApiRouter {
        routes::routes(self.clone())
    }
}
