//! The command line. Its commands use the HTTP API like any other program; only `admin` and `audit
//! verify` open the database. Data goes to standard output, notes to standard error. After
//! following a job, the program exits with the job's exit code.

mod admin;
mod answers;
mod args;
mod ask;
mod audit;
mod canvas;
mod channels;
mod check;
mod client;
mod complete;
mod connection;
mod contexts;
mod drift;
mod error;
mod exec;
mod explain;
mod export;
mod follow;
mod interrupts;
mod jobs;
mod lines;
mod log;
mod login;
mod man;
mod newest;
mod node_edit;
mod node_facts;
mod nodes;
mod open;
mod outcome;
mod paint;
mod params;
mod person_key;
mod pick;
mod plan;
mod position;
mod presets;
mod progress;
mod queue;
mod reporter;
mod rules;
mod run;
mod runs;
mod safe;
mod saved_presets;
mod schedules;
mod screen;
mod secrets;
mod settings;
mod short_id;
mod sign;
pub(crate) mod sse;
mod table;
mod times;
mod users;
mod watch;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use serde_json::json;

pub use admin::command as admin_command;
pub use args::EXIT_CODES;
use args::{
    ClientCommand, Common, Format, Group, JobsCommand, LocalCommand, OUTPUT, PresetsCommand, Shell,
};
pub use audit::command as audit_command;
use client::Client;
use error::{CliError, exit};
use screen::Screen;
use settings::Named;

/// Exit code for an invalid command line.
pub const USAGE: u8 = exit::USAGE;

/// Exit code if the reader of the output has closed it.
pub const PIPE_CLOSED: u8 = exit::PIPE_CLOSED;

/// Writes a command's result to standard output. Reports errors, and returns the exit code.
pub fn print(text: &str) -> Result<(), ExitCode> {
    let written = write_all(text.as_bytes());
    written.map_err(|error| finish(Err(error.into()), false))
}

/// Prints a note to standard error.
pub fn print_note(text: &str) {
    screen::print_note(text);
}

