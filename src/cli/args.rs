//! The client's commands and their flags: one definition for parsing, help, completions and man
//! pages.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::ArgValueCompleter;

use super::complete;
use crate::presets::TIMEOUT_RANGE;

/// What a command ends with, told wherever one may ask.
pub const EXIT_CODES: &str = "\
Exit codes:
  0          done; of a followed job: it SUCCEEDED
  1 to 255   of a followed job that FAILED: its own exit code (1 where it has none)
  64         the command line itself was wrong
  124        the job ran past its timeout
  125        the server can't be reached or can't do that; or this program could not
  126        refused: not logged in, the token is no longer good, or the role is too low
  127        not found: the job, node, preset, user or token
  130        Ctrl-C: a followed job goes on
  137        the job's agent disappeared, its node restarted, or a signal killed it
  141        whoever read the output had enough of it, as head has
  143        the job was CANCELLED

A job's script may end with one of these itself; the last line on standard error,
or --json, tells which it was.";

const ENVIRONMENT: &str = "\
Environment:
  HYPRBOX_URL, HYPRBOX_TOKEN   the server and a token, in place of `hyprbox login`
  HYPRBOX_CA_FILE              PEM file of the only certificate authorities to trust
  HYPRBOX_INSECURE_HTTP=1      allow plain http to another machine
  NO_COLOR, CLICOLOR_FORCE     no colours; colours always";

/// Commands that talk with a server.
#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Log in to a server, and keep a token for later commands
    #[command(after_help = ENVIRONMENT)]
    Login(Login),
    /// Forget the token, and revoke it on the server
    Logout(Logout),
    /// Queue a preset on a node
    #[command(after_help = EXIT_CODES)]
    Run(Run),
    /// List, follow, cancel and compare jobs
    Jobs(Group<JobsCommand>),
    /// List, add and remove nodes, and their tokens
    Nodes(Group<NodesCommand>),
    /// List presets, and see what they would run
    Presets(Group<PresetsCommand>),
    /// Add and remove users, and say what they may do (ADMIN)
    Users(Group<UsersCommand>),
    /// List, add and remove your personal tokens, for scripts and CI
    Tokens(Group<TokensCommand>),
}

/// Commands that act on this machine alone.
#[derive(Debug, Subcommand)]
pub(super) enum LocalCommand {
    /// Print a shell's completions, with live names of nodes and presets
    #[command(after_help = "\
bash:  echo 'source <(hyprbox completions bash)' >> ~/.bashrc
zsh:   echo 'source <(hyprbox completions zsh)' >> ~/.zshrc   (after compinit)
fish:  hyprbox completions fish > ~/.config/fish/completions/hyprbox.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages of every command into a folder
    Man {
        /// The folder; made if missing
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

/// A shell that has completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]

pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even into a pipe; a job's log stays as it is there
    Always,
    /// No colours, not even those of a log
    Never,
}

/// Flags that every client command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "General options")]
pub(super) struct Common {
    /// The server, in place of HYPRBOX_URL or the one logged in to
    #[arg(long, global = true, value_hint = ValueHint::Url)]
    pub(super) url: Option<String>,
    /// JSON for programs; one object a line while following
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

/// A command with commands of its own.
#[derive(Debug, Args)]
pub(super) struct Group<C: Subcommand> {
    /// For each of them.
    #[command(flatten)]
    pub(super) common: Common,
    /// Which one.
    #[command(subcommand)]
    pub(super) command: C,
}

/// `hyprbox login`
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The server's address, such as https://jobs.example.org
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub(super) server: String,
    /// Keep a token that was made elsewhere; it is read from HYPRBOX_TOKEN, or asked for on the
    /// terminal, or read from standard input where that is none
    #[arg(long)]
    pub(super) token: bool,
    /// Email of the account; without it, it is asked for. The password is asked for on the
    /// terminal, or read from standard input where that is none
    #[arg(long, conflicts_with = "token")]
    pub(super) email: Option<String>,
    /// JSON for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// `hyprbox logout`
#[derive(Debug, Args)]
pub(super) struct Logout {}

/// How a new job is watched.
#[derive(Debug, Clone, Args)]
pub(super) struct Watch {
    /// Show its output as it comes, and end with its exit code
    #[arg(long, short = 'f')]
    pub(super) follow: bool,
    /// The first Ctrl-C (or SIGTERM) cancels the job; without this, it detaches
    #[arg(long, requires = "follow")]
    pub(super) cancel_on_interrupt: bool,
}

/// A preset's params.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Params {
    /// A param; may repeat. NAME=@FILE reads the value from a file, NAME=@- from standard input
    /// (without the last newline), and NAME=@@text means the text "@text". A job's secret that
    /// isn't given is asked for on the terminal.
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) params: Vec<String>,
    /// A JSON object of params, typed as the API takes them; - is standard input. -p wins over it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) params_file: Option<String>,
}

