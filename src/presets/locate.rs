//! Finds the position of a path such as `params.ssh_port.default` in a YAML text, for checks after
//! parsing: serde no longer has positions then. A parser whose events have positions reads the text
//! once and builds a tree of positions. The same pass refuses deep nesting, for which serde's
//! parser takes quadratic time.

use std::collections::{BTreeSet, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::schema::Fault;

/// A preset nests four deep. Beyond this, the file is not a preset, and reading it would cost time
/// for each level.
const MAX_DEPTH: usize = 32;

/// A step down into a YAML document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment<'a> {
    /// The value of that key.
    Key(&'a str),
    /// The item of that index.
    Index(usize),
}

/// The position to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// The value at the end of a path.
    Value,
    /// The key that leads to it.
    Key,
}

/// Line and column, both from 1, in characters.
pub(super) type Place = (usize, usize);

/// The positions of all nodes of a file's first document.
#[derive(Debug, Default)]
pub(super) struct Index {
    nodes: Vec<Node>,
    /// The first key that its mapping already has.
    pub(super) duplicate: Option<Fault>,
}

#[derive(Debug)]
struct Node {
    at: Place,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(ScalarStyle),
    Sequence(Vec<usize>),
    Mapping(HashMap<String, Entry>),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key_at: Place,
    value: usize,
}

/// A collection whose end has not come yet.
struct Open {
    node: usize,
    /// In a mapping: the key of the next value. `Some(None)` is a key that is not text.
    key: Option<Option<(String, Place)>>,
    is_mapping: bool,
    keys: BTreeSet<String>,
    /// The path in the notation of serde's errors: `steps[0]`.
    name: String,
}

