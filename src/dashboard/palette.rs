//! `/palette`: what Ctrl+K finds for the text typed so far, as options of the list that
//! `palette.js` shows. Without text: the latest jobs and runs, and the pages.

use axum::extract::State;
use maud::{Markup, html};

use super::node_picker::node_words;
use super::{Site, local, parts, run_words, runs, words};
use crate::auth::{Role, User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{JobView, RunView, Scope};
use crate::nodes::{NodeStatus, NodeView};
use crate::presets::{CatalogEntry, Snapshot};
use crate::store::job::JobFilter;
use crate::store::run::RunFilter;

/// Number of options of one kind.
const OF_A_KIND: usize = 6;
/// Number of jobs and runs that are searched: the newest.
const JOBS: u64 = 200;
const RUNS: u64 = 50;
/// Longest text that is searched for, in bytes.
const LONGEST: usize = 200;

/// The pages: words, address, role.
const PAGES: [(&str, &str, Role); 21] = [
    ("Overview", "/", Role::Viewer),
    ("Jobs", "/jobs", Role::Viewer),
    ("Failed jobs", "/jobs?state=failed", Role::Viewer),
    ("Runs", "/runs", Role::Viewer),
    ("Schedules", "/schedules", Role::Viewer),
    ("New schedule", "/schedules/new", Role::Operator),
    ("Stored secrets", "/secrets", Role::Operator),
    ("Drift", "/drift", Role::Viewer),
    ("Nodes", "/nodes", Role::Viewer),
    ("Offline nodes", "/nodes?state=offline", Role::Viewer),
    ("Add a node", "/nodes#f-id", Role::Admin),
    ("Presets", "/presets", Role::Viewer),
    ("New preset", "/presets/-/new", Role::Admin),
    ("Import a script", "/presets/-/import", Role::Operator),
    ("Run a script", "/exec", Role::Admin),
    ("Account and tokens", "/account", Role::Viewer),
    ("Channels and notifications", "/channels", Role::Admin),
    ("Users", "/users", Role::Admin),
    ("Audit log", "/audit", Role::Admin),
    ("API reference", "/docs/api", Role::Viewer),
    ("Keys", "", Role::Viewer),
];

/// Options of one kind.
struct Group {
    title: &'static str,
    options: Vec<Choice>,
}

/// One option.
struct Choice {
    does: Action,
    words: Markup,
    /// More about it, dim.
    about: Markup,
}

/// What choosing an option does.
enum Action {
    /// Goes to this address.
    Go(String),
    /// Continues with this text.
    Type(String),
    /// Shows the list of keys.
    ShowKeys,
}

/// The options for `?q=`.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Markup, ApiError> {
    let typed = query.get("q").unwrap_or_default().trim();
    if typed.len() > LONGEST {
        return Err(query.wrong("q", "at most 200 bytes"));
    }
    let presets = site.jobs.presets().await?;
    let groups = match order_of(typed, &user) {
        Some((preset, node)) => vec![runs_of(&site, &presets, preset, node).await?],
        None => find(&site, &user, &presets, typed).await?,
    };
    Ok(draw(&groups))
}

/// The preset and the node of `run deploy-web on web-01`, as far as they are typed.
fn order_of<'t>(typed: &'t str, user: &User) -> Option<(&'t str, Option<&'t str>)> {
    let (first, rest) = typed.split_once(' ')?;
    if user.role < Role::Operator || !first.eq_ignore_ascii_case("run") {
        return None;
    }
    let rest = rest.trim();
    let (preset, node) = match rest.strip_suffix(" on") {
        Some(preset) => (preset, Some("")),
        None => match rest.split_once(" on ") {
            Some((preset, node)) => (preset, Some(node.trim())),
            None => (rest, None),
        },
    };
    Some((preset.trim(), node))
}

/// Whether every word of `typed` is in `text`.
fn has_words(text: &str, typed: &str) -> bool {
    let text = text.to_lowercase();
    let typed = typed.to_lowercase();
    typed.split_whitespace().all(|word| text.contains(word))
}