/// `hyprbox run`
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The preset; see `hyprbox presets list`
    #[arg(add = ArgValueCompleter::new(complete::presets))]
    pub(super) preset: String,
    /// The node; see `hyprbox nodes list`
    #[arg(long, short = 'n', add = ArgValueCompleter::new(complete::nodes))]
    pub(super) node: String,
    #[command(flatten)]
    pub(super) params: Params,
    /// How long the script may run, such as 90s, 10m or 1h30m, in place of the preset's own limit
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(super) timeout: Option<u64>,
    #[command(flatten)]
    pub(super) watch: Watch,
    #[command(flatten)]
    pub(super) sure: Sure,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Whether the person is asked before a high-risk preset is queued.
#[derive(Debug, Clone, Args)]
pub(super) struct Sure {
    /// Queue a high-risk preset without asking; only a terminal is asked
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
}

fn pair(text: &str) -> Result<String, String> {
    match text.contains('=') {
        true => Ok(text.to_owned()),
        false => Err("must have a = between name and value".to_owned()),
    }
}

/// A whole number of a range; `what` is said of any other text.
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

/// Whose jobs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ScopeArg {
    /// Your own
    Mine,
    /// Everybody's (VIEWER, ADMIN)
    All,
}

/// The flag `--scope`.
#[derive(Debug, Clone, Args)]
pub(super) struct Scoped {
    /// "all" for everybody's jobs (VIEWER and ADMIN; each look is written to the audit log)
    #[arg(long, default_value = "mine", hide_possible_values = true)]
    pub(super) scope: ScopeArg,
}

impl Scoped {
    /// What a path's query says of it: `?scope=all`, or nothing.
    pub(super) fn query(&self) -> &'static str {
        match self.scope {
            ScopeArg::Mine => "",
            ScopeArg::All => "?scope=all",
        }
    }
}

/// One job.
#[derive(Debug, Args)]
pub(super) struct OneJob {
    /// The job's id; see `hyprbox jobs list`
    #[arg(value_name = "JOB", add = ArgValueCompleter::new(complete::jobs))]
    pub(super) id: String,
    #[command(flatten)]
    pub(super) scope: Scoped,
}

/// Which of a job's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]

pub(super) enum StreamArg {
    Stdout,
    Stderr,
    Both,
}