fn write_all(bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Adds the commands that use a server. A new command needs a variant of `args::LocalCommand` or
/// `args::ClientCommand` and an arm below.
pub fn add_client_commands(command: Command) -> Command {
    ClientCommand::augment_subcommands(command)
}

/// Adds the commands that act only on this machine.
pub fn add_local_commands(command: Command) -> Command {
    LocalCommand::augment_subcommands(command)
}

/// Flags that may also stand before the command, for the program's help.
pub fn add_general_options(command: Command) -> Command {
    ["url", "context", "json", "color"]
        .into_iter()
        .fold(Common::augment_args(command), |command, id| {
            command.mut_arg(id, |arg| arg.global(false))
        })
}

/// This program's arguments. General options that stand before the command are moved behind it,
/// where the commands that have them read them and the others refuse them.
pub fn arguments(whole: &Command) -> Vec<OsString> {
    options_behind_command(std::env::args_os().collect(), whole)
}

fn options_behind_command(mut arguments: Vec<OsString>, whole: &Command) -> Vec<OsString> {
    let mut start = 1;
    while let Some(length) = arguments.get(start).and_then(|word| option_length(word)) {
        start += length;
    }
    let (mut end, mut command) = (start, whole);
    while let Some(inner) = arguments
        .get(end)
        .and_then(|word| command.find_subcommand(word))
    {
        (end, command) = (end + 1, inner);
    }
    let is_unknown = |word: &OsString| !word.as_encoded_bytes().starts_with(b"-");
    // A command that does not exist is named by the parser.
    if end == start && arguments.get(end).is_some_and(is_unknown) {
        end += 1;
    }
    if end > start {
        arguments[1..end].rotate_left(start - 1);
    }
    arguments
}

/// How many arguments a general option takes up; `None` if this is not one.
fn option_length(word: &OsStr) -> Option<usize> {
    let word = word.to_str()?;
    match word {
        "--json" => Some(1),
        "--url" | "--context" | "--color" | "--output" | "-o" => Some(2),
        _ => {
            let starts = ["--url=", "--context=", "--color=", "--output=", "-o"];
            let is_one = starts.iter().any(|start| word.starts_with(start));
            is_one.then_some(1)
        }
    }
}

/// Runs the parsed command, if it is one of this module. `whole` is the program's definition.
pub fn run(matches: &ArgMatches, whole: fn() -> Command) -> Option<ExitCode> {
    let (name, inner) = matches.subcommand()?;
    if name == admin::NAME {
        return Some(finish(with_runtime(admin::run(inner)), false));
    }
    if name == audit::NAME {
        let json = audit::common(inner).is_some_and(|common| common.json);
        return Some(finish(with_runtime(audit::run(inner)), json));
    }
    if ClientCommand::has_subcommand(name) {
        let command = ClientCommand::from_arg_matches(matches).ok()?;
        let json = wants_json(&command) || wants_output_json(inner);
        return Some(finish(with_runtime(client(command)), json));
    }
    if LocalCommand::has_subcommand(name) {
        let command = LocalCommand::from_arg_matches(matches).ok()?;
        return Some(finish(local(command, whole), false));
    }
    None
}

/// Whether the command has the flag `-o json`.
fn wants_output_json(mut matches: &ArgMatches) -> bool {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    let format = matches.try_get_one::<Format>(OUTPUT).ok().flatten();
    format == Some(&Format::Json)
}

fn wants_json(command: &ClientCommand) -> bool {
    match command {
        ClientCommand::Login(args) => args.json,
        ClientCommand::Logout(_) | ClientCommand::Context(_) => false,
        ClientCommand::Open(args) => args.common.json,
        ClientCommand::Logs(direct) => direct.common.json,
        ClientCommand::Watch(direct) => direct.common.json,
        ClientCommand::Run(args) => args.common.json,
        ClientCommand::Plan(args) => args.common.json,
        ClientCommand::Drift(args) => args.common.json,
        ClientCommand::Exec(args) => args.common.json,
        ClientCommand::Runs(group) => group.common.json,
        ClientCommand::Jobs(group) => group.common.json,
        ClientCommand::Nodes(group) => group.common.json,
        ClientCommand::Presets(group) => group.common.json,
        ClientCommand::Schedules(group) => group.common.json,
        ClientCommand::Secrets(group) => group.common.json,
        ClientCommand::Channels(group) => group.common.json,
        ClientCommand::Rules(group) => group.common.json,
        ClientCommand::Users(group) => group.common.json,
        ClientCommand::Tokens(group) => group.common.json,
    }
}

/// One thread is enough for one user, and starts faster.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn with_runtime(work: impl Future<Output = Result<u8, CliError>>) -> Result<u8, CliError> {
    let runtime = runtime().map_err(|error| CliError::failed(error.to_string()))?;
    let done = runtime.block_on(work);
    // Doesn't wait for connections to close.
    runtime.shutdown_background();
    done
}

/// Prints an error to standard error, with `--json` as JSON.
fn finish(done: Result<u8, CliError>, json: bool) -> ExitCode {
    let error = match done {
        Ok(code) => return ExitCode::from(code),
        Err(error) => error,
    };
    if !error.is_silent() {
        if json {
            let (code, fields) = error.api.clone().unwrap_or_default();
            let told = json!({"error": error.message, "code": code, "fields": fields,
                "hints": error.hints, "processExitCode": error.code});
            screen::print_note(&told.to_string());
        } else {
            screen::print_note(&error.to_string());
        }
    }
    ExitCode::from(error.code)
}

/// Connects to the server named by the flags, the environment or the login.
fn connect(common: &Common) -> Result<(Client, Screen), CliError> {
    let access = settings::access(Named {
        url: common.url.as_deref(),
        context: common.context.as_deref(),
    })?;
    Ok((Client::new(&access)?, Screen::new(common)))
}

