//! The forms in which programs print a secret: quoted by bash, or encoded as JSON, URL or base64.
//!
//! Each spelling of a line also appears inside any longer text that contains the line and is
//! encoded as a whole.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

/// Shorter lines are not masked, because they would be found everywhere.
pub(super) const MIN_CHARS: usize = 4;

/// Columns after which `base64` and `openssl base64` begin a new line.
const WRAPS: [usize; 2] = [76, 64];

/// Returns the lines of a secret that are long enough to be masked.
pub(super) fn lines(secret: &str) -> impl Iterator<Item = &str> {
    secret
        .split(['\n', '\r'])
        .filter(|line| line.chars().count() >= MIN_CHARS)
}

/// Returns all spellings of a secret except the plain one, the most likely first.
pub(super) fn of(secret: &str) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + '_ {
    let texts = ENCODINGS.iter().flat_map(move |spell| {
        lines(secret).map(move |line| Zeroizing::new(spell(line).into_bytes()))
    });
    let wholes = whole_in_base64(secret).into_iter();
    let parts = lines(secret).flat_map(in_base64);
    let without_utf8 = lines(secret).map(each_byte_escaped);
    wholes.chain(texts).chain(without_utf8).chain(parts)
}

/// Functions that return a spelling of a line.
const ENCODINGS: [fn(&str) -> String; 21] = [
    // 'it'\''s', as `set -x`, `${x@Q}` and `set` write it.
    |line| line.replace('\'', r"'\''"),
    // it\'s, as `printf %q` does.
    |line| escaped(line, |c| BACKSLASHED.contains(c)),
    |line| {
        escaped(line, |c| BACKSLASHED.contains(c))
            .replace(":~", r":\~")
            .replace("=~", r"=\~")
    },
    // "…", as `declare -p` and `export -p` do.
    |line| escaped(line, |c| r#""\$`"#.contains(c)),
    // $'…', as all of these do with unprintable characters; and in a locale without UTF-8.
    |line| in_dollar_quotes(line, char::is_control),
    |line| in_dollar_quotes(line, |c| c.is_control() || !c.is_ascii()),
    // As `set -x` prints the right side of `[[ $x == "$y" ]]`. Bash uses two characters internally.
    |line| escaped(line, |c| !"\x01\x7f".contains(c)),
    // As `set -x` prints the right side of `[[ $x =~ "$y" ]]`.
    |line| escaped(line, |c| r"\.[{()*+?^$|".contains(c)),
    // JSON: the usual form, with \/, as Go escapes it for HTML, and in ASCII.
    |line| json(line, |c| c == '"' || c == '\\', false),
    |line| json(line, |c| "\"\\/".contains(c), false),
    |line| json(line, |c| "\"\\<>&\u{2028}\u{2029}".contains(c), false),
    |line| json(line, |c| c == '"' || c == '\\' || !c.is_ascii(), false),
    |line| json(line, |c| c == '"' || c == '\\' || !c.is_ascii(), true),
    |line| json(line, |c| "\"\\/".contains(c) || !c.is_ascii(), false),
    // URLs: RFC 3986, a path, encodeURIComponent, encodeURI, a form.
    |line| percent(line, "-_.~", false),
    |line| percent(line, "-_.~/", false),
    |line| percent(line, "-_.~!*'()", false),
    |line| percent(line, "-_.~!*'();/?:@&=+$,#", false),
    |line| percent(line, "-_.*", false).replace("%20", "+"),
    |line| percent(line, "-_.~", false).replace("%20", "+"),
    |line| percent(line, "-_.~", true),
];

/// The characters that bash escapes with a backslash.
const BACKSLASHED: &str = "\t !\"$&'()*,;<>?[\\]^`{|}";

fn escaped(line: &str, is_special: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(2 * line.len());
    for c in line.chars() {
        if is_special(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// Like [`escaped`], in a locale without UTF-8.
fn each_byte_escaped(line: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(line.bytes().flat_map(|byte| [b'\\', byte]).collect())
}

fn in_dollar_quotes(line: &str, is_octal: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(4 * line.len());
    for c in line.chars() {
        match c {
            '\x07' => text.push_str(r"\a"),
            '\x08' => text.push_str(r"\b"),
            '\x1b' => text.push_str(r"\E"),
            '\x0c' => text.push_str(r"\f"),
            '\t' => text.push_str(r"\t"),
            '\x0b' => text.push_str(r"\v"),
            '\\' | '\'' => {
                text.push('\\');
                text.push(c);
            }
            c if is_octal(c) => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{byte:03o}");
                }
            }
            c => text.push(c),
        }
    }
    text
}

fn json(line: &str, is_escaped: impl Fn(char) -> bool, upper: bool) -> String {
    let mut text = String::with_capacity(6 * line.len());
    for c in line.chars() {
        match c {
            '\t' => text.push_str(r"\t"),
            '\x08' => text.push_str(r"\b"),
            '\x0c' => text.push_str(r"\f"),
            '"' | '\\' | '/' if is_escaped(c) => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_ascii_control() || is_escaped(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = if upper {
                        write!(text, "\\u{unit:04X}")
                    } else {
                        write!(text, "\\u{unit:04x}")
                    };
                }
            }
            c => text.push(c),
        }
    }
    text
}

/// `kept` lists the characters that stay as they are, in addition to letters and digits.
fn percent(line: &str, kept: &str, lower: bool) -> String {
    let mut text = String::with_capacity(3 * line.len());
    for byte in line.bytes() {
        let c = char::from(byte);
        if byte.is_ascii_alphanumeric() || kept.contains(c) {
            text.push(c);
        } else {
            let _ = if lower {
                write!(text, "%{byte:02x}")
            } else {
                write!(text, "%{byte:02X}")
            };
        }
    }
    text
}

/// Base64 of the whole secret, also with a line break at its end, in one line and in several.
fn whole_in_base64(secret: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut spellings = Vec::new();
    if lines(secret).next().is_none() {
        return spellings;
    }
    for end in ["", "\n"] {
        let whole = Zeroizing::new(format!("{secret}{end}"));
        let encoded = encode_both(whole.as_bytes());
        for wrap in WRAPS {
            for text in &encoded {
                let rows = text.chunks(wrap).filter(|row| row.len() >= MIN_CHARS);
                spellings.extend(rows.map(|row| Zeroizing::new(row.to_vec())));
            }
        }
        spellings.extend(encoded);
    }
    spellings
}

/// Base64 of a text that contains the line, for each of its three alignments: the characters that
/// depend only on the line, and the same with the end of the text.
fn in_base64(line: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut spellings = Vec::new();
    for before in 0..3 {
        for end in ["", "\n"] {
            let mut text = Zeroizing::new(vec![0; before]);
            text.extend_from_slice(line.as_bytes());
            let whole_bits = 8 * text.len();
            text.extend_from_slice(end.as_bytes());
            // The first character that does not depend on the bytes before the line.
            let first = (8 * before).div_ceil(6);
            for encoded in encode_both(&text) {
                let inner = &encoded[first..whole_bits / 6];
                spellings.push(Zeroizing::new(inner.to_vec()));
                spellings.push(Zeroizing::new(encoded[first..].to_vec()));
            }
        }
    }
    spellings.retain(|spelling| spelling.len() >= MIN_CHARS);
    spellings
}

/// Encodes in both alphabets of base64.
fn encode_both(bytes: &[u8]) -> [Zeroizing<Vec<u8>>; 2] {
    [&STANDARD, &URL_SAFE].map(|engine| Zeroizing::new(engine.encode(bytes).into_bytes()))
}
