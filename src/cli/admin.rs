//! `hyprbox admin`: commands on the server's machine, directly in the database. `password` sets a
//! password for somebody who can't log in. `rotate-sign-key` replaces the key that signs jobs, and
//! `rotate-secret-key` the one that seals secrets. Uses the server's own configuration, store and
//! rules.

use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::ask;
use super::error::{CliError, exit};
use super::queue::no_such;
use super::screen::print_note;
use crate::audit;
use crate::auth::{Auth, AuthConfig, check_password};
use crate::clock;
use crate::config::{self, DatabaseUrl};
use crate::jobs;
use crate::ops::ServerLock;
use crate::signing;
use crate::store::{Store, job};

pub(super) const NAME: &str = "admin";
const ROTATE: &str = "rotate-sign-key";
const ROTATE_SECRET: &str = "rotate-secret-key";

/// `hyprbox admin`
pub fn command() -> Command {
    let password = Command::new("password")
        .about("Set a user's password directly in the database, and end their sessions")
        .long_about(
            "Set a user's password directly in the database, on the server's machine, when nobody can log in.\n\n\
             The password is asked for on the terminal, or read from standard input. The user's sessions end, and the \
             change is recorded in the audit log. The server may be running. Run this command as the server's user or as root.",
        )
        .arg(Arg::new("email").value_name("EMAIL").required(true).help("The user's email"));
    let rotate = Command::new(ROTATE)
        .about("Replace the key that signs jobs")
        .long_about(
            "Replace the key that signs jobs. The old key names the new one as its successor, so that agents follow by \
             themselves, and what is queued still runs. The server may be running. With several servers, copy the new key \
             file to each of them at once. Run this command as the server's user or as root.",
        )
        .arg(
            Arg::new("compromised")
                .long("compromised")
                .action(ArgAction::SetTrue)
                .help("The old key was stolen or lost: agents do not follow, queued jobs are cancelled, and every node must be enrolled again"),
        );
    let rotate_secret = Command::new(ROTATE_SECRET)
        .about("Replace the key that seals secrets, while the server is stopped")
        .long_about(
            "Replace the key that seals stored secrets and the secrets of queued jobs, while the server is stopped. Everything \
             that is sealed is sealed with the new key. With several servers, stop all of them, run this on one, and copy the \
             new key file to the others before they start. Run this command as the server's user or as root.",
        );
    Command::new(NAME)
        .about("Set a forgotten password or replace a key, on the server's machine")
        .subcommand_required(true)
        .arg_required_else_help(true)
        // The secret key is not needed.
        .subcommand(
            config::with_data_place(password)
                .mut_arg("HYPRBOX_SECRET_KEY_FILE", |key| key.hide(true))
                .mut_arg("HYPRBOX_SIGN_KEY_FILE", |key| key.hide(true)),
        )
        .subcommand(
            config::with_data_place(rotate)
                .mut_arg("HYPRBOX_SECRET_KEY_FILE", |key| key.hide(true)),
        )
        .subcommand(
            config::with_data_place(rotate_secret)
                .mut_arg("HYPRBOX_SIGN_KEY_FILE", |key| key.hide(true)),
        )
}

pub(super) async fn run(matches: &ArgMatches) -> Result<u8, CliError> {
    let arguments = match matches.subcommand() {
        Some(("password", arguments)) => arguments,
        Some((ROTATE, arguments)) => return rotate_sign_key(arguments).await,
        Some((ROTATE_SECRET, arguments)) => return rotate_secret_key(arguments).await,
        _ => {
            let message =
                format!("hyprbox admin has the commands password, {ROTATE} and {ROTATE_SECRET}");
            return Err(CliError::usage(message));
        }
    };
    let email = arguments
        .get_one::<String>("email")
        .map_or("", String::as_str);
    let store = open(arguments)?;
    let auth = Auth::new(AuthConfig::default(), store.clone());
    let set = set_password(&auth, email).await;
    store.close().await;
    set
}

