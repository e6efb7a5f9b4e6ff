//! The node's sign of life, apart from everything else that the agent does.

use std::time::Duration;

use hyprbox_protocol::HeartbeatRequest;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::config::Config;
use crate::host;
use crate::trouble::Caller;
use crate::version::version;

/// How long the last heartbeat may take: SIGTERM must be over within 2 s.
const LAST_TIMEOUT: Duration = Duration::from_millis(1200);

/// Beats every `config.interval` until it is dropped. `instance` is asked each time, as it may be found late.
pub(crate) async fn beat(
    config: &Config,
    client: &Client,
    instance: &(dyn Fn() -> Option<String> + Sync),
) {
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        match client.heartbeat(&request(config, instance())).await {
            Ok(()) => {
                client.trouble.ended(Caller::Heartbeat);
                backoff.reset();
                tokio::time::sleep_until(began + config.interval).await;
            }
            Err(e) => {
                client.trouble.failed(Caller::Heartbeat, &e);
                client.pause(backoff.next(config.interval)).await;
            }
        }
    }
}

/// Tells the server that the agent stops now, so that the node is OFFLINE at once. One try.
pub(crate) async fn say_stopping(config: &Config, client: &Client, instance: Option<String>) {
    let mut last = request(config, instance);
    last.stopping = Some(true);
    match tokio::time::timeout(LAST_TIMEOUT, client.heartbeat(&last)).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => client.trouble.failed(Caller::Heartbeat, &e),
        Err(_) => tracing::warn!("[heartbeat] the server doesn't answer; stopping without it"),
    }
}

fn request(config: &Config, instance: Option<String>) -> HeartbeatRequest {
    HeartbeatRequest {
        instance,
        hostname: host::hostname(),
        os: Some(host::os_info()),
        agent_version: Some(version().to_owned()),
        interval_seconds: Some(config.interval.as_secs_f64()),
        stopping: None,
    }
}
