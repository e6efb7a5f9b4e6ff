//! The client's commands and their flags: one definition for parsing, help, completions and man
//! pages. One file, because the order of the commands and their shared flags is the order of the
//! help.

mod notifications;
mod schedules;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::ArgValueCompleter;
use hyprbox_protocol::TimeRange;
use serde_json::{Map, Value};

pub(super) use self::notifications::{
    AddChannel, AddRule, ChannelsCommand, OneChannel, RulesCommand,
};
pub(super) use self::schedules::{
    AddSchedule, EditSchedule, NextTimes, OneSchedule, ScheduleOptions, SchedulesCommand,
    SecretsCommand, SignSchedule, UNSET,
};
use super::client::segment;
use super::complete;
use crate::clock::{self, Timestamp};
use crate::jobs::EXPIRY_RANGE;
use crate::presets::TIMEOUT_RANGE;

/// The wait between two batches of a run.
const PAUSE_RANGE: TimeRange = TimeRange::seconds(0, 86_400);

/// How far back a list may be asked to go.
const SINCE_RANGE: TimeRange = TimeRange::seconds(1, 366 * 86_400);

/// Exit codes, for help texts and man pages.
pub const EXIT_CODES: &str = "\
Exit codes:
  0          success; when following a job or a run: it SUCCEEDED
  1          when following a run: the run did not succeed
  1 to 255   when following a job: the job FAILED with this exit code (1 if it has none)
  64         the command line is invalid, or a short id matches several
  124        the job ran past its time limit
  125        the server can't be reached or refused the request, or this program failed
  126        access refused: not logged in, token no longer valid, or role too low
  127        what the command names was not found, such as a job, node or schedule
  130        interrupted with Ctrl-C; a followed job continues
  137        the job's agent disappeared, its node restarted, or a signal killed the job
  141        the reader of the output closed it, as head does
  143        the job was CANCELLED

A job's script may itself exit with one of these codes. The last line on standard
error, or --json, shows whether the code is the script's.";

const IDS: &str = "\
An id may be shortened to its first or last 4 or more characters, if only one matches.
`last` is your newest job or run, and `last:PRESET` your newest one of a preset.";

const ENVIRONMENT: &str = "\
Environment:
  HYPRBOX_URL, HYPRBOX_TOKEN   the server and a token, instead of a saved login
  HYPRBOX_CA_FILE              PEM file with the only certificate authorities to trust
  HYPRBOX_INSECURE_HTTP=1      allow plain http to another machine
  NO_COLOR, CLICOLOR_FORCE     never use colours; always use colours";

const PLAN_EXIT_CODES: &str = "\
Exit codes:
  0          no step would run
  1          a check failed
  3          a step would run
  others     as for `hyprbox run`";

const DRIFT_EXIT_CODES: &str = "\
Exit codes:
  0          nothing has drifted
  1          a check failed, or a preset could not be checked
  3          a node has drifted
  others     as for `hyprbox run`";

/// Commands that use a server.
#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Log in to a server, and save a token for later commands
    #[command(after_help = ENVIRONMENT)]
    Login(Login),
    /// Delete the saved token, and revoke it on the server
    Logout(Logout),
    /// List, choose, add and remove saved servers, each with its login
    #[command(subcommand, aliases = ["contexts", "ctx"])]
    Context(ContextCommand),
    /// Queue a preset on a node, or on many as a run
    #[command(after_help = EXIT_CODES)]
    Run(Run),
    /// Show which steps of a preset would run, and change nothing
    #[command(after_help = PLAN_EXIT_CODES)]
    Plan(Check),
    /// Show which nodes are still as the presets have left them
    #[command(after_help = DRIFT_EXIT_CODES)]
    Drift(Drift),
    /// Run a script without a preset on one or several nodes, once (ADMIN)
    Exec(Exec),
    /// List, follow, pause and cancel runs: one preset on many nodes
    #[command(after_help = IDS)]
    Runs(Group<RunsCommand>),
    /// List, follow, cancel and compare jobs
    #[command(alias = "job", after_help = IDS)]
    Jobs(Group<JobsCommand>),
    /// List, add and remove nodes, and their tokens
    #[command(alias = "node")]
    Nodes(Group<NodesCommand>),
    /// List, show, check and render presets
    #[command(alias = "preset")]
    Presets(Group<PresetsCommand>),
    /// List, add, change and pause schedules: presets that run at set times
    #[command(alias = "schedule")]
    Schedules(Group<SchedulesCommand>),
    /// Store secrets for schedules and jobs, list and remove them
    #[command(alias = "secret")]
    Secrets(Group<SecretsCommand>),
    /// List, add, test and pause channels: where notifications go (ADMIN)
    #[command(alias = "channel")]
    Channels(Group<ChannelsCommand>),
    /// List, add and remove rules: which events go to which channel (ADMIN)
    #[command(alias = "rule")]
    Rules(Group<RulesCommand>),
    /// Add and remove users, and set their roles (ADMIN)
    #[command(alias = "user")]
    Users(Group<UsersCommand>),
    /// List, add and remove your personal tokens, for scripts and CI
    #[command(alias = "token")]
    Tokens(Group<TokensCommand>),
    /// Print the address of a page, and open it in a browser if there is one
    Open(Open),
    /// The same as `jobs log`
    #[command(hide = true, alias = "log", after_help = EXIT_CODES)]
    Logs(Direct<Log>),
    /// The same as `jobs watch`
    #[command(hide = true)]
    Watch(Direct<WatchJobs>),
}

