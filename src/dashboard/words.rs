//! Times, sizes and texts in words. `assets/time.js` formats times the same way while the page is
//! open.

use std::borrow::Cow;

use maud::{Markup, html};

use crate::clock::{self, Timestamp};
use crate::misleading::judged;
use crate::presets::ONE_OFF;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A length of time: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn span(millis: i64) -> String {
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        small => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match millis.max(0) {
        // Truncated, not rounded: less than ten seconds must not read as ten.
        ms if ms < 10 * SECOND => format!("{}.{} s", ms / SECOND, ms % SECOND / 100),
        ms if ms < MINUTE => format!("{} s", ms / SECOND),
        ms if ms < HOUR => two(ms / MINUTE, "min", ms % MINUTE / SECOND, "s"),
        ms if ms < DAY => two(ms / HOUR, "h", ms % HOUR / MINUTE, "min"),
        ms => two(ms / DAY, "d", ms % DAY / HOUR, "h"),
    }
}

/// How long ago, in one unit: `just now`, `12 s ago`, `3 h ago`.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.millis_since(at) {
        ms if ms < 5 * SECOND => "just now".to_owned(),
        ms if ms < MINUTE => format!("{} s ago", ms / SECOND),
        ms if ms < HOUR => format!("{} min ago", ms / MINUTE),
        ms if ms < 2 * DAY => format!("{} h ago", ms / HOUR),
        ms => format!("{} d ago", ms / DAY),
    }
}

/// How long until a time, in one unit: `now`, `in 12 s`, `in 9 h`.
pub(super) fn ahead(at: Timestamp, now: Timestamp) -> String {
    match at.millis_since(now) {
        ms if ms < SECOND => "now".to_owned(),
        ms if ms < MINUTE => format!("in {} s", ms / SECOND),
        ms if ms < HOUR => format!("in {} min", ms / MINUTE),
        ms if ms < 2 * DAY => format!("in {} h", ms / HOUR),
        ms => format!("in {} d", ms / DAY),
    }
}

/// How long until a time, updated while the page is open, with the time as its title.
pub(super) fn ahead_of(at: Timestamp) -> Markup {
    html! {
        time datetime=(at.to_string()) data-ahead title=(plain_time(at)) { (ahead(at, clock::now())) }
    }
}

/// `2026-11-24 09:30:00 UTC`
pub(super) fn plain_time(at: Timestamp) -> String {
    let text = at.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} UTC", time.get(..8).unwrap_or(time))
}

/// How long ago, updated while the page is open, with the time as its title.
pub(super) fn since(at: Timestamp) -> Markup {
    html! {
        time datetime=(at.to_string()) data-ago title=(plain_time(at)) { (ago(at, clock::now())) }
    }
}

/// The time, which scripts convert to the reader's time zone.
pub(super) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) data-local { (plain_time(at)) } }
}

/// The time since `at`, updated while the page is open.
pub(super) fn running_since(at: Timestamp) -> Markup {
    let passed = clock::now().millis_since(at);
    html! { span data-since=(at.as_millis()) { (span(passed)) } }
}

/// A number of bytes: `0 B`, `812 B`, `3.4 KiB`, `4.0 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const KIB: u64 = 1_024;
    match count {
        n if n < KIB => format!("{n} B"),
        n if n < KIB * KIB => format!("{:.1} KiB", n as f64 / KIB as f64),
        n if n < KIB * KIB * KIB => format!("{:.1} MiB", n as f64 / (KIB * KIB) as f64),
        n => format!("{:.1} GiB", n as f64 / (KIB * KIB * KIB) as f64),
    }
}

/// `1 job`, `2 jobs`.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A preset's name as people read it.
pub(super) fn preset(name: &str) -> &str {
    if name == ONE_OFF { "A script" } else { name }
}

/// Makes invisible characters visible: marks that reorder text (a script that reads differently
/// than it runs) and control characters. Line ends and tabs are kept.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let hides = |c: char, misleads: bool| misleads || (c.is_control() && c != '\n' && c != '\t');
    if !judged(text).any(|(c, misleads)| hides(c, misleads)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for (c, misleads) in judged(text) {
        if hides(c, misleads) {
            shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Text by a preset's author; text between backticks is code.
pub(super) fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // With an odd number of backticks, none of them marks code.
    if parts.len().is_multiple_of(2) {
        return html! { (visible(text)) };
    }
    html! {
        @for (index, part) in parts.iter().enumerate() {
            @if index % 2 == 1 { code { (visible(part)) } } @else { (visible(part)) }
        }
    }
}

/// Turns a message that continues a field's name into a sentence: `Must be 1 to 65535.`
pub(super) fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first: String = chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/browser/cases.rs` runs `assets/time.js` on the same cases.
    #[test]
    fn times_read_as_in_the_table_of_cases() {
        #[derive(serde::Deserialize)]
        struct Cases {
            span: Vec<(i64, String)>,
            ago: Vec<(i64, String)>,
            ahead: Vec<(i64, String)>,
        }
        let cases: Cases =
            serde_json::from_str(include_str!("../../tests/cases/times.json")).expect("cases");
        for (millis, words) in cases.span {
            assert_eq!(span(millis), words, "{millis} ms");
        }
        let at = Timestamp::from_millis(1_000_000_000_000);
        for (millis, words) in cases.ago {
            assert_eq!(ago(at, at.plus_millis(millis)), words, "{millis} ms");
        }
        for (millis, words) in cases.ahead {
            assert_eq!(ahead(at.plus_millis(millis), at), words, "{millis} ms");
        }
        assert_eq!(plain_time(at), "2001-09-09 01:46:40 UTC");
    }

    #[test]
    fn what_hides_is_shown() {
        assert_eq!(visible("a\tb\n"), "a\tb\n");
        assert_eq!(visible("x\u{202e}y\0\u{1b}"), "x⟨U+202E⟩y⟨U+0000⟩⟨U+001B⟩");
    }

    #[test]
    fn code_in_prose() {
        let drawn = |text| prose(text).into_string();
        assert_eq!(drawn("run `a <b>` now"), "run <code>a &lt;b&gt;</code> now");
        assert_eq!(drawn("a ` alone"), "a ` alone");
    }

    #[test]
    fn sizes_and_sentences() {
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(4_194_304), "4.0 MiB");
        assert_eq!(sentence("must be 1 to 65535"), "Must be 1 to 65535.");
        assert_eq!(sentence(""), ".");
    }
}
