//! Preset + values → a job's script. Pure: the same preset file and the same params result in the
//! same bytes.
//!
//! # What the script protects against
//! - **Values.** Each is a single-quoted, read-only variable; nothing is spliced into a step's
//!   text.
//! - **Steps.** The script contains their text unchanged, each as a subshell in a function's body,
//!   so that people can read and diff it and shellcheck can check it. (The alternative, quoted text
//!   for `eval`, can't break out but hides the steps from both.) A quote, a parenthesis or a
//!   here-document that a step leaves open, or closes too often, could swallow the following text
//!   or leave the function. Three measures prevent that: the whole script is one `{ … }` group,
//!   which bash parses completely before it runs any of it, with an EXIT trap in case it can't;
//!   while the functions are defined, a DEBUG trap ends the script at any command that runs; then
//!   `declare -F` checks that every function exists, since a step that swallows the next one also
//!   swallows its header. Either every step was read as written, or none runs and the script exits
//!   with 2.
//! - **Truncation.** Without the group's last line nothing runs.
//! - **Reading standard input.** The script itself arrives there; each step gets /dev/null.
//!
//! Because a step is parsed before it runs, `shopt -s extglob` has no effect on the same step; use
//! `bash -O extglob -c`.
//!
//! # Secrets
//! The script has the name of a secret and never its value. It reads the values from **file
//! descriptor 3**, once, before the first step, and then closes it. The descriptor has, for each
//! secret param, **sorted by name** (byte order, as in a `BTreeMap`), **the value's bytes, then one
//! NUL byte**, and nothing else. A value has no NUL ([`Values`] refuses it) and is otherwise passed
//! unchanged: no newline is added or removed. A script without secrets does not use the descriptor.
//! The distro guard comes first and may end the script before it reads, so the writer must expect
//! EPIPE. If a value is missing, the script exits with 2.
//!
//! # A step that `set -e` ends
//! An ERR trap in the step's subshell reports the line and the command once on stderr. Exit codes
//! don't change.
//!
//! # `undo`
//! If the preset has `confirm`, the script also has the `undo` parts; see `render_confirm`.
//!
//! # `unless`
//! In a condition `pipefail` is off (and bash ignores `set -e`): its last exit status counts.
//! `sshd -T | grep -q …` must not be false because grep exited early and sshd got SIGPIPE.

use std::fmt::Write as _;

use hyprbox_protocol::{STEP_DONE, STEP_VERIFY_FAILED, ScriptMarks, to_hex};

use super::announce::label;
use super::params::{Values, quote};
use super::render_confirm::{begin_step, undo_mode, unless_undoing};
use super::schema::{ParamKind, Preset, Step};

/// A rendered script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Bash, for `/bin/bash -s` with this as its standard input.
    pub text: String,
    /// SHA-256 of the text's bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// Renders `preset` with `values`, which were checked against the same preset.
pub fn render(preset: &Preset, values: &Values) -> Script {
    let mut text = String::with_capacity(4096);
    // Writing to a String can't fail, so `line!` drops the result.
    macro_rules! line {
        ($($arg:tt)*) => {{ let _ = writeln!(text, $($arg)*); }};
    }
    text.push_str(OPENING);
    // The agent's supervisor reads the first line, which no title and no param can change.
    let marks = ScriptMarks {
        keep_processes: preset.keep_processes,
        confirm_seconds: preset.confirm_seconds.map(u64::from),
    };
    let end = text.find('\n').unwrap_or(text.len());
    text.insert_str(end, &marks.to_string());
    line!("# HyprBox Jobs, preset {}: {}", preset.name, preset.title);
    line!();
    text.push_str(&guard(preset));
    text.push_str(&params(preset, values));
    let is_confirmed = preset.confirm_seconds.is_some();
    text.push_str(&match is_confirmed {
        true => unless_undoing(&secrets(preset)),
        false => secrets(preset),
    });
    text.push_str(FAILED);
    text.push_str(KILLED);
    text.push_str(ONLY_DEFINITIONS);
    let count = preset.steps.len();
    for (index, step) in preset.steps.iter().enumerate() {
        line!("# Step {} of {count}: {}", index + 1, step.name);
        text.push_str(&functions(index + 1, parts(step)));
        line!();
    }
    let functions = preset
        .steps
        .iter()
        .enumerate()
        .flat_map(|(index, step)| parts(step).map(move |(part, _, _)| (index + 1, part)));
    text.push_str(&completeness_check(functions));
    if is_confirmed {
        text.push_str(&undo_mode(&preset.steps));
    }
    for (index, step) in preset.steps.iter().enumerate() {
        text.push_str(&call(index + 1, count, step, is_confirmed));
        line!();
    }
    line!("exit 0");
    line!("}}");
    let sha256 = script_sha256(&text);
    Script { text, sha256 }
}

