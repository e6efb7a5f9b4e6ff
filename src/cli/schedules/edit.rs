//! `hyprbox schedules add` and `edit`

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::find::named;
use super::{lists, path};
use crate::cli::args::{AddSchedule, EditSchedule, ScheduleOptions, UNSET};
use crate::cli::ask;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::params::{self, Secrets};
use crate::cli::queue::fetch_preset;
use crate::cli::runs::Target;
use crate::cli::screen::{Screen, print_note};
use crate::cli::short_id::node_to_change;
use crate::schedules::ScheduleView;

/// Prints the new schedule's id.
pub(super) async fn add(
    client: &Client,
    screen: Screen,
    args: AddSchedule,
) -> Result<u8, CliError> {
    let preset = fetch_preset(client, &args.preset).await?;
    let secrets = match args.check {
        true => Secrets::Placeholder,
        false => Secrets::Stored,
    };
    let params = params::resolve(&preset, &args.params, Map::new(), secrets)?;
    let target = target(client, &screen, args.node, args.on).await?;
    let mut body = Map::new();
    body.insert("name".to_owned(), args.name.into());
    body.insert("preset".to_owned(), args.preset.into());
    body.insert("params".to_owned(), params.into());
    body.insert("cron".to_owned(), args.cron.into());
    body.insert("timeZone".to_owned(), args.time_zone.into());
    if args.check {
        body.insert("kind".to_owned(), "check".into());
    }
    if args.paused {
        body.insert("paused".to_owned(), true.into());
    }
    if preset.risk == "high"
        && !args.check
        && let Some(target) = &target
    {
        let question = format!(
            "{} is a high-risk preset. Run it on {target} at each due time?",
            preset.name
        );
        ask::confirm(&screen, &args.sure, &question, "no schedule was added")?;
    }
    set_target(&mut body, target);
    set_options(&mut body, args.options, Map::new());
    let made = client
        .post::<ScheduleView>("/api/schedules", &body.into())
        .await?;
    if screen.json {
        screen.value(&made.json)?;
        return Ok(0);
    }
    screen.data(&format!("{}\n", made.value.id))?;
    print_note(&format!(
        "Added {}. {}",
        made.value.name,
        lists::next_words(&made.value)
    ));
    Ok(0)
}

/// Changes what the flags name. Params that are not given stay, as does the rest of the plan.
pub(super) async fn edit(
    client: &Client,
    screen: Screen,
    args: EditSchedule,
) -> Result<u8, CliError> {
    let schedule = named(client, &args.schedule.given).await?;
    let mut body = Map::new();
    if !args.params.params.is_empty() || args.params.params_file.is_some() {
        let name = args.preset.as_deref().unwrap_or(&schedule.preset);
        let preset = fetch_preset(client, name).await?;
        let known = schedule.params.as_object().cloned().unwrap_or_default();
        let params = params::resolve(&preset, &args.params, known, Secrets::Stored)?;
        body.insert("params".to_owned(), params.into());
    }
    let texts = [
        ("name", args.name),
        ("preset", args.preset),
        ("cron", args.cron),
        ("timeZone", args.time_zone),
    ];
    for (field, text) in texts {
        body.extend(text.map(|text| (field.to_owned(), text.into())));
    }
    let target = target(client, &screen, args.node, args.on).await?;
    set_target(&mut body, target);
    let plan = serde_json::to_value(&schedule.plan).unwrap_or_default();
    let plan = plan.as_object().cloned().unwrap_or_default();
    set_options(&mut body, args.options, plan);
    for (flag, field) in UNSET {
        if args.unset.iter().any(|unset| unset == flag) {
            body.insert(field.to_owned(), Value::Null);
        }
    }
    if body.is_empty() {
        return Err(CliError::usage("no flag says what to change")
            .hint("`hyprbox schedules edit --help` lists them"));
    }
    let changed = client
        .call::<ScheduleView>(Method::PATCH, &path(&schedule, ""), Some(&body.into()))
        .await?;
    if screen.json {
        screen.value(&changed.json)?;
        return Ok(0);
    }
    print_note(&format!(
        "Changed {}. {}",
        changed.value.name,
        lists::next_words(&changed.value)
    ));
    Ok(0)
}

/// The nodes that the flags name.
async fn target(
    client: &Client,
    screen: &Screen,
    mut nodes: Vec<String>,
    on: Option<String>,
) -> Result<Option<Target>, CliError> {
    for node in &mut nodes {
        *node = node_to_change(client, screen, node).await?;
    }
    Ok(match on {
        Some(selector) => Some(Target::Selector(selector)),
        None if nodes.is_empty() => None,
        None => Some(Target::Nodes(nodes)),
    })
}

fn set_target(body: &mut Map<String, Value>, target: Option<Target>) {
    let field = match target {
        Some(Target::Nodes(nodes)) => ("nodes", json!(nodes)),
        Some(Target::Selector(selector)) => ("selector", json!(selector)),
        None => return,
    };
    body.insert(field.0.to_owned(), field.1);
}

/// What the user has not chosen is left to the server. `plan` is the schedule's plan so far.
fn set_options(
    body: &mut Map<String, Value>,
    options: ScheduleOptions,
    mut plan: Map<String, Value>,
) {
    let chosen = [
        ("overlap", options.overlap.map(Value::from)),
        ("missed", options.missed.map(Value::from)),
        ("timeoutSeconds", options.timeout.map(Value::from)),
        ("expiresInSeconds", options.expires.map(Value::from)),
        ("pingUrl", options.ping_url.map(Value::from)),
        (
            "ifOffline",
            options.plan.skip_offline.then(|| Value::from("skip")),
        ),
    ];
    for (field, value) in chosen {
        body.extend(value.map(|value| (field.to_owned(), value)));
    }
    let changed = options.plan.json();
    if !changed.is_empty() {
        plan.extend(changed);
        body.insert("plan".to_owned(), plan.into());
    }
}