impl Index {
    /// Reads the positions of `text`.
    ///
    /// # Errors
    /// Nesting that is too deep. Faults of the YAML itself are left to serde, which reports them
    /// better; the index then ends at the fault.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let mut builder = Builder {
            lines: text.lines().collect(),
            ..Builder::default()
        };
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => builder.event(event, span)?,
                Err(error) if nests_deeply(text) => return Err(too_deep(&error)),
                Err(_) => break,
            }
        }
        Ok(builder.index)
    }

    /// Line and column of the node at `path`; `None` if it does not exist.
    pub(super) fn place(&self, path: &[Segment<'_>], aim: Aim) -> Option<Place> {
        let (last, parents) = path.split_last()?;
        match (aim, last) {
            (Aim::Key, Segment::Key(name)) => match &self.node(parents)?.kind {
                Kind::Mapping(entries) => entries.get(*name).map(|entry| entry.key_at),
                Kind::Scalar(_) | Kind::Sequence(_) => None,
            },
            _ => self.node(path).map(|node| node.at),
        }
    }

    /// Where the scalar at `path` begins, and its notation.
    pub(super) fn scalar(&self, path: &[Segment<'_>]) -> Option<(Place, ScalarStyle)> {
        let node = self.node(path)?;
        match &node.kind {
            Kind::Scalar(style) => Some((node.at, *style)),
            Kind::Sequence(_) | Kind::Mapping(_) => None,
        }
    }

    fn node(&self, path: &[Segment<'_>]) -> Option<&Node> {
        let mut node = self.nodes.first()?;
        for segment in path {
            let index = match (&node.kind, segment) {
                (Kind::Mapping(entries), Segment::Key(name)) => entries.get(*name)?.value,
                (Kind::Sequence(items), Segment::Index(index)) => *items.get(*index)?,
                _ => return None,
            };
            node = self.nodes.get(index)?;
        }
        Some(node)
    }
}

#[derive(Default)]
struct Builder<'t> {
    lines: Vec<&'t str>,
    /// Where the last event ended.
    end: Place,
    index: Index,
    open: Vec<Open>,
    anchors: HashMap<usize, usize>,
    /// Number of complete documents. Only the first is indexed; the depth of all is checked.
    documents: usize,
    /// Collections that are open in a later document.
    depth_elsewhere: usize,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let mut at = place(&span);
        if let Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) = &event {
            at = self.header(at);
        } else if matches!(event, Event::Scalar(..)) {
            at = self.behind_properties(at);
        }
        self.end = (span.end.line(), span.end.col() + 1);
        match event {
            Event::DocumentEnd => self.documents += 1,
            Event::Scalar(value, style, anchor, _) => {
                self.node(at, Kind::Scalar(style), anchor, Some(&value));
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).copied() {
                Some(node) => self.child(node, at, None),
                None => self.node(at, Kind::Sequence(Vec::new()), 0, None),
            },
            Event::SequenceStart(anchor, _) => {
                self.enter(at, Kind::Sequence(Vec::new()), anchor)?;
            }
            Event::MappingStart(anchor, _) => {
                self.enter(at, Kind::Mapping(HashMap::new()), anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.depth_elsewhere = self.depth_elsewhere.saturating_sub(1);
                self.open.pop();
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
        Ok(())
    }

    /// Where a scalar itself begins, after its anchor and its tag.
    fn behind_properties(&self, at: Place) -> Place {
        let line = self.lines.get(at.0 - 1).copied().unwrap_or_default();
        let mut rest = line.chars().skip(at.1 - 1).peekable();
        let mut column = at.1;
        while matches!(rest.peek(), Some('&' | '!')) {
            while rest.next_if(|c| *c != ' ').is_some() {
                column += 1;
            }
            while rest.next_if_eq(&' ').is_some() {
                column += 1;
            }
        }
        (at.0, column)
    }

    /// Where the `|` or `>` of a block is, whose text begins at `text`: the parser's events point
    /// to the text.
    fn header(&self, text: Place) -> Place {
        for number in self.end.0.max(1)..=text.0 {
            let line = self.lines.get(number - 1).copied().unwrap_or_default();
            let skip = if number == self.end.0 {
                self.end.1 - 1
            } else {
                0
            };
            let mut before = ' ';
            for (index, c) in line.chars().enumerate().skip(skip) {
                match c {
                    '|' | '>' if before == ' ' => return (number, index + 1),
                    '#' if before == ' ' => break,
                    _ => before = if c == '\t' { ' ' } else { c },
                }
            }
        }
        text
    }

    fn enter(&mut self, at: Place, kind: Kind, anchor: usize) -> Result<(), Fault> {
        if self.open.len() + self.depth_elsewhere >= MAX_DEPTH {
            return Err(Fault {
                line: Some(at.0),
                column: Some(at.1),
                message: format!("is nested more than {MAX_DEPTH} deep, which no preset needs"),
            });
        }
        if self.documents > 0 {
            self.depth_elsewhere += 1;
            return Ok(());
        }
        let name = match self.open.last() {
            None => String::new(),
            Some(parent) => match (&parent.key, &self.index.nodes[parent.node].kind) {
                (Some(Some((key, _))), _) if parent.name.is_empty() => key.clone(),
                (Some(Some((key, _))), _) => format!("{}.{key}", parent.name),
                (_, Kind::Sequence(items)) => format!("{}[{}]", parent.name, items.len()),
                _ => parent.name.clone(),
            },
        };
        let is_mapping = matches!(kind, Kind::Mapping(_));
        let node = self.index.nodes.len();
        self.node(at, kind, anchor, None);
        self.open.push(Open {
            node,
            key: None,
            is_mapping,
            keys: BTreeSet::new(),
            name,
        });
        Ok(())
    }

    fn node(&mut self, at: Place, kind: Kind, anchor: usize, text: Option<&str>) {
        if self.documents > 0 {
            return;
        }
        let node = self.index.nodes.len();
        self.index.nodes.push(Node { at, kind });
        if anchor > 0 {
            self.anchors.insert(anchor, node);
        }
        self.child(node, at, text);
    }

    /// Adds a node to its collection, as an item, a key or a value. `text` is a scalar's content.
    fn child(&mut self, node: usize, at: Place, text: Option<&str>) {
        if self.documents > 0 {
            return;
        }
        let Some(parent) = self.open.last_mut() else {
            return;
        };
        match &mut self.index.nodes[parent.node].kind {
            Kind::Scalar(_) => {}
            Kind::Sequence(items) => items.push(node),
            Kind::Mapping(entries) => {
                debug_assert!(parent.is_mapping);
                match parent.key.take() {
                    Some(Some((key, key_at))) => {
                        entries.entry(key).or_insert(Entry {
                            key_at,
                            value: node,
                        });
                    }
                    Some(None) => {}
                    None => {
                        let key = text.map(|text| (text.to_owned(), at));
                        if let Some((key, at)) = &key
                            && !parent.keys.insert(key.clone())
                            && self.index.duplicate.is_none()
                        {
                            self.index.duplicate = Some(is_twice(&parent.name, key, *at));
                        }
                        parent.key = Some(key);
                    }
                }
            }
        }
    }
}

fn is_twice(parent: &str, key: &str, at: Place) -> Fault {
    let prefix = if parent.is_empty() {
        String::new()
    } else {
        format!("{parent}: ")
    };
    Fault {
        line: Some(at.0),
        column: Some(at.1),
        message: format!("{prefix}`{key}` is listed twice"),
    }
}

fn place(span: &Span) -> Place {
    (span.start.line(), span.start.col() + 1)
}

/// The parser has its own limit, which it may reach before it returns the events.
fn too_deep(error: &ScanError) -> Fault {
    Fault {
        line: Some(error.marker().line()),
        column: Some(error.marker().col() + 1),
        message: format!("is nested more than {MAX_DEPTH} deep, which no preset needs"),
    }
}

/// Whether the text may nest deeply after a fault. Also counts brackets in strings and comments,
/// and marks of block collections; this may refuse too much, but the text is broken in any case.
fn nests_deeply(text: &str) -> bool {
    let (mut open, mut most, mut marks) = (0_i64, 0_i64, 0_i64);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open -= 1,
            b'\n' => marks = 0,
            b'-' | b'?' => marks += 1,
            _ => {}
        }
        most = most.max(open + marks / 8);
    }
    most > 8 * MAX_DEPTH as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: a\nparams:\n  port: { type: port,\n          default: 0 }\nsteps:\n  - name: x\n    run: |\n      true\n  - run: y\n  - &z\n    run: z\n  - *z\n";

    #[test]
    fn a_path_leads_to_its_line_and_column() {
        use Segment::{Index as At, Key};
        type Case<'a> = (&'a [Segment<'a>], Aim, Option<Place>);
        let cases: &[Case<'_>] = &[
            (&[Key("name")], Aim::Value, Some((1, 7))),
            (&[Key("params"), Key("port")], Aim::Key, Some((3, 3))),
            (&[Key("params"), Key("port")], Aim::Value, Some((3, 9))),
            (
                &[Key("params"), Key("port"), Key("default")],
                Aim::Value,
                Some((4, 20)),
            ),
            (
                &[Key("steps"), At(0), Key("run")],
                Aim::Value,
                Some((7, 10)),
            ),
            (&[Key("steps"), At(1)], Aim::Value, Some((9, 5))),
            (
                &[Key("steps"), At(3), Key("run")],
                Aim::Value,
                Some((11, 10)),
            ),
            (&[Key("steps"), At(4)], Aim::Value, None),
            (&[Key("name"), Key("deeper")], Aim::Value, None),
        ];
        let index = Index::read(TEXT).expect("shallow");
        for (path, aim, expected) in cases {
            assert_eq!(index.place(path, *aim), *expected, "{path:?} {aim:?}");
        }
    }
}
