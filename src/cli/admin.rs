//! `hyprbox admin password`: sets a password directly in the database, for an ADMIN who can't log
//! in. Uses the server's own configuration, store and rules.

use std::sync::Arc;

use clap::{Arg, ArgMatches, Command};

use super::ask;
use super::error::{CliError, exit};
use super::queue::no_such;
use super::screen::print_note;
use crate::auth::{Auth, AuthConfig, check_password};
use crate::config::{self, DatabaseUrl};
use crate::store::Store;

pub(super) const NAME: &str = "admin";

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
    Command::new(NAME)
        .about("Set a forgotten password, on the server's machine")
        .subcommand_required(true)
        .arg_required_else_help(true)
        // The secret key is not needed.
        .subcommand(
            config::with_data_place(password)
                .mut_arg("HYPRBOX_SECRET_KEY_FILE", |key| key.hide(true)),
        )
}

pub(super) async fn run(matches: &ArgMatches) -> Result<u8, CliError> {
    let Some(("password", arguments)) = matches.subcommand() else {
        return Err(CliError::usage(
            "hyprbox admin has only one command: password",
        ));
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

/// Opens the database of this machine's server; it must exist.
fn open(arguments: &ArgMatches) -> Result<Store, CliError> {
    let place = config::data_place(arguments).map_err(CliError::failed)?;
    let wrong = |error: crate::store::OpenError| CliError::failed(error.0);
    let listener = Arc::new(|_: &[crate::store::Change]| {});
    match &place.database {
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
