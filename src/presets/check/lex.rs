//! Bash text, read just far enough for the rules: which commands there are with their words, where a variable is
//! expanded and whether bash splits what comes out. No full grammar: `bash -n` says what is no bash at all, before this
//! looks. Whatever the text, this ends, and doesn't panic.

use std::collections::BTreeSet;

/// Deeper than people nest; beyond it the rest of the text is left unread.
const MAX_DEPTH: usize = 100;

/// What a text holds. Positions are offsets in characters.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// In the order in which they begin, those inside of `$(…)` among them.
    pub(super) commands: Vec<Command>,
    /// In the text's order.
    pub(super) expansions: Vec<Expansion>,
    /// Names without `$` in places where bash reads them as variables: arithmetic, and `[[ … ]]`.
    pub(super) bare_names: Vec<String>,
    /// Functions that the text defines.
    pub(super) functions: BTreeSet<String>,
}

/// A simple command.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) at: usize,
    /// Without assignments and redirections.
    pub(super) words: Vec<Word>,
    /// Variables set for this command alone, or at all where there are no words.
    pub(super) assigns: Vec<String>,
    /// The command whose output this one reads, by `|`.
    pub(super) reads: Option<usize>,
}

/// A word of a command.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) at: usize,
    /// As written.
    pub(super) raw: String,
    /// What the command gets, if that stands in the text: quotes removed. None where something is expanded.
    pub(super) literal: Option<String>,
    /// Indices of [`Script::expansions`], those of commands within the word left out.
    pub(super) expansions: Vec<usize>,
    /// Commands within the word, `$(…)` or `<(…)`: indices of [`Script::commands`].
    pub(super) commands: std::ops::Range<usize>,
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
    let mut reader = Reader {
        text: text.chars().collect(),
        ..Reader::default()
    };
    reader.list(End::Text);
    reader.script
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Text,
    /// `)`
    Paren,
    /// `` ` ``
    Backtick,
    /// `;;` or `esac`
    CaseItem,
}

/// How a list ended.
#[derive(PartialEq, Eq)]
enum Ended {
    Here,
    /// At the `esac` of its `case`.
    Esac,
}

#[derive(Default)]
struct Reader {
    text: Vec<char>,
    at: usize,
    script: Script,
    /// Here-documents whose body begins behind the next newline: its last line, whether tabs go, whether it is as it is.
    heredocs: Vec<(String, bool, bool)>,
    level: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn is(&self, what: &str) -> bool {
        what.chars()
            .enumerate()
            .all(|(n, c)| self.peek(n) == Some(c))
    }

    /// Whether there is `what`, which is then behind.
    fn eat(&mut self, what: &str) -> bool {
        let is = self.is(what);
        if is {
            self.at += what.chars().count();
        }
        is
    }

    fn raw(&self, from: usize) -> String {
        self.text[from.min(self.text.len())..self.at.min(self.text.len())]
            .iter()
            .collect()
    }

