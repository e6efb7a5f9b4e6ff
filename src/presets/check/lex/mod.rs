//! Bash text, read just far enough for the rules: which commands there are with their words, where
//! a variable is expanded and whether bash splits what comes out. No full grammar: `bash -n` says
//! what is no bash at all, before this looks. Whatever the text, this ends, and doesn't panic.

mod command;
mod reader;
mod word;

use std::collections::BTreeSet;
use std::ops::Range;

use command::End;
use reader::Reader;

/// What a text holds. Positions are offsets in characters.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// In the order in which they begin, those inside of `$(…)` among them.
    pub(super) commands: Vec<Command>,
    /// In the text's order.
    pub(super) expansions: Vec<Expansion>,
    /// Names without `$` in places where bash reads them as variables: arithmetic, and `[[ … ]]`.
    pub(super) bare_names: Vec<String>,
    /// Variables that are set without a command: by arithmetic, `for` and `select`.
    pub(super) sets: Vec<(usize, String)>,
    /// Commands whose exit status nobody sees: those in `$(…)` of a condition, a redirection or a
    /// list of words.
    pub(super) unseen: Vec<Range<usize>>,
    /// Whether a loop, a group or another compound command is redirected or reads a pipe.
    pub(super) feeds_compounds: bool,
    /// Functions that the text defines.
    pub(super) functions: BTreeSet<String>,
}

/// A simple command.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) at: usize,
    /// Without assignments and redirections.
    pub(super) words: Vec<Word>,
    /// Behind its last word.
    pub(super) end: usize,
    /// Variables set for this command alone, or at all where there are no words.
    pub(super) assigns: Vec<Assign>,
    /// Commands in the redirections of its standard input: `< <(…)`, `<<<"$(…)"`.
    pub(super) inputs: Vec<Range<usize>>,
    /// Whether its standard input is redirected.
    pub(super) has_input: bool,
    /// Whether it ends with `&`.
    pub(super) is_background: bool,
    /// The command whose output this one reads, by `|`.
    pub(super) reads: Option<usize>,
}

/// `name=…`
#[derive(Debug)]
pub(super) struct Assign {
    pub(super) at: usize,
    pub(super) name: String,
    /// Commands within the value.
    pub(super) commands: Range<usize>,
}

/// A word of a command.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) at: usize,
    /// As written.
    pub(super) raw: String,
    /// What the command gets, if that stands in the text: quotes removed. None where something is
    /// expanded.
    pub(super) literal: Option<String>,
    /// Indices of [`Script::expansions`], those of commands within the word left out.
    pub(super) expansions: Vec<usize>,
    /// Commands within the word, `$(…)` or `<(…)`: indices of [`Script::commands`].
    pub(super) commands: Range<usize>,
}

/// `$name` or `${name…}`.
#[derive(Debug)]
pub(super) struct Expansion {
    pub(super) at: usize,
    pub(super) name: String,
    /// Bash makes several words out of the value, and file names out of its `*`.
    pub(super) splits: bool,
    /// The value may be absent: `${name:-…}`, `${name+…}`, `${name:?}`.
    pub(super) guarded: bool,
    /// How many `$(…)` it stands in.
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
