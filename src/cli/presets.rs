//! `hyprbox presets …`

use serde_json::{Map, Value, json};

use super::answers::{Param, Preset, Presets, Rendered};
use super::args::PresetsCommand;
use super::client::{Client, segment};
use super::error::CliError;
use super::jobs::plain;
use super::params::{self, Secrets};
use super::queue::fetch_preset;
use super::saved_presets;
use super::screen::{Paint, Screen, print_note};
use super::table::{Cell, Table, facts};

pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: PresetsCommand,
) -> Result<u8, CliError> {
    match command {
        PresetsCommand::List { output } => list(&client, screen.formatted(output)).await,
        // Without a server, and so before there is a client.
        PresetsCommand::Check { paths } => super::check::run(screen, &paths),
        PresetsCommand::Import(args) => saved_presets::import_script(screen, &args),
        PresetsCommand::Save(args) => saved_presets::save(&client, screen, args).await,
        PresetsCommand::Delete(args) => saved_presets::delete(&client, screen, args).await,
        PresetsCommand::Versions(args) => saved_presets::versions(&client, screen, args).await,
        PresetsCommand::Show { name, output } => {
            show(&client, screen.formatted(output), &name).await
        }
        PresetsCommand::Render { name, params } => {
            let preset = fetch_preset(&client, &name).await?;
            let params = params::resolve(&preset, &params, Map::new(), Secrets::Placeholder)?;
            let path = format!("/api/presets/{}/render", segment(&name));
            let body = json!({ "params": params });
            let rendered = client.post::<Rendered>(&path, &body).await?;
            if screen.json {
                screen.value(&rendered.json)?;
            } else {
                screen.text(rendered.value.script.as_bytes())?;
            }
            Ok(0)
        }
    }
}

async fn list(client: &Client, screen: Screen) -> Result<u8, CliError> {
    let presets = client.get::<Presets>("/api/presets").await?;
    let names = presets.value.presets.iter();
    let names = names.map(|preset| preset.name.as_str());
    if screen.is_done_with(&presets.json, names)? {
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "RISK", "FOR", "ORIGIN", "TITLE"])
        .optional(&["ORIGIN", "FOR", "RISK"]);
    for preset in &presets.value.presets {
        table.row([
            preset.name.as_str().into(),
            risk(preset),
            preset.targets.join(", ").into(),
            preset.origin.as_str().into(),
            preset.title.as_str().into(),
        ]);
    }
    screen.table(&table)?;
    for error in &presets.value.errors {
        let line = error
            .line
            .map_or_else(String::new, |line| format!(":{line}"));
        print_note(&format!("{}{line}: {}", error.file, error.message));
    }
    Ok(0)
}

fn risk(preset: &Preset) -> Cell {
    let paint = match preset.risk.as_str() {
        "high" => Paint::Red,
        "medium" => Paint::Yellow,
        _ => Paint::Plain,
    };
    Cell::painted(preset.risk.as_str(), paint)
}

async fn show(client: &Client, screen: Screen, name: &str) -> Result<u8, CliError> {
    if screen.json {
        let found = fetch_preset(client, name).await?;
        let path = format!("/api/presets/{}", segment(&found.name));
        screen.value(&client.get::<Value>(&path).await?.json)?;
        return Ok(0);
    }
    let preset = fetch_preset(client, name).await?;
    if screen.is_done_with(&Value::Null, [preset.name.as_str()])? {
        return Ok(0);
    }
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("name", preset.name.as_str().into()),
        ("title", preset.title.as_str().into()),
        ("for", preset.targets.join(", ").into()),
        ("risk", risk(&preset)),
        ("timeout", format!("{} s", preset.timeout_seconds).into()),
        ("origin", preset.origin.as_str().into()),
    ];
    if let Some(seconds) = preset.confirm_seconds {
        let words = format!("within {seconds} s after its last step, or its steps are undone");
        pairs.push(("confirm", words.into()));
    }
    screen.data(&facts(&pairs, screen.colors))?;
    if !preset.description.trim().is_empty() {
        screen.text(format!("\n{}\n", preset.description.trim()).as_bytes())?;
    }
    if preset.params.is_empty() {
        screen.data("\nThis preset has no params.\n")?;
        return Ok(0);
    }
    let mut table = Table::new(&["PARAM", "TYPE", "DEFAULT", "LIMITS", "DESCRIPTION"])
        .optional(&["LIMITS", "TYPE"]);
    for param in &preset.params {
        table.row([
            param.name.as_str().into(),
            param.r#type.as_str().into(),
            default(param).into(),
            limits(param).into(),
            param.description.as_str().into(),
        ]);
    }
    screen.data("\n")?;
    screen.table(&table)?;
    Ok(0)
}

fn default(param: &Param) -> String {
    if param.required {
        return "(required)".to_owned();
    }
    if param.default.is_null() {
        return String::new();
    }
    plain(&param.default)
}

fn limits(param: &Param) -> String {
    if let Some(values) = &param.values {
        return values.join(" | ");
    }
    if let Some(pattern) = &param.pattern {
        return pattern.clone();
    }
    match (param.min, param.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => String::new(),
    }
}