    /// Over blanks, continued lines and comments.
    fn blanks(&mut self) {
        loop {
            match self.peek(0) {
                Some(' ' | '\t' | '\r') => self.at += 1,
                Some('\\') if self.peek(1) == Some('\n') => self.at += 2,
                Some('#') => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn blanks_and_lines(&mut self) {
        self.blanks();
        while self.peek(0) == Some('\n') {
            self.newline();
            self.blanks();
        }
    }

    fn newline(&mut self) {
        self.at += 1;
        for (last, tabs_go, as_it_is) in std::mem::take(&mut self.heredocs) {
            self.heredoc(&last, tabs_go, as_it_is);
        }
    }

    fn heredoc(&mut self, last: &str, tabs_go: bool, as_it_is: bool) {
        while self.at < self.text.len() {
            let begin = self.at;
            let end = self.text[begin..].iter().position(|c| *c == '\n');
            let end = end.map_or(self.text.len(), |n| begin + n);
            let line: String = self.text[begin..end].iter().collect();
            let line = if tabs_go {
                line.trim_start_matches('\t')
            } else {
                &line
            };
            if line == last {
                self.at = (end + 1).min(self.text.len());
                return;
            }
            while self.at < end {
                match self.peek(0) {
                    Some('\\') => self.at += 2,
                    Some('$') if !as_it_is => self.dollar(false),
                    Some('`') if !as_it_is => self.backticks(),
                    _ => self.at += 1,
                }
            }
            self.at = self.at.max(end) + 1;
        }
    }

    /// Commands up to the end, which is then behind.
    fn list(&mut self, end: End) -> Ended {
        if self.depth >= MAX_DEPTH {
            self.at = self.text.len();
            return Ended::Here;
        }
        self.depth += 1;
        let ended = self.commands(end);
        self.depth -= 1;
        ended
    }

    fn commands(&mut self, end: End) -> Ended {
        let mut reads = None;
        loop {
            self.blanks();
            let Some(next) = self.peek(0) else {
                return Ended::Here;
            };
            let before = self.at;
            match next {
                '\n' => {
                    self.newline();
                    // A pipe goes on behind it.
                    continue;
                }
                ';' => {
                    self.at += 1;
                    reads = None;
                    if self.eat(";") {
                        self.eat("&");
                        if end == End::CaseItem {
                            return Ended::Here;
                        }
                    } else if self.eat("&") && end == End::CaseItem {
                        return Ended::Here;
                    }
                }
                '&' if self.peek(1) != Some('>') => {
                    self.at += 1;
                    self.eat("&");
                    reads = None;
                }
                '|' => {
                    self.at += 1;
                    reads = None;
                    if !self.eat("|") {
                        self.eat("&");
                        reads = self.last_at_level();
                    }
                }
                '(' if self.is("((") => self.arithmetic(2),
                '(' => {
                    self.at += 1;
                    self.list(End::Paren);
                }
                ')' => {
                    self.at += 1;
                    if end == End::Paren {
                        return Ended::Here;
                    }
                }
                '`' if end == End::Backtick => {
                    self.at += 1;
                    return Ended::Here;
                }
                _ => {
                    if self.simple(reads.take(), end == End::Backtick) && end == End::CaseItem {
                        return Ended::Esac;
                    }
                }
            }
            if self.at == before {
                self.at += 1;
            }
        }
    }

    fn last_at_level(&self) -> Option<usize> {
        self.script.commands.len().checked_sub(1).map(|last| {
            // Commands inside of its words come behind the command itself.
            let within = |n: &usize| {
                self.script.commands[*n]
                    .words
                    .iter()
                    .any(|w| w.commands.contains(&last))
            };
            (0..last).find(within).unwrap_or(last)
        })
    }

    /// A simple command, or what begins a compound one. True at `esac`.
    fn simple(&mut self, reads: Option<usize>, in_backticks: bool) -> bool {
        let index = self.script.commands.len();
        self.script.commands.push(Command {
            at: self.at,
            reads,
            ..Command::default()
        });
        let mut declares = false;
        loop {
            self.blanks();
            if self.redirection() {
                continue;
            }
            match self.peek(0) {
                None | Some('\n' | ';' | '&' | '|' | '(' | ')') => break,
                Some('`') if in_backticks => break,
                _ => {}
            }
            let first = self.script.commands[index].words.is_empty();
            if (first || declares) && self.assignment(index) {
                continue;
            }
            let begin = self.at;
            let word = self.word(true, in_backticks);
            if self.at == begin {
                break;
            }
            if first && self.script.commands[index].assigns.is_empty() {
                match self.keyword(&word) {
                    Keyword::None => {}
                    Keyword::Esac => return true,
                    // What comes behind it is a command of its own.
                    Keyword::Goes => {
                        self.script.commands[index].at = self.at;
                        return false;
                    }
                }
            }
            declares |= first
                && matches!(
                    word.raw.as_str(),
                    "declare" | "typeset" | "local" | "export" | "readonly" | "alias"
                );
            self.script.commands[index].words.push(word);
        }
        false
    }

    fn keyword(&mut self, word: &Word) -> Keyword {
        match word.raw.as_str() {
            "if" | "then" | "elif" | "else" | "while" | "until" | "do" | "done" | "fi" | "{"
            | "}" | "!" | "time" | "coproc" => Keyword::Goes,
            "esac" => Keyword::Esac,
            "[[" => {
                self.condition();
                Keyword::Goes
            }
            "for" | "select" => {
                self.blanks();
                if self.is("((") {
                    self.arithmetic(2);
                    return Keyword::Goes;
                }
                let name = self.word(false, false).raw;
                self.script.bare_names.push(name);
                self.blanks_and_lines();
                if self.is("in") {
                    self.at += 2;
                    loop {
                        self.blanks();
                        let begin = self.at;
                        if matches!(self.peek(0), None | Some('\n' | ';')) {
                            break;
                        }
                        self.word(true, false);
                        if self.at == begin {
                            break;
                        }
                    }
                }
                Keyword::Goes
            }
            "case" => {
                self.case();
                Keyword::Goes
            }
            "function" => {
                self.blanks();
                let name = self.word(false, false).raw;
                self.script.functions.insert(name);
                Keyword::Goes
            }
            name => {
                let mut ahead = 0;
                while matches!(self.peek(ahead), Some(' ' | '\t')) {
                    ahead += 1;
                }
                if self.peek(ahead) == Some('(') && word.literal.is_some() {
                    self.script.functions.insert(name.to_owned());
                    self.at += ahead + 1;
                    self.blanks();
                    self.eat(")");
                    return Keyword::Goes;
                }
                Keyword::None
            }
        }
    }

    fn case(&mut self) {
        self.blanks();
        self.word(false, false);
        self.blanks_and_lines();
        self.eat("in");
        loop {
            self.blanks_and_lines();
            if self.peek(0).is_none() || self.eat("esac") {
                return;
            }
            self.eat("(");
            // The patterns, up to their parenthesis.
            loop {
                self.blanks();
                let begin = self.at;
                if self.eat(")") || self.peek(0).is_none() {
                    break;
                }
                if !self.eat("|") {
                    self.word(false, false);
                }
                if self.at == begin {
                    self.at += 1;
                }
            }
            if self.list(End::CaseItem) == Ended::Esac {
                return;
            }
        }
    }

    /// `[[ … ]]`, from behind its beginning.
    fn condition(&mut self) {
        loop {
            self.blanks_and_lines();
            match self.peek(0) {
                None => return,
                Some('(' | ')' | '<' | '>' | '|' | '&' | '!') => self.at += 1,
                _ => {
                    let begin = self.at;
                    let word = self.word(false, false);
                    if word.raw == "]]" {
                        return;
                    }
                    if is_name(&word.raw) {
                        self.script.bare_names.push(word.raw);
                    }
                    if self.at == begin {
                        self.at += 1;
                    }
                }
            }
        }
    }

    /// `NAME=…`, `NAME+=…`, `NAME[…]=…`, `NAME=(…)`.
    fn assignment(&mut self, command: usize) -> bool {
        let mut n = 0;
        while self
            .peek(n)
            .is_some_and(|c| c == '_' || c.is_ascii_alphanumeric())
        {
            n += 1;
        }
        let name: String = self.text[self.at..self.at + n].iter().collect();
        if !is_name(&name) {
            return false;
        }
        if self.peek(n) == Some('[') {
            while self.peek(n).is_some_and(|c| c != ']' && c != '\n') {
                n += 1;
            }
            n += 1;
        }
        if self.peek(n) == Some('+') {
            n += 1;
        }
        if self.peek(n) != Some('=') {
            return false;
        }
        self.at += n + 1;
        self.script.commands[command].assigns.push(name);
        if self.eat("(") {
            loop {
                self.blanks_and_lines();
                let begin = self.at;
                if self.eat(")") || self.peek(0).is_none() {
                    return true;
                }
                self.word(true, false);
                if self.at == begin {
                    self.at += 1;
                }
            }
        }
        self.word(false, false);
        true
    }

    fn redirection(&mut self) -> bool {
        let mut n = 0;
        while self.peek(n).is_some_and(|c| c.is_ascii_digit()) {
            n += 1;
        }
        if n == 0 && self.peek(0) == Some('&') && self.peek(1) == Some('>') {
            n = 1;
        }
        let sign = self.peek(n);
        if !matches!(sign, Some('<' | '>')) || self.peek(n + 1) == Some('(') {
            return false;
        }
        self.at += n;
        if self.eat("<<<") {
            self.blanks();
            self.word(false, false);
        } else if self.eat("<<") {
            let tabs_go = self.eat("-");
            self.blanks();
            let word = self.word(false, false);
            let last = word.raw.replace(['\'', '"', '\\'], "");
            let as_it_is = last != word.raw;
            self.heredocs.push((last, tabs_go, as_it_is));
        } else {
            self.at += 1;
            if matches!(self.peek(0), Some('<' | '>' | '|' | '&')) {
                self.at += 1;
            }
            self.blanks();
            self.word(false, false);
        }
        true
    }

    /// One word. With `splits`, bash splits what it expands outside of quotes.
    fn word(&mut self, splits: bool, in_backticks: bool) -> Word {
        let begin = self.at;
        let first_expansion = self.script.expansions.len();
        let first_command = self.script.commands.len();
        let mut literal = Some(String::new());
        let add = |literal: &mut Option<String>, c: char| {
            if let Some(text) = literal {
                text.push(c);
            }
        };
        while let Some(c) = self.peek(0) {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | ')' => break,
                '(' => {
                    // A pattern such as @(a|b).
                    if !self
                        .at
                        .checked_sub(1)
                        .is_some_and(|n| n >= begin && "?*+@!".contains(self.text[n]))
                    {
                        break;
                    }
                    self.at += 1;
                    while self.peek(0).is_some_and(|c| c != ')' && c != '\n') {
                        self.at += 1;
                    }
                    self.eat(")");
                    literal = None;
                }
                '<' | '>' => {
                    if self.peek(1) != Some('(') {
                        break;
                    }
                    self.at += 2;
                    self.substitution();
                    literal = None;
                }
                '`' if in_backticks => break,
                '`' => {
                    self.backticks();
                    literal = None;
                }
                '\'' => {
                    self.at += 1;
                    while let Some(c) = self.peek(0) {
                        self.at += 1;
                        if c == '\'' {
                            break;
                        }
                        add(&mut literal, c);
                    }
                }
                '"' => {
                    let from = self.at + 1;
                    let expansions = self.script.expansions.len();
                    let commands = self.script.commands.len();
                    self.double_quotes();
                    if expansions == self.script.expansions.len()
                        && commands == self.script.commands.len()
                    {
                        let inner = self.raw(from);
                        inner
                            .trim_end_matches('"')
                            .chars()
                            .for_each(|c| add(&mut literal, c));
                    } else {
                        literal = None;
                    }
                }
                '$' if self.peek(1) == Some('\'') => {
                    self.at += 2;
                    while let Some(c) = self.peek(0) {
                        self.at += 1;
                        match c {
                            '\\' => self.at += 1,
                            '\'' => break,
                            _ => {}
                        }
                    }
                    literal = None;
                }
                '$' => {
                    self.dollar(splits);
                    literal = None;
                }
                '\\' => {
                    if let Some(c) = self.peek(1).filter(|c| *c != '\n') {
                        add(&mut literal, c);
                    }
                    self.at += 2;
                }
                c => {
                    add(&mut literal, c);
                    self.at += 1;
                }
            }
        }
        self.at = self.at.min(self.text.len());
        let level = self.level;
        let expansions = first_expansion..self.script.expansions.len();
        Word {
            at: begin,
            raw: self.raw(begin),
            literal,
            expansions: expansions
                .filter(|n| self.script.expansions[*n].level == level)
                .collect(),
            commands: first_command..self.script.commands.len(),
        }
    }

    fn double_quotes(&mut self) {
        self.at += 1;
        while let Some(c) = self.peek(0) {
            match c {
                '"' => {
                    self.at += 1;
                    return;
                }
                '\\' => self.at += 2,
                '$' => self.dollar(false),
                '`' => self.backticks(),
                _ => self.at += 1,
            }
        }
    }

    fn backticks(&mut self) {
        self.at += 1;
        self.level += 1;
        self.list(End::Backtick);
        self.level -= 1;
    }

    /// `$(…)` or `<(…)`, from behind its parenthesis.
    fn substitution(&mut self) {
        self.level += 1;
        self.list(End::Paren);
        self.level -= 1;
    }

    /// From a `$` on.
    fn dollar(&mut self, splits: bool) {
        let begin = self.at;
        self.at += 1;
        if self.is("((") {
            self.arithmetic(2);
        } else if self.eat("(") {
            self.substitution();
        } else if self.eat("{") {
            self.braces(begin, splits);
        } else {
            let name = self.name();
            if !name.is_empty() {
                self.expansion(begin, name, splits, false);
            }
        }
    }

    fn name(&mut self) -> String {
        let begin = self.at;
        if self
            .peek(0)
            .is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
        {
            while self
                .peek(0)
                .is_some_and(|c| c == '_' || c.is_ascii_alphanumeric())
            {
                self.at += 1;
            }
        }
        self.raw(begin)
    }

    fn expansion(&mut self, at: usize, name: String, splits: bool, guarded: bool) {
        let level = self.level;
        self.script.expansions.push(Expansion {
            at,
            name,
            splits,
            guarded,
            level,
        });
    }

    /// `${…}`, from behind its brace.
    fn braces(&mut self, begin: usize, splits: bool) {
        // A length is a number.
        let is_length = self.peek(0) == Some('#') && self.peek(1) != Some('}');
        let is_indirect = self.peek(0) == Some('!');
        if is_length || is_indirect {
            self.at += 1;
        }
        let name = self.name();
        let rest = if self.peek(0) == Some(':') {
            self.peek(1)
        } else {
            self.peek(0)
        };
        let guarded = matches!(rest, Some('-' | '=' | '+' | '?'));
        if !name.is_empty() {
            self.expansion(
                begin,
                name,
                splits && !is_length && rest != Some('+'),
                guarded || is_indirect,
            );
        }
        while let Some(c) = self.peek(0) {
            match c {
                '}' => {
                    self.at += 1;
                    return;
                }
                '\\' => self.at += 2,
                '"' => self.double_quotes(),
                '$' => self.dollar(false),
                '`' => self.backticks(),
                _ => self.at += 1,
            }
        }
    }

    /// `((…))`, from its first parenthesis on, of which it has `open`.
    fn arithmetic(&mut self, open: usize) {
        self.at += open;
        let mut depth = open;
        while let Some(c) = self.peek(0) {
            match c {
                '(' => {
                    depth += 1;
                    self.at += 1;
                }
                ')' => {
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return;
                    }
                }
                '$' => self.dollar(false),
                '`' => self.backticks(),
                '\\' => self.at += 2,
                c if c.is_ascii_digit() => {
                    while self
                        .peek(0)
                        .is_some_and(|c| c == '#' || c == '_' || c.is_ascii_alphanumeric())
                    {
                        self.at += 1;
                    }
                }
                c if c == '_' || c.is_ascii_alphabetic() => {
                    let name = self.name();
                    self.script.bare_names.push(name);
                }
                _ => self.at += 1,
            }
        }
    }
}

enum Keyword {
    None,
    /// It is behind, with what belongs to it.
    Goes,
    Esac,
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}