/// Bash reads the group to its end before it runs any of it. Without the EXIT trap, a truncated
/// script would exit with 0 although nothing ran.
pub(super) const OPENING: &str = r#"set -euo pipefail
hyprbox_incomplete() {
  trap - DEBUG EXIT
  echo 'hyprbox: the script is incomplete, or a step is not valid bash by itself; nothing was run' >&2
  exit 2
}
trap hyprbox_incomplete EXIT
{ # One group, which bash reads to its end before it runs any of it.
trap - EXIT

"#;

/// Ends the script on other distributions. /etc/os-release is read, not sourced: it could set any
/// variable and run code. All characters that an ID can't have, such as quotes, are removed.
pub(super) fn guard(preset: &Preset) -> String {
    if preset.targets_any() {
        return "# For every Linux: no distro guard.\n\n".to_owned();
    }
    let pattern = preset.targets.join(" | ");
    let list = preset.targets.join(", ");
    if preset.derivatives {
        return guard_with_derivatives(&pattern, &list);
    }
    format!(
        r#"# Distro guard; HYPRBOX_FORCE=1 passes it.
hyprbox_guard() (
  id=
  if [[ -r /etc/os-release ]]; then
    while IFS='=' read -r key value || [[ -n $key ]]; do
      if [[ $key == ID ]]; then
        id=${{value//[!a-zA-Z0-9._-]/}}
      fi
    done </etc/os-release
  fi
  case ${{id:=unknown}} in
    {pattern}) ;;
    *)
      printf '%s\n' "distro guard: this preset targets {list}; this node is $id" >&2
      exit 2
      ;;
  esac
)
if [[ ${{HYPRBOX_FORCE:-}} != 1 ]]; then
  hyprbox_guard
fi

"#
    )
}

/// Also accepts distributions with a target in `ID_LIKE`, a list of IDs separated by blanks.
fn guard_with_derivatives(pattern: &str, list: &str) -> String {
    format!(
        r#"# Distro guard; HYPRBOX_FORCE=1 passes it.
hyprbox_guard() (
  id='' like=''
  if [[ -r /etc/os-release ]]; then
    while IFS='=' read -r key value || [[ -n $key ]]; do
      case $key in
        ID) id=${{value//[!a-zA-Z0-9._-]/}} ;;
        ID_LIKE) like=${{value//[!a-zA-Z0-9._ -]/}} ;;
      esac
    done </etc/os-release
  fi
  for name in "${{id:=unknown}}" $like; do
    case $name in
      {pattern}) exit 0 ;;
    esac
  done
  printf '%s\n' "distro guard: this preset targets {list} and derivatives; this node is $id" >&2
  exit 2
)
if [[ ${{HYPRBOX_FORCE:-}} != 1 ]]; then
  hyprbox_guard
fi

"#
    )
}

/// Every param except secrets, in the preset's order; a param without a value is empty.
pub(super) fn params(preset: &Preset, values: &Values) -> String {
    let mut text = String::new();
    for param in &preset.params {
        if param.kind == ParamKind::Secret {
            continue;
        }
        let value = values
            .get(&param.name)
            .map_or_else(String::new, ToString::to_string);
        let _ = writeln!(text, "readonly {}={}", param.name, quote(&value));
    }
    if text.is_empty() {
        return text;
    }
    format!("# Params\n{text}\n")
}

/// The module's documentation has the format of file descriptor 3.
fn secrets(preset: &Preset) -> String {
    let mut names: Vec<&str> = preset
        .params
        .iter()
        .filter(|param| param.kind == ParamKind::Secret)
        .map(|param| param.name.as_str())
        .collect();
    names.sort_unstable();
    if names.is_empty() {
        return String::new();
    }
    let mut text = "# Secrets, from file descriptor 3\n".to_owned();
    for name in names {
        let _ = writeln!(
            text,
            "IFS= read -r -d '' {name} <&3 || {{ echo 'hyprbox: secret {name} did not arrive' >&2; exit 2; }}\n\
             readonly {name}"
        );
    }
    text.push_str("exec 3<&-\n\n");
    text
}

/// `set -e` ends a step silently, so an ERR trap reports the command. Bash runs the trap under the
/// same rules as `set -e` (not in conditions), and `set -E` passes it on to functions. Subshells
/// inherit the trap too, but only the command that contains the subshell is reported: a failure
/// inside may be intended, and would be reported twice. The function's variables begin with `_`: a
/// param's name never does, and an assignment to a param would end the trap itself.
const FAILED: &str = r#"# Reports the command at which set -e ends a step.
# shellcheck disable=SC2317
hyprbox_failed() {
  [[ $BASH_SUBSHELL == 1 && $- == *e* ]] || return 0
  local _code=$1 _line=$2 _command=${3%%$'\n'*} _hint=
  shift 3
  if [[ $_code == 141 ]]; then
    _hint='; SIGPIPE: under pipefail, a command fails if its reader (grep -q, head) ends first'
  fi
  if (($# > 1)); then
    printf '%s\n' "hyprbox: line $_line ended with exit code $_code: a pipe (exit codes $*), at: $_command$_hint" >&2
  else
    printf '%s\n' "hyprbox: line $_line ended with exit code $_code: $_command$_hint" >&2
  fi
}

"#;

/// If a step's subshell is killed, bash prints the subshell's whole text, as bash has rewritten it.
/// Of a signal that has a trap it prints only the name, also of SIGKILL, whose trap never runs.
pub(super) const KILLED: &str = "# Keeps bash from printing the text of a step that is killed.
# shellcheck disable=SC2173
trap : KILL

";

const REPORT_FAILURE: &str =
    "set -E; trap 'hyprbox_failed \"$?\" \"$LINENO\" \"$BASH_COMMAND\" \"${PIPESTATUS[@]}\"' ERR\n";

/// As in `run`, but turns `set -e` on again.
const REPORT_FAILURE_IN_VERIFY: &str = "set -eE; trap 'hyprbox_failed \"$?\" \"$LINENO\" \"$BASH_COMMAND\" \"${PIPESTATUS[@]}\"' ERR\n";

/// See the module's documentation.
pub(super) const UNLESS_FIRST: &str = "set +o pipefail\n";

/// The parts of a step in the order in which they run, each with the beginning of its subshell.
/// `run` inherits `set -e`; the script turns it off around `verify`, so `verify` turns it on again.
fn parts(step: &Step) -> impl Iterator<Item = (&str, &str, &str)> {
    [
        ("unless", UNLESS_FIRST, step.unless.as_deref()),
        ("run", REPORT_FAILURE, Some(step.run.as_str())),
        ("verify", REPORT_FAILURE_IN_VERIFY, step.verify.as_deref()),
        ("undo", REPORT_FAILURE, step.undo.as_deref()),
    ]
    .into_iter()
    .filter_map(|(part, first, text)| text.map(|text| (part, first, text)))
}

/// The step's texts as functions whose bodies are subshells. The newline before `)` ends a comment
/// on the last line.
pub(super) fn functions<'p>(
    number: usize,
    parts: impl Iterator<Item = (&'p str, &'p str, &'p str)>,
) -> String {
    let mut text = String::new();
    for (part, first, body) in parts {
        let body = body.trim_end_matches('\n');
        let _ = writeln!(text, "hyprbox_{number}_{part}() (\n{first}{body}\n)");
    }
    text
}

/// Precedes the functions. `functrace` makes subshells inherit the DEBUG trap, which permits only
/// the command that removes it. The EXIT trap catches a step that closes the group and hides the
/// rest: `) }<<'EOF'`.
pub(super) const ONLY_DEFINITIONS: &str = r#"# Only definitions follow: any command that runs here has broken out of its step.
trap hyprbox_incomplete EXIT
set -o functrace
trap '[[ $BASH_COMMAND == "trap - DEBUG" ]] || hyprbox_incomplete' DEBUG

"#;

/// Follows the functions.
pub(super) fn completeness_check<'p>(functions: impl Iterator<Item = (usize, &'p str)>) -> String {
    let mut names = String::new();
    for (number, part) in functions {
        let _ = write!(names, " hyprbox_{number}_{part}");
    }
    format!(
        "trap - DEBUG\n\
         set +o functrace\n\
         # A step that swallowed another one also swallowed its definition.\n\
         declare -F{names} >/dev/null || hyprbox_incomplete\n\
         trap - EXIT\n\n"
    )
}

/// Runs the step. `run` and `verify` are commands of their own: in a condition, `set -e` would be
/// off.
fn call(number: usize, count: usize, step: &Step, is_confirmed: bool) -> String {
    let label = label(number, count);
    let announce = quote(&format!("{label} {}", step.name));
    let begin = if is_confirmed {
        begin_step(number, step)
    } else {
        String::new()
    };
    let mut run = format!("printf '%s\\n' {announce}\n{begin}hyprbox_{number}_run </dev/null\n");
    if step.verify.is_some() {
        let failed = quote(&format!("{label} {STEP_VERIFY_FAILED}{}", step.name));
        let _ = write!(
            run,
            "set +e\n\
             hyprbox_{number}_verify </dev/null\n\
             _status=$?\n\
             set -e\n\
             if [[ $_status != 0 ]]; then\n  \
               printf '%s\\n' {failed} >&2\n  \
               exit 1\n\
             fi\n"
        );
    }
    if step.unless.is_none() {
        return run;
    }
    let done = quote(&format!("{label} {}{STEP_DONE}", step.name));
    let indented = run.replace('\n', "\n  ");
    format!(
        "if hyprbox_{number}_unless </dev/null; then\n  \
           printf '%s\\n' {done}\n\
         else\n  \
           {}\n\
         fi\n",
        indented.trim_end()
    )
}

/// SHA-256 of a job's script, as 64 lower-case hex digits.
pub fn script_sha256(script: &str) -> String {
    to_hex(crate::crypto::sha256(script))
}
