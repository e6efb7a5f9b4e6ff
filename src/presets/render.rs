//! Preset + values → the script that a job freezes. Pure: the same preset file and the same params
//! give the same bytes.
//!
//! # What the script is built to withstand
//! - **Values.** Each is a single-quoted, read-only variable; nothing is spliced into a step's
//!   text.
//! - **Steps.** Their text stands in the script as written, each in a subshell that is a function's
//!   body, so that people can read and diff it and shellcheck can look into it. (Quoted text for
//!   `eval` was the alternative: it can't break out, but hides every step from both.) What a step
//!   leaves open or closes too often, a quote, a parenthesis or a here-document, could make it
//!   swallow what follows or get out of its function. Hence three things: the whole script is one
//!   `{ … }` group, which bash parses to its end before it runs any of it, with an EXIT trap for
//!   when it can't; while the functions are defined, a DEBUG trap ends the script at any command
//!   that runs; then `declare -F` makes sure that every function is there, since a step that
//!   swallowed its neighbour took that one's header with it. Either all steps were read as written,
//!   or none runs and the script exits with 2.
//! - **Arriving in part.** The group again: without its last line nothing runs.
//! - **Reading standard input.** The script itself comes that way; each step gets /dev/null.
//!
//! Since a step is parsed before it runs, `shopt -s extglob` comes too late for the same step;
//! `bash -O extglob -c` works.
//!
//! # Secrets
//! The script has the name of a secret and never its value. It reads the values from **file
//! descriptor 3**, once, before the first step, and then closes it. What stands there, in this
//! order and with nothing between or around it: for each secret param, **sorted by name** (byte
//! order, as a `BTreeMap` has them), **the value's bytes, then one NUL byte**. A value holds no NUL
//! ([`Values`] refuses it) and is not changed otherwise: no newline is added, none is cut. A script
//! without secrets doesn't touch the descriptor. The distro guard comes first: a script that it
//! ends never reads, so whoever writes must expect EPIPE. A value that is not there ends the script
//! with 2.
//!
//! # A step that `set -e` ends
//! An ERR trap in the step's subshell reports the line and the command once on stderr. Exit codes
//! stay as they are.
//!
//! # `unless`
//! In a condition `pipefail` is off (and bash ignores `set -e`): its last exit status counts, and
//! `sshd -T | grep -q …` must not come out false because grep had seen enough and sshd got SIGPIPE.

use std::fmt::Write as _;

use hyprbox_protocol::to_hex;
use sha2::{Digest, Sha256};

use super::announce::{DONE, VERIFY_FAILED, label};
use super::params::Values;
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
    // Writing to a String can't fail, so the results below are dropped by `line!` alone.
    macro_rules! line {
        ($($arg:tt)*) => {{ let _ = writeln!(text, $($arg)*); }};
    }
    text.push_str(OPENING);
    line!("# HyprBox Jobs, preset {}: {}", preset.name, preset.title);
    if preset.keep_processes {
        // The agent's supervisor reads this line.
        line!("# hyprbox: keep-processes");
    }
    line!();
    text.push_str(&guard(preset));
    text.push_str(&params(preset, values));
    text.push_str(&secrets(preset));
    text.push_str(FAILED);
    text.push_str(ONLY_DEFINITIONS);
    let count = preset.steps.len();
    for (index, step) in preset.steps.iter().enumerate() {
        line!("# Step {} of {count}: {}", index + 1, step.name);
        text.push_str(&functions(index + 1, step));
        line!();
    }
    text.push_str(&wholeness(preset));
    for (index, step) in preset.steps.iter().enumerate() {
        text.push_str(&call(index + 1, count, step));
        line!();
    }
    line!("exit 0");
    line!("}}");
    let sha256 = script_sha256(&text);
    Script { text, sha256 }
}

