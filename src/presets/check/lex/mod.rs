//! Reads bash text as far as the rules need it: commands and their words, expansions, and whether
//! bash splits their results. Not a full grammar: `bash -n` has refused invalid texts before. Never
//! panics, and always ends.

mod command;
mod reader;
mod word;

use std::collections::BTreeSet;
use std::ops::Range;

use command::End;
use reader::Reader;

/// The commands and expansions of a text. Positions are offsets in characters.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// In the order in which they begin, including those inside `$(…)`.
    pub(super) commands: Vec<Command>,
    /// In the text's order.
    pub(super) expansions: Vec<Expansion>,
    /// `$1`, `$@`, `$?` and the like.
    pub(super) specials: Vec<Special>,
    /// Names without `$` that bash reads as variables: in arithmetic, and in `[[ … ]]`.
    pub(super) bare_names: Vec<String>,
    /// Variables that arithmetic, `for` or `select` set.
    pub(super) sets: Vec<(usize, String)>,
    /// Commands whose exit status is ignored: in `$(…)` of a condition, a redirection or a list of
    /// words.
    pub(super) unseen: Vec<Range<usize>>,
    /// Commands inside a loop, a group or another compound command that has an input of its own.
    pub(super) fed: Vec<Range<usize>>,
    /// Functions that the text defines.
    pub(super) functions: BTreeSet<String>,
    /// The positions of their bodies.
    pub(super) bodies: Vec<Range<usize>>,
}

/// A simple command.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) at: usize,
    /// Without assignments and redirections.
    pub(super) words: Vec<Word>,
    /// After its last word.
    pub(super) end: usize,
    /// Variables set for this command only; without words, for the shell.
    pub(super) assigns: Vec<Assign>,
    /// Commands in the redirections of its standard input: `< <(…)`, `<<<"$(…)"`.
    pub(super) inputs: Vec<Range<usize>>,
    /// Files that its output is redirected to: the position and the word.
    pub(super) outputs: Vec<(usize, String)>,
    /// Whether its standard input is redirected.
    pub(super) has_input: bool,
    /// Whether it ends with `&`.
    pub(super) is_background: bool,
    /// The command whose output this one reads, by `|`.
    pub(super) reads: Option<usize>,
    /// Whether it is `((…))` or `[[ … ]]`, which have no words.
    pub(super) kind: CommandKind,
    /// Whether its failure decides a condition instead of ending the step: in `if …`, before `&&`
    /// or `||`, after `!`.
    pub(super) is_tested: bool,
}

/// What a [`Command`] is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandKind {
    /// A program, a builtin or an assignment; without words and assignments, a keyword.
    #[default]
    Simple,
    /// `((…))`
    Arithmetic,
    /// `[[ … ]]`
    Test,
}

impl Script {
    /// Whether the position is inside a function, which may run later or in a condition.
    pub(super) fn is_in_function(&self, at: usize) -> bool {
        self.bodies.iter().any(|body| body.contains(&at))
    }
}

/// A parameter that is not a variable, such as `$1` or `${2:-x}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) at: usize,
    /// `1`, `@`, `#`, `?`, `0` and so on.
    pub(super) name: String,
    /// Whether it may be absent: `${1:-…}`, `${1+…}`.
    pub(super) guarded: bool,
}

/// `name=…`
#[derive(Debug)]
pub(super) struct Assign {
    pub(super) at: usize,
    pub(super) name: String,
    /// Commands inside the value.
    pub(super) commands: Range<usize>,
}

/// A word of a command.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) at: usize,
    /// As written.
    pub(super) raw: String,
    /// The word without quotes, as the command receives it; `None` if it has an expansion.
    pub(super) literal: Option<String>,
    /// Indices into [`Script::expansions`], except those of commands inside the word.
    pub(super) expansions: Vec<usize>,
    /// Commands inside the word, `$(…)` or `<(…)`: indices into [`Script::commands`].
    pub(super) commands: Range<usize>,
}

/// `$name` or `${name…}`.
#[derive(Debug, Default)]
pub(super) struct Expansion {
    pub(super) at: usize,
    pub(super) name: String,
    /// Whether bash splits the value into words and expands its `*` to file names.
    pub(super) splits: bool,
    /// Whether the variable may be unset: `${name:-…}`, `${name+…}`, `${name:?}`.
    pub(super) guarded: bool,
    /// Whether this sets an empty variable: `${name:=…}`.
    pub(super) assigns: bool,
    /// Whether the script ends if the variable is unset: `${name:?}`.
    pub(super) demands: bool,
    /// Nesting depth in `$(…)`.
    level: usize,
}

/// Reads `text`.
pub(super) fn read(text: &str) -> Script {
    let mut reader = Reader::new(text);
    reader.list(End::Text);
    reader.script
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}