/// Commands that act only on this machine.
#[derive(Debug, Subcommand)]
pub(super) enum LocalCommand {
    /// Print shell completions, which include live names of nodes, presets and jobs
    #[command(after_help = "\
bash:  echo 'source <(hyprbox completions bash)' >> ~/.bashrc
zsh:   echo 'source <(hyprbox completions zsh)' >> ~/.zshrc   (after compinit)
fish:  hyprbox completions fish > ~/.config/fish/completions/hyprbox.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages of all commands to a folder
    Man {
        /// The folder; created if missing
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Print this program's version
    Version,
}

/// A shell that has completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]

pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also into a pipe; a job's log is never changed there
    Always,
    /// Never, not even the colours of a log
    Never,
}

/// Flags that every client command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "General options")]
pub(super) struct Common {
    /// The server, instead of HYPRBOX_URL or the one you logged in to
    #[arg(long, global = true, value_hint = ValueHint::Url)]
    pub(super) url: Option<String>,
    /// The saved server to use; see `hyprbox context list`
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "url",
        add = ArgValueCompleter::new(complete::contexts))]
    pub(super) context: Option<String>,
    /// Print JSON; one object per line when following a job
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// When to use colours: auto, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(super) color: Color,
}

/// How a command prints what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table that fits the terminal, with short ids
    Table,
    /// All columns in full width, with whole ids, as in a pipe
    Wide,
    /// Only ids or names, one per line
    Name,
    /// The same as --json
    Json,
}

/// The flag `--output`.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Output {
    /// How to print: table, wide, name or json
    #[arg(long = "output", short = 'o', id = OUTPUT, value_name = "FORMAT", hide_possible_values = true)]
    pub(super) format: Option<Format>,
}

/// The flag's name in what clap has parsed.
pub(super) const OUTPUT: &str = "output";

/// A command that stands for a command of a group.
#[derive(Debug, Args)]
pub(super) struct Direct<A: Args> {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) args: A,
}

/// A command with commands of its own.
#[derive(Debug, Args)]
pub(super) struct Group<C: Subcommand> {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: C,
}

/// `hyprbox login`
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The server's address, such as https://jobs.example.org
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub(super) server: String,
    /// Save an existing token: read from HYPRBOX_TOKEN, asked for on the terminal, or read from
    /// standard input if that is not a terminal
    #[arg(long)]
    pub(super) token: bool,
    /// Email of the account; asked for if omitted. The password is asked for on the terminal, or
    /// read from standard input if that is not a terminal
    #[arg(long, conflicts_with = "token")]
    pub(super) email: Option<String>,
    /// The name to save this server under; its host if omitted
    #[arg(long, value_name = "NAME", value_parser = context_name)]
    pub(super) context: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `hyprbox logout`
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// The saved server to log out of, instead of the one in use
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    pub(super) context: Option<String>,
}

/// `hyprbox context …`
#[derive(Debug, Subcommand)]
pub(super) enum ContextCommand {
    /// List the saved servers; tokens are never printed
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Use a saved server from now on
    Use {
        /// The server's name; see `hyprbox context list`
        #[arg(add = ArgValueCompleter::new(complete::contexts))]
        name: String,
    },
    /// Log in to a server and save it, without using it from now on
    Add {
        /// The name to save it under
        #[arg(value_parser = context_name)]
        name: String,
        /// The server's address, such as https://jobs.example.org
        #[arg(value_name = "URL", value_hint = ValueHint::Url)]
        server: String,
        /// As for `hyprbox login`
        #[arg(long)]
        token: bool,
        /// As for `hyprbox login`
        #[arg(long, conflicts_with = "token")]
        email: Option<String>,
    },
    /// Log out of a saved server and forget it
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// The server's name; see `hyprbox context list`
        #[arg(add = ArgValueCompleter::new(complete::contexts))]
        name: String,
        #[command(flatten)]
        sure: Sure,
    },
}

/// `hyprbox open`
#[derive(Debug, Args)]
pub(super) struct Open {
    /// A job, run, node or preset; the overview if omitted. Jobs and runs may be shortened, or be
    /// `last`
    #[arg(add = ArgValueCompleter::new(complete::pages))]
    pub(super) what: Option<String>,
    /// Only print the address
    #[arg(long)]
    pub(super) print: bool,
    #[command(flatten)]
    pub(super) scope: Scoped,
    #[command(flatten)]
    pub(super) common: Common,
}

