//! The program `hyprbox`: parses the command line, runs a command and returns its exit code.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;
use hyprbox::app::{self, App};
use hyprbox::config::Config;
use hyprbox::program::command;
use hyprbox::{memory, ops};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// The exit code of a start that failed because of the configuration.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    hyprbox_agent::shutdown::accept_signals();
    hyprbox::cli::answer_completions(command);
    let matches = match command().try_get_matches_from(hyprbox::cli::arguments(&command())) {
        Ok(matches) => matches,
        Err(error) => return print_usage(&error),
    };
    if let Some(code) = hyprbox::cli::run(&matches, command) {
        return code;
    }
    match matches.subcommand() {
        Some(("serve", flags)) => serve(flags),
        Some(("demo", flags)) => demo(flags.get_flag("once")),
        Some(("backup", arguments)) => finish(ops::backup::run(arguments)),
        Some(("restore", arguments)) => finish(ops::restore::run(arguments)),
        Some(("doctor", arguments)) => doctor(arguments),
        Some(("health", arguments)) => finish(ops::health::run(arguments)),
        Some(("migrate-store", flags)) => {
            let (result, code) = ops::migrate_store::run(flags);
            hyprbox::cli::print(&result).err().unwrap_or(code)
        }
        Some(("supervise", arguments)) => supervise(arguments),
        // clap requires a subcommand and knows no others.
        _ => ExitCode::from(BAD_CONFIGURATION),
    }
}

/// Prints help and versions to standard output, and errors of the command line to standard error.
fn print_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return print(&error.render().to_string());
    }
    // If standard error is closed, the exit code must be enough.
    let _closed = error.print();
    ExitCode::from(hyprbox::cli::USAGE)
}

/// Writes a command's result to standard output; returns the exit code.
fn print(text: &str) -> ExitCode {
    match hyprbox::cli::print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn fail_start(error: impl std::fmt::Display) -> ExitCode {
    hyprbox::cli::print_note(&format!("hyprbox: {error}"));
    ExitCode::from(BAD_CONFIGURATION)
}

/// Prints the result of an operator's command; returns the exit code.
fn finish(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(result) => print(&format!("{result}\n")),
        Err(error) => {
            hyprbox::cli::print_note(&format!("hyprbox: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn doctor(arguments: &ArgMatches) -> ExitCode {
    let (findings, is_well) = ops::doctor::run(arguments);
    match hyprbox::cli::print(&format!("{findings}\n")) {
        Err(code) => code,
        Ok(()) if is_well => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

fn serve(flags: &ArgMatches) -> ExitCode {
    memory::configure_allocator();
    let config = match Config::read(flags, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) if error.is_of_flag(flags) => {
            fail_start(error);
            return ExitCode::from(hyprbox::cli::USAGE);
        }
        Err(error) => return fail_start(error),
    };
    start_log(&config);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail_start(error),
    };
    let served = runtime.block_on(serve_until_signal(&config));
    // A thread may wait for a database that never answers. Everything acknowledged is durable
    // already.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail_start(error),
    }
}

fn start_log(config: &Config) {
    let filter = EnvFilter::new(&config.log);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(hyprbox_agent::log::stderr)
        .log_internal_errors(false);
    if config.log_json {
        log.json().init();
    } else {
        log.with_ansi(hyprbox_agent::log::has_colours()).init();
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Blocking threads for each reader of the database, and a few for hashing and rendering.
        .max_blocking_threads(32)
        .build()
}

async fn serve_until_signal(config: &Config) -> Result<(), app::StartError> {
    let (stop, stopping) = watch::channel(false);
    // Before anything is opened, so that a stop signal during the start also ends cleanly.
    let stop_requested = hyprbox_agent::shutdown::requested().map_err(app::StartError::of)?;
    tokio::spawn(async move {
        stop_requested.await;
        tracing::info!("stopping");
        // An error means that the server has ended already.
        let _ended = stop.send(true);
    });
    // Bound first, so that no folder is created if another server has the address.
    let listener = app::bind(config)?;
    let app = App::build(config, &listener, stopping).await?;
    announce(&app, config, &listener).await?;
    // The start needs three times the memory of the running server, mostly to describe the API.
    memory::release_unused_memory();
    app.serve(listener).await
}

async fn announce(
    app: &App,
    config: &Config,
    listener: &tokio::net::TcpListener,
) -> Result<(), app::StartError> {
    let address = listener.local_addr().map_err(app::StartError::of)?;
    tracing::info!(%address, url = %app.public_url, "listening");
    if config.serves_in_the_clear() {
        tracing::warn!(
            %address,
            "other machines reach this server over plain http: anybody on the network can read passwords, tokens \
             and output. Set HYPRBOX_TLS_CERT and HYPRBOX_TLS_KEY, or listen on 127.0.0.1 behind a proxy with https"
        );
    }
    if config.has_no_address() {
        tracing::warn!(
            "HYPRBOX_PUBLIC_URL is not set and HYPRBOX_LISTEN is not a single address, so pages use the address in the browser. \
             Set HYPRBOX_PUBLIC_URL to the address that nodes can reach"
        );
    }
    if !app.has_users().await? {
        let (url, code) = (&app.public_url, app.auth.setup_code());
        let elsewhere = if config.has_no_address() {
            "The link works on this machine. From another machine, replace its host with this machine's name or address, or \
             set HYPRBOX_PUBLIC_URL.\n"
        } else {
            ""
        };
        // For the person at the terminal, not for the log. Errors are ignored: nobody may be
        // reading.
        let _unread = write!(
            std::io::stdout(),
            "No users yet. Make the first one, an ADMIN, at {url}/setup?code={code}\n{elsewhere}Setup code: {code}\n"
        );
    }
    Ok(())
}

fn demo(once: bool) -> ExitCode {
    let filter = EnvFilter::try_from_env("HYPRBOX_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(hyprbox_agent::log::has_colours())
        .with_writer(hyprbox_agent::log::stderr)
        .log_internal_errors(false)
        .init();
    let ran = runtime()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(hyprbox::demo::run(once)));
    match ran {
        Ok(exit_code) => ExitCode::from(exit_code),
        Err(error) => {
            let gone = error.downcast_ref::<std::io::Error>();
            if gone.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
                return ExitCode::from(hyprbox::cli::PIPE_CLOSED);
            }
            hyprbox::cli::print_note(&format!("hyprbox: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a job's supervisor: the demo's agent starts it as this program.
fn supervise(arguments: &ArgMatches) -> ExitCode {
    let code = arguments
        .get_one::<PathBuf>("folder")
        .map_or(1, |folder| hyprbox_agent::supervisor::process::main(folder));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
