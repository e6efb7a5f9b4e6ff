//! `hyprbox-agent`: flags and environment into a [`Config`], then one of the commands. The only
//! place that exits.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use hyprbox_agent::config::Raw;
use hyprbox_agent::{Config, ConfigError};

#[global_allocator]
static ALLOCATOR: hyprbox_agent::wiping_alloc::WipingAlloc =
    hyprbox_agent::wiping_alloc::WipingAlloc;

/// The reader of the output has closed it, as `head` does.
const PIPE_CLOSED: u8 = 141;
/// The command line itself is wrong.
const USAGE: u8 = 64;
/// The settings are wrong, or what they name can't be used.
const BAD_SETTINGS: u8 = 2;

/// Why a command did not begin: one line, and the exit code.
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
        match error {
            ConfigError::Usage(_) => Self::usage(error.to_string()),
            ConfigError::Bad { .. }
            | ConfigError::BadSecret { .. }
            | ConfigError::Missing { .. } => error.to_string().into(),
        }
    }
}

const HELP: &str = "\
hyprbox-agent: runs a node's HyprBox jobs

Usage: hyprbox-agent COMMAND [OPTIONS]

Commands:
  run         run until SIGTERM; jobs that run then go on, and the next agent finds them again
  enroll URL CODE  make this machine a node, with the one-time code from the node's page: writes
              /etc/hyprbox/agent.env and starts the service (--env-file FILE, --no-start)
  check       try the server's address, the token and bash, and print how to fix each problem
  upgrade     replace this program by the one that the server ships, and restart the agent; running jobs
              are left alone (--back: to the one before; --anyway: though it is no newer; --no-restart)
  stop-jobs   end this node's running jobs, as before the agent is removed

Options, each with the environment variable that it wins over:
  --api-url URL       HYPRBOX_API_URL        the server's address
  --node-id ID        HYPRBOX_NODE_ID        this node's id
  --node-token TOKEN  HYPRBOX_NODE_TOKEN     this node's token; better in the environment, where no `ps` shows it
  --interval TIME     HYPRBOX_INTERVAL       between heartbeats: 1s to 1h, as 1500ms, 30s, 5m [30s]
  --state-dir DIR     HYPRBOX_STATE_DIR      [$STATE_DIRECTORY or /var/lib/hyprbox-agent]
  --ca-file FILE      HYPRBOX_CA_FILE        certificate authorities to trust [the system's]
  --insecure-http     HYPRBOX_INSECURE_HTTP  1: plain http to a server on another machine
  --force             HYPRBOX_FORCE          1: scripts skip their distro guard
  --job-env NAMES     HYPRBOX_JOB_ENV        variables that scripts get too, as HTTPS_PROXY,NO_PROXY,TZ [none]
  --help, --version

HYPRBOX_LOG sets what is logged: error, warn, info, debug or trace [info].
";

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    hyprbox_agent::private::hide_memory();
    let mut args = std::env::args_os().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    let asks = |flag: &str| command == flag || rest.iter().any(|a| a == flag);
    if asks("--help") || command == "-h" || command == "help" {
        return say(HELP);
    }
    if asks("--version") || command == "-V" {
        return say(&format!("hyprbox-agent {}\n", hyprbox_agent::version()));
    }
    let result = match command.to_str() {
        Some("run") => configured_in_private(rest).and_then(run),
        #[cfg(target_os = "linux")]
        Some("check") => match as_the_service(rest).and_then(check) {
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
        Some("stop-jobs") => match stop_jobs(rest) {
            Ok(code) => return code,
            Err(line) => Err(line),
        },
        #[cfg(target_os = "linux")]
        Some("supervise") => return supervise(&rest),
        Some("") => Err(Refusal::usage("no command given; see hyprbox-agent --help")),
        _ => Err(Refusal::usage(format!(
            "{:?} is not a command; allowed are run, enroll, check, upgrade and stop-jobs; see hyprbox-agent --help",
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

fn configured(args: Vec<OsString>) -> Result<Config, Refusal> {
    let config = Raw::parse(args, &env)?.config()?;
    start_log(env("HYPRBOX_LOG").as_deref())?;
    Ok(config)
}

/// [`configured`]; a token that was given by a flag moves into the environment, as every user can
/// read the command line.
#[cfg(target_os = "linux")]
fn configured_in_private(args: Vec<OsString>) -> Result<Config, Refusal> {
    if let Ok(raw) = Raw::parse(args.clone(), &env)
        && let Some((args, token)) = raw.without_token()
        && raw.config().is_ok()
    {
        let own: Vec<OsString> = std::env::args_os().take(2).collect();
        hyprbox_agent::commands::service::start_over(&own, &args, &token)?;
    }
    configured(args)
}

#[cfg(not(target_os = "linux"))]
fn configured_in_private(args: Vec<OsString>) -> Result<Config, Refusal> {
    configured(args)
}

/// What the environment doesn't say is as the service on this machine has it.
#[cfg(target_os = "linux")]
fn as_the_service(args: Vec<OsString>) -> Result<Config, Refusal> {
    hyprbox_agent::commands::service::adopt(hyprbox_agent::commands::service::environment())?;
    configured_in_private(args).map_err(|mut refusal| {
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
        .map_err(|e| format!("no runtime to be had: {e}"))
}

#[cfg(target_os = "linux")]
fn check(config: Config) -> Result<ExitCode, Refusal> {
    let report = runtime()?.block_on(hyprbox_agent::commands::check::check(&config));
    Ok(tell(&report))
}

#[cfg(target_os = "linux")]
fn tell(report: &[hyprbox_agent::commands::check::Finding]) -> ExitCode {
    let text: String = report
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect();
    let said = say(&text);
    if said != ExitCode::SUCCESS {
        return said;
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
    let mut told = |text: &str| {
        say(text);
    };
    let report = runtime()?.block_on(enroll.run(&mut told))?;
    Ok(tell(&report))
}

/// Ends with 1 where nothing came of it.
#[cfg(target_os = "linux")]
fn upgrade(args: Vec<OsString>) -> Result<ExitCode, Refusal> {
    use hyprbox_agent::commands::service;
    service::adopt(service::environment_of_the_agent())?;
    let upgrade = hyprbox_agent::commands::upgrade::Upgrade::parse(args, &env)?;
    let mut told = |text: &str| {
        say(text);
    };
    Ok(match runtime()?.block_on(upgrade.run(&mut told)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            let _ = writeln!(std::io::stderr(), "hyprbox-agent: {line}");
            ExitCode::FAILURE
        }
    })
}

#[cfg(target_os = "linux")]
fn stop_jobs(args: Vec<OsString>) -> Result<ExitCode, Refusal> {
    let dir = Raw::parse(args, &env)?.state_dir()?;
    let report = hyprbox_agent::commands::stop_jobs::stop_jobs(&dir).map_err(|e| e.to_string())?;
    for job in &report.ended {
        say(&format!("job {job} ended\n"));
    }
    for job in &report.still_running {
        say(&format!("job {job} is still running\n"));
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
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(hyprbox_agent::log::stderr)
        // Otherwise a line that can't be formatted or written would end the program by a panic.
        .log_internal_errors(false)
        .init();
    Ok(())
}

fn say(text: &str) -> ExitCode {
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
