//! Words: quotes and expansions.

use super::command::End;
use super::reader::Reader;
use super::{Expansion, Special, Word};

impl Reader {
    /// Reads one word. With `splits`, bash splits expansions outside quotes.
    pub(super) fn word(&mut self, splits: bool) -> Word {
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
                '`' if self.in_backticks => break,
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

    pub(super) fn backticks(&mut self) {
        self.at += 1;
        self.level += 1;
        let outer = std::mem::replace(&mut self.in_backticks, true);
        self.list(End::Backtick);
        self.in_backticks = outer;
        self.level -= 1;
    }

    /// Reads `$(…)` or `<(…)` after the parenthesis.
    fn substitution(&mut self) {
        self.level += 1;
        self.list(End::Paren);
        self.level -= 1;
    }

    /// Reads an expansion at a `$`.
    pub(super) fn dollar(&mut self, splits: bool) {
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
                self.expansion(Expansion {
                    at: begin,
                    name,
                    splits,
                    ..Expansion::default()
                });
            } else if let Some(c) = self.peek(0).filter(|c| is_special(*c)) {
                // Only one digit belongs to it: `$10` is `$1` and a 0.
                self.at += 1;
                self.special(begin, c.to_string(), false);
            }
        }
    }

    fn special(&mut self, at: usize, name: String, guarded: bool) {
        self.script.specials.push(Special { at, name, guarded });
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

    fn expansion(&mut self, expansion: Expansion) {
        let level = self.level;
        self.script
            .expansions
            .push(Expansion { level, ..expansion });
    }

    /// Reads `${…}` after the brace.
    fn braces(&mut self, begin: usize, splits: bool) {
        // A length is a number.
        let is_length = self.peek(0) == Some('#') && self.peek(1) != Some('}');
        let is_indirect = self.peek(0) == Some('!');
        if is_length || is_indirect {
            self.at += 1;
        }
        let name = self.name();
        let special = if name.is_empty() && !is_indirect {
            self.special_name(is_length)
        } else {
            None
        };
        let rest = if self.peek(0) == Some(':') {
            self.peek(1)
        } else {
            self.peek(0)
        };
        let guarded = matches!(rest, Some('-' | '=' | '+' | '?'));
        if let Some(special) = special {
            self.special(begin, special, guarded && rest != Some('?'));
        }
        if !name.is_empty() {
            self.expansion(Expansion {
                at: begin,
                name,
                splits: splits && !is_length && rest != Some('+'),
                guarded: guarded || is_indirect,
                assigns: rest == Some('=') && !is_length && !is_indirect,
                demands: rest == Some('?') && !is_length && !is_indirect,
                level: 0,
            });
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

    /// The name of a parameter that is not a variable, after `${` and maybe `#`.
    fn special_name(&mut self, is_length: bool) -> Option<String> {
        let begin = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > begin {
            return Some(self.raw(begin));
        }
        let c = self.peek(0).filter(|c| is_special(*c))?;
        if is_length && c == '}' {
            return None;
        }
        self.at += 1;
        Some(c.to_string())
    }

    /// Whether the name that was just read from `at` on is changed: `x = 1`, `x += 1`, `x++`,
    /// `--x`.
    fn is_set_by_arithmetic(&self, at: usize) -> bool {
        let before: String = self.text[..at].iter().rev().take(2).collect();
        if matches!(before.as_str(), "++" | "--") {
            return true;
        }
        let rest = &self.text[self.at..];
        let blanks = rest.iter().take_while(|c| **c == ' ').count();
        let next: String = rest[blanks..].iter().take(3).collect();
        if next.starts_with("++")
            || next.starts_with("--")
            || matches!(next.as_str(), "<<=" | ">>=")
        {
            return true;
        }
        let operator = next.strip_prefix(['+', '-', '*', '/', '%', '&', '|', '^']);
        let is_operator = operator.is_some_and(|rest| rest.starts_with('='));
        is_operator || next.starts_with('=') && !next.starts_with("==")
    }

    /// Reads `((…))`, of which `open` parentheses were read.
    pub(super) fn arithmetic(&mut self, open: usize) {
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
                    let at = self.at;
                    let name = self.name();
                    if self.is_set_by_arithmetic(at) {
                        self.script.sets.push((at, name.clone()));
                    }
                    self.script.bare_names.push(name);
                }
                _ => self.at += 1,
            }
        }
    }
}

/// The names of `$1`, `$@` and so on.
fn is_special(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '@' | '*' | '#' | '?' | '!' | '$')
}
