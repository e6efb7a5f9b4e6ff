//! The commands of schedules and stored secrets, and their flags.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::{
    Output, Params, Plan, SignWith, Sure, Watch, complete, expiry, limit, moment, timeout,
};
use crate::clock::Timestamp;

/// The fields that `--unset` resets, each with its name in the API.
pub(in crate::cli) const UNSET: [(&str, &str); 5] = [
    ("timeout", "timeoutSeconds"),
    ("expires", "expiresInSeconds"),
    ("plan", "plan"),
    ("skip-offline", "ifOffline"),
    ("ping-url", "pingUrl"),
];

/// One schedule.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OneSchedule {
    /// The schedule's name or id, or the id's first or last characters; see `hyprbox schedules
    /// list`
    #[arg(id = "schedule", value_name = "SCHEDULE", add = ArgValueCompleter::new(complete::schedules))]
    pub(in crate::cli) given: String,
}

/// What a schedule may have beside its preset, nodes and times.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ScheduleOptions {
    /// What to do at a due time if the last run has not ended: skip the due time, queue one run
    /// behind it, or cancel it [default: skip]
    #[arg(long, value_name = "WHAT", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["skip", "queue", "cancel"]))]
    pub(in crate::cli) overlap: Option<String>,
    /// What to do after the server was down over due times: run once, or skip them [default: once]
    #[arg(long, value_name = "WHAT", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["once", "skip"]))]
    pub(in crate::cli) missed: Option<String>,
    /// Each job's time limit, such as 90s, 10m or 1h30m, instead of the preset's
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(in crate::cli) timeout: Option<u64>,
    /// Cancel a job that no agent has started within this time after the release of its batch,
    /// such as 24h
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub(in crate::cli) expires: Option<u64>,
    /// An address to call when a run begins, succeeds and fails
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub(in crate::cli) ping_url: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) plan: Plan,
}

/// `hyprbox schedules add`
#[derive(Debug, Args)]
pub(in crate::cli) struct AddSchedule {
    /// What people call the schedule
    pub(in crate::cli) name: String,
    /// The preset; see `hyprbox presets list`
    #[arg(value_name = "PRESET", add = ArgValueCompleter::new(complete::presets))]
    pub(in crate::cli) preset: String,
    /// The node; see `hyprbox nodes list`. Repeat it for several nodes, in this order
    #[arg(long, short = 'n', required_unless_present = "on", add = ArgValueCompleter::new(complete::nodes))]
    pub(in crate::cli) node: Vec<String>,
    /// Run on all nodes that match at the due time, such as 'role=web,!gpu'
    #[arg(long, value_name = "SELECTOR", conflicts_with = "node")]
    pub(in crate::cli) on: Option<String>,
    /// Minute, hour, day, month and weekday, such as '30 2 * * mon-fri'; or @hourly, @daily,
    /// @weekly, @monthly, @yearly
    #[arg(long, value_name = "EXPR")]
    pub(in crate::cli) cron: String,
    /// The time zone of the expression, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", add = ArgValueCompleter::new(complete::time_zones))]
    pub(in crate::cli) time_zone: String,
    /// Only check what would run, and change nothing; secrets are not needed
    #[arg(long)]
    pub(in crate::cli) check: bool,
    /// Add it paused
    #[arg(long)]
    pub(in crate::cli) paused: bool,
    #[command(flatten)]
    pub(in crate::cli) params: Params,
    #[command(flatten)]
    pub(in crate::cli) options: ScheduleOptions,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
}

/// `hyprbox schedules sign`
#[derive(Debug, Args)]
pub(in crate::cli) struct SignSchedule {
    #[command(flatten)]
    pub(in crate::cli) schedule: OneSchedule,
    /// From when the signature counts, such as 2026-12-24T22:00:00+01:00 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(in crate::cli) from: Option<Timestamp>,
    /// Until when it counts [default: a year after its begin]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(in crate::cli) until: Option<Timestamp>,
    /// How many jobs each node may start on one day, in UTC, runs by hand included [default: the
    /// most due times on a day]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) max_per_day: Option<u64>,
    #[command(flatten)]
    pub(in crate::cli) with: SignWith,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
}

