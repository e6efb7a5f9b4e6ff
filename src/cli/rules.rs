//! `hyprbox rules …`

use serde_json::json;

use super::args::{AddRule, RulesCommand};
use super::client::{Client, segment};
use super::error::CliError;
use super::pick::{Named, pick, pick_to_change};
use super::schedules::find;
use super::screen::{Screen, print_note};
use super::table::Table;
use super::{ask, channels};
use crate::notify::{ChannelView, RuleView};

impl Named for RuleView {
    const WHAT: &'static str = "rule";
    const LIST: &'static str = "hyprbox rules list";

    fn id(&self) -> &str {
        &self.id
    }

    /// It has none but its id.
    fn name(&self) -> &str {
        &self.id
    }

    fn description(&self) -> String {
        events(self)
    }
}

pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: RulesCommand,
) -> Result<u8, CliError> {
    match command {
        RulesCommand::List { output } => list(&client, screen.formatted(output)).await,
        RulesCommand::Add(args) => add(&client, screen, args).await,
        RulesCommand::Remove { rule, sure } => {
            let rules = client.list::<RuleView>("/api/rules", "rules").await?.value;
            let rule = pick_to_change(&rule, rules)?;
            let question = format!("Remove the rule for {}?", events(&rule));
            ask::confirm(&screen, &sure, &question, "nothing was removed")?;
            let path = format!("/api/rules/{}", segment(&rule.id));
            client.delete(&path).await?;
            print_note("Removed the rule.");
            Ok(0)
        }
    }
}

/// Prints the new rule's id.
async fn add(client: &Client, screen: Screen, args: AddRule) -> Result<u8, CliError> {
    let channel = pick(&args.channel.given, channels::all(client).await?)?;
    let mut body = json!({"channelId": channel.id, "on": args.on});
    if !args.preset.is_empty() {
        body["presets"] = args.preset.into();
    }
    if let Some(selector) = args.selector {
        body["selector"] = selector.into();
    }
    if !args.schedule.is_empty() {
        let mut ids = Vec::with_capacity(args.schedule.len());
        for given in &args.schedule {
            ids.push(find(client, given).await?.id);
        }
        body["schedules"] = ids.into();
    }
    if let Some(seconds) = args.after {
        body["afterSeconds"] = seconds.into();
    }
    let made = client.post::<RuleView>("/api/rules", &body).await?;
    if screen.json {
        screen.value(&made.json)?;
        return Ok(0);
    }
    screen.data(&format!("{}\n", made.value.id))?;
    print_note(&format!("{} gets {}.", channel.name, events(&made.value)));
    Ok(0)
}

fn events(rule: &RuleView) -> String {
    let names: Vec<&str> = rule.on.iter().map(|event| event.as_str()).collect();
    names.join(", ")
}

async fn list(client: &Client, screen: Screen) -> Result<u8, CliError> {
    let rules = client.list::<RuleView>("/api/rules", "rules").await?;
    let ids = rules.value.iter().map(|rule| &rule.id);
    if screen.is_done_with(&rules.json, ids)? {
        return Ok(0);
    }
    let rules = rules.value;
    if rules.is_empty() {
        print_note("No rules. `hyprbox rules add CHANNEL --on EVENT` adds one (ADMIN).");
        return Ok(0);
    }
    let channels = channels::all(client).await?;
    let mut table = Table::new(&["ID", "CHANNEL", "EVENTS", "ONLY"]).optional(&["ONLY"]);
    for rule in &rules {
        table.row([
            screen.id(&rule.id).into(),
            channel_name(rule, &channels).into(),
            events(rule).into(),
            only(rule).into(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}

fn channel_name<'n>(rule: &'n RuleView, channels: &'n [ChannelView]) -> &'n str {
    let found = channels
        .iter()
        .find(|channel| channel.id == rule.channel_id);
    found.map_or(&rule.channel_id, |channel| &channel.name)
}

/// What the rule lets pass.
fn only(rule: &RuleView) -> String {
    let parts = [
        rule.presets.as_ref().map(|presets| presets.join(", ")),
        rule.selector.clone(),
        rule.schedules
            .as_ref()
            .map(|schedules| format!("schedules {}", schedules.join(", "))),
        rule.after_seconds
            .map(|seconds| format!("offline for {seconds} s")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
