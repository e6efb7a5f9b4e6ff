//! The HyprBox Jobs agent: claims a node's jobs, runs them in bash, streams their output.
//!
//! [`run`] is the whole agent; the server's demo runs it inside its own process.
//! [`supervisor::process`] is the small process that runs a job, so that the job outlives the
//! agent.
//!
//! On a system other than Linux the agent only sends heartbeats.

mod backoff;
mod client;
mod clock;
#[cfg(target_os = "linux")]
pub mod commands;
pub mod config;
mod facts;
#[cfg(target_os = "linux")]
mod health;
mod heartbeat;
mod host;
#[cfg(target_os = "linux")]
mod job;
#[cfg(target_os = "linux")]
mod job_trust;
#[cfg(target_os = "linux")]
mod ledger_witness;
pub mod log;
#[cfg(target_os = "linux")]
mod poll;
#[cfg(target_os = "linux")]
pub mod private;
#[cfg(target_os = "linux")]
mod proc_stat;
#[cfg(target_os = "linux")]
mod rfc3339;
pub mod shutdown;
#[cfg(target_os = "linux")]
mod spool;
#[cfg(target_os = "linux")]
mod state;
#[cfg(target_os = "linux")]
pub mod supervisor;
mod trouble;
pub mod trust;
#[cfg(target_os = "linux")]
mod trusted_dir;
mod version;
pub mod wiping_alloc;

use std::future::Future;
use std::sync::Arc;

pub use client::ClientError;
pub use config::{Config, ConfigError};
#[cfg(target_os = "linux")]
pub use state::StateError;
pub use version::version;

use client::Client;

/// Why the agent can't run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The HTTP client can't be created from the configuration.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Another agent is using the state folder.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    State(#[from] StateError),
}

/// Runs the agent until `shutdown` is done, then returns within 2 s. Running jobs continue under
/// their supervisors.
///
/// The future is `Send` and runs on any tokio runtime that has its time and I/O drivers enabled. It
/// starts supervisors with the arguments `supervise <folder>` of the current executable, which must
/// call [`supervisor::process::main`] for them.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let client = Arc::new(Client::new(&config)?);
    tracing::info!(
        "hyprbox-agent {} for node {} at {}",
        version(),
        config.node_id,
        config.api_url
    );
    run_on_this_system(&config, &client, shutdown).await
}

#[cfg(target_os = "linux")]
async fn run_on_this_system(
    config: &Config,
    client: &Arc<Client>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let state = state::State::open_waiting(&config.state_dir).await;
    if let Err(e @ StateError::Taken(_)) = state {
        return Err(e.into());
    }
    let shared_report = heartbeat::SharedReport::default();
    let trust = job_trust::JobTrust::new(config);
    trust.report(&shared_report);
    if let Ok(state) = &state {
        // So that the first heartbeat already names them.
        shared_report.change(|report| {
            report.instance = Some(state.instance().to_owned());
            report.process = Some(state.process().to_owned());
        });
    }
    tokio::select! {
        () = shutdown => {}
        () = heartbeat::beat(config, client, &shared_report) => {}
        () = poll::work(config, Arc::clone(client), state, (&shared_report, trust)) => {}
        () = supervisor::orphans::reap() => {}
    }
    heartbeat::send_stopping(config, client, shared_report.get()).await;
    tracing::info!("stopped; running jobs continue");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
async fn run_on_this_system(
    config: &Config,
    client: &Arc<Client>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    tracing::warn!(
        "job polling is off on {}: this agent only sends heartbeats",
        std::env::consts::OS
    );
    let shared_report = heartbeat::SharedReport::default();
    tokio::select! {
        () = shutdown => {}
        () = heartbeat::beat(config, client, &shared_report) => {}
    }
    heartbeat::send_stopping(config, client, shared_report.get()).await;
    Ok(())
}