/// How to follow a new job.
#[derive(Debug, Clone, Args)]
pub(super) struct Watch {
    /// Print the job's output as it arrives, and exit with the job's exit code
    #[arg(long, short = 'f')]
    pub(super) follow: bool,
    /// Cancel the job on the first Ctrl-C or SIGTERM, instead of detaching
    #[arg(long, requires = "follow")]
    pub(super) cancel_on_interrupt: bool,
}

/// A preset's params.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Params {
    /// A param; may be repeated. NAME=@FILE reads the value from a file and NAME=@- from standard
    /// input, both without the last newline. NAME=@@text passes the text "@text". For a secret,
    /// NAME=secret:STORED names a stored secret; see `hyprbox secrets list`. A secret that is not
    /// given is asked for on the terminal.
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) params: Vec<String>,
    /// A JSON object of params, with the API's types; - is standard input. -p takes precedence.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) params_file: Option<String>,
}

/// `hyprbox run`
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The preset; see `hyprbox presets list`
    #[arg(add = ArgValueCompleter::new(complete::presets))]
    pub(super) preset: String,
    /// The node; see `hyprbox nodes list`. Repeat it for a run on several nodes, in this order
    #[arg(long, short = 'n', required_unless_present = "on", add = ArgValueCompleter::new(complete::nodes))]
    pub(super) node: Vec<String>,
    /// Run on all nodes that match, such as 'role=web,zone in (a,b),!gpu'; see `hyprbox nodes
    /// list --selector`
    #[arg(long, value_name = "SELECTOR", conflicts_with = "node")]
    pub(super) on: Option<String>,
    #[command(flatten)]
    pub(super) params: Params,
    /// Each job's time limit, such as 90s, 10m or 1h30m, instead of the preset's
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(super) timeout: Option<u64>,
    /// Cancel a job that no agent has started within this time, such as 24h; in a run, counted
    /// from the release of the job's batch
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub(super) expires: Option<u64>,
    /// Don't start before this time, such as 2026-12-24T22:00:00+01:00
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) at: Option<Timestamp>,
    #[command(flatten)]
    pub(super) plan: Plan,
    /// Run: show the nodes and their batches, and queue nothing
    #[arg(long, help_heading = "Runs", conflicts_with_all = ["follow", "cancel_on_interrupt"])]
    pub(super) dry_run: bool,
    /// Show the script, ask, and sign the jobs with your own key
    #[arg(long, help_heading = "Signing", conflicts_with = "dry_run")]
    pub(super) sign: bool,
    #[command(flatten)]
    pub(super) sign_with: SignWith,
    #[command(flatten)]
    pub(super) watch: Watch,
    #[command(flatten)]
    pub(super) sure: Sure,
    #[command(flatten)]
    pub(super) common: Common,
}

/// The key with which a person signs jobs, and what the script is compared with.
#[derive(Debug, Clone, Args)]
pub(super) struct SignWith {
    /// The key to sign with: an ed25519 key, or the .pub file of a key in ssh-agent [default: the
    /// only key of ssh-agent, or ~/.ssh/id_ed25519]
    #[arg(long, value_name = "FILE", help_heading = "Signing", value_hint = ValueHint::FilePath)]
    pub(super) key: Option<PathBuf>,
    /// Also render the preset from this folder, and sign only the same script
    #[arg(long, value_name = "DIR", help_heading = "Signing", value_hint = ValueHint::DirPath)]
    pub(super) presets: Option<PathBuf>,
}

/// The order and the limits of a run. With any of these flags, even one node gets a run.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Plan {
    /// Run: number of nodes that go first
    #[arg(long, value_name = "N", help_heading = "Runs", value_parser = count)]
    pub(super) canary: Option<u64>,
    /// Run: nodes per batch, a number or a percentage of all nodes [default: 100%]
    #[arg(long, value_name = "N|P%", help_heading = "Runs", value_parser = batch)]
    pub(super) batch: Option<Value>,
    /// Run: pause between batches, such as 5m
    #[arg(long, value_name = "TIME", help_heading = "Runs", value_parser = pause)]
    pub(super) pause: Option<u64>,
    /// Run: number of failures after which the run still continues [default: 0]
    #[arg(long, value_name = "N", help_heading = "Runs", value_parser = count)]
    pub(super) max_failures: Option<u64>,
    /// Run: skip nodes that are OFFLINE when their batch begins
    #[arg(long, help_heading = "Runs")]
    pub(super) skip_offline: bool,
}

