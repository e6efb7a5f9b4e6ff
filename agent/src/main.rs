//! `hyprbox-agent`: reads the settings and runs one of the commands. Only this file sets exit
//! codes.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use hyprbox_agent::config::RawSettings;
use hyprbox_agent::{Config, ConfigError};

#[global_allocator]
static ALLOCATOR: hyprbox_agent::wiping_alloc::WipingAlloc =
    hyprbox_agent::wiping_alloc::WipingAlloc;

/// The output's reader has closed it, as `head` does.
const PIPE_CLOSED: u8 = 141;
/// The command line is wrong: a command, a flag or a flag's value.
const USAGE: u8 = 64;
/// The settings in the environment are wrong, or what they name can't be used.
const BAD_SETTINGS: u8 = 2;

/// Why a command was not run: one line, and the exit code.
struct Refusal {
    line: String,
    code: u8,
}

impl Refusal {
    fn usage(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            code: USAGE,
        }
    }
}

impl From<String> for Refusal {
    fn from(line: String) -> Self {
        Self {
            line,
            code: BAD_SETTINGS,
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        if error.is_usage() {
            Self::usage(error.to_string())
        } else {
            error.to_string().into()
        }
    }
}

const HELP: &str = "\
hyprbox-agent: runs a node's HyprBox jobs

Usage: hyprbox-agent COMMAND [OPTIONS]

Commands:
  run         run until SIGTERM; running jobs continue, and the next agent finds them again
  enroll URL CODE  make this machine a node, with the one-time code from the node's page: writes
              /etc/hyprbox/agent.env and starts the service (--env-file FILE, --no-start)
  check       try the server's address, the token and bash, and print how to fix each problem
  upgrade     replace this program by the one that the server ships, and restart the agent; running jobs
              continue (--back: to the previous one; --anyway: even if it is not newer; --no-restart;
              --sha256 HEX: only the file with this SHA-256)
  confirm [ID]  keep what a job has changed that waits for a confirmation; without an ID, the only one
              that waits. Type it in a new SSH session: that proves that you can still sign in
  stop-jobs   end this node's running jobs, for example before the agent is removed

Options, each with the environment variable that it overrides:
  --api-url URL       HYPRBOX_API_URL        the server's address
  --node-id ID        HYPRBOX_NODE_ID        this node's id
  --node-token TOKEN  HYPRBOX_NODE_TOKEN     this node's token; safer in the environment, which `ps` does not show
  --interval TIME     HYPRBOX_INTERVAL       between heartbeats: 1s to 1h, such as 1500ms, 30s or 5m [30s]
  --state-dir DIR     HYPRBOX_STATE_DIR      [$STATE_DIRECTORY or /var/lib/hyprbox-agent]
  --ca-file FILE      HYPRBOX_CA_FILE        certificate authorities to trust [the system's]
  --insecure-http     HYPRBOX_INSECURE_HTTP  1: plain http to a server on another machine
  --force             HYPRBOX_FORCE          1: scripts skip their distro guard
  --job-env NAMES     HYPRBOX_JOB_ENV        variables that scripts also get, such as HTTPS_PROXY,NO_PROXY,TZ [none]
  --spool-max SIZE    HYPRBOX_SPOOL_MAX      how much of a job's output may wait on this node's disk while the server
                                             can't be reached, if the server archives output: 4MiB to 1TiB [1GiB]
  --help, --version

HYPRBOX_LOG sets the log level: error, warn, info, debug, trace or off [info].
";

fn main() -> ExitCode {
    hyprbox_agent::shutdown::accept_signals();
    #[cfg(target_os = "linux")]
    hyprbox_agent::private::hide_memory();
    let mut args = std::env::args_os().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    let asks = |flag: &str| command == flag || rest.iter().any(|a| a == flag);
    if asks("--help") || command == "-h" || command == "help" {
        return print(HELP);
    }
    if asks("--version") || command == "-V" {
        return print(&format!("hyprbox-agent {}\n", hyprbox_agent::version()));
    }
    let result = match command.to_str() {
        Some("run") => read_config_privately(rest).and_then(run),
        #[cfg(target_os = "linux")]
        Some("check") => match read_service_config(rest).and_then(check) {
            Ok(code) => return code,
            Err(line) => Err(line),
        },
        #[cfg(target_os = "linux")]
        Some("enroll") => match enroll(rest) {
            Ok(code) => return code,
            Err(line) => Err(line),
        },
        #[cfg(target_os = "linux")]
        Some("upgrade") => match upgrade(rest) {
            Ok(code) => return code,
            Err(line) => Err(line),
        },
        #[cfg(target_os = "linux")]
        Some("confirm") => confirm(rest),
        #[cfg(target_os = "linux")]
        Some("stop-jobs") => match stop_jobs(rest) {
            Ok(code) => return code,
            Err(line) => Err(line),
        },
        #[cfg(target_os = "linux")]
        Some("supervise") => return supervise(&rest),
        Some("") => Err(Refusal::usage("no command given; see hyprbox-agent --help")),
        _ => Err(Refusal::usage(format!(
            "{:?} is not a command: it must be run, enroll, check, upgrade, confirm or stop-jobs; see hyprbox-agent --help",
            command.to_string_lossy()
        ))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            let _ = writeln!(std::io::stderr(), "hyprbox-agent: {}", refusal.line);
            ExitCode::from(refusal.code)
        }
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var_os(name).map(|v| v.to_string_lossy().into_owned())
}

fn read_config(args: Vec<OsString>) -> Result<Config, Refusal> {
    let config = RawSettings::parse(args, &env)?.config()?;
    start_log(env("HYPRBOX_LOG").as_deref())?;
    Ok(config)
}

/// Like [`read_config`], but first moves a token from the command line, which every user can read,
/// into the environment.
#[cfg(target_os = "linux")]
fn read_config_privately(args: Vec<OsString>) -> Result<Config, Refusal> {
    if let Ok(raw) = RawSettings::parse(args.clone(), &env)
        && let Some((args, token)) = raw.without_token()
        && raw.config().is_ok()
    {
        let own: Vec<OsString> = std::env::args_os().take(2).collect();
        hyprbox_agent::commands::service::start_over(&own, &args, &token)?;
    }
    read_config(args)
}

#[cfg(not(target_os = "linux"))]
fn read_config_privately(args: Vec<OsString>) -> Result<Config, Refusal> {
    read_config(args)
}

/// Like [`read_config_privately`], with the settings of this machine's service as defaults.
#[cfg(target_os = "linux")]
fn read_service_config(args: Vec<OsString>) -> Result<Config, Refusal> {
    hyprbox_agent::commands::service::adopt(hyprbox_agent::commands::service::environment())?;
    read_config_privately(args).map_err(|mut refusal| {
        let hint = hyprbox_agent::commands::service::hint_to_use_sudo();
        if let Some(hint) = hint.filter(|_| refusal.code != USAGE) {
            refusal.line = format!("{}; {hint}", refusal.line);
        }
        refusal
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("the async runtime can't be started: {e}"))
}

#[cfg(target_os = "linux")]
fn check(config: Config) -> Result<ExitCode, Refusal> {
    let report = runtime()?.block_on(hyprbox_agent::commands::check::check(&config));
    Ok(print_report(&report))
}

#[cfg(target_os = "linux")]
fn print_report(report: &[hyprbox_agent::commands::check::Finding]) -> ExitCode {
    let text: String = report
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect();
    let printed = print(&text);
    if printed != ExitCode::SUCCESS {
        return printed;
    }
    if report.iter().all(|finding| finding.fix.is_none()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(target_os = "linux")]
fn enroll(args: Vec<OsString>) -> Result<ExitCode, Refusal> {
    let enroll = hyprbox_agent::commands::enroll::Enroll::parse(args, &env)?;
    let mut print_text = |text: &str| {
        print(text);
    };
    let report = runtime()?.block_on(enroll.run(&mut print_text))?;
    Ok(print_report(&report))
}

/// Exits with 1 if the upgrade failed.
#[cfg(target_os = "linux")]
fn upgrade(args: Vec<OsString>) -> Result<ExitCode, Refusal> {
    use hyprbox_agent::commands::service;
    service::adopt(service::environment_of_the_agent())?;
    let upgrade = hyprbox_agent::commands::upgrade::Upgrade::parse(args, &env)?;
    let mut print_text = |text: &str| {
        print(text);
    };
    Ok(match runtime()?.block_on(upgrade.run(&mut print_text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            let _ = writeln!(std::io::stderr(), "hyprbox-agent: {line}");
            ExitCode::FAILURE
        }
    })
}

#[cfg(target_os = "linux")]
fn confirm(mut args: Vec<OsString>) -> Result<(), Refusal> {
    use hyprbox_agent::commands::{confirm, service};
    service::adopt(service::environment_of_the_agent())?;
    // The first argument, because a later one may be a flag's value.
    let has_id = args
        .first()
        .is_some_and(|arg| !arg.to_string_lossy().starts_with('-'));
    let id = has_id.then(|| args.remove(0).to_string_lossy().into_owned());
    let dir = RawSettings::parse(args, &env)?.state_dir()?;
    let id = confirm::confirm(&dir, id.as_deref()).map_err(|e| Refusal {
        line: match service::hint_to_use_sudo() {
            Some(hint) => format!("{e}; {hint}"),
            None => e.to_string(),
        },
        code: 1,
    })?;
    print(&format!("job {id} is confirmed: its changes stay\n"));
    Ok(())
}

#[cfg(target_os = "linux")]
fn stop_jobs(args: Vec<OsString>) -> Result<ExitCode, Refusal> {
    let dir = RawSettings::parse(args, &env)?.state_dir()?;
    let report = hyprbox_agent::commands::stop_jobs::stop_jobs(&dir).map_err(|e| e.to_string())?;
    for job in &report.ended {
        print(&format!("job {job} ended\n"));
    }
    for job in &report.still_running {
        print(&format!("job {job} is still running\n"));
    }
    Ok(if report.still_running.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run(config: Config) -> Result<(), Refusal> {
    runtime()?.block_on(async {
        let shutdown = hyprbox_agent::shutdown::requested()
            .map_err(|e| format!("signals can't be received: {e}"))?;
        hyprbox_agent::run(config, shutdown)
            .await
            .map_err(|e| e.to_string().into())
    })
}

#[cfg(target_os = "linux")]
fn supervise(args: &[OsString]) -> ExitCode {
    let Some(dir) = args.first() else {
        return ExitCode::from(USAGE);
    };
    let code = hyprbox_agent::supervisor::process::main(std::path::Path::new(dir));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn start_log(level: Option<&str>) -> Result<(), String> {
    let level = level.filter(|l| !l.is_empty()).unwrap_or("info");
    let filter: tracing_subscriber::filter::LevelFilter = level.parse().map_err(|_| {
        hyprbox_protocol::bad_setting(
            "HYPRBOX_LOG",
            Some(level),
            "error, warn, info, debug, trace or off",
        )
    })?;
    tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_target(false)
        .with_ansi(hyprbox_agent::log::has_colours())
        .with_writer(hyprbox_agent::log::stderr)
        // Otherwise a line that can't be written would end the program with a panic.
        .log_internal_errors(false)
        .init();
    Ok(())
}

fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(PIPE_CLOSED),
        Err(_) => ExitCode::FAILURE,
    }
}
