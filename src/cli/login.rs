//! `hyprbox login`, `hyprbox logout` and `hyprbox context …`. A login creates a personal token for
//! this machine; the session itself is never saved.

use reqwest::Method;
use serde_json::{Value, json};
use std::io::IsTerminal;

use super::answers::Session;
use super::args::{self, Color, ContextCommand};
use super::ask;
use super::client::{Client, segment};
use super::contexts::{Contexts, ContextsFile, Login, name_of};
use super::error::{CliError, exit};
use super::screen::{Paint, Screen, print_note};
use super::settings::{self, TokenSource, variable};
use super::table::{Cell, Table};
use crate::auth::User;
use crate::nodes::MintedToken;

pub(super) async fn login(args: args::Login) -> Result<u8, CliError> {
    let screen = Screen::with(args.json, Color::Auto);
    let url = settings::check_url("URL", &args.server, &variable)?;
    let file = ContextsFile::at_home(&variable)?;
    // A file that can't be parsed is about to be replaced.
    let mut saved = file.read().unwrap_or_default();
    let name = match args.context {
        Some(name) => name,
        None => saved
            .name_at(&url)
            .map_or_else(|| name_of(&url), str::to_owned),
    };
    let before = saved.logins.get(&name).cloned();
    if let Some(before) = before.as_ref().filter(|before| before.url != url) {
        return Err(
            CliError::failed(format!("{name} is saved already, for {}", before.url)).hint(format!(
                "choose another name with --context, or first: hyprbox context remove {name}"
            )),
        );
    }
    let (user, login) = obtain(&url, args.token, args.email).await?;
    let token = login.token.clone();
    saved.logins.insert(name.clone(), login);
    saved.current = Some(name.clone());
    let several = saved.logins.len() > 1;
    file.write(saved)?;
    if let Some(before) = before.filter(|before| before.token != token) {
        // The previous login's token is no longer used. It may already be gone.
        let _gone = revoke(&before).await;
    }
    if screen.json {
        screen.value(&json!({"url": url, "email": user.email, "role": user.role}))?;
        return Ok(0);
    }
    print_note(&format!(
        "Logged in to {url} as {} ({}); the token is in {}",
        user.email,
        user.role,
        file.path().display()
    ));
    if several {
        print_note(&format!(
            "Commands now use {name}; `hyprbox context list` shows the others."
        ));
    }
    Ok(0)
}

/// `hyprbox context …`
pub(super) async fn context(command: ContextCommand) -> Result<u8, CliError> {
    let file = ContextsFile::at_home(&variable)?;
    let mut saved = file.read()?;
    match command {
        ContextCommand::List { output, json } => {
            list(Screen::with(json, Color::Auto).formatted(output), &saved)?;
        }
        ContextCommand::Use { name } => {
            let Some(login) = saved.logins.get(&name) else {
                return Err(settings::no_context(&name, &saved));
            };
            print_note(&format!("Commands now use {name} ({}).", login.url));
            if let Some(variable) = winning_variable() {
                print_note(&format!("{variable} is set, and wins while it is."));
            }
            saved.current = Some(name);
            file.write(saved)?;
        }
        ContextCommand::Add {
            name,
            server,
            token,
            email,
        } => {
            let url = settings::check_url("URL", &server, &variable)?;
            if let Some(known) = saved.logins.get(&name) {
                return Err(CliError::failed(format!(
                    "{name} is saved already, for {}",
                    known.url
                ))
                .hint(format!("first: hyprbox context remove {name}")));
            }
            let (user, login) = obtain(&url, token, email).await?;
            saved.logins.insert(name.clone(), login);
            file.write(saved)?;
            print_note(&format!(
                "Saved {url} as {name}, for {} ({}). To use it: hyprbox context use {name}, or --context {name}",
                user.email, user.role
            ));
        }
        ContextCommand::Remove { name, sure } => {
            if !saved.logins.contains_key(&name) {
                return Err(settings::no_context(&name, &saved));
            }
            let screen = Screen::with(false, Color::Auto);
            let question = format!("Log out of {name} and forget it?");
            ask::confirm(&screen, &sure, &question, "nothing was removed")?;
            forget(&file, saved, &name).await?;
        }
    }
    Ok(0)
}

/// A variable that wins over the saved servers.
fn winning_variable() -> Option<&'static str> {
    ["HYPRBOX_URL", "HYPRBOX_TOKEN"]
        .into_iter()
        .find(|name| variable(name).is_some())
}

fn list(screen: Screen, saved: &Contexts) -> Result<(), CliError> {
    let is_current = |name: &String| saved.current.as_ref() == Some(name);
    let contexts: Vec<Value> = saved
        .logins
        .iter()
        .map(|(name, login)| json!({"name": name, "url": login.url, "current": is_current(name)}))
        .collect();
    let names = saved.logins.keys().map(String::as_str);
    if screen.is_done_with(&json!({"contexts": contexts}), names)? {
        return Ok(());
    }
    if saved.logins.is_empty() {
        print_note("No server is saved. `hyprbox login URL` saves one.");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "URL", "IN USE"]);
    for (name, login) in &saved.logins {
        let mark = match is_current(name) {
            true => Cell::painted("yes", Paint::Green),
            false => "".into(),
        };
        table.row([name.as_str().into(), login.url.as_str().into(), mark]);
    }
    screen.table(&table)?;
    if let Some(variable) = winning_variable() {
        print_note(&format!(
            "{variable} is set, and wins over the server in use."
        ));
    }
    Ok(())
}

