//! What a node's agent reports about its machine, and its labels.

use hyprbox_protocol::{DiskFacts, MachineFacts};
use maud::{Markup, html};

use super::parts::or_dash;
use super::{local, words};
use crate::clock::Timestamp;
use crate::nodes::{NodeView, Selector};

/// The machine's section of the node's page; nothing before the agent's first report.
pub(super) fn draw(node: &NodeView) -> Markup {
    html! {
        @if let (Some(facts), Some(at)) = (&node.facts, node.facts_at) {
            section aria-labelledby="machine-h" {
                h2 #machine-h { "Machine" }
                (list(facts))
                p.dim { "Reported " (words::since(at)) "." }
            }
        }
    }
}

fn list(facts: &MachineFacts) -> Markup {
    let number = |count: Option<u64>| count.map(|count| count.to_string());
    let booted_at: Option<Timestamp> = facts.booted_at.as_ref().and_then(|at| at.parse().ok());
    html! {
        dl.facts {
            div { dt { "Architecture" } dd { (or_dash(facts.arch.as_deref())) } }
            div { dt { "Kernel" } dd { (or_dash(facts.kernel.as_deref())) } }
            div { dt { "Processors" } dd { (or_dash(number(facts.cpus).as_deref())) } }
            div { dt { "Memory" } dd { (or_dash(facts.memory_bytes.map(words::bytes).as_deref())) } }
            div { dt { "Runs in" } dd { (or_dash(facts.virtualization.as_deref().map(virtualization))) } }
            div { dt { "Started" } dd {
                @match booted_at { Some(at) => { (words::since(at)) } None => { "–" } }
            } }
            div { dt { "Restart needed" } dd { (or_dash(facts.reboot_required.map(yes_or_no))) } }
            div { dt { "Updates" } dd { (or_dash(number(facts.pending_updates).as_deref())) } }
            @for disk in facts.disks.iter().flatten() {
                div { dt { "Disk " bdi { (words::visible(&disk.mount)) } } dd { (space(disk)) } }
            }
            @if let Some(addresses) = &facts.addresses {
                div { dt { "Addresses" } dd { (or_dash(Some(&addresses.join(", ")))) } }
            }
        }
    }
}

fn virtualization(name: &str) -> &str {
    if name == "none" {
        "no virtual machine"
    } else {
        name
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn space(disk: &DiskFacts) -> String {
    match (disk.free_bytes, disk.size_bytes) {
        (Some(free), Some(size)) => {
            format!("{} of {} free", words::bytes(free), words::bytes(size))
        }
        (None, Some(size)) => words::bytes(size),
        (_, None) => "–".to_owned(),
    }
}

/// The node's labels, each a link to the nodes that have it, if a selector can name it.
pub(super) fn labels(node: &NodeView) -> Markup {
    html! {
        @for (key, value) in &node.labels {
            @let words = format!("{key}={value}");
            @match Selector::of_label(key, value) {
                Some(selector) => {
                    a.label href=(format!("/nodes?{}", local::query(&[("selector", &selector)]))) { bdi { (words::visible(&words)) } }
                }
                None => { span.label { bdi { (words::visible(&words)) } } }
            }
            " "
        }
    }
}