impl Plan {
    /// Whether the user has set any of these flags.
    pub(super) fn is_given(&self) -> bool {
        let Self {
            canary,
            batch,
            pause,
            max_failures,
            skip_offline,
        } = self;
        canary.is_some()
            || batch.is_some()
            || pause.is_some()
            || max_failures.is_some()
            || *skip_offline
    }

    /// The `plan` of a request; empty if the user has chosen nothing.
    pub(super) fn json(&self) -> Map<String, Value> {
        let chosen = [
            ("canary", self.canary.map(Value::from)),
            ("batch", self.batch.clone()),
            ("pauseSeconds", self.pause.map(Value::from)),
            ("maxFailures", self.max_failures.map(Value::from)),
        ];
        chosen
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// Whether to ask before a command ends or removes something, or queues a high-risk preset.
#[derive(Debug, Clone, Args)]
pub(super) struct Sure {
    /// Don't ask first; without a terminal, the command never asks
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
}

fn pair(text: &str) -> Result<String, String> {
    match text.find('=').is_some_and(|length| length > 0) {
        true => Ok(text.to_owned()),
        false => Err("must be NAME=VALUE".to_owned()),
    }
}

fn context_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let is_name = (1..=253).contains(&text.len()) && !text.starts_with('-');
    match is_name && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("must be a word of letters, digits, dots and dashes".to_owned()),
    }
}

fn label_change(text: &str) -> Result<String, String> {
    match text.contains('=') || text.len() > 1 && text.ends_with('-') {
        true => Ok(text.to_owned()),
        false => Err("must be KEY=VALUE, or KEY- to remove the label".to_owned()),
    }
}

/// A whole number in a range; the error for any other text is "must be `what`".
fn number<N>(text: &str, range: RangeInclusive<N>, what: &str) -> Result<N, String>
where
    N: FromStr + PartialOrd,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be {what}"))
}

fn limit(text: &str) -> Result<u32, String> {
    number(text, 1..=u32::MAX, "a whole number, 1 or more")
}

fn tail(text: &str) -> Result<usize, String> {
    number(text, 0..=usize::MAX, "a whole number of lines")
}

fn days(text: &str) -> Result<u32, String> {
    number(text, 1..=3_650, "a whole number of days, 1 to 3650")
}

/// In seconds.
fn timeout(text: &str) -> Result<u64, String> {
    TIMEOUT_RANGE
        .parse(text)
        .map(|time| time.as_secs())
        .ok_or_else(|| format!("must be {TIMEOUT_RANGE}"))
}

/// In seconds.
fn expiry(text: &str) -> Result<u64, String> {
    seconds(text, EXPIRY_RANGE)
}

/// In seconds.
fn pause(text: &str) -> Result<u64, String> {
    seconds(text, PAUSE_RANGE)
}

fn seconds(text: &str, range: TimeRange) -> Result<u64, String> {
    let time = range.parse(text).map(|time| time.as_secs());
    time.ok_or_else(|| format!("must be {range}"))
}

fn count(text: &str) -> Result<u64, String> {
    number(text, 0..=u64::MAX, "a whole number, 0 or more")
}

/// As in the API: a number, or a percentage as text.
fn batch(text: &str) -> Result<Value, String> {
    let rule = || "must be a number of nodes, 1 or more, or 1% to 100%".to_owned();
    let Some(percentage) = text.strip_suffix('%') else {
        let count = text.parse::<u64>().ok().filter(|count| *count > 0);
        return count.map(Value::from).ok_or_else(rule);
    };
    let percentage = percentage.parse::<u64>().ok();
    let percentage = percentage.filter(|percentage| (1..=100).contains(percentage));
    percentage
        .map(|percentage| Value::from(format!("{percentage}%")))
        .ok_or_else(rule)
}

/// A time ago, or a moment.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Some(time) = SINCE_RANGE.parse(text) {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        return Ok(clock::now().plus_millis(-millis));
    }
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        "must be a time such as 90m, 24h or 7d, or one with its zone, such as 2026-12-01T08:00:00Z"
            .to_owned()
    })
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        "must be a time with its zone, such as 2026-12-01T08:00:00Z or 2026-12-01T08:00:00+01:00"
            .to_owned()
    })
}

/// Whose jobs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ScopeArg {
    /// Your own
    Mine,
    /// Everybody's (VIEWER, OPERATOR, ADMIN)
    All,
}

/// The flag `--scope`.
#[derive(Debug, Clone, Args)]
pub(super) struct Scoped {
    /// "all" for everybody's jobs (VIEWER, OPERATOR and ADMIN; each access is audited)
    #[arg(long, default_value = "mine", hide_possible_values = true)]
    pub(super) scope: ScopeArg,
}

impl Scoped {
    /// The query of an API path: `?scope=all`, or nothing.
    pub(super) fn query(&self) -> &'static str {
        match self.scope {
            ScopeArg::Mine => "",
            ScopeArg::All => "?scope=all",
        }
    }

    /// The flag in a command that is shown: ` --scope all`, or nothing.
    fn flag(&self) -> &'static str {
        match self.scope {
            ScopeArg::Mine => "",
            ScopeArg::All => " --scope all",
        }
    }
}

