//! `hyprbox users …` and `hyprbox tokens …`

use reqwest::Method;
use serde_json::{Value, json};

use super::args::{Sure, TokensCommand, UsersCommand};
use super::ask;
use super::client::{Client, segment};
use super::error::CliError;
use super::queue::no_such;
use super::screen::{Screen, print_note};
use super::table::Table;
use super::times;
use crate::auth::{PersonalToken, User};
use crate::nodes::MintedToken;

pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: UsersCommand,
) -> Result<u8, CliError> {
    match command {
        UsersCommand::List { output } => list(&client, screen.formatted(output)).await,
        UsersCommand::Add { email, role, name } => {
            let password = ask::new_password(&email)?;
            let body = json!({"email": email, "password": password, "role": role.0, "name": name});
            let added = client.post::<User>("/api/users", &body).await?;
            done(
                screen,
                &added.json,
                &format!("Added {} with the role {}.", added.value.email, role.0),
            )
        }
        UsersCommand::Role { email, role } => {
            let changed = change(&client, &email, &json!({"role": role.0})).await?;
            done(
                screen,
                &changed,
                &format!(
                    "{email} now has the role {}. Their sessions have ended.",
                    role.0
                ),
            )
        }
        UsersCommand::Password { email } => {
            let user = find(&client, &email).await?;
            let me = client.get::<User>("/api/auth/me").await?.value;
            let mut body = json!({});
            if me.id == user.id {
                body["oldPassword"] = ask::secret("Your current password: ")?.into();
            }
            body["password"] = ask::new_password(&user.email)?.into();
            let changed = change(&client, &email, &body).await?;
            done(
                screen,
                &changed,
                &format!(
                    "Changed the password of {email}. Their sessions have ended, and their tokens are revoked."
                ),
            )
        }
        UsersCommand::Tokens { email, output } => {
            let path = tokens_of(&client, &email).await?;
            list_tokens(&client, screen.formatted(output), &path).await
        }
        UsersCommand::RevokeToken { email, token, sure } => {
            let tokens = Tokens {
                client: &client,
                path: tokens_of(&client, &email).await?,
                listing: format!("hyprbox users tokens {email}"),
            };
            tokens.revoke(&screen, &token, &sure).await
        }
        UsersCommand::Remove { email, sure } => {
            let user = find(&client, &email).await?;
            let question = format!(
                "Remove {}? Their sessions end and their tokens are revoked.",
                user.email
            );
            ask::confirm(&screen, &sure, &question, "nothing was removed")?;
            client
                .delete(&format!("/api/users/{}", segment(&user.id)))
                .await?;
            print_note(&format!("Removed {}. Their jobs are kept.", user.email));
            Ok(0)
        }
    }
}

fn done(screen: Screen, json: &Value, words: &str) -> Result<u8, CliError> {
    if screen.json {
        screen.value(json)?;
    } else {
        print_note(words);
    }
    Ok(0)
}