/// `hyprbox jobs …`
#[derive(Debug, Subcommand)]
pub(super) enum JobsCommand {
    /// List jobs, newest first
    List {
        /// Only jobs of this node
        #[arg(long, short = 'n', add = ArgValueCompleter::new(complete::nodes))]
        node: Option<String>,
        /// Only jobs in this state; may repeat
        #[arg(long, short = 's', ignore_case = true, value_parser = PossibleValuesParser::new(
            ["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]))]
        status: Vec<String>,
        /// Only jobs of this preset
        #[arg(long, add = ArgValueCompleter::new(complete::presets))]
        preset: Option<String>,
        /// How many at the most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit)]
        limit: u32,
        #[command(flatten)]
        scope: Scoped,
    },
    /// Show a job
    Show {
        #[command(flatten)]
        job: OneJob,
        /// Print its script, exactly as it was frozen
        #[arg(long)]
        script: bool,
    },
    /// Print a job's output
    #[command(after_help = EXIT_CODES)]
    Log {
        #[command(flatten)]
        job: OneJob,
        /// Go on until the job ends, then end with its exit code
        #[arg(long, short = 'f')]
        follow: bool,
        /// Begin with the last N lines
        #[arg(long, value_name = "N", value_parser = tail)]
        tail: Option<usize>,
        /// Which output; both is in the order in which it was read
        #[arg(long, default_value = "both")]
        stream: StreamArg,
    },
    /// Wait for a job's end, then end with its exit code
    #[command(after_help = EXIT_CODES)]
    Wait {
        #[command(flatten)]
        job: OneJob,
    },
    /// Cancel a job; a running one gets SIGTERM, and 10 s later SIGKILL
    Cancel {
        #[command(flatten)]
        job: OneJob,
    },
    /// Queue a job's preset again, as the preset is today, on the same node with the same params
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
    /// Show what differs between the scripts of two jobs
    Diff {
        /// The older job
        #[arg(value_name = "OLD", add = ArgValueCompleter::new(complete::jobs))]
        old: String,
        /// The newer job
        #[arg(value_name = "NEW", add = ArgValueCompleter::new(complete::jobs))]
        new: String,
        #[command(flatten)]
        scope: Scoped,
    },
}

/// `hyprbox nodes …`
#[derive(Debug, Subcommand)]
pub(super) enum NodesCommand {
    /// List nodes
    List,
    /// Show a node
    Show {
        /// The node's id
        #[arg(value_name = "NODE", add = ArgValueCompleter::new(complete::nodes))]
        id: String,
    },
    /// Add a node, and print the token for its agent (ADMIN)
    Add {
        /// The new node's id: 1 to 63 of a-z, 0-9 and -, with no - at either end
        #[arg(value_name = "NODE")]
        id: String,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// A label; may repeat
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        label: Vec<String>,
    },
    /// Remove a node with its tokens; its queued jobs are cancelled, the finished ones stay (ADMIN)
    Remove {
        /// The node's id
        #[arg(value_name = "NODE", add = ArgValueCompleter::new(complete::nodes))]
        id: String,
    },
    /// List, add and revoke the tokens of a node's agent (ADMIN)
    #[command(subcommand)]
    Token(NodeTokenCommand),
}

/// `hyprbox nodes token …`
#[derive(Debug, Subcommand)]
pub(super) enum NodeTokenCommand {
    /// List a node's tokens, without their secrets
    List {
        /// The node's id
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Make another token for a node, and print it
    Add {
        /// The node's id
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Revoke a token: the agent's next call with it is refused
    Revoke {
        /// The node's id
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
        /// The token's id or prefix; see `hyprbox nodes token list`
        token: String,
    },
}

/// `hyprbox presets …`
#[derive(Debug, Subcommand)]
pub(super) enum PresetsCommand {
    /// List presets
    List,
    /// Show a preset and its params
    Show {
        /// The preset's name
        #[arg(value_name = "PRESET", add = ArgValueCompleter::new(complete::presets))]
        name: String,
    },
    /// Look preset files over, on this machine and without a server
    #[command(after_help = "\
Exit codes: 0 nothing was found, 1 something was, 125 a file can't be read.")]
    Check {
        /// Preset files; of a folder each file that ends in .yaml
        #[arg(value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
    /// Print the script that a job would run; secrets are no part of it
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
    List,
    /// Add a user; the password is asked for on the terminal, or read from standard input
    Add {
        /// What they log in with
        email: String,
        /// viewer (reads), operator (reads, queues jobs, cancels their own) or admin (everything)
        #[arg(long)]
        role: RoleArg,
        /// What they are called
        #[arg(long)]
        name: Option<String>,
    },
    /// Give a user another role; ends their sessions
    Role {
        /// The user's email
        email: String,
        /// viewer, operator, admin or pending
        role: RoleArg,
    },
    /// Give a user another password, asked for on the terminal or read from standard input; ends
    /// their sessions and revokes their tokens
    Password {
        /// The user's email
        email: String,
    },
    /// List a user's personal tokens (ADMIN)
    Tokens {
        /// The user's email
        email: String,
    },
    /// Revoke a user's personal token: the next call with it is refused (ADMIN)
    RevokeToken {
        /// The user's email
        email: String,
        /// The token's id or name; see `hyprbox users tokens EMAIL`
        token: String,
    },
    /// Remove a user, their sessions and their tokens; their jobs stay
    Remove {
        /// The user's email
        email: String,
    },
}

/// `hyprbox tokens …`
#[derive(Debug, Subcommand)]
pub(super) enum TokensCommand {
    /// List your tokens, without their secrets
    List,
    /// Make a token with your role, and print it; asks for your password if the login is older than
    /// 15 minutes
    Add {
        /// What it is for
        name: String,
        /// Days until it expires; without this it never does
        #[arg(long, value_name = "DAYS", value_parser = days)]
        expires_in_days: Option<u32>,
    },
    /// Revoke a token: the next call with it is refused
    #[command(visible_alias = "revoke")]
    Remove {
        /// The token's id or name; see `hyprbox tokens list`
        token: String,
    },
}