/// When and by whom the listed jobs or runs were queued.
#[derive(Debug, Args)]
pub(super) struct Queued {
    /// Only what was queued within this time, such as 24h, or at this time or later
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only what the user with this email queued; includes --scope all
    #[arg(long, value_name = "EMAIL")]
    by: Option<String>,
}

impl Queued {
    /// The parameters of the API's list. Widens the scope if only it can contain the result.
    pub(super) fn query(self, scope: &mut Scoped) -> Vec<(&'static str, String)> {
        if self.by.is_some() {
            scope.scope = ScopeArg::All;
        }
        let since = self.since.map(|since| ("since", since.to_string()));
        let by = self.by.map(|by| ("by", by));
        since.into_iter().chain(by).collect()
    }
}

/// One job.
#[derive(Debug, Clone, Args)]
pub(super) struct OneJob {
    /// The job's id, its first or last characters, `last` or `last:PRESET`; see `hyprbox jobs list`
    #[arg(value_name = "JOB", add = ArgValueCompleter::new(complete::jobs))]
    pub(super) id: String,
    #[command(flatten)]
    pub(super) scope: Scoped,
}

impl OneJob {
    /// A path of the API below this job.
    pub(super) fn path(&self, more: &str) -> String {
        format!(
            "/api/jobs/{}{more}{}",
            segment(&self.id),
            self.scope.query()
        )
    }

    /// `hyprbox jobs … ID`
    pub(super) fn command(&self, command: &str) -> String {
        format!("hyprbox jobs {command} {}{}", self.id, self.scope.flag())
    }
}

/// Which of a job's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]

pub(super) enum StreamArg {
    Stdout,
    Stderr,
    Both,
}

/// `hyprbox jobs log`
#[derive(Debug, Args)]
pub(super) struct Log {
    /// The job's id, its first or last characters, `last` or `last:PRESET`
    #[arg(value_name = "JOB", required_unless_present = "failed", add = ArgValueCompleter::new(complete::jobs))]
    pub(super) id: Option<String>,
    #[command(flatten)]
    pub(super) scope: Scoped,
    /// Print only the output of the step in which the job failed; without JOB, of your newest
    /// failed job
    #[arg(long, conflicts_with_all = ["follow", "stream"])]
    pub(super) failed: bool,
    /// Follow the output until the job ends, then exit with its exit code
    #[arg(long, short = 'f')]
    pub(super) follow: bool,
    /// Start with the last N lines
    #[arg(long, value_name = "N", value_parser = tail)]
    pub(super) tail: Option<usize>,
    /// Which output to print; "both" is in the order in which the agent read it
    #[arg(long, default_value = "both")]
    pub(super) stream: StreamArg,
}

/// `hyprbox jobs watch`
#[derive(Debug, Args)]
pub(super) struct WatchJobs {
    /// Only jobs on this node
    #[arg(long, short = 'n', add = ArgValueCompleter::new(complete::nodes))]
    pub(super) node: Option<String>,
    /// Only jobs of this preset
    #[arg(long, add = ArgValueCompleter::new(complete::presets))]
    pub(super) preset: Option<String>,
    #[command(flatten)]
    pub(super) scope: Scoped,
}

