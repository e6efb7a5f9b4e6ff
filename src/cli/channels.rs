//! `hyprbox channels …`

use std::io::IsTerminal;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::args::{AddChannel, ChannelsCommand, OneChannel};
use super::ask;
use super::client::{Client, segment};
use super::error::CliError;
use super::newest::Newest;
use super::pick::{Named, pick, pick_to_change};
use super::screen::{Paint, Screen, print_note};
use super::table::{Cell, Table, facts};
use super::times;
use crate::notify::{ChannelTest, ChannelView, DeliveryView};
use crate::store::delivery::DeliveryState;

/// The last messages that `show` lists.
const SHOWN: u32 = 10;
/// A part of an id is looked up among so many of the newest messages.
const SEARCHED: u32 = 1_000;
/// What a secret setting reads back as.
const HIDDEN: &str = "***";
/// The rule that is proposed for a new channel.
const PROPOSED: &str =
    "--on job_failed --on run_failed --on job_recovered --on job_lost --on schedule_missed";

impl Named for ChannelView {
    const WHAT: &'static str = "channel";
    const LIST: &'static str = "hyprbox channels list";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> String {
        format!("{}, {}", self.name, self.kind.as_str())
    }
}

pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: ChannelsCommand,
) -> Result<u8, CliError> {
    match command {
        ChannelsCommand::List { output } => list(&client, screen.formatted(output)).await,
        ChannelsCommand::Show { channel, output } => {
            let channel = pick(&channel.given, all(&client).await?)?;
            show(&client, screen.formatted(output), &channel.id).await
        }
        ChannelsCommand::Add(args) => add(&client, screen, args).await,
        ChannelsCommand::Test { channel } => test(&client, screen, &channel).await,
        ChannelsCommand::Pause { channel } => pause(&client, screen, &channel, true).await,
        ChannelsCommand::Resume { channel } => pause(&client, screen, &channel, false).await,
        ChannelsCommand::Deliveries {
            channel,
            limit,
            output,
        } => {
            let channel = pick(&channel.given, all(&client).await?)?;
            let screen = screen.formatted(output);
            let newest = newest_deliveries(&client, &channel, limit).await?;
            newest.print(
                &screen,
                |delivery| &delivery.id,
                "No messages yet. A rule decides which events are sent to the channel.",
                |deliveries| table_of(deliveries, &screen),
            )?;
            Ok(0)
        }
        ChannelsCommand::Resend { channel, delivery } => {
            let channel = pick(&channel.given, all(&client).await?)?;
            resend(&client, screen, &channel, &delivery).await
        }
        ChannelsCommand::Remove { channel, sure } => {
            let channel = pick_to_change(&channel.given, all(&client).await?)?;
            let question = format!(
                "Remove the channel {} with its rules and deliveries?",
                channel.name
            );
            ask::confirm(&screen, &sure, &question, "nothing was removed")?;
            client.delete(&path(&channel, "")).await?;
            print_note(&format!("Removed {}.", channel.name));
            Ok(0)
        }
    }
}

impl Named for DeliveryView {
    const WHAT: &'static str = "message";
    const LIST: &'static str = "hyprbox channels deliveries CHANNEL";

    fn id(&self) -> &str {
        &self.id
    }

    /// It has none but its id.
    fn name(&self) -> &str {
        &self.id
    }

    fn description(&self) -> String {
        format!("{}, {}", self.event, times::ago(self.created_at))
    }
}

/// All channels, oldest first.
pub(super) async fn all(client: &Client) -> Result<Vec<ChannelView>, CliError> {
    let channels = client.list::<ChannelView>("/api/channels", "channels");
    Ok(channels.await?.value)
}

/// A path of the API below a channel.
fn path(channel: &ChannelView, more: &str) -> String {
    format!("/api/channels/{}{more}", segment(&channel.id))
}

