//! Choosing a node: from a list if there are few, otherwise by searching. With scripts the search
//! runs while the user types, without them on a button.

use axum::extract::State;
use maud::{Markup, html};

use super::form::{around, described_by};
use super::{Site, words};
use crate::auth::Viewer;
use crate::http::{ApiError, Path, Query};
use crate::jobs::JobError;
use crate::nodes::{NodeStatus, NodeView};
use crate::presets::Preset;
use crate::store::node::NodeMatch;

/// Up to this many nodes are shown as a list.
pub(super) const LISTED_MAX: usize = 50;
/// Maximum number of search results shown.
const FOUND_MAX: usize = 8;

/// The nodes that can be chosen from.
pub(super) struct Picker {
    nodes: Vec<NodeView>,
    /// Number of all matches, including those that are not shown.
    count: usize,
    /// There are too many nodes for a list.
    is_searched: bool,
    has_any: bool,
}

impl Picker {
    /// The nodes that match `typed`, first those that the preset targets, then those that are
    /// online.
    pub(super) async fn find(site: &Site, preset: &Preset, typed: &str) -> Result<Self, ApiError> {
        let (_, all) = site.jobs.nodes.presence.count_online();
        let is_searched = all > LISTED_MAX;
        let sought = if is_searched { typed } else { "" };
        let mut found = site.jobs.search_nodes(sought).await?;
        let count = found.len();
        let presence = &site.jobs.nodes.presence;
        found.sort_by_cached_key(|node| {
            let is_there = presence.status_of(&node.id).0 == NodeStatus::Online;
            let is_typed = node.id == typed;
            (!is_typed || !is_searched, !fits(preset, node), !is_there)
        });
        found.truncate(if is_searched { FOUND_MAX } else { LISTED_MAX });
        let ids = found.into_iter().map(|node| node.id).collect();
        Ok(Self {
            nodes: site.jobs.nodes_of(ids).await?,
            count,
            is_searched,
            has_any: all > 0,
        })
    }

    /// The field. `shows_found` tells whether search results are shown with it.
    pub(super) fn draw(
        &self,
        preset: &Preset,
        chosen: &str,
        fault: Option<&str>,
        shows_found: bool,
    ) -> Markup {
        let id = "f-node";
        if !self.is_searched {
            let hint = (!self.has_any).then_some("No nodes yet. An ADMIN can add one under Nodes");
            return around(id, "Node", hint, fault, self.list(preset, chosen, fault));
        }
        let about = self.nodes.iter().find(|node| node.id == chosen);
        let about = about.map(|node| node_words(preset, node));
        let hint = about
            .as_deref()
            .unwrap_or("Search by name, system or label");
        let control = html! {
            div.pick {
                input #f-node type="search" name="node" value=(chosen) required maxlength="200" autocomplete="off"
                    autocapitalize="none" spellcheck="false" aria-describedby=(described_by(id))
                    aria-controls="found-nodes" aria-invalid=[fault.map(|_| "true")];
                button name="do" value="find" formnovalidate { "Find" }
            }
            div #found-nodes aria-live="polite" {
                @if shows_found { (self.found(preset)) }
            }
        };
        around(id, "Node", Some(hint), fault, control)
    }

    fn list(&self, preset: &Preset, chosen: &str, fault: Option<&str>) -> Markup {
        // With one node there is nothing to choose.
        let only = self.nodes.first().filter(|_| self.nodes.len() == 1);
        let chosen = only.map_or(chosen, |node| node.id.as_str());
        html! {
            select #f-node name="node" required aria-describedby=(described_by("f-node")) aria-invalid=[fault.map(|_| "true")] {
                @if only.is_none() { option value="" { "Choose…" } }
                @for node in &self.nodes {
                    option value=(node.id) selected[node.id == chosen] { (node_words(preset, node)) }
                }
            }
        }
    }

    /// The search results, each as a button that chooses it.
    fn found(&self, preset: &Preset) -> Markup {
        html! {
            @match self.count {
                0 => { p.dim { "No node matches." } }
                count if count > self.nodes.len() => {
                    p.dim { (count) " nodes match. Type more to narrow the list." }
                }
                count => { p.dim { (words::count(count as u64, "node matches.", "nodes match.")) } }
            }
            @if !self.nodes.is_empty() {
                ul.found { @for node in &self.nodes {
                    li { (found_button(preset, node)) }
                } }
            }
        }
    }
}

/// The search results, for `queue.js`.
pub(super) async fn show_found(
    State(site): State<Site>,
    Viewer(_): Viewer,
    Path(name): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let presets = site.jobs.presets().await?;
    let entry = presets
        .get(&name)
        .ok_or_else(|| JobError::no_preset(&presets, &name))?;
    let typed = query.get("q").unwrap_or_default().trim();
    let picker = Picker::find(&site, &entry.preset, typed).await?;
    Ok(picker.found(&entry.preset))
}

/// One search result. `queue.js` shows `data-words` once it is chosen.
fn found_button(preset: &Preset, node: &NodeView) -> Markup {
    let system = system(node).map(|system| format!(" · {}", words::visible(system)));
    html! {
        button name="pick" value=(node.id) data-words=(node_words(preset, node)) formnovalidate {
            span { (node.id) @if let Some(system) = system { (system) } }
            @match (is_target(preset, node), node.status) {
                (false, _) => { span.dim { " not a target" } }
                (true, _) if node.paused => { span.dim { " paused" } }
                (true, NodeStatus::Offline) => { span.dim { " offline" } }
                (true, NodeStatus::Online) => {}
            }
        }
    }
}

fn system(node: &NodeView) -> Option<&str> {
    let system = node.os.pretty_name.as_deref().or(node.os.id.as_deref());
    system.filter(|system| !system.is_empty())
}

/// Whether the preset targets this node, as far as its system is known.
fn is_target(preset: &Preset, node: &NodeView) -> bool {
    let like = node.os.id_like.as_deref().unwrap_or_default();
    let id = node.os.id.as_deref().filter(|id| !id.is_empty());
    id.is_none_or(|id| preset.targets_os(id, like))
}

/// Whether the preset targets this node. A node whose agent has never connected counts.
fn fits(preset: &Preset, node: &NodeMatch) -> bool {
    node.os_id.is_empty() || preset.targets_os(&node.os_id, &node.os_id_like)
}

pub(super) fn node_words(preset: &Preset, node: &NodeView) -> String {
    let mut words = node.id.clone();
    if let Some(system) = system(node) {
        words.push_str(&format!(" · {}", words::visible(system)));
    }
    if node.paused {
        words.push_str(" · paused: the job would wait");
    } else if node.status == NodeStatus::Offline {
        words.push_str(" · offline: the job would wait");
    }
    if !is_target(preset, node) {
        words.push_str(" · not a target of this preset");
    }
    words
}