/// `hyprbox jobs …`
#[derive(Debug, Subcommand)]
pub(super) enum JobsCommand {
    /// List jobs, newest first
    #[command(aliases = ["ls", "ps"])]
    List {
        /// Only jobs on this node
        #[arg(long, short = 'n', add = ArgValueCompleter::new(complete::nodes))]
        node: Option<String>,
        /// Only jobs with this status; may be repeated
        #[arg(long, short = 's', ignore_case = true, value_parser = PossibleValuesParser::new(
            ["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]))]
        status: Vec<String>,
        /// Only jobs of this preset
        #[arg(long, add = ArgValueCompleter::new(complete::presets))]
        preset: Option<String>,
        /// Only jobs of this run
        #[arg(long, value_name = "RUN", add = ArgValueCompleter::new(complete::runs))]
        run: Option<String>,
        #[command(flatten)]
        queued: Queued,
        /// Maximum number of jobs
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit)]
        limit: u32,
        #[command(flatten)]
        scope: Scoped,
        #[command(flatten)]
        output: Output,
    },
    /// Watch queued and running jobs, and those that end meanwhile, until Ctrl-C
    Watch(WatchJobs),
    /// Show a job
    #[command(aliases = ["get", "describe"])]
    Show {
        #[command(flatten)]
        job: OneJob,
        /// Print the job's script, exactly as it was frozen
        #[arg(long)]
        script: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Print a job's output
    #[command(alias = "logs", after_help = EXIT_CODES)]
    Log(Log),
    /// Save everything about a job in one file that needs nothing else
    Export {
        #[command(flatten)]
        job: OneJob,
        /// The file; without it, the export goes to standard output
        #[arg(long = "output", short = 'o', value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// html, which any browser shows, or json
        #[arg(long, default_value = "html", value_parser = PossibleValuesParser::new(["html", "json"]))]
        format: String,
    },
    /// Wait for a job to end, then exit with its exit code
    #[command(after_help = EXIT_CODES)]
    Wait {
        #[command(flatten)]
        job: OneJob,
    },
    /// Show a job's script, ask, and sign the job with your own key
    Sign {
        #[command(flatten)]
        job: OneJob,
        #[command(flatten)]
        sign_with: SignWith,
        #[command(flatten)]
        sure: Sure,
    },
    /// Cancel a job; a running one receives SIGTERM, and 10 s later SIGKILL
    #[command(aliases = ["stop", "kill"])]
    Cancel {
        #[command(flatten)]
        job: OneJob,
        #[command(flatten)]
        sure: Sure,
    },
    /// Confirm a job that waits for it, so that its changes stay. In a new SSH session to the node,
    /// `hyprbox-agent confirm` also proves that you can still sign in
    Confirm {
        #[command(flatten)]
        job: OneJob,
    },
    /// Fail a running job at once, without waiting for its agent; its script is not stopped (ADMIN)
    Fail {
        #[command(flatten)]
        job: OneJob,
        /// Why; it becomes the job's error message
        #[arg(long, value_name = "TEXT")]
        why: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Queue a job's preset again, in its current version, on the same node with the same params
    #[command(after_help = EXIT_CODES)]
    Retry {
        #[command(flatten)]
        job: OneJob,
        #[command(flatten)]
        params: Params,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        sure: Sure,
    },
    /// Show the differences between the scripts of two jobs
    Diff {
        /// The older job. If it is the only one, it is compared with the job of the same preset on
        /// the same node before it
        #[arg(value_name = "JOB", add = ArgValueCompleter::new(complete::jobs))]
        job: String,
        /// The newer job
        #[arg(value_name = "NEW", add = ArgValueCompleter::new(complete::jobs))]
        new: Option<String>,
        #[command(flatten)]
        scope: Scoped,
    },
}

/// One run.
#[derive(Debug, Clone, Args)]
pub(super) struct OneRun {
    /// The run's id, its first or last characters, `last` or `last:PRESET`; see `hyprbox runs list`
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(complete::runs))]
    pub(super) id: String,
    #[command(flatten)]
    pub(super) scope: Scoped,
}

impl OneRun {
    /// A path of the API below this run.
    pub(super) fn path(&self, more: &str) -> String {
        format!(
            "/api/runs/{}{more}{}",
            segment(&self.id),
            self.scope.query()
        )
    }

    /// `hyprbox runs … ID`
    pub(super) fn command(&self, command: &str) -> String {
        format!("hyprbox runs {command} {}{}", self.id, self.scope.flag())
    }
}

/// `hyprbox runs …`
#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List runs, newest first
    #[command(alias = "ls")]
    List {
        /// Only runs with this status; may be repeated
        #[arg(long, short = 's', ignore_case = true, value_parser = PossibleValuesParser::new(
            ["RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED"]))]
        status: Vec<String>,
        /// Only runs of this preset
        #[arg(long, add = ArgValueCompleter::new(complete::presets))]
        preset: Option<String>,
        #[command(flatten)]
        queued: Queued,
        /// Maximum number of runs
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit)]
        limit: u32,
        #[command(flatten)]
        scope: Scoped,
        #[command(flatten)]
        output: Output,
    },
    /// Show a run and its jobs
    #[command(aliases = ["get", "describe"], after_help = EXIT_CODES)]
    Show {
        #[command(flatten)]
        run: OneRun,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        output: Output,
    },
    /// Pause a run: no further batch is released, but jobs of released batches can still start
    Pause {
        #[command(flatten)]
        run: OneRun,
    },
    /// Resume a paused run
    Resume {
        #[command(flatten)]
        run: OneRun,
    },
    /// Cancel a run's queued and running jobs
    #[command(aliases = ["stop", "kill"])]
    Cancel {
        #[command(flatten)]
        run: OneRun,
        #[command(flatten)]
        sure: Sure,
    },
    /// Run the preset, in its current version, on the nodes that have not succeeded
    #[command(after_help = EXIT_CODES)]
    Retry {
        #[command(flatten)]
        run: OneRun,
        #[command(flatten)]
        params: Params,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        sure: Sure,
    },
}