/// Logs in with a token or a password.
async fn obtain(
    url: &str,
    has_token: bool,
    email: Option<String>,
) -> Result<(User, Login), CliError> {
    match has_token {
        true => with_token(url).await,
        false => with_password(url, email).await,
    }
}

/// Logs in with an existing token.
async fn with_token(url: &str) -> Result<(User, Login), CliError> {
    let (token, from) = match variable("HYPRBOX_TOKEN") {
        Some(token) => (token, TokenSource::Environment),
        None if std::io::stdin().is_terminal() => {
            (ask::secret("Token (hbu_\u{2026}): ")?, TokenSource::Given)
        }
        None => (ask::stdin("the token")?, TokenSource::Given),
    };
    let token = token.trim().to_owned();
    let mut client = Client::anonymous(url)?;
    client.use_token(&token, from)?;
    let user = client.get::<User>("/api/auth/me").await?.value;
    let login = Login {
        url: url.to_owned(),
        token,
        token_id: None,
    };
    Ok((user, login))
}

async fn with_password(url: &str, email: Option<String>) -> Result<(User, Login), CliError> {
    let mut client = Client::anonymous(url)?;
    // Reports a wrong address before anything is typed.
    client.get::<Value>("/healthz").await?;
    let is_piped = email.is_some() && !std::io::stdin().is_terminal();
    if !is_piped && ask::terminal().is_none() {
        return Err(CliError::new(
            exit::REFUSED,
            "no terminal to ask for the email and password",
        )
        .hint("pass --email, and the password on standard input")
        .hint("or create a token (on the Account page, or with `hyprbox tokens add NAME`) and pass it to `hyprbox login URL --token` on standard input"));
    }
    let email = match email {
        Some(email) => email,
        None => ask::line("Email: ")?,
    };
    let password = match is_piped {
        true => ask::stdin("the password")?,
        false => ask::secret("Password: ")?,
    };
    let body = json!({"email": &email, "password": password});
    let session = client
        .post::<Session>("/api/auth/login", &body)
        .await?
        .value;
    client.use_token(&session.token, TokenSource::Given)?;
    let body = json!({"name": format!("hyprbox on {}", machine())});
    let minted = client.post::<MintedToken>("/api/auth/tokens", &body).await;
    // The session is not needed any longer, whatever the result.
    let ended = client
        .call::<Value>(Method::POST, "/api/auth/logout", None)
        .await;
    if let Err(error) = ended {
        print_note(&format!(
            "Could not end the login session: {}",
            error.message
        ));
    }
    let minted = match minted {
        Ok(minted) => minted.value,
        Err(error) if error.code == exit::REFUSED => {
            return Err(CliError {
                hints: vec![format!(
                    "an ADMIN must give your account a role first: hyprbox users role {email} viewer"
                )],
                ..error
            });
        }
        Err(error) => return Err(error),
    };
    let login = Login {
        url: url.to_owned(),
        token: minted.token,
        token_id: Some(minted.id),
    };
    Ok((session.user, login))
}

fn machine() -> String {
    let name = nix::unistd::gethostname().ok();
    name.and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unnamed machine".to_owned())
}

/// Revokes a token that a login created.
async fn revoke(login: &Login) -> Result<(), CliError> {
    let Some(id) = &login.token_id else {
        return Ok(());
    };
    let mut client = Client::anonymous(&login.url)?;
    client.use_token(&login.token, TokenSource::File)?;
    client
        .delete(&format!("/api/auth/tokens/{}", segment(id)))
        .await
}

pub(super) async fn logout(args: args::Logout) -> Result<u8, CliError> {
    let file = ContextsFile::at_home(&variable)?;
    let saved = file.read()?;
    let name = match args.context {
        Some(name) if !saved.logins.contains_key(&name) => {
            return Err(settings::no_context(&name, &saved));
        }
        Some(name) => name,
        None => match saved.current.clone() {
            Some(name) => name,
            None => {
                print_note("Not logged in.");
                return Ok(0);
            }
        },
    };
    forget(&file, saved, &name).await?;
    Ok(0)
}

/// Revokes a saved server's token and forgets the server.
async fn forget(file: &ContextsFile, mut saved: Contexts, name: &str) -> Result<(), CliError> {
    let Some(login) = saved.logins.remove(name) else {
        return Ok(());
    };
    let revoked = revoke(&login).await;
    // Another server is used only if the user says so.
    saved.current = saved.current.filter(|current| current != name);
    let others: Vec<String> = saved.logins.keys().cloned().collect();
    let has_current = saved.current.is_some();
    file.write(saved)?;
    match revoked {
        Ok(()) if login.token_id.is_some() => {
            print_note(&format!(
                "Logged out of {}; the token is revoked.",
                login.url
            ));
        }
        Ok(()) => print_note(&format!(
            "Logged out of {}. The token, which you passed to `login --token`, still works; `hyprbox tokens remove` revokes it.",
            login.url
        )),
        Err(error) if matches!(error.code, exit::REFUSED | exit::NOT_FOUND) => {
            print_note(&format!(
                "Logged out of {}; the token was already revoked.",
                login.url
            ));
        }
        Err(error) => print_note(&format!(
            "The token is deleted from this machine, but may still work on the server: {}",
            error.message
        )),
    }
    if !has_current && !others.is_empty() {
        print_note(&format!(
            "To use another server: hyprbox context use {}",
            others.join(", or ")
        ));
    }
    Ok(())
}