async fn client(command: ClientCommand) -> Result<u8, CliError> {
    match command {
        ClientCommand::Login(args) => login::login(args).await,
        ClientCommand::Logout(args) => login::logout(args).await,
        ClientCommand::Context(command) => login::context(command).await,
        ClientCommand::Open(args) => {
            let (client, screen) = connect(&args.common)?;
            open::run(client, screen, args).await
        }
        ClientCommand::Logs(direct) => {
            client_of_jobs(direct.common, JobsCommand::Log(direct.args)).await
        }
        ClientCommand::Watch(direct) => {
            client_of_jobs(direct.common, JobsCommand::Watch(direct.args)).await
        }
        ClientCommand::Run(args) => {
            let (client, screen) = connect(&args.common)?;
            run::run(client, screen, args).await
        }
        ClientCommand::Plan(args) => {
            let (client, screen) = connect(&args.common)?;
            plan::run(client, screen, args).await
        }
        ClientCommand::Drift(args) => {
            let (client, screen) = connect(&args.common)?;
            drift::run(client, screen.formatted(args.output), args).await
        }
        ClientCommand::Exec(args) => {
            let (client, screen) = connect(&args.common)?;
            exec::run(client, screen, args).await
        }
        ClientCommand::Runs(group) => {
            let (client, screen) = connect(&group.common)?;
            runs::run(client, screen, group.command).await
        }
        ClientCommand::Jobs(group) => client_of_jobs(group.common, group.command).await,
        ClientCommand::Nodes(group) => {
            let (client, screen) = connect(&group.common)?;
            nodes::run(client, screen, group.command).await
        }
        ClientCommand::Presets(Group {
            common,
            command: PresetsCommand::Check { paths },
        }) => check::run(Screen::new(&common), &paths),
        ClientCommand::Presets(Group {
            common,
            command: PresetsCommand::Import(args),
        }) => saved_presets::import_script(Screen::new(&common), &args),
        ClientCommand::Presets(group) => {
            let (client, screen) = connect(&group.common)?;
            presets::run(client, screen, group.command).await
        }
        ClientCommand::Schedules(group) => {
            let (client, screen) = connect(&group.common)?;
            schedules::run(client, screen, group.command).await
        }
        ClientCommand::Secrets(group) => {
            let (client, screen) = connect(&group.common)?;
            secrets::run(client, screen, group.command).await
        }
        ClientCommand::Channels(group) => {
            let (client, screen) = connect(&group.common)?;
            channels::run(client, screen, group.command).await
        }
        ClientCommand::Rules(group) => {
            let (client, screen) = connect(&group.common)?;
            rules::run(client, screen, group.command).await
        }
        ClientCommand::Users(group) => {
            let (client, screen) = connect(&group.common)?;
            users::run(client, screen, group.command).await
        }
        ClientCommand::Tokens(group) => {
            let (client, screen) = connect(&group.common)?;
            users::run_tokens(client, screen, group.command).await
        }
    }
}

async fn client_of_jobs(common: Common, command: JobsCommand) -> Result<u8, CliError> {
    jobs::check(&command, common.json)?;
    let (client, screen) = connect(&common)?;
    jobs::run(client, screen, command).await
}

fn local(command: LocalCommand, whole: fn() -> Command) -> Result<u8, CliError> {
    match command {
        LocalCommand::Completions { shell } => {
            completions(shell)?;
            Ok(0)
        }
        LocalCommand::Man { folder } => {
            let count = man::write(&whole(), &folder)?;
            screen::print_note(&format!("Wrote {count} man pages to {}", folder.display()));
            Ok(0)
        }
        LocalCommand::Version => {
            write_all(whole().render_version().as_bytes())?;
            Ok(0)
        }
    }
}

/// The variable that a shell's completion script sets when it calls this program.
const COMPLETE: &str = "HYPRBOX_COMPLETE";

/// Prints completions and exits, if a shell asks for them.
pub fn answer_completions(whole: fn() -> Command) {
    clap_complete::CompleteEnv::with_factory(whole)
        .var(COMPLETE)
        .complete();
}

fn completions(shell: Shell) -> Result<(), CliError> {
    use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut text = Vec::new();
    completer.write_registration(COMPLETE, "hyprbox", "hyprbox", "hyprbox", &mut text)?;
    Ok(write_all(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_options_before_the_command_are_moved_behind_its_first_word() {
        let whole = crate::program::command();
        for (given, wanted) in [
            ("h --json jobs list", "h jobs list --json"),
            (
                "h --url http://a --color=never --json jobs list -n x",
                "h jobs list --url http://a --color=never --json -n x",
            ),
            ("h -o json job ls", "h job ls -o json"),
            ("h -ojson --context a nodes", "h nodes -ojson --context a"),
            ("h --json jobs --url x list", "h jobs --json --url x list"),
            ("h --json logs jobs list", "h logs --json jobs list"),
            ("h --json job2 list", "h job2 --json list"),
            ("h --json doctor", "h doctor --json"),
            ("h jobs --json list", "h jobs --json list"),
            ("h --json", "h --json"),
            ("h --json --nope jobs", "h --json --nope jobs"),
            ("h --url", "h --url"),
            ("h", "h"),
        ] {
            let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(
                options_behind_command(words(given), &whole),
                words(wanted),
                "{given}"
            );
        }
        let none = options_behind_command(Vec::new(), &whole);
        assert_eq!(none, Vec::<OsString>::new());
    }
}
