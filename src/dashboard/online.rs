//! When a node was online during the last thirty days, as a picture and in words.

use maud::{Markup, html};

use super::words;
use crate::clock::{self, Timestamp};

const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// Days in the picture, with today.
const DAYS: i64 = 30;
/// Outages that are listed.
const LISTED: usize = 10;
/// The height of a day's bar, its width, and its width with the gap.
const TALL: i64 = 32;
const WIDE: i64 = 12;
const PITCH: i64 = 16;

/// A time during which the node was online, or was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spell {
    from: Timestamp,
    to: Timestamp,
    is_online: bool,
}

impl Spell {
    fn millis(&self) -> i64 {
        self.to.millis_since(self.from)
    }

    /// The part of it within a time.
    fn within(&self, from: Timestamp, to: Timestamp) -> Option<Self> {
        let part = Self {
            from: self.from.max(from),
            to: self.to.min(to),
            ..*self
        };
        (part.millis() > 0).then_some(part)
    }
}

/// The spells between the recorded changes, and from the last one until now.
fn spells(changes: &[(Timestamp, bool)], now: Timestamp) -> Vec<Spell> {
    let mut spells: Vec<Spell> = Vec::new();
    for (at, is_online) in changes {
        match spells.last_mut() {
            Some(last) if last.is_online == *is_online => continue,
            Some(last) => last.to = *at,
            None => {}
        }
        spells.push(Spell {
            from: *at,
            to: now,
            is_online: *is_online,
        });
    }
    spells
}

/// The section of a node's page. `changes` are the node's recorded ones, oldest first.
pub(super) fn draw(changes: &[(Timestamp, bool)]) -> Markup {
    let now = clock::now();
    let today = now.as_millis() / DAY_MS;
    let first = Timestamp::from_millis((today - DAYS + 1) * DAY_MS);
    let spells: Vec<Spell> = spells(changes, now)
        .iter()
        .filter_map(|spell| spell.within(first, now))
        .collect();
    let Some(known_from) = spells.first().map(|spell| spell.from) else {
        return html! {};
    };
    let outages: Vec<&Spell> = spells.iter().filter(|spell| !spell.is_online).collect();
    let summary = summary(&spells, &outages, known_from.millis_since(first) > 0);
    html! {
        section.online aria-labelledby="online-h" {
            div.head {
                h2 #online-h { "Online" span.unseen { " during the last 30 days" } }
                p.dim { (summary) }
            }
            svg.days viewBox=(format!("0 0 {} {TALL}", DAYS * PITCH - PITCH + WIDE)) preserveAspectRatio="none" role="img" aria-label=(format!("Each of the last 30 days. {summary}")) {
                @for day in 0..DAYS { (bar(&spells, day, first.plus_millis(day * DAY_MS), now)) }
            }
            div.ends aria-hidden="true" { span { "30 days ago" } span { "today" } }
            @if !outages.is_empty() {
                details {
                    summary { "When it was offline " span.dim { (outages.len()) } }
                    ul.outages { @for outage in outages.iter().rev().take(LISTED) {
                        li { (words::moment(outage.from)) ", " (lasted(outage, now)) }
                    } }
                    @if outages.len() > LISTED { p.dim { "Only the last " (LISTED) " are listed." } }
                }
            }
        }
    }
}

fn lasted(outage: &Spell, now: Timestamp) -> String {
    let length = words::span(outage.millis());
    if outage.to == now {
        format!("for {length} so far")
    } else {
        format!("for {length}")
    }
}

/// The share of the time, the number of outages and the longest.
fn summary(spells: &[Spell], outages: &[&Spell], is_part: bool) -> String {
    let all: i64 = spells.iter().map(Spell::millis).sum();
    let off: i64 = outages.iter().map(|outage| outage.millis()).sum();
    // Truncated: what was once offline was not online for 100 %.
    let tenths = (all - off).saturating_mul(1_000) / all.max(1);
    let share = match tenths % 10 {
        0 => format!("{} %", tenths / 10),
        rest => format!("{}.{rest} %", tenths / 10),
    };
    let since = match spells.first() {
        Some(first) if is_part => {
            let at = words::plain_time(first.from);
            format!(" since {}", at.split(' ').next().unwrap_or_default())
        }
        _ => String::new(),
    };
    let longest = outages.iter().map(|outage| outage.millis()).max();
    match (outages.len(), longest.map(words::span)) {
        (_, None) => format!("{share}{since}, never offline"),
        (1, Some(longest)) => format!("{share}{since}, offline once, for {longest}"),
        (count, Some(longest)) => {
            format!("{share}{since}, offline {count} times, at most {longest}")
        }
    }
}

/// A day: the part of the bar that is filled is the part of the day during which it was online.
fn bar(spells: &[Spell], day: i64, from: Timestamp, now: Timestamp) -> Markup {
    let to = from.plus_millis(DAY_MS).min(now);
    let parts: Vec<Spell> = spells
        .iter()
        .filter_map(|spell| spell.within(from, to))
        .collect();
    let known: i64 = parts.iter().map(Spell::millis).sum();
    let off: i64 = parts
        .iter()
        .filter(|part| !part.is_online)
        .map(Spell::millis)
        .sum();
    // A short outage is seen, too.
    let off_height = match off {
        0 => 0,
        off => (off * TALL / known.max(1)).clamp(3, TALL),
    };
    let date = words::plain_time(from);
    let date = date.split(' ').next().unwrap_or_default();
    let title = match (known, off) {
        (0, _) => format!("{date}: not recorded"),
        (_, 0) => format!("{date}: online"),
        (known, off) if known == off => format!("{date}: offline"),
        (_, off) => format!("{date}: offline for {}", words::span(off)),
    };
    let x = day * PITCH;
    html! {
        g { title { (title) }
            @if known == 0 { rect.unknown x=(x) y=(TALL - 3) width=(WIDE) height="3" {} }
            @else {
                rect.on x=(x) y=(off_height) width=(WIDE) height=(TALL - off_height) {}
                @if off_height > 0 { rect.off x=(x) y="0" width=(WIDE) height=(off_height) {} }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    fn words_of(changes: &[(Timestamp, bool)], now: Timestamp, is_part: bool) -> String {
        let spells = spells(changes, now);
        let outages: Vec<&Spell> = spells.iter().filter(|spell| !spell.is_online).collect();
        summary(&spells, &outages, is_part)
    }

    #[test]
    fn spells_are_between_changes() {
        let changes = [
            (at(0), true),
            (at(10), false),
            (at(11), false),
            (at(12), true),
        ];
        let spell = |from, to, is_online| Spell {
            from: at(from),
            to: at(to),
            is_online,
        };
        let found = spells(&changes, at(20));
        assert_eq!(
            found,
            [
                spell(0, 10, true),
                spell(10, 12, false),
                spell(12, 20, true)
            ]
        );
        assert_eq!(found[1].within(at(11), at(30)), Some(spell(11, 12, false)));
        assert_eq!(found[1].within(at(12), at(30)), None);
        assert_eq!(spells(&[], at(20)), []);
    }

    #[test]
    fn the_share_is_never_rounded_up() {
        let once = [(at(0), true), (at(999), false), (at(1_000), true)];
        assert_eq!(
            words_of(&once[..1], at(1_000), false),
            "100 %, never offline"
        );
        assert_eq!(
            words_of(&once, at(100_000), false),
            "99.9 %, offline once, for 1 h"
        );
        let twice = [(at(0), false), (at(1), true), (at(2), false)];
        assert_eq!(
            words_of(&twice, at(5), true),
            "20 % since 1970-01-01, offline 2 times, at most 3 h"
        );
    }
}
