//! Short forms of ids: `last`, `last:PRESET`, and the first or last characters of an id.

use serde::Deserialize;

use super::args::{OneJob, OneRun, ScopeArg, Scoped};
use super::client::{Client, segment};
use super::error::{CliError, exit};
use super::screen::{SHOWN, Screen, print_note};
use super::times;
use crate::clock::Timestamp;
use crate::nodes::NodeView;

/// A shorter text is not a part of an id.
const LEAST: usize = 4;
/// An id is looked for by its end among so many of the newest jobs or runs.
const SEARCHED: u64 = 1_000;
/// Entries of one answer.
const PAGE: u64 = 200;
/// Ids that an error lists.
const LISTED: usize = 10;
/// The greatest id. Lists begin below their cursor.
const GREATEST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/// What has an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    Job,
    Run,
}

impl Thing {
    fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Run => "run",
        }
    }

    /// The name of the list in the API, and of the command.
    fn plural(self) -> &'static str {
        match self {
            Self::Job => "jobs",
            Self::Run => "runs",
        }
    }
}

/// What a candidate is told by.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: String,
    preset: String,
    status: String,
    created_at: Timestamp,
    node_id: Option<String>,
    node_count: Option<u64>,
}

impl Entry {
    /// `system-report on n1, RUNNING, 3 min ago`
    fn describe(&self) -> String {
        let on = match (&self.node_id, self.node_count) {
            (Some(node), _) => node.clone(),
            (None, Some(1)) => "1 node".to_owned(),
            (None, count) => format!("{} nodes", count.unwrap_or(0)),
        };
        let ago = times::ago(self.created_at);
        format!("{} on {on}, {}, {ago}", self.preset, self.status)
    }
}

/// A job or run that a short form stands for.
struct Found {
    id: String,
    description: String,
}

impl OneJob {
    /// The job with its whole id.
    pub(super) async fn whole(mut self, client: &Client) -> Result<Self, CliError> {
        self.id = whole(client, Thing::Job, &self.id, &self.scope).await?;
        Ok(self)
    }

    /// The same for a command that changes the job: the user learns which job is meant.
    pub(super) async fn named(mut self, client: &Client) -> Result<Self, CliError> {
        self.id = named(client, Thing::Job, &self.id, &self.scope).await?;
        Ok(self)
    }
}

impl OneRun {
    /// The run with its whole id.
    pub(super) async fn whole(mut self, client: &Client) -> Result<Self, CliError> {
        self.id = whole(client, Thing::Run, &self.id, &self.scope).await?;
        Ok(self)
    }

    /// The same for a command that changes the run: the user learns which run is meant.
    pub(super) async fn named(mut self, client: &Client) -> Result<Self, CliError> {
        self.id = named(client, Thing::Run, &self.id, &self.scope).await?;
        Ok(self)
    }
}

/// The whole id that `given` stands for. A text that is not a short form is returned as it is: the
/// server's answer says what is wrong with it.
pub(super) async fn whole(
    client: &Client,
    thing: Thing,
    given: &str,
    scope: &Scoped,
) -> Result<String, CliError> {
    let found = find(client, thing, given, scope).await?;
    Ok(found.map_or_else(|| given.to_owned(), |found| found.id))
}

async fn named(
    client: &Client,
    thing: Thing,
    given: &str,
    scope: &Scoped,
) -> Result<String, CliError> {
    let Some(Found { id, description }) = find(client, thing, given, scope).await? else {
        return Ok(given.to_owned());
    };
    print_note(&format!("The {} {id}: {description}", thing.name()));
    Ok(id)
}

/// `None` if `given` is a whole id, or nothing that could be part of one.
async fn find(
    client: &Client,
    thing: Thing,
    given: &str,
    scope: &Scoped,
) -> Result<Option<Found>, CliError> {
    if given == "last" {
        return newest(client, thing, None, scope).await.map(Some);
    }
    if let Some(preset) = given.strip_prefix("last:") {
        return newest(client, thing, Some(preset), scope).await.map(Some);
    }
    let part = given.to_ascii_lowercase();
    let is_part = part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if !is_part || !(LEAST..GREATEST.len()).contains(&part.len()) {
        return Ok(None);
    }
    let mut entries = beginning_with(client, thing, &part, scope).await?;
    for entry in ending_with(client, thing, &part, scope).await? {
        if entries.iter().all(|known| known.id != entry.id) {
            entries.push(entry);
        }
    }
    match entries.as_slice() {
        [entry] => Ok(Some(Found {
            id: entry.id.clone(),
            description: entry.describe(),
        })),
        [] => {
            let (name, list) = (thing.name(), thing.plural());
            let whose = match scope.scope {
                ScopeArg::Mine => "your ",
                ScopeArg::All => "the ",
            };
            Err(CliError::not_found(format!(
                "none of {whose}{list} begins with {given}, and none of the newest {SEARCHED} ends with it"
            ))
            .hint(format!(
                "`hyprbox {list} list` lists them; a whole id finds any {name}, and --scope all everybody's"
            )))
        }
        several => {
            let list = thing.plural();
            let text = format!("{given} is short for several {list}:");
            let mut error = CliError::new(exit::USAGE, text);
            for entry in several.iter().take(LISTED) {
                error = error.hint(format!("{}  {}", entry.id, entry.describe()));
            }
            if several.len() > LISTED {
                error = error.hint("and others");
            }
            Err(error)
        }
    }
}