async fn add(client: &Client, screen: Screen, args: AddChannel) -> Result<u8, CliError> {
    let mut settings = settings_of(&args.settings, &args.kind)?;
    if let Some(key) = args.secret_stdin {
        let value = match std::io::stdin().is_terminal() {
            true => ask::secret(&format!("{key}: "))?,
            false => ask::stdin(&format!("the setting {key}"))?,
        };
        settings.insert(key, value.into());
    }
    let body = json!({"name": args.name, "kind": args.kind, "settings": settings});
    let made = client.post::<ChannelView>("/api/channels", &body).await?;
    if screen.json {
        screen.value(&made.json)?;
        return Ok(0);
    }
    let channel = made.value;
    screen.data(&format!("{}\n", channel.id))?;
    let secret = channel.settings["secret"].as_str();
    if let Some(secret) = secret.filter(|secret| *secret != HIDDEN) {
        print_note(&format!(
            "The receiver checks signatures with this secret, shown only once: {secret}"
        ));
    }
    print_note(&format!(
        "Added {}. `hyprbox channels test {id}` sends a test message. It gets messages once a rule names it:\nhyprbox rules add {id} {PROPOSED}",
        channel.name,
        id = channel.id
    ));
    Ok(0)
}

/// The settings of a request. Which there are, and their rules, are left to the server.
fn settings_of(given: &[String], kind: &str) -> Result<Map<String, Value>, CliError> {
    let mut settings = Map::new();
    for pair in given {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("-s {pair}: must be KEY=VALUE")))?;
        let is_secret = ["token", "password", "secret"].contains(&key)
            || key == "url" && ["slack", "discord"].contains(&kind);
        if is_secret {
            print_note(&format!(
                "-s {key}: a secret on the command line ends up in your shell's history. Use --secret-stdin {key}."
            ));
        }
        match key {
            "to" => {
                let to = settings.entry(key).or_insert_with(|| json!([]));
                if let Value::Array(receivers) = to {
                    receivers.push(value.into());
                }
            }
            _ if settings.contains_key(key) => {
                return Err(CliError::usage(format!("-s {key} is repeated")));
            }
            "port" => {
                let port = value.parse::<u64>().map_or(Value::from(value), Value::from);
                settings.insert(key.to_owned(), port);
            }
            _ => {
                settings.insert(key.to_owned(), value.into());
            }
        }
    }
    Ok(settings)
}

async fn test(client: &Client, screen: Screen, channel: &OneChannel) -> Result<u8, CliError> {
    let channel = pick(&channel.given, all(client).await?)?;
    let tested = client
        .call::<ChannelTest>(Method::POST, &path(&channel, "/test"), None)
        .await?;
    if screen.json {
        screen.value(&tested.json)?;
    }
    let ChannelTest { ok, status, answer } = tested.value;
    let status = status.map_or_else(String::new, |status| format!("{status} "));
    match ok {
        true if screen.json => Ok(0),
        true => {
            print_note(&format!(
                "{} has accepted it: {status}{answer}",
                channel.name
            ));
            Ok(0)
        }
        false => Err(CliError::failed(format!(
            "{} has not accepted the test message: {status}{answer}",
            channel.name
        ))),
    }
}

async fn pause(
    client: &Client,
    screen: Screen,
    channel: &OneChannel,
    paused: bool,
) -> Result<u8, CliError> {
    let channel = pick_to_change(&channel.given, all(client).await?)?;
    let body = json!({"paused": paused});
    let changed = client
        .call::<ChannelView>(Method::PATCH, &path(&channel, ""), Some(&body))
        .await?;
    if screen.json {
        screen.value(&changed.json)?;
        return Ok(0);
    }
    print_note(&match paused {
        true => format!(
            "Paused {}: its messages wait for up to 3 days. `hyprbox channels resume {}` resumes it.",
            channel.name, channel.id
        ),
        false => format!(
            "Resumed {}. Messages that are sent now: {}.",
            channel.name, changed.value.pending_deliveries
        ),
    });
    Ok(0)
}