async fn find(
    site: &Site,
    user: &User,
    presets: &Snapshot,
    typed: &str,
) -> Result<Vec<Group>, ApiError> {
    let scope = match site.jobs.reads_all(user) {
        true => Scope::All,
        false => Scope::Mine,
    };
    let owner = (scope == Scope::Mine).then(|| user.id.clone());
    let jobs = jobs(site, user, owner.clone(), typed).await?;
    let runs = found_runs(site, user, owner, typed).await?;
    let pages = pages(user, typed);
    if typed.is_empty() {
        return Ok(vec![jobs, runs, pages]);
    }
    let found: Vec<_> = presets
        .entries()
        .filter(|entry| has_words(&text_of(entry), typed))
        .take(OF_A_KIND)
        .collect();
    let can_run = user.role >= Role::Operator;
    let orders = found.iter().filter(|_| can_run).take(3);
    let orders = Group {
        title: "Run",
        options: orders.map(|entry| order(entry)).collect(),
    };
    let found = Group {
        title: "Presets",
        options: found.iter().map(|entry| preset(entry)).collect(),
    };
    let nodes = nodes(site, typed).await?;
    let is_page = |choice: &Choice| {
        let page = choice.words.0.to_lowercase();
        page.starts_with(&typed.to_lowercase())
    };
    let mut groups = vec![nodes, found, orders, jobs, runs];
    let at = if pages.options.iter().any(is_page) {
        0
    } else {
        groups.len()
    };
    groups.insert(at, pages);
    Ok(groups)
}

fn pages(user: &User, typed: &str) -> Group {
    let is_found =
        |(name, _, role): &&(&str, &str, Role)| user.role >= *role && has_words(name, typed);
    let choice = |(name, address, _): &(&str, &str, Role)| Choice {
        does: match *address {
            "" => Action::ShowKeys,
            address => Action::Go(address.to_owned()),
        },
        words: html! { (name) },
        about: html! { @if address.is_empty() { kbd { "?" } } },
    };
    Group {
        title: "Pages",
        options: PAGES.iter().filter(is_found).map(choice).collect(),
    }
}

async fn nodes(site: &Site, typed: &str) -> Result<Group, ApiError> {
    let presence = &site.jobs.nodes.presence;
    let mut found = site.jobs.search_nodes(typed).await?;
    found.sort_by_cached_key(|node| {
        let is_online = presence.status_of(&node.id).0 == NodeStatus::Online;
        (node.id != typed, !node.id.starts_with(typed), !is_online)
    });
    let ids = found.into_iter().take(OF_A_KIND).map(|node| node.id);
    let nodes = site.jobs.nodes_of(ids.collect()).await?;
    let choice = |node: &NodeView| Choice {
        does: Action::Go(format!("/nodes/{}", node.id)),
        words: html! { span.id { (node.id) } },
        about: parts::node_state(node),
    };
    Ok(Group {
        title: "Nodes",
        options: nodes.iter().map(choice).collect(),
    })
}

fn text_of(entry: &CatalogEntry) -> String {
    format!("{} {}", entry.preset.name, entry.preset.title)
}

fn preset(entry: &CatalogEntry) -> Choice {
    let preset = &entry.preset;
    Choice {
        does: Action::Go(format!("/presets/{}", preset.name)),
        words: html! { bdi { (words::visible(&preset.title)) } },
        about: html! { span.id { (preset.name) } },
    }
}

/// The option that leads to the nodes on which a preset can run.
fn order(entry: &CatalogEntry) -> Choice {
    let name = &entry.preset.name;
    Choice {
        does: Action::Type(format!("run {name} on ")),
        words: html! { "Run " span.id { (name) } " on …" },
        about: html! {},
    }
}