/// Bash reads the group to its end before it runs any of it. The EXIT trap turns into a failure
/// what would look like success, a script of which nothing ran, and says so.
const OPENING: &str = r#"set -euo pipefail
hyprbox_torn() {
  trap - DEBUG EXIT
  echo 'hyprbox: the script is not whole, or a step is no bash in itself; nothing was run' >&2
  exit 2
}
trap hyprbox_torn EXIT
{ # One group, which bash reads to its end before it runs any of it.
trap - EXIT

"#;

/// Ends the script on a distribution that the preset is not for. /etc/os-release is read, not
/// sourced: it may set any variable, and is no place to run code from. An ID has no other
/// characters than those kept, so that quotes, blanks and a carriage return go.
fn guard(preset: &Preset) -> String {
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

/// Passes, besides, what names a target in `ID_LIKE`: a list of IDs, of which blanks alone separate
/// one from the next.
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

/// Every param that is no secret, in the preset's order; one without a value is empty.
fn params(preset: &Preset, values: &Values) -> String {
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

/// See the module's documentation for what stands on file descriptor 3.
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

/// The function's own names begin with `_`, which no param's name does: params are read-only.
/// `set -e` ends a step without a word. An ERR trap names the command. Bash runs such a trap under
/// the same rules as `set -e` (not in conditions), and `set -E` passes it on to functions.
/// Subshells have it as well: there, only the command that contains the subshell counts, since a
/// failure inside may be meant, and would be reported twice.
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

const REPORT_FAILURE: &str =
    "set -E; trap 'hyprbox_failed \"$?\" \"$LINENO\" \"$BASH_COMMAND\" \"${PIPESTATUS[@]}\"' ERR\n";

/// As in `run`, with `set -e` on again.
const REPORT_FAILURE_IN_VERIFY: &str = "set -eE; trap 'hyprbox_failed \"$?\" \"$LINENO\" \"$BASH_COMMAND\" \"${PIPESTATUS[@]}\"' ERR\n";

/// The parts of a step that it has, in the order in which they run, each with what comes first in
/// its subshell. `run` inherits `set -e`; around `verify` it is off outside, and so turned on again
/// inside.
fn parts(step: &Step) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
    [
        ("unless", "set +o pipefail\n", step.unless.as_deref()),
        ("run", REPORT_FAILURE, Some(step.run.as_str())),
        ("verify", REPORT_FAILURE_IN_VERIFY, step.verify.as_deref()),
    ]
    .into_iter()
    .filter_map(|(part, first, text)| text.map(|text| (part, first, text)))
}

/// The step's texts as functions whose bodies are subshells. The newline before `)` ends a comment
/// on the last line.
fn functions(number: usize, step: &Step) -> String {
    let mut text = String::new();
    for (part, first, body) in parts(step) {
        let body = body.trim_end_matches('\n');
        let _ = writeln!(text, "hyprbox_{number}_{part}() (\n{first}{body}\n)");
    }
    text
}

/// What goes before the functions. `functrace` makes subshells inherit the DEBUG trap, whose own
/// end is the one command that it lets through. EXIT is for a step that closes the group and hides
/// the rest: `) }<<'EOF'`.
const ONLY_DEFINITIONS: &str = r#"# Definitions only: whatever runs among them has got out of its step.
trap hyprbox_torn EXIT
set -o functrace
trap '[[ $BASH_COMMAND == "trap - DEBUG" ]] || hyprbox_torn' DEBUG

"#;

/// What goes after them.
fn wholeness(preset: &Preset) -> String {
    let mut names = String::new();
    for (index, step) in preset.steps.iter().enumerate() {
        for (part, _, _) in parts(step) {
            let _ = write!(names, " hyprbox_{}_{part}", index + 1);
        }
    }
    format!(
        "trap - DEBUG\n\
         set +o functrace\n\
         # A step that swallowed another took that one's name with it.\n\
         declare -F{names} >/dev/null || hyprbox_torn\n\
         trap - EXIT\n\n"
    )
}

/// The step's turn. `run` and `verify` stand alone on their lines: as part of a condition, `set -e`
/// would be off in them.
fn call(number: usize, count: usize, step: &Step) -> String {
    let label = label(number, count);
    let announce = quote(&format!("{label} {}", step.name));
    let mut run = format!("printf '%s\\n' {announce}\nhyprbox_{number}_run </dev/null\n");
    if step.verify.is_some() {
        let failed = quote(&format!("{label} {VERIFY_FAILED}{}", step.name));
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
    let done = quote(&format!("{label} {}{DONE}", step.name));
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

/// `value` as one word of bash: in single quotes, where nothing is special but the quote that ends
/// them.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// The digest that a frozen script carries: SHA-256, 64 lower-case hex digits.
pub fn script_sha256(script: &str) -> String {
    to_hex(Sha256::digest(script))
}
