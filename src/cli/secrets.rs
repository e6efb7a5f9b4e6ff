//! `hyprbox secrets …`

use reqwest::Method;
use serde_json::json;

use super::args::SecretsCommand;
use super::ask;
use super::client::{Client, segment};
use super::error::{CliError, exit};
use super::queue::no_such;
use super::screen::{Screen, print_note};
use super::table::Table;
use super::times;
use crate::jobs::StoredSecretView;

pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: SecretsCommand,
) -> Result<u8, CliError> {
    match command {
        SecretsCommand::List { output } => list(&client, screen.formatted(output)).await,
        SecretsCommand::Set { name, preset } => {
            let question = format!("Value of {name} (at least 4 characters): ");
            let value = ask::new_secret("value", &question)?;
            let body = json!({"value": value, "presets": preset});
            let path = format!("/api/secrets/{}", segment(&name));
            let set = client
                .call::<StoredSecretView>(Method::PUT, &path, Some(&body))
                .await?;
            if screen.json {
                screen.value(&set.json)?;
                return Ok(0);
            }
            let StoredSecretView { name, presets, .. } = set.value;
            print_note(&format!(
                "Stored {name} for {}. A secret param takes it as -p PARAM=secret:{name}.",
                presets.join(", ")
            ));
            Ok(0)
        }
        SecretsCommand::Remove { name, sure } => {
            let question = format!("Remove the stored secret {name}?");
            ask::confirm(&screen, &sure, &question, "nothing was removed")?;
            let path = format!("/api/secrets/{}", segment(&name));
            match client.delete(&path).await {
                Ok(()) => {}
                Err(error) if error.code == exit::NOT_FOUND => {
                    return Err(explain(&client, &name, error).await);
                }
                Err(error) => return Err(error),
            }
            print_note(&format!(
                "Removed {name}. Jobs that were queued with it keep its value until they end."
            ));
            Ok(0)
        }
    }
}

/// Adds similar names to a 404.
async fn explain(client: &Client, name: &str, error: CliError) -> CliError {
    let known = client.list::<StoredSecretView>("/api/secrets", "secrets");
    let Ok(known) = known.await else {
        return error;
    };
    let names = known.value.iter().map(|secret| secret.name.as_str());
    no_such("stored secret", name, names, "hyprbox secrets list")
}

async fn list(client: &Client, screen: Screen) -> Result<u8, CliError> {
    let secrets = client
        .list::<StoredSecretView>("/api/secrets", "secrets")
        .await?;
    let names = secrets.value.iter().map(|secret| &secret.name);
    if screen.is_done_with(&secrets.json, names)? {
        return Ok(0);
    }
    let secrets = secrets.value;
    if secrets.is_empty() {
        print_note(
            "No stored secrets. `hyprbox secrets set NAME --preset PRESET` stores one (ADMIN).",
        );
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "PRESETS", "CHANGED", "BY"]).optional(&["BY", "CHANGED"]);
    for secret in &secrets {
        table.row([
            secret.name.as_str().into(),
            secret.presets.join(", ").into(),
            times::ago(secret.changed_at).into(),
            secret.changed_by_email.as_str().into(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}
