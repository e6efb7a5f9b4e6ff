//! Selectors: text that says which nodes are meant, in the grammar of Kubernetes' label selectors,
//! because people know it.
//!
//! ```text
//! selector    = requirement *("," requirement)
//! requirement = key | "!" key | key ("=" | "==" | "!=") value | key ("in" | "notin") "(" values ")"
//! values      = value *("," value)
//! ```
//!
//! As in Kubernetes, space may surround every part, a value may be empty, and `in` and `notin` may
//! be keys. A list has at least one value that is not empty. Keys and values have any character
//! that a label may have, except space, the signs of the grammar, and signs from other languages:
//! `role!="web"` must not select every node.

use std::collections::BTreeSet;

use crate::http::ApiError;
use crate::misleading;
use crate::nodes::labels::{KEY_CHARS, VALUE_CHARS};
use crate::store::node::Node;

/// The longest selector.
const CHARS_MAX: usize = 4_096;
/// Signs of the grammar. Kubernetes also compares numbers, with `<` and `>`.
const GRAMMAR: &str = "=!(),<>";
/// Signs that keys and values can't have, because people type them to quote, negate or match
/// patterns as other languages do.
const FOREIGN: &str = "\"'`|&;{}[]~^$*?\\";

/// Keys that labels can't replace.
const BUILT_IN: [&str; 3] = ["node", "os.id", "os.version"];

const A_KEY: &str = "a label";
const A_KEY_OR_NOT: &str = "a label or `!`";
const A_VALUE: &str = "a value";
const AN_OPERATOR: &str = "`=`, `==`, `!=`, `in`, `notin`, `,` or the end";
const A_SEPARATOR: &str = "`,` or the end";
const A_LIST: &str = "`(`";
const A_LISTED_VALUE: &str = "a value, `,` or `)`";
const A_LIST_SEPARATOR: &str = "`,` or `)`";

/// A condition on nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Exists,
    Absent,
    In(BTreeSet<String>),
    /// Also holds for nodes that lack the key.
    NotIn(BTreeSet<String>),
}

/// Why a text is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at character {at}, but found {}", describe(*.found))]
pub struct SelectorError {
    /// Position of the character, counted from 1; one more than the text has if it ends too early.
    pub at: usize,
    expected: &'static str,
    found: Option<char>,
}

impl From<SelectorError> for ApiError {
    fn from(error: SelectorError) -> Self {
        Self::bad_request("bad_input", format!("selector: {error}"))
            .with_field("selector", error.to_string())
    }
}

fn describe(found: Option<char>) -> String {
    match found {
        None => "the end".to_owned(),
        Some(c) if c.is_control() || c.is_whitespace() && c != ' ' || misleads(c) => {
            format!("U+{:04X}", u32::from(c))
        }
        Some(c) => format!("`{c}`"),
    }
}

fn misleads(c: char) -> bool {
    misleading::misleads(None, c, None)
}

impl Selector {
    /// Reads a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser::new(text)?.selector()
    }

    /// The selector of the nodes with a label, if there is one: a label may have characters that a
    /// selector can't have.
    pub fn of_label(key: &str, value: &str) -> Option<String> {
        let text = format!("{key}={value}");
        let wanted = Requirement {
            key: key.to_owned(),
            condition: Condition::In(BTreeSet::from([value.to_owned()])),
        };
        let is_exact = !BUILT_IN.contains(&key) && Self::parse(&text) == Ok(Self(vec![wanted]));
        is_exact.then_some(text)
    }

    /// Whether every requirement holds for the node.
    pub fn matches(&self, node: &Node) -> bool {
        self.0.iter().all(|requirement| requirement.holds(node))
    }
}

impl Requirement {
    fn holds(&self, node: &Node) -> bool {
        let value = value_of(node, &self.key);
        match &self.condition {
            Condition::Exists => value.is_some(),
            Condition::Absent => value.is_none(),
            Condition::In(values) => value.is_some_and(|value| values.contains(value)),
            Condition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
        }
    }
}

