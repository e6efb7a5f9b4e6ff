//! `hyprbox migrate-store`: moves the data from SQLite to PostgreSQL.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

/// Names the target if the flag is missing: everybody who lists processes can see a flag's
/// password.
const TARGET: &str = "HYPRBOX_DATABASE_URL";

/// Exit code for a wrong command line.
#[cfg(feature = "postgres")]
const USAGE: u8 = 64;

/// Defines the command.
pub fn command() -> Command {
    Command::new("migrate-store")
        .about("Move everything from a SQLite file into an empty PostgreSQL database; the file is not changed")
        .after_help(
            "If it is interrupted, or if a server runs on the file, run it again: rows that were already copied are compared and \
             kept. Servers accept the database once a run has ended while nobody else had the file open and every row is the \
             same on both sides. The key file is not in the database: copy it to the new servers.",
        )
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("sqlite:PATH")
                .required(true)
                .help("The file, usually hyprbox.db in the server's data directory"),
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("postgres://…")
                .help(format!("The empty database [{TARGET}]")),
        )
}

/// Runs the command. Returns the text for standard output and the exit code: 0 if everything was
/// moved and servers accept the database, 1 if not yet, 64 if a flag is wrong.
#[cfg(feature = "postgres")]
pub fn run(flags: &ArgMatches) -> (String, ExitCode) {
    let (from, to) = match arguments(flags) {
        Ok(both) => both,
        Err(why) => {
            print_progress(&why);
            return (String::new(), ExitCode::from(USAGE));
        }
    };
    // The PostgreSQL client has its own runtime and must not run inside another one.
    let moved =
        crate::store::migrate_store::migrate_store(&from, &to, &mut |line| print_progress(&line));
    match moved {
        Ok(outcome) => report(&outcome),
        Err(error) => {
            print_progress(&error);
            (String::new(), ExitCode::FAILURE)
        }
    }
}

/// Reports that the feature is missing.
#[cfg(not(feature = "postgres"))]
pub fn run(_: &ArgMatches) -> (String, ExitCode) {
    print_progress(
        &"this program was built without PostgreSQL support; build it with `cargo build --release --features postgres`",
    );
    (String::new(), ExitCode::FAILURE)
}

/// Prints progress and errors. If standard error is closed they are dropped, and the move
/// continues.
fn print_progress(line: &dyn std::fmt::Display) {
    use std::io::Write;
    let _unread = writeln!(std::io::stderr(), "hyprbox: {line}");
}

#[cfg(feature = "postgres")]
fn arguments(flags: &ArgMatches) -> Result<(std::path::PathBuf, String), String> {
    let flag = |name: &str| flags.get_one::<String>(name).cloned();
    let from = flag("from").unwrap_or_default();
    let path = from
        .strip_prefix("sqlite:")
        .map(|path| path.strip_prefix("//").unwrap_or(path))
        .filter(|path| !path.is_empty())
        .ok_or_else(|| hyprbox_protocol::bad_setting("--from", Some(&from), "sqlite:PATH"))?;
    let to = flag("to")
        .or_else(|| std::env::var(TARGET).ok())
        .filter(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"))
        .ok_or_else(|| {
            format!("--to, or {TARGET}, must be a URL such as postgres://user:password@host:5432/database")
        })?;
    Ok((path.into(), to))
}

#[cfg(feature = "postgres")]
fn report(outcome: &crate::store::migrate_store::Outcome) -> (String, ExitCode) {
    // The checksums are the command's result; progress goes to standard error.
    let mut result = String::new();
    for moved in &outcome.tables {
        result.push_str(&format!(
            "{:<18} {:>10} rows  sha256 {}  the same on both sides\n",
            moved.table, moved.rows, moved.sha256
        ));
    }
    for (place, count) in &outcome.replaced {
        result.push_str(&format!(
            "{place}: {count} with a NUL character or invalid UTF-8, which PostgreSQL refuses: replaced by U+FFFD\n"
        ));
    }
    if let Some(why) = &outcome.unfinished {
        print_progress(&format!(
            "not done: {why}, so its later changes are missing: stop it and run this command again, which copies the changes. Until then servers refuse {}",
            outcome.target
        ));
        return (result, ExitCode::FAILURE);
    }
    result.push_str(&format!(
        "Done. Start servers with HYPRBOX_DATABASE_URL={} and HYPRBOX_SECRET_KEY_FILE=<a copy of the old server's secret.key>: only that key opens sealed secrets. Copy sign.key next to it: agents run only jobs that it has signed. Don't start a server on the old file again: agents would get jobs from both.\n",
        outcome.target
    ));
    (result, ExitCode::SUCCESS)
}
