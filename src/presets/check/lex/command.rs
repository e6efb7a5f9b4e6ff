//! Lists of commands, simple and compound ones. One file, because the functions of this parser call
//! each other in a circle.

use super::reader::{Pipeline, Reader};
use super::{Assign, Command, CommandKind, Word, is_name};

/// Deepest nesting that is read; the rest of the text is skipped.
const MAX_DEPTH: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
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
pub(super) enum Ended {
    Here,
    /// At the `esac` of its `case`.
    Esac,
}

enum Keyword {
    None,
    /// Consumed, with everything that belongs to it.
    Goes,
    Esac,
}

impl Reader {
    /// Reads commands up to and including the end.
    pub(super) fn list(&mut self, end: End) -> Ended {
        if self.depth >= MAX_DEPTH {
            self.at = self.text.len();
            return Ended::Here;
        }
        self.depth += 1;
        let (outer, open, closed) = (self.pipeline, self.open.len(), self.closed.take());
        self.pipeline = Pipeline {
            first: self.script.commands.len(),
            is_inverted: false,
        };
        let ended = self.commands(end);
        self.end_pipeline(false);
        self.open.truncate(open);
        (self.pipeline, self.closed) = (outer, closed);
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
                    // A pipe continues after it.
                    if reads.is_none() {
                        self.end_pipeline(false);
                    }
                    continue;
                }
                ';' => {
                    self.at += 1;
                    reads = None;
                    self.end_pipeline(false);
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
                    let is_and = self.eat("&");
                    if !is_and && let Some(last) = self.last_at_level() {
                        self.script.commands[last].is_background = true;
                    }
                    self.end_pipeline(is_and);
                    reads = None;
                }
                '|' => {
                    self.at += 1;
                    reads = None;
                    if self.eat("|") {
                        self.end_pipeline(true);
                    } else {
                        self.eat("&");
                        self.closed = None;
                        reads = self.last_at_level();
                    }
                }
                '(' if self.is("((") => self.arithmetic_command(reads.take()),
                '(' => {
                    self.at += 1;
                    self.begin_compound(false, reads.take().is_some());
                    self.list(End::Paren);
                    self.end_compound();
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
                    if self.simple(reads.take()) && end == End::CaseItem {
                        return Ended::Esac;
                    }
                }
            }
            if self.at == before {
                self.at += 1;
            }
        }
    }

    /// Reads `((…))` as a command.
    fn arithmetic_command(&mut self, reads: Option<usize>) {
        let index = self.script.commands.len();
        self.script.commands.push(Command {
            at: self.at,
            reads,
            kind: CommandKind::Arithmetic,
            is_tested: self.open.iter().any(|it| it.is_condition),
            ..Command::default()
        });
        let first = self.script.commands.len();
        self.arithmetic(2);
        self.is_unseen(first);
        self.script.commands[index].end = self.at;
    }

    fn last_at_level(&self) -> Option<usize> {
        self.script.commands.len().checked_sub(1).map(|last| {
            // Commands inside its words come after the command itself.
            let within = |n: &usize| {
                self.script.commands[*n]
                    .words
                    .iter()
                    .any(|w| w.commands.contains(&last))
            };
            (0..last).find(within).unwrap_or(last)
        })
    }

    /// Reads a simple command, or the beginning of a compound one. True at `esac`.
    fn simple(&mut self, reads: Option<usize>) -> bool {
        let index = self.script.commands.len();
        self.script.commands.push(Command {
            at: self.at,
            reads,
            is_tested: self.open.iter().any(|it| it.is_condition),
            ..Command::default()
        });
        let mut declares = false;
        loop {
            self.script.commands[index].end = self.at;
            self.blanks();
            if self.redirection(index) {
                continue;
            }
            match self.peek(0) {
                None | Some('\n' | ';' | '&' | '|' | '(' | ')') => break,
                Some('`') if self.in_backticks => break,
                _ => {}
            }
            let first = self.script.commands[index].words.is_empty();
            if (first || declares) && self.assignment(index) {
                continue;
            }
            let begin = self.at;
            let word = self.word(true);
            if self.at == begin {
                break;
            }
            if self.opens_descriptor(&word) {
                continue;
            }
            if first && self.script.commands[index].assigns.is_empty() {
                match self.keyword(&word, reads.is_some()) {
                    Keyword::None => {}
                    Keyword::Esac => return true,
                    // A separate command follows.
                    Keyword::Goes => {
                        self.script.commands[index].at = self.at;
                        self.script.commands[index].end = self.at;
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
        self.arithmetic_words(index);
        false
    }

    /// `{name}` directly before a redirection: bash sets `name` to the descriptor's number.
    fn opens_descriptor(&mut self, word: &Word) -> bool {
        let inner = word
            .raw
            .strip_prefix('{')
            .and_then(|it| it.strip_suffix('}'));
        let (Some(name), Some('<' | '>')) = (inner, self.peek(0)) else {
            return false;
        };
        if !is_name(name) {
            return false;
        }
        // `{name}>&-` closes it.
        if self.peek(1) == Some('&') && self.peek(2) == Some('-') {
            self.script.bare_names.push(name.to_owned());
        } else {
            self.sets(word.at + 1, name.to_owned());
        }
        true
    }

    fn sets(&mut self, at: usize, name: String) {
        self.script.sets.push((at, name.clone()));
        self.script.bare_names.push(name);
    }

    /// The arguments of `let` are arithmetic.
    fn arithmetic_words(&mut self, index: usize) {
        let words = &self.script.commands[index].words;
        if words.first().is_none_or(|word| word.raw != "let") {
            return;
        }
        let texts: Vec<(usize, String)> = words[1..]
            .iter()
            .filter_map(|word| Some((word.at, word.literal.clone()?)))
            .collect();
        for (at, text) in texts {
            let mut inner = Reader::new(&format!("({text}"));
            inner.arithmetic(1);
            for (_, name) in inner.script.sets {
                self.script.sets.push((at, name));
            }
            self.script.bare_names.extend(inner.script.bare_names);
        }
    }

    fn keyword(&mut self, word: &Word, reads_pipe: bool) -> Keyword {
        match word.raw.as_str() {
            "if" | "while" | "until" => {
                self.begin_compound(true, reads_pipe);
                Keyword::Goes
            }
            "{" => {
                self.begin_compound(false, reads_pipe);
                Keyword::Goes
            }
            "then" | "do" | "elif" | "else" => {
                if let Some(it) = self.open.last_mut() {
                    it.is_condition = word.raw == "elif";
                }
                Keyword::Goes
            }
            "fi" | "done" | "}" => {
                self.end_compound();
                Keyword::Goes
            }
            "!" => {
                self.pipeline.is_inverted = true;
                Keyword::Goes
            }
            "time" => Keyword::Goes,
            "coproc" => {
                self.coprocess_name();
                Keyword::Goes
            }
            "esac" => Keyword::Esac,
            "[[" => {
                if let Some(command) = self.script.commands.last_mut() {
                    command.kind = CommandKind::Test;
                }
                self.condition();
                Keyword::Goes
            }
            "for" | "select" => {
                self.begin_compound(false, reads_pipe);
                self.blanks();
                if self.is("((") {
                    self.arithmetic(2);
                    return Keyword::Goes;
                }
                let at = self.at;
                let name = self.word(false).raw;
                self.blanks_and_lines();
                let first = self.script.commands.len();
                // Without `in`, it goes over the arguments, and only a function has some.
                if self.is("in") || self.open.iter().any(|it| it.is_body) {
                    self.sets(at, name);
                } else {
                    self.script.bare_names.push(name);
                }
                if self.is("in") {
                    self.at += 2;
                    loop {
                        self.blanks();
                        let begin = self.at;
                        if matches!(self.peek(0), None | Some('\n' | ';')) {
                            break;
                        }
                        self.word(true);
                        if self.at == begin {
                            break;
                        }
                    }
                }
                self.is_unseen(first);
                Keyword::Goes
            }
            "case" => {
                self.begin_compound(false, reads_pipe);
                self.case();
                self.end_compound();
                Keyword::Goes
            }
            "function" => {
                self.blanks();
                let name = self.word(false).raw;
                self.script.functions.insert(name);
                self.blanks();
                if self.is("()") {
                    self.at += 2;
                }
                self.body_follows = true;
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
                    self.body_follows = true;
                    return Keyword::Goes;
                }
                Keyword::None
            }
        }
    }

    /// `coproc NAME { …; }` sets the array NAME.
    fn coprocess_name(&mut self) {
        self.blanks();
        let at = self.at;
        let name = self.word(false).raw;
        self.blanks();
        if is_name(&name) && matches!(self.peek(0), Some('{' | '(')) {
            self.sets(at, name);
        } else {
            self.at = at;
        }
    }

    /// Marks the exit status of the commands from `first` on as ignored.
    fn is_unseen(&mut self, first: usize) {
        let last = self.script.commands.len();
        if first < last {
            self.script.unseen.push(first..last);
        }
    }

    fn case(&mut self) {
        self.blanks();
        let first = self.script.commands.len();
        self.word(false);
        self.is_unseen(first);
        self.blanks_and_lines();
        self.eat("in");
        loop {
            self.blanks_and_lines();
            if self.peek(0).is_none() || self.eat("esac") {
                return;
            }
            self.eat("(");
            // The patterns, up to the parenthesis.
            loop {
                self.blanks();
                let begin = self.at;
                if self.eat(")") || self.peek(0).is_none() {
                    break;
                }
                if !self.eat("|") {
                    self.word(false);
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

    /// Reads `[[ … ]]` after the `[[`.
    fn condition(&mut self) {
        let first = self.script.commands.len();
        self.condition_words();
        self.is_unseen(first);
    }

    fn condition_words(&mut self) {
        loop {
            self.blanks_and_lines();
            match self.peek(0) {
                None => return,
                Some('(' | ')' | '<' | '>' | '|' | '&' | '!') => self.at += 1,
                _ => {
                    let begin = self.at;
                    let word = self.word(false);
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
        let at = self.at;
        let first = self.script.commands.len();
        self.at += n + 1;
        self.value();
        let commands = first..self.script.commands.len();
        let assign = Assign { at, name, commands };
        self.script.commands[command].assigns.push(assign);
        true
    }

    /// Reads the value of an assignment, after the `=`.
    fn value(&mut self) {
        if self.eat("(") {
            loop {
                self.blanks_and_lines();
                let begin = self.at;
                if self.eat(")") || self.peek(0).is_none() {
                    return;
                }
                self.word(true);
                if self.at == begin {
                    self.at += 1;
                }
            }
        }
        self.word(false);
    }

    fn redirection(&mut self, command: usize) -> bool {
        let begin = self.at;
        let first = self.script.commands.len();
        let mut output = None;
        if !self.redirection_words(&mut output) {
            return false;
        }
        let last = self.script.commands.len();
        self.is_unseen(first);
        let sign = self.text[begin..].iter().find(|c| !c.is_ascii_digit());
        let is_stdin = sign == Some(&'<') && matches!(self.text[begin], '<' | '0');
        let it = &mut self.script.commands[command];
        it.outputs.extend(output.map(|file| (begin, file)));
        if is_stdin {
            it.has_input = true;
            it.inputs.push(first..last);
            // After `done`, `}` or `)` there may be a redirection without words.
            if it.words.is_empty() && it.assigns.is_empty() {
                self.script.fed.extend(self.closed.clone());
            }
        }
        true
    }

    /// Sets `output` to the word of a file that is written.
    fn redirection_words(&mut self, output: &mut Option<String>) -> bool {
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
            self.word(false);
        } else if self.eat("<<") {
            let tabs_go = self.eat("-");
            self.blanks();
            let word = self.word(false);
            let last = word.raw.replace(['\'', '"', '\\'], "");
            let as_it_is = last != word.raw;
            self.heredocs.push((last, tabs_go, as_it_is));
        } else {
            self.at += 1;
            let second = self.peek(0);
            if matches!(second, Some('<' | '>' | '|' | '&')) {
                self.at += 1;
            }
            self.blanks();
            let word = self.word(false);
            // `>&2` names a descriptor, and `<>` opens one for both.
            if sign == Some('>') && second != Some('&') {
                *output = Some(word.raw);
            }
        }
        true
    }
}
