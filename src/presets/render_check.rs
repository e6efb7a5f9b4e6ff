//! Preset + values → the script of a check, which asks for each step whether it is already done. It
//! has the distro guard, the params, and each step's `unless` and `verify`, but no `run`.
//!
//! A part runs in a process group of its own, so that it can be ended with everything that it has
//! started once a minute is over.

use std::fmt::Write as _;

use hyprbox_protocol::CheckState;

use super::announce::label;
use super::params::{Values, quote};
use super::render::{
    KILLED, ONLY_DEFINITIONS, OPENING, Script, UNLESS_FIRST, completeness_check, functions, guard,
    params, script_sha256,
};
use super::schema::{ParamKind, Preset, Step};
use super::words::has_word;

/// Renders the check of `preset` with `values`, which were checked against
/// [`Preset::without_secrets`].
pub fn render_check(preset: &Preset, values: &Values) -> Script {
    let secrets: Vec<&str> = preset
        .params
        .iter()
        .filter(|param| param.kind == ParamKind::Secret)
        .map(|param| param.name.as_str())
        .collect();
    let mut text = String::with_capacity(4096);
    // Writing to a String can't fail.
    macro_rules! line {
        ($($arg:tt)*) => {{ let _ = writeln!(text, $($arg)*); }};
    }
    text.push_str("# The parts are called by name, and may not use every param.\n# shellcheck disable=SC2034,SC2317,SC2329\n");
    text.push_str(OPENING);
    line!(
        "# HyprBox Jobs, check of preset {}: {}",
        preset.name,
        preset.title
    );
    line!();
    text.push_str(&guard(preset));
    text.push_str(&params(preset, values));
    text.push_str(ASK);
    text.push_str(KILLED);
    text.push_str(ONLY_DEFINITIONS);
    let count = preset.steps.len();
    let steps = || {
        let numbered = preset.steps.iter().enumerate();
        numbered.map(|(index, step)| (index + 1, step, parts(step, &secrets)))
    };
    for (number, step, parts) in steps() {
        line!("# Step {number} of {count}: {}", step.name);
        text.push_str(&functions(number, parts.into_iter()));
        line!();
    }
    let names = steps()
        .flat_map(|(number, _, parts)| parts.into_iter().map(move |(part, _, _)| (number, part)));
    text.push_str(&completeness_check(names));
    for (number, step, parts) in steps() {
        text.push_str(&call(number, count, step, &parts));
        line!();
    }
    line!("exit 0");
    line!("}}");
    let sha256 = script_sha256(&text);
    Script { text, sha256 }
}

type Part<'p> = (&'p str, &'p str, &'p str);

/// What tells whether a step is done; nothing if it has no `unless`, or if a secret is needed.
fn parts<'p>(step: &'p Step, secrets: &[&str]) -> Vec<Part<'p>> {
    let Some(unless) = step.unless.as_deref() else {
        return Vec::new();
    };
    let verify = step.verify.as_deref();
    let texts = [Some(unless), verify];
    let uses_secret = texts
        .into_iter()
        .flatten()
        .any(|text| secrets.iter().any(|name| has_word(text, name)));
    if uses_secret {
        return Vec::new();
    }
    let verify = verify.map(|text| ("verify", "set -e\n", text));
    [("unless", UNLESS_FIRST, unless)]
        .into_iter()
        .chain(verify)
        .collect()
}

/// Runs a part. Its exit code is in `hyprbox_status`; `late` if a minute was not enough.
/// `wait` says on stderr which signal ended a part.
const ASK: &str = r#"# Runs a part in its own process group, for a minute at most.
hyprbox_ask() {
  local _part _watch _began=$SECONDS
  set -m
  "$1" </dev/null &
  _part=$!
  { sleep 60; kill -KILL -- "-$_part"; } </dev/null >/dev/null 2>&1 &
  _watch=$!
  set +m
  hyprbox_status=0
  wait "$_part" 2>/dev/null || hyprbox_status=$?
  kill -KILL -- "-$_watch" "-$_part" 2>/dev/null || true
  wait "$_watch" 2>/dev/null || true
  if [[ $hyprbox_status == 137 ]] && ((SECONDS - _began >= 60)); then
    hyprbox_status=late
  fi
}

"#;

/// Asks about a step and prints what was found.
fn call(number: usize, count: usize, step: &Step, parts: &[Part<'_>]) -> String {
    let printed = |state: CheckState| {
        let line = format!(
            "{} {} ({})",
            label(number, count),
            step.name,
            state.as_str()
        );
        format!("printf '%s\\n' {}", quote(&line))
    };
    let [ok, would_run, cant_tell] = CheckState::ALL.map(printed);
    if parts.is_empty() {
        return format!("{cant_tell}\n");
    }
    let mut text = format!("hyprbox_ask hyprbox_{number}_unless\n");
    if parts.len() > 1 {
        let _ = write!(
            text,
            "if [[ $hyprbox_status == 0 ]]; then\n  hyprbox_ask hyprbox_{number}_verify\nfi\n"
        );
    }
    let _ = write!(
        text,
        "case $hyprbox_status in\n  \
           0)\n    {ok}\n    ;;\n  \
           late)\n    {cant_tell}\n    ;;\n  \
           *)\n    {would_run}\n    ;;\n\
         esac\n"
    );
    text
}