/// The node's value for a key. A label can't replace a built-in key, even if its value is unknown.
fn value_of<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match key {
        "node" => Some(&node.id),
        "os.id" => node.facts.os_id.as_deref(),
        "os.version" => node.facts.os_version_id.as_deref(),
        label => node.labels.get(label).map(String::as_str),
    }
}

struct Parser {
    text: Vec<char>,
    /// Index of the next character.
    next: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self, SelectorError> {
        let parser = Self {
            text: text.chars().take(CHARS_MAX + 1).collect(),
            next: 0,
        };
        let invisible = misleading::judged(text).position(|(_, misleads)| misleads);
        if let Some(index) = invisible.filter(|index| *index < CHARS_MAX) {
            return Err(parser.error_at(index, "a visible character"));
        }
        if parser.text.len() > CHARS_MAX {
            return Err(parser.error_at(CHARS_MAX, "the end, after at most 4096 characters,"));
        }
        Ok(parser)
    }

    fn selector(mut self) -> Result<Selector, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            requirements.push(self.requirement()?);
            match self.peek() {
                None => return Ok(Selector(requirements)),
                Some(',') => self.next += 1,
                Some(_) => return Err(self.error(A_SEPARATOR)),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.take('!') {
            let key = self.key(A_KEY)?;
            let condition = Condition::Absent;
            return Ok(Requirement { key, condition });
        }
        let key = self.key(A_KEY_OR_NOT)?;
        let condition = self.condition()?;
        Ok(Requirement { key, condition })
    }

    fn condition(&mut self) -> Result<Condition, SelectorError> {
        match self.peek() {
            None | Some(',') => Ok(Condition::Exists),
            Some('=') => {
                self.next += 1;
                if self.text.get(self.next) == Some(&'=') {
                    self.next += 1;
                }
                Ok(Condition::In(BTreeSet::from([self.compared_value()?])))
            }
            Some('!') if self.text.get(self.next + 1) == Some(&'=') => {
                self.next += 2;
                Ok(Condition::NotIn(BTreeSet::from([self.compared_value()?])))
            }
            Some(_) => {
                let start = self.next;
                match self.word().as_str() {
                    "in" => Ok(Condition::In(self.list()?)),
                    "notin" => Ok(Condition::NotIn(self.list()?)),
                    _ => Err(self.error_at(start, AN_OPERATOR)),
                }
            }
        }
    }