/// Presets to run or, once one is named, the nodes to run it on. Choosing a node leads to the form.
async fn runs_of(
    site: &Site,
    presets: &Snapshot,
    preset: &str,
    node: Option<&str>,
) -> Result<Group, ApiError> {
    let named = node.and_then(|node| Some((presets.get(preset)?, node)));
    let Some((entry, node)) = named else {
        let found = presets
            .entries()
            .filter(|entry| has_words(&text_of(entry), preset));
        return Ok(Group {
            title: "Run",
            options: found
                .take(2 * OF_A_KIND)
                .map(|entry| order(entry))
                .collect(),
        });
    };
    let preset = &entry.preset;
    let presence = &site.jobs.nodes.presence;
    let mut found = site.jobs.search_nodes(node).await?;
    found.sort_by_cached_key(|found| {
        let fits = found.os_id.is_empty() || preset.targets_os(&found.os_id, &found.os_id_like);
        let is_online = presence.status_of(&found.id).0 == NodeStatus::Online;
        (found.id != node, !fits, !is_online)
    });
    let ids = found.into_iter().take(2 * OF_A_KIND).map(|node| node.id);
    let nodes = site.jobs.nodes_of(ids.collect()).await?;
    let choice = |node: &NodeView| {
        let words = node_words(preset, node);
        let about = words.strip_prefix(node.id.as_str()).unwrap_or_default();
        Choice {
            does: Action::Go(format!(
                "/presets/{}?{}",
                preset.name,
                local::query(&[("node", &node.id)])
            )),
            words: html! { "Run " span.id { (preset.name) } " on " span.id { (node.id) } },
            about: html! { (about.trim_start_matches(" · ")) },
        }
    };
    Ok(Group {
        title: "Run",
        options: nodes.iter().map(choice).collect(),
    })
}

async fn jobs(
    site: &Site,
    user: &User,
    owner: Option<String>,
    typed: &str,
) -> Result<Group, ApiError> {
    let filter = JobFilter {
        created_by: owner,
        ..JobFilter::default()
    };
    let limit = if typed.is_empty() {
        OF_A_KIND as u64
    } else {
        JOBS
    };
    let found = site.jobs.page(filter, limit).await?.jobs;
    let is_found = |job: &&JobView| {
        let text = format!("{} on {} {}", job.preset, job.node_id, job.id);
        has_words(&text, typed)
    };
    let choice = |job: &JobView| Choice {
        does: Action::Go(parts::job_address(
            &job.id,
            scope_for(user, &job.created_by),
        )),
        words: html! {
            (parts::job_state(job)) " " span.id { (job.preset) } " on " span.id { (job.node_id) }
        },
        about: words::since(job.created_at),
    };
    Ok(Group {
        title: "Jobs",
        options: found
            .iter()
            .filter(is_found)
            .take(OF_A_KIND)
            .map(choice)
            .collect(),
    })
}

async fn found_runs(
    site: &Site,
    user: &User,
    owner: Option<String>,
    typed: &str,
) -> Result<Group, ApiError> {
    let filter = RunFilter {
        created_by: owner,
        ..RunFilter::default()
    };
    let limit = if typed.is_empty() { 3 } else { RUNS };
    let found = site.runs.page(filter, limit).await?.runs;
    let is_found = |run: &&RunView| has_words(&format!("{} nodes {}", run.preset, run.id), typed);
    let choice = |run: &RunView| Choice {
        does: Action::Go(runs::address(&run.id, scope_for(user, &run.created_by))),
        words: html! {
            (run_words::state(run)) " " span.id { (run.preset) } " on "
            (words::count(run.node_count, "node", "nodes"))
        },
        about: words::since(run.created_at),
    };
    Ok(Group {
        title: "Runs",
        options: found
            .iter()
            .filter(is_found)
            .take(OF_A_KIND)
            .map(choice)
            .collect(),
    })
}

/// The scope under which the page of something that `owner` queued opens.
fn scope_for(user: &User, owner: &str) -> Scope {
    match user.id == owner {
        true => Scope::Mine,
        false => Scope::All,
    }
}

fn draw(groups: &[Group]) -> Markup {
    let mut number = 0;
    html! {
        @for group in groups.iter().filter(|group| !group.options.is_empty()) {
            div role="group" aria-label=(group.title) {
                div.title aria-hidden="true" { (group.title) }
                @for choice in &group.options {
                    (option(choice, { number += 1; number }))
                }
            }
        }
    }
}

fn option(choice: &Choice, number: usize) -> Markup {
    let (mut address, mut text) = (None, None);
    match &choice.does {
        Action::Go(to) => address = Some(to),
        Action::Type(more) => text = Some(more),
        Action::ShowKeys => {}
    }
    html! {
        div #{ "option-" (number) } role="option" aria-selected="false" data-go=[address] data-type=[text] {
            span { (choice.words) } " " span.dim { (choice.about) }
        }
    }
}