async fn list(client: &Client, screen: Screen) -> Result<u8, CliError> {
    let channels = client
        .list::<ChannelView>("/api/channels", "channels")
        .await?;
    let ids = channels.value.iter().map(|channel| &channel.id);
    if screen.is_done_with(&channels.json, ids)? {
        return Ok(0);
    }
    let channels = channels.value;
    if channels.is_empty() {
        print_note("No channels. `hyprbox channels add NAME KIND` adds one (ADMIN).");
        return Ok(0);
    }
    let mut table = Table::new(&["ID", "NAME", "KIND", "STATE", "WAITING", "GIVEN UP"])
        .optional(&["WAITING", "GIVEN UP"]);
    for channel in &channels {
        table.row([
            screen.id(&channel.id).into(),
            channel.name.as_str().into(),
            channel.kind.as_str().into(),
            state(channel),
            channel.pending_deliveries.to_string().into(),
            channel.failed_deliveries.to_string().into(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}

fn state(channel: &ChannelView) -> Cell {
    match (&channel.paused_because, channel.paused) {
        (Some(why), _) => Cell::painted(format!("paused: {why}"), Paint::Red),
        (None, true) => Cell::painted("paused", Paint::Yellow),
        (None, false) => "active".into(),
    }
}

async fn show(client: &Client, screen: Screen, id: &str) -> Result<u8, CliError> {
    let path = format!("/api/channels/{}", segment(id));
    let answer = client.get::<ChannelView>(&path).await?;
    if screen.is_done_with(&answer.json, [&answer.value.id])? {
        return Ok(0);
    }
    let channel = answer.value;
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("id", channel.id.as_str().into()),
        ("name", channel.name.as_str().into()),
        ("kind", channel.kind.as_str().into()),
        ("state", state(&channel)),
        ("waiting", channel.pending_deliveries.to_string().into()),
        ("given up", channel.failed_deliveries.to_string().into()),
        ("added", times::moment(Some(channel.created_at)).into()),
    ];
    let settings = channel.settings.as_object().cloned().unwrap_or_default();
    for (name, value) in &settings {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        if !value.is_null() {
            pairs.push((name.as_str(), text.into()));
        }
    }
    screen.data(&facts(&pairs, screen.colors))?;
    let last = newest_deliveries(client, &channel, SHOWN).await?.entries;
    if !last.is_empty() {
        screen.data("\n")?;
        screen.table(&table_of(&last, &screen))?;
    }
    Ok(0)
}

/// The newest messages of a channel.
async fn newest_deliveries(
    client: &Client,
    channel: &ChannelView,
    limit: u32,
) -> Result<Newest<DeliveryView>, CliError> {
    let path = path(channel, "/deliveries");
    Newest::read_at(client, &path, "deliveries", &[], limit).await
}

fn table_of(deliveries: &[DeliveryView], screen: &Screen) -> Table {
    let mut table = Table::new(&["ID", "EVENT", "STATE", "MADE", "ATTEMPTS", "ANSWER"])
        .optional(&["ATTEMPTS", "ANSWER"]);
    for delivery in deliveries {
        table.row([
            screen.id(&delivery.id).into(),
            delivery.event.as_str().into(),
            delivery_state(delivery.state),
            times::ago(delivery.created_at).into(),
            delivery.attempts.len().to_string().into(),
            last_answer(delivery).into(),
        ]);
    }
    table
}

/// Sends a message again. A whole id finds any; a part of one is looked up among the newest.
async fn resend(
    client: &Client,
    screen: Screen,
    channel: &ChannelView,
    given: &str,
) -> Result<u8, CliError> {
    let id = match uuid::Uuid::try_parse(given) {
        Ok(_) => given.to_owned(),
        Err(_) => {
            let newest = newest_deliveries(client, channel, SEARCHED).await?.entries;
            pick_to_change(given, newest)?.id
        }
    };
    let path = format!("/api/deliveries/{}/resend", segment(&id));
    let again = client
        .call::<DeliveryView>(Method::POST, &path, None)
        .await?;
    if screen.json {
        screen.value(&again.json)?;
        return Ok(0);
    }
    print_note(&match channel.paused {
        true => format!(
            "{} is paused: the message is sent once it is resumed.",
            channel.name
        ),
        false => format!(
            "The message is sent again. `hyprbox channels deliveries {}` shows what becomes of it.",
            channel.id
        ),
    });
    Ok(0)
}

fn delivery_state(state: DeliveryState) -> Cell {
    match state {
        DeliveryState::Pending => Cell::painted("pending", Paint::Yellow),
        DeliveryState::Delivered => Cell::painted("delivered", Paint::Green),
        DeliveryState::Failed => Cell::painted("given up", Paint::Red),
    }
}

/// Why the last attempt failed, or what the receiver has answered.
fn last_answer(delivery: &DeliveryView) -> String {
    let Some(last) = delivery.attempts.last() else {
        return String::new();
    };
    let words = last.error.as_ref().or(last.answer.as_ref());
    words.cloned().unwrap_or_default()
}
