//! `hyprbox exec`: runs a script without a preset, once.

use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use super::args::{Common, Watch, timeout};
use super::client::Client;
use super::complete;
use super::error::CliError;
use super::runs;
use super::saved_presets::read_text;
use super::screen::Screen;

/// `hyprbox exec`
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// The script, a file; - is standard input. It runs as it is, with bash: without distro guard,
    /// `set -e` and steps
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: String,
    /// The node; repeat it for several nodes, in this order
    #[arg(long, short = 'n', required_unless_present = "on", add = ArgValueCompleter::new(complete::nodes))]
    node: Vec<String>,
    /// Run on all nodes that match, such as 'role=web'
    #[arg(long, value_name = "SELECTOR", conflicts_with = "node")]
    on: Option<String>,
    /// Each job's time limit, such as 90s, 10m or 1h30m [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    timeout: Option<u64>,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    pub(super) common: Common,
}

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
