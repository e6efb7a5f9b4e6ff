//! The position in the text, and skipping of blanks, comments and here-documents.

use std::ops::Range;

use super::Script;

#[derive(Default)]
pub(super) struct Reader {
    pub(super) text: Vec<char>,
    pub(super) at: usize,
    pub(super) script: Script,
    /// Here-documents whose body begins after the next newline: the last line, whether tabs are
    /// removed, whether the body is literal.
    pub(super) heredocs: Vec<(String, bool, bool)>,
    pub(super) level: usize,
    pub(super) depth: usize,
    /// Whether the next backtick ends a substitution.
    pub(super) in_backticks: bool,
    pub(super) pipeline: Pipeline,
    /// The compound commands that have begun, from the outside in.
    pub(super) open: Vec<Compound>,
    /// The commands inside the compound command that has just ended.
    pub(super) closed: Option<Range<usize>>,
    /// Whether the next compound command is a function's body.
    pub(super) body_follows: bool,
}

/// The pipeline that is being read.
#[derive(Default, Clone, Copy)]
pub(super) struct Pipeline {
    /// The index of its first command.
    pub(super) first: usize,
    /// Whether it begins with `!`.
    pub(super) is_inverted: bool,
}

/// A compound command that has begun.
pub(super) struct Compound {
    at: usize,
    /// The index of the first command inside.
    first: usize,
    /// The pipeline that it belongs to.
    pipeline: Pipeline,
    /// Whether it is between `if` and `then`, or `while` and `do`.
    pub(super) is_condition: bool,
    reads_pipe: bool,
    /// Whether it is a function's body.
    pub(super) is_body: bool,
}

impl Reader {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.chars().collect(),
            ..Self::default()
        }
    }

    pub(super) fn begin_compound(&mut self, is_condition: bool, reads_pipe: bool) {
        let pipeline = std::mem::take(&mut self.pipeline);
        self.pipeline.first = self.script.commands.len();
        self.open.push(Compound {
            at: self.at,
            first: self.script.commands.len(),
            pipeline,
            is_condition,
            reads_pipe,
            is_body: std::mem::take(&mut self.body_follows),
        });
    }

    pub(super) fn end_compound(&mut self) {
        let Some(it) = self.open.pop() else {
            return;
        };
        let inside = it.first..self.script.commands.len();
        if it.reads_pipe {
            self.script.fed.push(inside.clone());
        }
        if it.is_body {
            self.script.bodies.push(it.at..self.at);
        }
        self.closed = Some(inside);
        self.pipeline = it.pipeline;
    }

    /// Ends the pipeline. `is_tested`: `&&` or `||` follows.
    pub(super) fn end_pipeline(&mut self, is_tested: bool) {
        let next = self.script.commands.len();
        if is_tested || self.pipeline.is_inverted {
            let first = self.pipeline.first.min(next);
            for command in &mut self.script.commands[first..] {
                command.is_tested = true;
            }
        }
        self.pipeline = Pipeline {
            first: next,
            is_inverted: false,
        };
        self.closed = None;
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    pub(super) fn is(&self, what: &str) -> bool {
        what.chars()
            .enumerate()
            .all(|(n, c)| self.peek(n) == Some(c))
    }

    /// Consumes `what` if it is next, and returns whether it was.
    pub(super) fn eat(&mut self, what: &str) -> bool {
        let is = self.is(what);
        if is {
            self.at += what.chars().count();
        }
        is
    }

    pub(super) fn raw(&self, from: usize) -> String {
        self.text[from.min(self.text.len())..self.at.min(self.text.len())]
            .iter()
            .collect()
    }

    /// Skips blanks, continued lines and comments.
    pub(super) fn blanks(&mut self) {
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

    pub(super) fn blanks_and_lines(&mut self) {
        self.blanks();
        while self.peek(0) == Some('\n') {
            self.newline();
            self.blanks();
        }
    }

    pub(super) fn newline(&mut self) {
        self.at += 1;
        for (last, tabs_go, as_it_is) in std::mem::take(&mut self.heredocs) {
            self.heredoc(&last, tabs_go, as_it_is);
        }
    }

    fn heredoc(&mut self, last: &str, tabs_go: bool, as_it_is: bool) {
        let first = self.script.commands.len();
        self.heredoc_body(last, tabs_go, as_it_is);
        if first < self.script.commands.len() {
            self.script.unseen.push(first..self.script.commands.len());
        }
    }

    fn heredoc_body(&mut self, last: &str, tabs_go: bool, as_it_is: bool) {
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
}
