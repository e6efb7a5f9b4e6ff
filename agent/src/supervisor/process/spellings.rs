//! The spellings that programs make of a text: bash's quotings, JSON, URLs, base64.
//!
//! Each is made of one line of a secret and stands wherever that line stands in a longer text that
//! was spelled so as a whole. Those that come out alike are made only once.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

/// Shorter ones are not hidden: they would turn up everywhere.
pub(super) const MIN_CHARS: usize = 4;

/// Columns after which `base64` and `openssl base64` begin a new line.
const WRAPS: [usize; 2] = [76, 64];

/// The lines of a secret that are long enough to be hidden.
pub(super) fn lines(secret: &str) -> impl Iterator<Item = &str> {
    secret
        .split(['\n', '\r'])
        .filter(|line| line.chars().count() >= MIN_CHARS)
}

/// All spellings of a secret except the plain one, the likeliest first.
pub(super) fn of(secret: &str) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + '_ {
    let texts = TEXTS.iter().flat_map(move |spell| {
        lines(secret).map(move |line| Zeroizing::new(spell(line).into_bytes()))
    });
    let wholes = whole_in_base64(secret).into_iter();
    let parts = lines(secret).flat_map(in_base64);
    let without_utf8 = lines(secret).map(each_byte_escaped);
    wholes.chain(texts).chain(without_utf8).chain(parts)
}

/// How a line is spelled, one after the other.
const TEXTS: [fn(&str) -> String; 20] = [
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
    // $'…', as all of them do with what can't be printed; and in a locale without UTF-8.
    |line| in_dollar_quotes(line, char::is_control),
    |line| in_dollar_quotes(line, |c| c.is_control() || !c.is_ascii()),
    // What `set -x` shows of the right side of `[[ $x == "$y" ]]`. Two characters mean something to
    // bash itself.
    |line| escaped(line, |c| !"\x01\x7f".contains(c)),
    // JSON as most write it, with \/, as Go does for HTML, and in ASCII.
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

/// What bash puts a backslash before.
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

/// [`escaped`] in a locale without UTF-8.
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

/// `kept` is what stays as it is, next to letters and digits.
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

/// Base64 of a text that begins with the secret, and ends with it or with a line break after it;
/// also over several lines.
fn whole_in_base64(secret: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut spellings = Vec::new();
    if lines(secret).next().is_none() {
        return spellings;
    }
    for end in ["", "\n"] {
        let whole = Zeroizing::new(format!("{secret}{end}"));
        let encoded = both(whole.as_bytes());
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

/// Base64 of a text that has the line in it, for each of the three places where it may begin in a
/// group of three bytes: what of it depends on the line only, and also its end, if the text ends
/// there.
fn in_base64(line: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut spellings = Vec::new();
    for before in 0..3 {
        for end in ["", "\n"] {
            let mut text = Zeroizing::new(vec![0; before]);
            text.extend_from_slice(line.as_bytes());
            let whole_bits = 8 * text.len();
            text.extend_from_slice(end.as_bytes());
            // The first character that has no bit of what comes before.
            let first = (8 * before).div_ceil(6);
            for encoded in both(&text) {
                let inner = &encoded[first..whole_bits / 6];
                spellings.push(Zeroizing::new(inner.to_vec()));
                spellings.push(Zeroizing::new(encoded[first..].to_vec()));
            }
        }
    }
    spellings.retain(|spelling| spelling.len() >= MIN_CHARS);
    spellings
}

/// In both alphabets.
fn both(bytes: &[u8]) -> [Zeroizing<Vec<u8>>; 2] {
    [&STANDARD, &URL_SAFE].map(|engine| Zeroizing::new(engine.encode(bytes).into_bytes()))
}
