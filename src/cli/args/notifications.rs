//! The commands of channels and rules, and their flags.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use hyprbox_protocol::TimeRange;

use super::{Output, Sure, complete, limit, pair, seconds};

const KINDS: [&str; 6] = ["webhook", "ntfy", "gotify", "slack", "discord", "email"];

const EVENTS: [&str; 12] = [
    "job_failed",
    "job_recovered",
    "job_lost",
    "run_finished",
    "run_failed",
    "schedule_missed",
    "node_offline",
    "node_online",
    "drift_found",
    "waits_for_signature",
    "backup_failed",
    "history_altered",
];

/// How long after a node's last sign of life a message is sent.
const AFTER_RANGE: TimeRange = TimeRange::seconds(1, 604_800);

/// In seconds.
fn after(text: &str) -> Result<u64, String> {
    seconds(text, AFTER_RANGE)
}

/// One channel.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OneChannel {
    /// The channel's name or id, or the id's first or last characters; see `hyprbox channels list`
    #[arg(id = "channel", value_name = "CHANNEL", add = ArgValueCompleter::new(complete::channels))]
    pub(in crate::cli) given: String,
}

/// `hyprbox channels add`
#[derive(Debug, Args)]
pub(in crate::cli) struct AddChannel {
    /// What people call the channel
    pub(in crate::cli) name: String,
    /// webhook, ntfy, gotify, slack, discord or email
    #[arg(value_name = "KIND", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(KINDS))]
    pub(in crate::cli) kind: String,
    /// A setting of its kind; may be repeated, and `to` as well
    #[arg(short = 's', long = "setting", value_name = "KEY=VALUE", value_parser = pair)]
    pub(in crate::cli) settings: Vec<String>,
    /// Ask for this setting on the terminal, or read it from standard input: token, password,
    /// secret, or the url of slack and discord
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) secret_stdin: Option<String>,
}

/// `hyprbox channels …` (ADMIN)
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ChannelsCommand {
    /// List channels
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show a channel and its last deliveries
    #[command(aliases = ["get", "describe"])]
    Show {
        #[command(flatten)]
        channel: OneChannel,
        #[command(flatten)]
        output: Output,
    },
    /// Add a channel. It gets messages once a rule names it
    #[command(after_help = "\
Settings:
  webhook   url, secret (one is made and shown if omitted)
  ntfy      url, topic, token (optional)
  gotify    url, token
  slack     url
  discord   url
  email     host, port, security (starttls or tls), from, to, username and password (optional)")]
    Add(AddChannel),
    /// Send a test message now, and print the receiver's answer
    Test {
        #[command(flatten)]
        channel: OneChannel,
    },
    /// Pause a channel: messages wait for up to 3 days
    Pause {
        #[command(flatten)]
        channel: OneChannel,
    },
    /// Resume a channel: what waits is sent
    Resume {
        #[command(flatten)]
        channel: OneChannel,
    },
    /// List the messages of a channel, newest first, and what became of each
    Deliveries {
        #[command(flatten)]
        channel: OneChannel,
        /// Maximum number of messages
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit)]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Send a message again, also one that was delivered or given up
    Resend {
        #[command(flatten)]
        channel: OneChannel,
        /// The message's id, or its first or last characters; see `hyprbox channels deliveries`
        #[arg(value_name = "DELIVERY")]
        delivery: String,
    },
    /// Remove a channel with its rules and deliveries
    #[command(aliases = ["rm", "delete"])]
    Remove {
        #[command(flatten)]
        channel: OneChannel,
        #[command(flatten)]
        sure: Sure,
    },
}

/// `hyprbox rules add`
#[derive(Debug, Args)]
pub(in crate::cli) struct AddRule {
    #[command(flatten)]
    pub(in crate::cli) channel: OneChannel,
    /// An event; may be repeated: job_failed, job_recovered, job_lost, run_finished, run_failed,
    /// schedule_missed, node_offline, node_online, drift_found, waits_for_signature,
    /// backup_failed, history_altered
    #[arg(long, value_name = "EVENT", required = true, hide_possible_values = true,
        value_parser = PossibleValuesParser::new(EVENTS))]
    pub(in crate::cli) on: Vec<String>,
    /// Only this preset; may be repeated
    #[arg(long, value_name = "PRESET", add = ArgValueCompleter::new(complete::presets))]
    pub(in crate::cli) preset: Vec<String>,
    /// Only nodes that match, such as 'role=web,!gpu'
    #[arg(long, value_name = "SELECTOR")]
    pub(in crate::cli) selector: Option<String>,
    /// Only what this schedule has queued; may be repeated
    #[arg(long, value_name = "SCHEDULE", add = ArgValueCompleter::new(complete::schedules))]
    pub(in crate::cli) schedule: Vec<String>,
    /// With node_offline: how long after the node's last sign of life [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = after)]
    pub(in crate::cli) after: Option<u64>,
}

/// `hyprbox rules …` (ADMIN)
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RulesCommand {
    /// List rules
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Add a rule: send these events to a channel
    Add(AddRule),
    /// Remove a rule
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// The rule's id, or its first or last characters; see `hyprbox rules list`
        #[arg(value_name = "RULE")]
        rule: String,
        #[command(flatten)]
        sure: Sure,
    },
}
