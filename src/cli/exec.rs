//! `hyprbox exec`: runs a script without a preset, once.

use serde_json::{Value, json};

use super::args::Exec;
use super::client::Client;
use super::error::CliError;
use super::runs;
use super::saved_presets::read_text;
use super::screen::Screen;

/// Prints the run's id. Followed on one node, exits with the script's exit code.
pub(super) async fn run(client: Client, screen: Screen, exec: Exec) -> Result<u8, CliError> {
    let mut body = json!({"script": read_text(&exec.file)?});
    match exec.on {
        Some(selector) => body["selector"] = Value::from(selector),
        None => body["nodes"] = Value::from(exec.node),
    }
    if let Some(seconds) = exec.timeout {
        body["timeoutSeconds"] = Value::from(seconds);
    }
    runs::exec(client, screen, &body, &exec.watch).await
}
