//! The command `hyprbox migrate-store`: from SQLite to Postgres, told in the terminal.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

/// Where the target is read from when it is not a flag: a flag's password is for everybody to see
/// who lists processes.
const TARGET: &str = "HYPRBOX_DATABASE_URL";

/// Its flags.
pub fn command() -> Command {
    Command::new("migrate-store")
        .about("Moves everything from a SQLite file into an empty PostgreSQL database. The file stays as it is")
        .after_help(
            "Broken off at any point, or with a server running over the file, it is simply run again: what is there already \
             is compared and left. The database opens to servers when a run has ended with the file closed to everybody \
             else and both sides alike, row by row. The key file is not in the database: copy it to the new servers.",
        )
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("sqlite:PATH")
                .required(true)
                .help("The file, mostly hyprbox.db in the server's data folder"),
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("postgres://…")
                .help(format!("The empty database [{TARGET}]")),
        )
}

/// Runs it; returns what to write to standard output and the exit code: 0 when all is moved and the
/// database is open to servers, 1 when not yet, 2 when it can't begin.
#[cfg(feature = "postgres")]
pub fn run(flags: &ArgMatches) -> (String, ExitCode) {
    let (from, to) = match arguments(flags) {
        Ok(both) => both,
        Err(why) => {
            note(&why);
            return (String::new(), ExitCode::from(2));
        }
    };
    // The client of Postgres has a runtime of its own, which needs a thread without one: this is
    // it.
    let moved = crate::store::migrate_store::migrate_store(&from, &to, &mut |line| note(&line));
    match moved {
        Ok(outcome) => report(&outcome),
        Err(error) => {
            note(&error);
            (String::new(), ExitCode::FAILURE)
        }
    }
}

/// Without the feature there is one thing to say.
#[cfg(not(feature = "postgres"))]
pub fn run(_: &ArgMatches) -> (String, ExitCode) {
    note(
        &"this program is built without PostgreSQL; with it: `cargo build --release --features postgres`",
    );
    (String::new(), ExitCode::from(2))
}

/// Reports progress and errors. With standard error gone they are dropped, and the move goes on.
fn note(line: &dyn std::fmt::Display) {
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
    // The sums are the command's result; its progress goes to standard error.
    let mut result = String::new();
    for moved in &outcome.tables {
        result.push_str(&format!(
            "{:<18} {:>10} rows  sha256 {}  the same on both sides\n",
            moved.table, moved.rows, moved.sha256
        ));
    }
    for (place, count) in &outcome.replaced {
        result.push_str(&format!(
            "{place}: {count} with a NUL or bytes that are no text, which PostgreSQL refuses: U+FFFD stands there\n"
        ));
    }
    if let Some(why) = &outcome.unfinished {
        note(&format!(
            "not done: {why}, so what it wrote or writes after this copy is not in it: stop it and run the same again; that takes what changed. Until then servers refuse {}",
            outcome.target
        ));
        return (result, ExitCode::FAILURE);
    }
    result.push_str(&format!(
        "Done. Start servers with HYPRBOX_DATABASE_URL={} and HYPRBOX_SECRET_KEY_FILE=<a copy of the old server's secret.key>: sealed secrets open with that key alone. Don't start a server over the old file again: agents would be served twice.\n",
        outcome.target
    ));
    (result, ExitCode::SUCCESS)
}
