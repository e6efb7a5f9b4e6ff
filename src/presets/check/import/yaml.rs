//! Texts in YAML. libyaml, which reads presets, and the parser of the linter's positions must both
//! read back exactly what was written.

use std::fmt::Write as _;

/// A preset's name: in quotes if YAML would read it as a number or another word.
pub(super) fn word(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && !matches!(
            name,
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_plain {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// In double quotes, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        escape(&mut quoted, c);
    }
    quoted.push('"');
    quoted
}

/// As the value of a block mapping, with `indent` blanks before each line; ends with a newline. A
/// literal block if that can hold the text, otherwise a quoted text with a line for each line.
pub(super) fn scalar(text: &str, indent: usize) -> String {
    if text.chars().all(is_in_block) && !text.trim_end_matches('\n').is_empty() {
        literal(text, indent)
    } else {
        quoted_lines(text, indent)
    }
}

/// Whether a literal block can hold the character. Carriage returns and the line ends of Unicode
/// would become line feeds, and other control characters are not allowed.
fn is_in_block(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        c => !c.is_control(),
    }
}

fn literal(text: &str, indent: usize) -> String {
    // Otherwise the indentation of the first line that is not empty would count.
    let needs_width =
        text.trim_start_matches('\n').starts_with([' ', '\t']) || text.starts_with('\n');
    let width = if needs_width { "2" } else { "" };
    let (body, chomping) = match text.strip_suffix('\n') {
        None => (text, "-"),
        // An empty line at the end, which a block drops unless it keeps all of them.
        Some(body) if body.ends_with('\n') => (body, "+"),
        Some(body) => (body, ""),
    };
    let mut block = format!("|{width}{chomping}\n");
    for line in body.split('\n') {
        if !line.is_empty() {
            let _ = write!(block, "{:indent$}{line}", "");
        }
        block.push('\n');
    }
    block
}

fn quoted_lines(text: &str, indent: usize) -> String {
    let mut quoted = "\"".to_owned();
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        for c in line.chars() {
            escape(&mut quoted, c);
        }
        if lines.peek().is_some() {
            // The backslash joins the lines; blanks after it would be dropped.
            let _ = write!(quoted, "\\\n{:indent$}", "");
            if lines.peek().is_some_and(|next| next.starts_with(' ')) {
                quoted.push('\\');
            }
        }
    }
    quoted.push_str("\"\n");
    quoted
}

fn escape(quoted: &mut String, c: char) {
    match c {
        '"' | '\\' => quoted.extend(['\\', c]),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        c if is_in_block(c) => quoted.push(c),
        c if u32::from(c) < 0x100 => {
            let _ = write!(quoted, "\\x{:02x}", u32::from(c));
        }
        c => {
            let _ = write!(quoted, "\\u{:04x}", u32::from(c));
        }
    }
}
