//! A preset whose file was accepted. Every value of these types has passed the checks in `parse`,
//! so that `params` and `render` don't check again.

use std::fmt;

use hyprbox_protocol::TimeRange;
use regex::Regex;

/// The largest preset file in bytes. A larger one is a mistake and never reaches the YAML parser.
pub const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Timeout of a preset without `timeout`: ten minutes.
pub const DEFAULT_TIMEOUT_SECONDS: u32 = 600;

/// How long a job may run, as a preset file and the command line write it: at most a week.
pub const TIMEOUT_RANGE: TimeRange = TimeRange::seconds(1, 604_800);

/// How long a job may wait for a person's confirmation: a minute to an hour.
pub const CONFIRM_RANGE: TimeRange = TimeRange::seconds(60, 3_600);

/// The fewest characters of a secret. Masking shorter ones would mask half of the output.
pub const MIN_SECRET_CHARS: usize = 4;

/// The most characters of a secret, and of a string whose param has no `maxLength`.
pub const MAX_TEXT_CHARS: usize = 65_536;

/// The largest `maxLength` that a preset may ask for.
pub const MAX_MAX_LENGTH: usize = 1_048_576;

/// One bash procedure, as a preset file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// `[a-z0-9-]+`, and the file's stem.
    pub name: String,
    /// One line for lists; the name if the file has no title.
    pub title: String,
    /// Any text; empty if the file has none.
    pub description: String,
    /// IDs of /etc/os-release, in the file's order; only `["any"]` for every Linux.
    pub targets: Vec<String>,
    /// Whether distributions with a target in `ID_LIKE` are accepted, such as Linux Mint, which has
    /// ubuntu and debian there. Default: false.
    pub derivatives: bool,
    /// How much can go wrong. Default: medium.
    pub risk: Risk,
    /// Within [`TIMEOUT_RANGE`]; [`DEFAULT_TIMEOUT_SECONDS`] if the file has no `timeout`.
    pub timeout_seconds: u32,
    /// Whether processes that a step leaves behind stay alive when the job ends.
    pub keep_processes: bool,
    /// How long the job waits for a confirmation after its last step, within [`CONFIRM_RANGE`].
    /// Without one in time, the steps are undone. `None`: the job does not wait.
    pub confirm_seconds: Option<u32>,
    /// In the file's order, which is also the form's.
    pub params: Vec<Param>,
    /// At least one.
    pub steps: Vec<Step>,
}

impl Preset {
    /// Whether the preset is for every Linux, so that its script has no distro guard.
    pub fn targets_any(&self) -> bool {
        self.targets.iter().any(|target| target == "any")
    }

    /// Whether the preset is for a machine whose /etc/os-release has this `ID` and `ID_LIKE`, a
    /// list separated by blanks. The script's distro guard applies the same rule.
    pub fn targets_os(&self, id: &str, id_like: &str) -> bool {
        let is_target = |id: &str| self.targets.iter().any(|target| target == id);
        self.targets_any()
            || is_target(id)
            || self.derivatives && id_like.split_ascii_whitespace().any(is_target)
    }

    /// The preset with the params that a check takes: all but the secrets.
    pub fn without_secrets(&self) -> Self {
        let mut preset = self.clone();
        preset
            .params
            .retain(|param| param.kind != ParamKind::Secret);
        preset
    }

    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }
}

/// How much a preset can break, in its author's judgement. Shown next to the Queue button.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Changes nothing, or nothing that matters.
    Low,
    /// Changes the system in ways that can be undone.
    Medium,
    /// Can cut off access or lose data.
    High,
}

/// One parameter of a preset.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// `[a-z][a-z0-9_]{0,62}`: also the variable's name in bash.
    pub name: String,
    /// Any text; empty if the file has none.
    pub description: String,
    /// Always true for a secret; never true with a default.
    pub required: bool,
    /// Within the limits of `kind`.
    pub default: Option<ParamValue>,
    /// Type and limits.
    pub kind: ParamKind,
}

/// The type of a param with its limits.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamKind {
    /// Text without NUL.
    String {
        /// The whole value must match.
        pattern: Option<Pattern>,
        /// In characters. Default: [`MAX_TEXT_CHARS`].
        max_length: Option<usize>,
    },
    /// A whole number.
    Int {
        /// Inclusive.
        min: Option<i64>,
        /// Inclusive.
        max: Option<i64>,
    },
    /// `true` or `false`, in bash as in JSON.
    Bool,
    /// One of a list of texts.
    Enum {
        /// At least one, without duplicates, in the file's order.
        values: Vec<String>,
    },
    /// 1 to 65535.
    Port,
    /// Text that is never in the script, never shown and never on the node's disk.
    Secret,
}

impl ParamKind {
    /// The word after `type:` in a preset file.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String { .. } => "string",
            Self::Int { .. } => "int",
            Self::Bool => "bool",
            Self::Enum { .. } => "enum",
            Self::Port => "port",
            Self::Secret => "secret",
        }
    }
}

/// A regular expression that a whole value must match, like the `pattern` attribute of an HTML
/// input: a pattern without anchors must not accept `x; rm -rf /` because of its `x`. Anchors in it
/// are harmless.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    whole: Regex,
}

impl Pattern {
    /// Compiles `source` (the `regex` crate's syntax: no look-around, no back-references, linear
    /// time).
    pub(super) fn new(source: &str) -> Result<Self, String> {
        // Compiled without the group first: `a)|(b` is invalid and must not become valid inside it.
        compile(source)?;
        let whole = compile(&format!(r"\A(?:{source})\z"))?;
        Ok(Self {
            source: source.to_owned(),
            whole,
        })
    }

    /// As written in the preset file.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether all of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.whole.is_match(value)
    }
}

fn compile(source: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(source)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| {
            let regex::Error::Syntax(text) = &error else {
                return error.to_string();
            };
            // The crate draws a picture over several lines; the last line has the reason.
            let last = text.lines().last().unwrap_or("not a regular expression");
            last.trim_start_matches("error: ").to_owned()
        })
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// The value of a param other than a secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// Of a `string` or an `enum`.
    Text(String),
    /// Of an `int` or a `port`.
    Int(i64),
    /// Of a `bool`.
    Bool(bool),
}

impl fmt::Display for ParamValue {
    /// As bash sees it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(number) => number.fmt(f),
            Self::Bool(truth) => truth.fmt(f),
        }
    }
}

/// One step of a preset; each text is bash, with at least one command in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// One line, printed when the step begins.
    pub name: String,
    /// A condition: if it exits with 0, the step is already done and is skipped.
    pub unless: Option<String>,
    /// What the step does.
    pub run: String,
    /// Runs after `run`; if it exits with anything but 0, the step has failed.
    pub verify: Option<String>,
    /// Takes back what `run` did, only in a preset with `confirm`. It may run although `run` failed
    /// half way, and again after a power loss.
    pub undo: Option<String>,
}

/// Something wrong in a preset file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// From 1; `None` if the fault concerns the whole file.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
}