async fn newest(
    client: &Client,
    thing: Thing,
    preset: Option<&str>,
    scope: &Scoped,
) -> Result<Found, CliError> {
    let preset_filter = preset.map(|preset| ("preset", preset));
    let entries = page(client, thing, scope, 1, preset_filter).await?;
    let Some(entry) = entries.first() else {
        let (name, list) = (thing.name(), thing.plural());
        let text = match preset {
            Some(preset) => format!("there is no {name} of the preset {preset:?} yet"),
            None => format!("there is no {name} yet"),
        };
        return Err(CliError::not_found(text).hint(format!(
            "`hyprbox {list} list` lists yours, and with --scope all everybody's"
        )));
    };
    Ok(Found {
        id: entry.id.clone(),
        description: entry.describe(),
    })
}

/// The entries whose id begins with the part. Ids are ordered, so one page has them.
async fn beginning_with(
    client: &Client,
    thing: Thing,
    part: &str,
    scope: &Scoped,
) -> Result<Vec<Entry>, CliError> {
    let cursor = format!("{part}{}", &GREATEST[part.len()..]);
    // A dash at another place is not in any id.
    if uuid::Uuid::parse_str(&cursor).map(|id| id.to_string()) != Ok(cursor.clone()) {
        return Ok(Vec::new());
    }
    let limit = LISTED as u64 + 1;
    let mut entries = page(client, thing, scope, limit, Some(("cursor", &cursor))).await?;
    entries.retain(|entry| entry.id.starts_with(part));
    Ok(entries)
}

/// The entries among the newest whose id ends with the part.
async fn ending_with(
    client: &Client,
    thing: Thing,
    part: &str,
    scope: &Scoped,
) -> Result<Vec<Entry>, CliError> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..SEARCHED / PAGE {
        let after = cursor.as_deref().map(|cursor| ("cursor", cursor));
        let entries = page(client, thing, scope, PAGE, after).await?;
        let is_last = (entries.len() as u64) < PAGE;
        cursor = entries.last().map(|entry| entry.id.clone());
        found.extend(entries.into_iter().filter(|entry| entry.id.ends_with(part)));
        // The end of an id is random: as much as a table shows is not in two of them.
        if is_last || part.len() >= SHOWN && !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

async fn page(
    client: &Client,
    thing: Thing,
    scope: &Scoped,
    limit: u64,
    more: Option<(&str, &str)>,
) -> Result<Vec<Entry>, CliError> {
    let list = thing.plural();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string());
    if let Some((name, value)) = more {
        query.append_pair(name, value);
    }
    if scope.scope == ScopeArg::All {
        query.append_pair("scope", "all");
    }
    let path = format!("/api/{list}?{}", query.finish());
    Ok(client.list::<Entry>(&path, list).await?.value)
}

/// The node's id, of which `given` may be the first or last part. `given` itself if no node
/// matches.
pub(super) async fn node(client: &Client, given: &str) -> Result<String, CliError> {
    let path = format!("/api/nodes/{}", segment(given));
    match client.get::<NodeView>(&path).await {
        Ok(_) => return Ok(given.to_owned()),
        Err(error) if error.code == exit::NOT_FOUND => {}
        Err(error) => return Err(error),
    }
    let nodes = client.list::<NodeView>("/api/nodes", "nodes").await?.value;
    let is_part = |id: &str| id.starts_with(given) || id.ends_with(given);
    let ids = nodes.iter().map(|node| node.id.as_str());
    let found: Vec<&str> = ids.filter(|id| !given.is_empty() && is_part(id)).collect();
    match found.as_slice() {
        [] => Ok(given.to_owned()),
        [id] => Ok((*id).to_owned()),
        several => {
            let text = format!("{given} is short for several nodes:");
            let mut error = CliError::new(exit::USAGE, text);
            for id in several.iter().take(LISTED) {
                error = error.hint(*id);
            }
            if several.len() > LISTED {
                error = error.hint(format!("and {} more", several.len() - LISTED));
            }
            Err(error)
        }
    }
}

/// The node for a command that changes something. Only a person at a terminal may shorten the id,
/// and learns which node is meant: a script must not hit another node because its own is gone.
pub(super) async fn node_to_change(
    client: &Client,
    screen: &Screen,
    given: &str,
) -> Result<String, CliError> {
    if !screen.has_person() {
        return Ok(given.to_owned());
    }
    let id = node(client, given).await?;
    if id != given {
        print_note(&format!("The node {id}"));
    }
    Ok(id)
}