    /// The value after `=`, `==` or `!=`.
    fn compared_value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            None | Some(',') => Ok(String::new()),
            Some(c) if is_in_words(c) => self.value(),
            Some(_) => Err(self.error(A_VALUE)),
        }
    }

    fn list(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if !self.take('(') {
            return Err(self.error(A_LIST));
        }
        let mut values = BTreeSet::new();
        loop {
            let has_value = self.peek().is_some_and(is_in_words);
            values.insert(self.value()?);
            match self.peek() {
                Some(',') => self.next += 1,
                // Kubernetes reads `()` as the empty value, but who writes it has left out the
                // values, and `notin ()` would select nearly every node.
                Some(')') if values.iter().all(String::is_empty) => {
                    return Err(self.error(A_VALUE));
                }
                Some(')') => {
                    self.next += 1;
                    return Ok(values);
                }
                Some(_) | None if has_value => return Err(self.error(A_LIST_SEPARATOR)),
                Some(_) | None => return Err(self.error(A_LISTED_VALUE)),
            }
        }
    }

    fn key(&mut self, expected: &'static str) -> Result<String, SelectorError> {
        if !self.peek().is_some_and(is_in_words) {
            return Err(self.error(expected));
        }
        let expected = "the label's end, after at most 63 characters,";
        self.word_within(KEY_CHARS, expected)
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        self.peek();
        let expected = "the value's end, after at most 255 characters,";
        self.word_within(VALUE_CHARS, expected)
    }

    fn word_within(&mut self, max: usize, expected: &'static str) -> Result<String, SelectorError> {
        let start = self.next;
        let word = self.word();
        if self.next - start > max {
            return Err(self.error_at(start + max, expected));
        }
        Ok(word)
    }

    /// The characters of a key or value that follow; may be empty.
    fn word(&mut self) -> String {
        let rest = &self.text[self.next..];
        let word: String = rest.iter().take_while(|c| is_in_words(**c)).collect();
        self.next += word.chars().count();
        word
    }

    /// Skips space, and `sign` if it follows. Returns whether it did.
    fn take(&mut self, sign: char) -> bool {
        let follows = self.peek() == Some(sign);
        self.next += usize::from(follows);
        follows
    }

    /// Skips space. Returns the character that follows.
    fn peek(&mut self) -> Option<char> {
        while self.text.get(self.next).is_some_and(|c| is_space(*c)) {
            self.next += 1;
        }
        self.text.get(self.next).copied()
    }

    fn error(&self, expected: &'static str) -> SelectorError {
        self.error_at(self.next, expected)
    }

    fn error_at(&self, index: usize, expected: &'static str) -> SelectorError {
        SelectorError {
            at: index + 1,
            expected,
            found: self.text.get(index).copied(),
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Whether keys and values may have this character.
fn is_in_words(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && !GRAMMAR.contains(c) && !FOREIGN.contains(c)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::clock;
    use crate::store::node::NodeFacts;

    fn node(id: &str, os: Option<(&str, Option<&str>)>, labels: &[(&str, &str)]) -> Node {
        let pairs = labels.iter();
        let labels = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Node {
            id: id.to_owned(),
            name: id.to_owned(),
            labels: labels.collect::<BTreeMap<_, _>>(),
            created_at: clock::now(),
            last_seen_at: None,
            stopping: false,
            facts: NodeFacts {
                os_id: os.map(|(id, _)| id.to_owned()),
                os_version_id: os.and_then(|(_, version)| version.map(str::to_owned)),
                ..NodeFacts::default()
            },
            copied_at: None,
            paused: false,
            machine_facts: None,
            machine_facts_at: None,
            refused: None,
        }
    }

    /// The nodes that the tables below select from.
    fn fleet() -> Vec<Node> {
        vec![
            node(
                "web-1",
                Some(("debian", Some("12"))),
                &[("role", "web"), ("zone", "a"), ("gpu", "")],
            ),
            node(
                "web-2",
                Some(("ubuntu", Some("24.04"))),
                &[("role", "web"), ("zone", "b"), ("example.com/tier", "1")],
            ),
            node(
                "db-1",
                Some(("arch", None)),
                &[("role", "db"), ("zone", "c")],
            ),
            // Labels with the names of built-in keys, and an unknown system.
            node(
                "new",
                None,
                &[
                    ("node", "web-1"),
                    ("os.id", "debian"),
                    ("os.version", "12"),
                    ("größe", "ü-1"),
                    ("in", "notin"),
                ],
            ),
        ]
    }

    fn selected(selector: &Selector) -> Vec<String> {
        let nodes = fleet().into_iter();
        let matching = nodes.filter(|node| selector.matches(node));
        matching.map(|node| node.id).collect()
    }

    /// Each form of Kubernetes' grammar, with the nodes that it selects.
    #[rustfmt::skip]
    const WELL_FORMED: &[(&str, &[&str])] = &[
        // Equality-based requirements.
        ("role=web", &["web-1", "web-2"]),
        ("role==web", &["web-1", "web-2"]),
        ("role!=web", &["db-1", "new"]),
        ("role = web", &["web-1", "web-2"]),
        ("role  ==\tweb", &["web-1", "web-2"]),
        (" role != web ", &["db-1", "new"]),
        ("Role=web", &[]),
        ("role=WEB", &[]),
        ("role=web,zone!=a", &["web-2"]),
        ("role=web,role=db", &[]),
        // An empty value is a value.
        ("gpu=", &["web-1"]),
        ("gpu= ,role=web", &["web-1"]),
        ("gpu==", &["web-1"]),
        ("gpu!=", &["web-2", "db-1", "new"]),
        // Set-based requirements.
        ("zone in (a,b)", &["web-1", "web-2"]),
        ("zone in(a, b)", &["web-1", "web-2"]),
        ("zone  in  ( b , c )", &["web-2", "db-1"]),
        ("zone notin (a,b)", &["db-1", "new"]),
        ("zone in (a)", &["web-1"]),
        ("gpu in (x,,y)", &["web-1"]),
        ("gpu in (x,)", &["web-1"]),
        ("gpu in (,x)", &["web-1"]),
        ("gpu notin (x,)", &["web-2", "db-1", "new"]),
        ("gpu", &["web-1"]),
        ("!gpu", &["web-2", "db-1", "new"]),
        ("! gpu", &["web-2", "db-1", "new"]),
        ("role,!gpu", &["web-2", "db-1"]),
        ("role in (web),zone notin (b),gpu", &["web-1"]),
        ("x in (foo,,baz),y,z notin (,a)", &[]),
        ("role=web\n,\r\nzone=a", &["web-1"]),
        // Qualified names, and words of the grammar as keys and values.
        ("example.com/tier=1", &["web-2"]),
        ("!example.com/tier", &["web-1", "db-1", "new"]),
        ("in in (notin)", &["new"]),
        ("in=notin", &["new"]),
        ("in", &["new"]),
        ("notin notin (in)", &["web-1", "web-2", "db-1", "new"]),
        // Labels that Kubernetes would not allow.
        ("größe=ü-1", &["new"]),
        // Built-in keys.
        ("node=web-1", &["web-1"]),
        ("node in (db-1,new)", &["db-1", "new"]),
        ("node", &["web-1", "web-2", "db-1", "new"]),
        ("!node", &[]),
        ("os.id=debian", &["web-1"]),
        ("os.id!=debian", &["web-2", "db-1", "new"]),
        ("os.id", &["web-1", "web-2", "db-1"]),
        ("!os.id", &["new"]),
        ("os.id in (debian,ubuntu),os.version notin (24.04)", &["web-1"]),
        ("os.version=12", &["web-1"]),
        ("!os.version", &["db-1", "new"]),
    ];

    /// Malformed selectors with the character that is wrong, what was expected and what was found.
    #[rustfmt::skip]
    const MALFORMED: &[(&str, usize, &str, &str)] = &[
        ("", 1, A_KEY_OR_NOT, "the end"),
        ("  ", 3, A_KEY_OR_NOT, "the end"),
        (",", 1, A_KEY_OR_NOT, "`,`"),
        ("role=web,", 10, A_KEY_OR_NOT, "the end"),
        ("role=web,,gpu", 10, A_KEY_OR_NOT, "`,`"),
        (",role=web", 1, A_KEY_OR_NOT, "`,`"),
        ("=web", 1, A_KEY_OR_NOT, "`=`"),
        ("!", 2, A_KEY, "the end"),
        ("!!gpu", 2, A_KEY, "`!`"),
        ("!=web", 2, A_KEY, "`=`"),
        ("!,gpu", 2, A_KEY, "`,`"),
        ("!role=web", 6, A_SEPARATOR, "`=`"),
        ("!zone in (a)", 7, A_SEPARATOR, "`i`"),
        ("role web", 6, AN_OPERATOR, "`w`"),
        ("role!", 5, AN_OPERATOR, "`!`"),
        ("role! =web", 5, AN_OPERATOR, "`!`"),
        ("role<1", 5, AN_OPERATOR, "`<`"),
        ("role>1", 5, AN_OPERATOR, "`>`"),
        ("zone(a)", 5, AN_OPERATOR, "`(`"),
        ("zone IN (a)", 6, AN_OPERATOR, "`I`"),
        ("zone not in (a)", 6, AN_OPERATOR, "`n`"),
        ("zone inn (a)", 6, AN_OPERATOR, "`i`"),
        ("role===web", 7, A_VALUE, "`=`"),
        ("role= =web", 7, A_VALUE, "`=`"),
        ("role=!web", 6, A_VALUE, "`!`"),
        ("role=(web)", 6, A_VALUE, "`(`"),
        ("role!==web", 7, A_VALUE, "`=`"),
        ("role=web zone=a", 10, A_SEPARATOR, "`z`"),
        ("role=web=db", 9, A_SEPARATOR, "`=`"),
        ("role=web!", 9, A_SEPARATOR, "`!`"),
        ("zone in (a) (b)", 13, A_SEPARATOR, "`(`"),
        ("zone in (a))", 12, A_SEPARATOR, "`)`"),
        ("zone in", 8, A_LIST, "the end"),
        ("zone in a", 9, A_LIST, "`a`"),
        ("zone notin ,", 12, A_LIST, "`,`"),
        ("zone in=a", 8, A_LIST, "`=`"),
        ("zone in (", 10, A_LISTED_VALUE, "the end"),
        ("zone in (a", 11, A_LIST_SEPARATOR, "the end"),
        ("zone in (a,", 12, A_LISTED_VALUE, "the end"),
        ("zone in (a b)", 12, A_LIST_SEPARATOR, "`b`"),
        ("zone in (a=b)", 11, A_LIST_SEPARATOR, "`=`"),
        ("zone in ()", 10, A_VALUE, "`)`"),
        ("zone notin ()", 13, A_VALUE, "`)`"),
        ("zone notin ( , )", 16, A_VALUE, "`)`"),
        ("zone in ((a))", 10, A_LISTED_VALUE, "`(`"),
        ("zone in (!a)", 10, A_LISTED_VALUE, "`!`"),
        // Signs from other languages.
        ("role!=\"web\"", 7, A_VALUE, "`\"`"),
        ("role!='web'", 7, A_VALUE, "`'`"),
        ("role=~web", 6, A_VALUE, "`~`"),
        ("role!=web*", 10, A_SEPARATOR, "`*`"),
        ("role!=$ROLE", 7, A_VALUE, "`$`"),
        ("role!=web|role!=db", 10, A_SEPARATOR, "`|`"),
        ("role!=web;gpu", 10, A_SEPARATOR, "`;`"),
        ("role!=web && gpu", 11, A_SEPARATOR, "`&`"),
        ("{role}", 1, A_KEY_OR_NOT, "`{`"),
        // Characters are counted, not bytes.
        ("größe=ü b", 9, A_SEPARATOR, "`b`"),
        ("größe ü", 7, AN_OPERATOR, "`ü`"),
        ("🦀=1,=", 5, A_KEY_OR_NOT, "`=`"),
        // What can't be seen.
        ("role!=web\u{200b}", 10, "a visible character", "U+200B"),
        ("role!=\u{202e}web", 7, "a visible character", "U+202E"),
        ("role!=web\u{a0}", 10, A_SEPARATOR, "U+00A0"),
        ("role\u{0}", 5, AN_OPERATOR, "U+0000"),
    ];

    #[test]
    fn every_form_of_the_grammar_selects_its_nodes() {
        for (text, nodes) in WELL_FORMED {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selected(&selector), *nodes, "{text}");
        }
    }

    #[test]
    fn every_malformed_selector_names_its_character() {
        for (text, at, expected, found) in MALFORMED {
            let error = Selector::parse(text).expect_err(text);
            let message = format!("expected {expected} at character {at}, but found {found}");
            assert_eq!(error.to_string(), message, "{text}");
        }
    }

    #[test]
    fn keys_values_and_selectors_have_a_length() {
        let word = |length: usize| "ü".repeat(length);
        assert!(Selector::parse(&word(63)).is_ok());
        assert_eq!(Selector::parse(&word(64)).expect_err("long").at, 64);
        let compared = |length| Selector::parse(&format!("a!={}", word(length)));
        assert!(compared(255).is_ok());
        assert_eq!(compared(256).expect_err("long").at, 3 + 256);
        let listed = format!("a in (b, {})", word(256));
        assert_eq!(Selector::parse(&listed).expect_err("long").at, 9 + 256);
        let many = |count: usize| vec!["ab"; count].join(",") + &" ".repeat(2);
        assert!(Selector::parse(&many(1_365)).is_ok());
        let error = Selector::parse(&many(1_366)).expect_err("long");
        assert_eq!(error.at, CHARS_MAX + 1);
    }

    #[test]
    fn a_label_is_selected_by_its_text_if_a_selector_can_name_it() {
        let text = |key, value| Selector::of_label(key, value);
        assert_eq!(text("role", "web").as_deref(), Some("role=web"));
        assert_eq!(text("gpu", "").as_deref(), Some("gpu="));
        for (key, value) in [
            ("node", "a"),
            ("a b", "c"),
            ("a", "b c"),
            ("a", "b,c"),
            ("a=b", "c"),
            ("a", " b"),
        ] {
            assert_eq!(text(key, value), None, "{key}={value}");
        }
    }

    /// One requirement as its text, apart from space, and as a function of a value.
    #[derive(Debug, Clone)]
    struct Sample {
        parts: Vec<String>,
        key: String,
        operator: usize,
        values: Vec<String>,
    }

    const OPERATORS: usize = 7;

    impl Sample {
        fn of(key: String, operator: usize, values: Vec<String>) -> Self {
            let list = |word: &str| {
                let mut parts = vec![key.clone(), word.to_owned(), "(".to_owned()];
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        parts.push(",".to_owned());
                    }
                    parts.push(value.clone());
                }
                parts.push(")".to_owned());
                parts
            };
            let first = || values[0].clone();
            let parts = match operator {
                0 => vec![key.clone()],
                1 => vec!["!".to_owned(), key.clone()],
                2 => vec![key.clone(), "=".to_owned(), first()],
                3 => vec![key.clone(), "==".to_owned(), first()],
                4 => vec![key.clone(), "!=".to_owned(), first()],
                5 => list("in"),
                _ => list("notin"),
            };
            Self {
                parts,
                key,
                operator,
                values,
            }
        }

        fn holds(&self, value: Option<&str>) -> bool {
            let one = value == Some(self.values[0].as_str());
            let any = self.values.iter().any(|listed| value == Some(listed));
            match self.operator {
                0 => value.is_some(),
                1 => value.is_none(),
                2 | 3 => one,
                4 => !one,
                5 => any,
                _ => !any,
            }
        }

        /// With the spaces between the parts. Some follows words of the grammar that would
        /// otherwise continue a key.
        fn text(&self, spaces: &[String]) -> String {
            let parts = self.parts.iter().zip(spaces.iter().cycle());
            parts
                .map(|(part, space)| match part.as_str() {
                    "in" | "notin" => format!(" {space}{part} {space}"),
                    part => format!("{space}{part}{space}"),
                })
                .collect()
        }
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let key = "(example\\.com/)?(role|zone|in|notin|a-b|x_y|größe)";
        let value = "(|web|db|in|ü|1\\.2|a-b_c)";
        let values = proptest::collection::vec(value, 1..4);
        let lists_a_value = |operator: usize, values: &[String]| {
            operator < 5 || values.iter().any(|value| !value.is_empty())
        };
        let sample = (key, 0..OPERATORS, values)
            .prop_filter("a list without a value", move |(_, operator, values)| {
                lists_a_value(*operator, values)
            })
            .prop_map(|(key, operator, values)| Sample::of(key, operator, values));
        proptest::collection::vec(sample, 1..5)
    }

    proptest! {
        #[test]
        fn any_text_of_the_grammar_means_what_its_parts_mean(
            samples in samples(),
            spaces in proptest::collection::vec("[ \t]{0,2}", 1..6),
            labels in proptest::collection::btree_map("(example\\.com/)?(role|zone|in|a-b)", "(|web|db|in|ü)", 0..4),
        ) {
            let texts: Vec<String> = samples.iter().map(|sample| sample.text(&spaces)).collect();
            let text = texts.join(",");
            let selector = Selector::parse(&text);
            prop_assert!(selector.is_ok(), "{text}: {selector:?}");
            let mut node = node("n", None, &[]);
            node.labels = labels;
            let wanted = samples.iter().all(|sample| {
                sample.holds(node.labels.get(&sample.key).map(String::as_str))
            });
            prop_assert_eq!(selector.expect("parsed").matches(&node), wanted, "{}", text);
        }

        #[test]
        fn any_other_text_names_one_of_its_characters(text in "[a-c=!(),<> inot*ü\u{200b}]{0,20}") {
            if let Err(error) = Selector::parse(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.at), "{}", error);
                prop_assert_eq!(text.chars().nth(error.at - 1), error.found);
            }
        }
    }
}