async fn set_password(auth: &Auth, email: &str) -> Result<u8, CliError> {
    let wrong = |error: crate::http::ApiError| CliError::failed(error.message);
    let users = auth.users().await.map_err(wrong)?;
    let wanted = email.trim().to_lowercase();
    let Some(user) = users.iter().find(|user| user.email == wanted) else {
        let emails: Vec<&str> = users.iter().map(|user| user.email.as_str()).collect();
        if emails.is_empty() {
            return Err(CliError::not_found("this database has no users")
                .hint("when the server starts, it prints a link that creates the first one"));
        }
        let mut error = no_such("user", email, emails.iter().copied(), "hyprbox users list");
        error.hints = vec![format!("its users are {}", emails.join(", "))];
        return Err(error);
    };
    let password = ask::new_password(&user.email)?;
    if let Err(words) = check_password(&password) {
        return Err(CliError::failed(format!("the password {words}")));
    }
    auth.reset_password(&user.id, &password)
        .await
        .map_err(wrong)?;
    print_note(&format!(
        "Changed the password of {} ({}). Their sessions have ended.",
        user.email, user.role
    ));
    Ok(0)
}

async fn rotate_sign_key(arguments: &ArgMatches) -> Result<u8, CliError> {
    let place = config::data_place(arguments).map_err(CliError::failed)?;
    let store = open(arguments)?;
    let is_compromised = arguments.get_flag("compromised");
    let rotated = signing::rotate(&store, &place.sign_key_file, is_compromised, move |tx| {
        let entry = audit::Entry {
            actor: "server",
            action: "sign_key.rotate",
            job_id: None,
            node_id: None,
            detail: is_compromised.then_some("compromised: agents must be enrolled again"),
        };
        audit::record(tx, entry)?;
        if !is_compromised {
            return Ok(0);
        }
        let why = "cancelled: the server's sign key was replaced";
        job::cancel_everything(tx, why, clock::now())
    })
    .await;
    store.close().await;
    let rotation = rotated.map_err(|error| CliError::failed(error.to_string()))?;
    let file = place.sign_key_file.display();
    print_note(&format!(
        "Jobs are signed with the new key {} in {file} from now on.",
        rotation.fingerprint
    ));
    if is_compromised {
        print_note(&format!(
            "Cancelled {} queued jobs. Enrol every node again: until then, its agent refuses all jobs.",
            rotation.cancelled
        ));
    }
    Ok(0)
}

async fn rotate_secret_key(arguments: &ArgMatches) -> Result<u8, CliError> {
    let mut place = config::data_place(arguments).map_err(CliError::failed)?;
    let _lock = match &mut place.database {
        DatabaseUrl::Sqlite(path) if path.is_file() => {
            ServerLock::acquire(path).map_err(CliError::failed)?
        }
        DatabaseUrl::Sqlite(_) => None,
        // Its own connections must not count as a server's.
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => {
            let separator = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{separator}application_name={ROTATE_SECRET}"));
            None
        }
    };
    let store = open_at(&place.database)?;
    let rotated = jobs::rotate_secret_key(&store, &place.secret_key_file, |tx| {
        audit::record(tx, audit::Entry::by("server", "secret_key.rotate"))
    })
    .await;
    store.close().await;
    let rotation = rotated.map_err(|error| CliError::failed(error.to_string()))?;
    print_note(&format!(
        "Sealed {} secrets with the new key in {}. Copy it where the old one was copied to.",
        rotation.sealed,
        place.secret_key_file.display()
    ));
    if rotation.unreadable > 0 {
        print_note(&format!(
            "The old key could not open {} secrets, which stay as they were: store them again.",
            rotation.unreadable
        ));
    }
    Ok(0)
}

/// Opens the database of this machine's server; it must exist.
pub(super) fn open(arguments: &ArgMatches) -> Result<Store, CliError> {
    let place = config::data_place(arguments).map_err(CliError::failed)?;
    open_at(&place.database)
}

fn open_at(database: &DatabaseUrl) -> Result<Store, CliError> {
    let wrong = |error: crate::store::OpenError| CliError::failed(error.0);
    let listener = Arc::new(|_: &[crate::store::Change]| {});
    match database {
        DatabaseUrl::Sqlite(path) => {
            if !path.is_file() {
                return Err(CliError::new(
                    exit::NOT_FOUND,
                    format!("no database at {}", path.display()),
                )
                .hint("pass the server's own: --data-dir or --database-url, or its variables HYPRBOX_DATA_DIR or HYPRBOX_DATABASE_URL"));
            }
            Store::open_sqlite(path, listener).map_err(wrong)
        }
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => Store::open_postgres(url, listener).map_err(wrong),
    }
}