/// `hyprbox nodes …`
#[derive(Debug, Subcommand)]
pub(super) enum NodesCommand {
    /// List nodes
    #[command(alias = "ls")]
    List {
        /// Only nodes whose labels match, such as 'role=web,zone in (a,b),!gpu'; `node`, `os.id`
        /// and `os.version` are built-in keys
        #[arg(long, short = 'l')]
        selector: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show a node
    #[command(aliases = ["get", "describe"])]
    Show {
        /// The node's id, or the first or last part of it
        #[arg(value_name = "NODE", add = ArgValueCompleter::new(complete::nodes))]
        id: String,
        #[command(flatten)]
        output: Output,
    },
    /// Add a node, and print its agent's token (ADMIN)
    Add {
        /// The new node's id: 1 to 63 characters of a-z, 0-9 and -, not starting or ending with -
        #[arg(value_name = "NODE")]
        id: String,
        /// A display name
        #[arg(long)]
        name: Option<String>,
        /// A label; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        label: Vec<String>,
    },
    /// Change a node's display name (ADMIN)
    Edit {
        /// The node's id, which does not change
        #[arg(value_name = "NODE", add = ArgValueCompleter::new(complete::nodes))]
        id: String,
        /// The display name; an empty one resets it to the id
        #[arg(long)]
        name: String,
    },
    /// Set and remove labels of a node; others stay (ADMIN)
    Label {
        /// The node's id
        #[arg(value_name = "NODE", add = ArgValueCompleter::new(complete::nodes))]
        id: String,
        /// KEY=VALUE sets a label, KEY- removes it
        #[arg(value_name = "KEY=VALUE", required = true, value_parser = label_change)]
        labels: Vec<String>,
    },
    /// Pause nodes: their queued jobs wait, and running ones continue (ADMIN)
    Pause {
        /// The nodes' ids
        #[arg(value_name = "NODE", required = true, add = ArgValueCompleter::new(complete::nodes))]
        ids: Vec<String>,
    },
    /// Resume paused nodes: they get jobs again (ADMIN)
    Resume {
        /// The nodes' ids
        #[arg(value_name = "NODE", required = true, add = ArgValueCompleter::new(complete::nodes))]
        ids: Vec<String>,
    },
    /// Remove a node and its tokens; queued jobs are cancelled, finished ones are kept (ADMIN)
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// The node's id
        #[arg(value_name = "NODE", add = ArgValueCompleter::new(complete::nodes))]
        id: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// List, add and revoke the tokens of a node's agent (ADMIN)
    #[command(subcommand, alias = "tokens")]
    Token(NodeTokenCommand),
}

/// `hyprbox nodes token …`
#[derive(Debug, Subcommand)]
pub(super) enum NodeTokenCommand {
    /// List a node's tokens, without their secrets
    #[command(alias = "ls")]
    List {
        /// The node's id
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
        #[command(flatten)]
        output: Output,
    },
    /// Create another token for a node, and print it
    Add {
        /// The node's id
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Revoke a token: the agent's next request with it is refused
    #[command(aliases = ["remove", "rm", "delete"])]
    Revoke {
        /// The node's id
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
        /// The token's id or prefix; see `hyprbox nodes token list`
        token: String,
        #[command(flatten)]
        sure: Sure,
    },
}

/// `hyprbox plan`
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The preset; see `hyprbox presets list`
    #[arg(add = ArgValueCompleter::new(complete::presets))]
    pub(super) preset: String,
    /// The node; repeat it for several nodes, in this order
    #[arg(long, short = 'n', required_unless_present = "on", add = ArgValueCompleter::new(complete::nodes))]
    pub(super) node: Vec<String>,
    /// Ask all nodes that match, such as 'role=web'
    #[arg(long, value_name = "SELECTOR", conflicts_with = "node")]
    pub(super) on: Option<String>,
    #[command(flatten)]
    pub(super) params: Params,
    /// Each check's time limit, such as 90s, 10m or 1h30m, instead of the preset's
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(super) timeout: Option<u64>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `hyprbox drift`
#[derive(Debug, Args)]
pub(super) struct Drift {
    /// Only this preset
    #[arg(long, add = ArgValueCompleter::new(complete::presets))]
    pub(super) preset: Option<String>,
    /// Only nodes that match, such as 'role=web'
    #[arg(long, value_name = "SELECTOR")]
    pub(super) on: Option<String>,
    /// Check the nodes first, and wait for the end
    #[arg(long)]
    pub(super) check: bool,
    #[command(flatten)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `hyprbox exec`
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// The script, a file; - is standard input. It runs as it is, with bash: without distro guard,
    /// `set -e` and steps
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) file: String,
    /// The node; repeat it for several nodes, in this order
    #[arg(long, short = 'n', required_unless_present = "on", add = ArgValueCompleter::new(complete::nodes))]
    pub(super) node: Vec<String>,
    /// Run on all nodes that match, such as 'role=web'
    #[arg(long, value_name = "SELECTOR", conflicts_with = "node")]
    pub(super) on: Option<String>,
    /// Each job's time limit, such as 90s, 10m or 1h30m [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(super) timeout: Option<u64>,
    #[command(flatten)]
    pub(super) watch: Watch,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `hyprbox presets import`
#[derive(Debug, Args)]
pub(super) struct Import {
    /// A shell script; - is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) file: String,
    /// The preset's name [default: made from the file's name]
    #[arg(long)]
    pub(super) name: Option<String>,
}

/// `hyprbox presets save`
#[derive(Debug, Args)]
pub(super) struct Save {
    /// The preset, a YAML file; - is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) file: String,
    /// The preset's name [default: the one in the file]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The version that the file is based on: nothing is saved if there is a newer one. 0: the
    /// preset must not exist yet [default: the last version]
    #[arg(long, value_name = "N")]
    pub(super) based_on: Option<u64>,
}

/// `hyprbox presets delete`
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[arg(value_name = "PRESET", add = ArgValueCompleter::new(complete::presets))]
    pub(super) name: String,
}

/// `hyprbox presets versions`
#[derive(Debug, Args)]
pub(super) struct Versions {
    #[arg(value_name = "PRESET", add = ArgValueCompleter::new(complete::presets))]
    pub(super) name: String,
    /// Print this version's YAML
    #[arg(value_name = "VERSION")]
    pub(super) version: Option<u64>,
}

/// `hyprbox presets …`
#[derive(Debug, Subcommand)]
pub(super) enum PresetsCommand {
    /// List presets
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Make a preset from a shell script: the YAML goes to standard output, and what to look at to
    /// standard error. Needs no server
    Import(Import),
    /// Save a preset on the server (ADMIN)
    Save(Save),
    /// Delete a preset that was saved on the server; its versions stay (ADMIN)
    Delete(Delete),
    /// List the versions of a preset that was saved on the server, or print one
    Versions(Versions),
    /// Show a preset and its params
    #[command(aliases = ["get", "describe"])]
    Show {
        /// The preset's name
        #[arg(value_name = "PRESET", add = ArgValueCompleter::new(complete::presets))]
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Check preset files for mistakes, without a server
    #[command(after_help = "\
Exit codes: 0 no problems found, 1 problems found, 125 a file can't be read.")]
    Check {
        /// Preset files, or folders with .yaml files
        #[arg(value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
    /// Print the script that a job would run; it never contains secrets
    Render {
        /// The preset's name
        #[arg(value_name = "PRESET", add = ArgValueCompleter::new(complete::presets))]
        name: String,
        #[command(flatten)]
        params: Params,
    },
}

/// A user's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoleArg(pub(super) crate::auth::Role);

impl FromStr for RoleArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::auth::Role::parse(&text.to_uppercase())
            .map(RoleArg)
            .ok_or_else(|| "must be viewer, operator, admin or pending".to_owned())
    }
}

/// `hyprbox users …`
#[derive(Debug, Subcommand)]
pub(super) enum UsersCommand {
    /// List users
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Add a user; the password is asked for on the terminal, or read from standard input
    Add {
        /// The email that the user logs in with
        email: String,
        /// viewer (reads), operator (reads, queues jobs, cancels their own) or admin (everything)
        #[arg(long)]
        role: RoleArg,
        /// The user's name
        #[arg(long)]
        name: Option<String>,
    },
    /// Change a user's role; ends their sessions
    Role {
        /// The user's email
        email: String,
        /// viewer, operator, admin or pending
        role: RoleArg,
    },
    /// Change a user's password, asked for on the terminal or read from standard input; ends their
    /// sessions and revokes their tokens
    Password {
        /// The user's email
        email: String,
    },
    /// List a user's personal tokens (ADMIN)
    Tokens {
        /// The user's email
        email: String,
        #[command(flatten)]
        output: Output,
    },
    /// Revoke a user's personal token: the next request with it is refused (ADMIN)
    RevokeToken {
        /// The user's email
        email: String,
        /// The token's id or name; see `hyprbox users tokens EMAIL`
        token: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Remove a user, their sessions and their tokens; their jobs are kept
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// The user's email
        email: String,
        #[command(flatten)]
        sure: Sure,
    },
}

/// `hyprbox tokens …`
#[derive(Debug, Subcommand)]
pub(super) enum TokensCommand {
    /// List your tokens, without their secrets
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Create a token with your role, and print it; asks for your password if you logged in more
    /// than 15 minutes ago
    Add {
        /// The token's name
        name: String,
        /// Days until the token expires; never if omitted
        #[arg(long, value_name = "DAYS", value_parser = days)]
        expires_in_days: Option<u32>,
    },
    /// Revoke a token: the next request with it is refused
    #[command(visible_alias = "revoke", aliases = ["rm", "delete"])]
    Remove {
        /// The token's id or name; see `hyprbox tokens list`
        token: String,
        #[command(flatten)]
        sure: Sure,
    },
}