/// `hyprbox schedules edit`
#[derive(Debug, Args)]
pub(in crate::cli) struct EditSchedule {
    #[command(flatten)]
    pub(in crate::cli) schedule: OneSchedule,
    /// What people call the schedule
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,
    /// The preset
    #[arg(long, value_name = "PRESET", add = ArgValueCompleter::new(complete::presets))]
    pub(in crate::cli) preset: Option<String>,
    /// The node, instead of the nodes so far; may be repeated
    #[arg(long, short = 'n', add = ArgValueCompleter::new(complete::nodes))]
    pub(in crate::cli) node: Vec<String>,
    /// Run on all nodes that match at the due time, instead of the nodes so far
    #[arg(long, value_name = "SELECTOR", conflicts_with = "node")]
    pub(in crate::cli) on: Option<String>,
    /// The expression, as for `hyprbox schedules add`
    #[arg(long, value_name = "EXPR")]
    pub(in crate::cli) cron: Option<String>,
    /// The time zone of the expression
    #[arg(long, value_name = "ZONE", add = ArgValueCompleter::new(complete::time_zones))]
    pub(in crate::cli) time_zone: Option<String>,
    /// Reset timeout, expires, plan, skip-offline or ping-url; may be repeated
    #[arg(long, value_name = "FIELD", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(UNSET.map(|(flag, _)| flag)))]
    pub(in crate::cli) unset: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) params: Params,
    #[command(flatten)]
    pub(in crate::cli) options: ScheduleOptions,
}

/// `hyprbox schedules next`
#[derive(Debug, Args)]
pub(in crate::cli) struct NextTimes {
    /// The schedule whose next five times are shown; all schedules if omitted
    #[arg(value_name = "SCHEDULE", add = ArgValueCompleter::new(complete::schedules))]
    pub(in crate::cli) schedule: Option<String>,
    /// Show the next five times of this expression instead
    #[arg(
        long,
        value_name = "EXPR",
        conflicts_with = "schedule",
        requires = "time_zone"
    )]
    pub(in crate::cli) cron: Option<String>,
    /// The time zone of the expression
    #[arg(long, value_name = "ZONE", requires = "cron",
        add = ArgValueCompleter::new(complete::time_zones))]
    pub(in crate::cli) time_zone: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) output: Output,
}

/// `hyprbox schedules …`
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SchedulesCommand {
    /// List schedules
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show a schedule
    #[command(aliases = ["get", "describe"])]
    Show {
        #[command(flatten)]
        schedule: OneSchedule,
        #[command(flatten)]
        output: Output,
    },
    /// Add a schedule: queue a preset at the times of a cron expression
    Add(Box<AddSchedule>),
    /// Change a schedule; what no flag names stays as it is
    Edit(Box<EditSchedule>),
    /// Pause a schedule: its due times are skipped
    Pause {
        #[command(flatten)]
        schedule: OneSchedule,
    },
    /// Resume a paused schedule. If the server has paused it, you become its maker
    Resume {
        #[command(flatten)]
        schedule: OneSchedule,
    },
    /// Queue a run of a schedule now, also while it is paused
    #[command(after_help = super::EXIT_CODES)]
    Run {
        #[command(flatten)]
        schedule: OneSchedule,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        sure: Sure,
    },
    /// Show the next due times: of all schedules, of one, or of an expression
    Next(NextTimes),
    /// List the due times of a schedule, newest first, and what became of each
    Slots {
        #[command(flatten)]
        schedule: OneSchedule,
        /// Maximum number of due times
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit)]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Show what a schedule runs, ask, and sign it in advance with your own key, for nodes whose
    /// jobs people sign
    Sign(SignSchedule),
    /// Remove a schedule; its runs are kept
    #[command(aliases = ["rm", "delete"])]
    Remove {
        #[command(flatten)]
        schedule: OneSchedule,
        #[command(flatten)]
        sure: Sure,
    },
}

/// `hyprbox secrets …`
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SecretsCommand {
    /// List stored secrets, without their values
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Store a secret or replace it; the value is asked for on the terminal, or read from standard
    /// input (ADMIN)
    Set {
        /// The secret's name: 1 to 63 characters of a-z, 0-9 and -, not starting or ending with -
        #[arg(value_name = "SECRET")]
        name: String,
        /// A preset that may use it; may be repeated
        #[arg(long, value_name = "PRESET", required = true, add = ArgValueCompleter::new(complete::presets))]
        preset: Vec<String>,
    },
    /// Remove a stored secret that no schedule names (ADMIN)
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// The secret's name
        #[arg(value_name = "SECRET", add = ArgValueCompleter::new(complete::secrets))]
        name: String,
        #[command(flatten)]
        sure: Sure,
    },
}