async fn list(client: &Client, screen: Screen) -> Result<u8, CliError> {
    let users = client.list::<User>("/api/users", "users").await?;
    let emails = users.value.iter().map(|user| user.email.as_str());
    if screen.is_done_with(&users.json, emails)? {
        return Ok(0);
    }
    let mut table = Table::new(&["EMAIL", "ROLE", "NAME", "ADDED"]).optional(&["ADDED", "NAME"]);
    for user in &users.value {
        table.row([
            user.email.as_str().into(),
            user.role.as_str().into(),
            user.name.as_str().into(),
            times::ago(user.created_at).into(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}

/// Finds a user by email: the API uses ids.
async fn find(client: &Client, email: &str) -> Result<User, CliError> {
    let users = client.list::<User>("/api/users", "users").await?.value;
    let wanted = email.trim().to_lowercase();
    let found = users.iter().find(|user| user.email == wanted).cloned();
    found.ok_or_else(|| {
        let emails = users.iter().map(|user| user.email.as_str());
        no_such("user", email, emails, "hyprbox users list")
    })
}

/// The API's path of a user's tokens.
async fn tokens_of(client: &Client, email: &str) -> Result<String, CliError> {
    let user = find(client, email).await?;
    Ok(format!("/api/users/{}/tokens", segment(&user.id)))
}

async fn change(client: &Client, email: &str, body: &Value) -> Result<Value, CliError> {
    let user = find(client, email).await?;
    let path = format!("/api/users/{}", segment(&user.id));
    Ok(client
        .call::<User>(Method::PATCH, &path, Some(body))
        .await?
        .json)
}

/// `hyprbox tokens …`
pub(super) async fn run_tokens(
    client: Client,
    screen: Screen,
    command: TokensCommand,
) -> Result<u8, CliError> {
    match command {
        TokensCommand::List { output } => {
            list_tokens(&client, screen.formatted(output), "/api/auth/tokens").await
        }
        TokensCommand::Add {
            name,
            expires_in_days,
        } => {
            let mut body = json!({"name": name, "expiresInDays": expires_in_days});
            let minted = match client.post::<MintedToken>("/api/auth/tokens", &body).await {
                Err(error) if error.has_code("password_needed") && ask::terminal().is_some() => {
                    body["password"] = ask::secret("Your password: ")?.into();
                    client
                        .post::<MintedToken>("/api/auth/tokens", &body)
                        .await?
                }
                other => other?,
            };
            if screen.json {
                screen.value(&minted.json)?;
                return Ok(0);
            }
            print_note(&format!(
                "The token {name}, shown only once. Pass it to a program as HYPRBOX_TOKEN:"
            ));
            screen.data(&format!("{}\n", minted.value.token))?;
            Ok(0)
        }
        TokensCommand::Remove { token, sure } => {
            let tokens = Tokens {
                client: &client,
                path: "/api/auth/tokens".to_owned(),
                listing: "hyprbox tokens list".to_owned(),
            };
            tokens.revoke(&screen, &token, &sure).await
        }
    }
}

async fn list_tokens(client: &Client, screen: Screen, path: &str) -> Result<u8, CliError> {
    let tokens = client.list::<PersonalToken>(path, "tokens").await?;
    let names = tokens.value.iter().map(|token| token.name.as_str());
    if screen.is_done_with(&tokens.json, names)? {
        return Ok(0);
    }
    let mut table = Table::new(&["ID", "NAME", "PREFIX", "CREATED", "LAST USED", "EXPIRES"])
        .optional(&["ID", "CREATED", "LAST USED", "PREFIX"]);
    for token in &tokens.value {
        let expires = token.expires_at.map_or_else(
            || "never".to_owned(),
            |at| at.to_string().chars().take(10).collect(),
        );
        table.row([
            token.id.as_str().into(),
            token.name.as_str().into(),
            token.prefix.as_str().into(),
            times::ago(token.created_at).into(),
            token
                .last_used_at
                .map_or_else(|| "never".to_owned(), times::ago)
                .into(),
            expires.into(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}

/// Somebody's personal tokens.
struct Tokens<'c> {
    client: &'c Client,
    /// Their path in the API.
    path: String,
    /// The command that lists them.
    listing: String,
}

impl Tokens<'_> {
    /// Revokes the token with this id or name.
    async fn revoke(&self, screen: &Screen, token: &str, sure: &Sure) -> Result<u8, CliError> {
        let Self {
            client,
            path,
            listing,
        } = self;
        let tokens = client.list::<PersonalToken>(path, "tokens").await?.value;
        let found: Vec<_> = tokens
            .iter()
            .filter(|known| known.id == token || known.name == token)
            .collect();
        let id = match found.as_slice() {
            [one] => one.id.clone(),
            [] => {
                let names = tokens.iter().map(|token| token.name.as_str());
                return Err(no_such("token", token, names, listing));
            }
            _ => {
                return Err(CliError::usage(format!(
                    "{} tokens are named {token}; use a token's id instead",
                    found.len()
                ))
                .hint(format!("`{listing} -o wide` lists the ids")));
            }
        };
        let question = format!("Revoke the token {token}? Whatever uses it is cut off.");
        ask::confirm(screen, sure, &question, "nothing was revoked")?;
        client.delete(&format!("{path}/{}", segment(&id))).await?;
        print_note(&format!("Revoked the token {token}. It no longer works."));
        Ok(0)
    }
}
