//! `hyprbox login` and `hyprbox logout`. A login creates a personal token for this machine; the
//! session itself is never saved.

use reqwest::Method;
use serde_json::{Value, json};
use std::io::IsTerminal;

use super::answers::Session;
use super::args::{self, Color};
use super::ask;
use super::client::{Client, segment};
use super::error::{CliError, exit};
use super::screen::{Screen, print_note};
use super::settings::{self, Login, LoginFile, TokenSource, variable};
use crate::auth::User;
use crate::nodes::MintedToken;

pub(super) async fn login(args: args::Login) -> Result<u8, CliError> {
    let screen = Screen::with(args.json, Color::Auto);
    let url = settings::check_url("URL", &args.server, &variable)?;
    let file = LoginFile::at_home()?;
    // A file that can't be parsed is about to be replaced.
    let before = file.read().unwrap_or_default();
    let (user, login) = if args.token {
        with_token(&url).await?
    } else {
        with_password(&url, args.email).await?
    };
    file.write(&login)?;
    if let Some(before) = before.filter(|before| before.url == url && before.token != login.token) {
        // The previous login's token is no longer used. It may already be gone.
        let _gone = revoke(&before).await;
    }
    if screen.json {
        screen.value(&json!({"url": url, "email": user.email, "role": user.role}))?;
    } else {
        print_note(&format!(
            "Logged in to {url} as {} ({}); the token is in {}",
            user.email,
            user.role,
            file.path().display()
        ));
    }
    Ok(0)
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

pub(super) async fn logout() -> Result<u8, CliError> {
    let file = LoginFile::at_home()?;
    let Some(login) = file.read()? else {
        print_note("Not logged in.");
        return Ok(0);
    };
    let revoked = revoke(&login).await;
    file.remove()?;
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
    Ok(0)
}
