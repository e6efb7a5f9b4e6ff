//! Lists of keys whose signatures count, in OpenSSH's format of allowed signers
//! (`man ssh-keygen`): `principals [options] key`.

use crate::public_key::{KeyKind, PublicKey};
use crate::time::{millis_of_signers_time, signers_time};

/// A key whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Whose key it is; empty in a list without principals.
    pub principals: String,
    /// The key.
    pub key: PublicKey,
    /// The comment behind the key.
    pub comment: String,
    /// Patterns of the purposes that the key may sign for; all if `None`.
    pub namespaces: Option<String>,
    /// From when the key counts, in milliseconds since 1970.
    pub valid_after: Option<i64>,
    /// Until when the key counts.
    pub valid_before: Option<i64>,
}

/// A line that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is ignored: {why}")]
pub struct SignersFault {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// A list of signers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signers(Vec<Signer>);

impl Signers {
    /// Parses a list in OpenSSH's format. Lines that can't be used are returned as faults: nothing
    /// that their keys sign counts.
    pub fn parse(text: &str) -> (Self, Vec<SignersFault>) {
        Self::parse_lines(text, true)
    }

    /// Parses a list without principals: `[options] key`.
    pub fn parse_keys(text: &str) -> (Self, Vec<SignersFault>) {
        Self::parse_lines(text, false)
    }

    fn parse_lines(text: &str, has_principals: bool) -> (Self, Vec<SignersFault>) {
        let (mut signers, mut faults) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse_signer(line, has_principals) {
                Ok(signer) => signers.push(signer),
                Err(why) => faults.push(SignersFault {
                    line: index + 1,
                    why,
                }),
            }
        }
        (Self(signers), faults)
    }

    /// The signers, in the order of their lines.
    pub fn as_slice(&self) -> &[Signer] {
        &self.0
    }

    /// Whether the list names no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a signer.
    pub fn push(&mut self, signer: Signer) {
        self.0.push(signer);
    }

    /// The signers with this key.
    pub fn of_key_mut<'s>(
        &'s mut self,
        key: &'s PublicKey,
    ) -> impl Iterator<Item = &'s mut Signer> {
        self.0.iter_mut().filter(move |signer| signer.key == *key)
    }

    /// The signer whose signature with `key` counts at `at` for the purpose `namespace`.
    pub fn find(&self, key: &PublicKey, namespace: &str, at: i64) -> Option<&Signer> {
        self.0.iter().find(|signer| {
            signer.key == *key
                && signer.valid_after.is_none_or(|from| at >= from)
                && signer.valid_before.is_none_or(|until| at <= until)
                && (signer.namespaces.as_deref())
                    .is_none_or(|patterns| matches_list(patterns, namespace))
        })
    }

    /// The list as a file that [`Signers::parse_keys`] reads.
    pub fn to_keys_file(&self) -> String {
        self.0
            .iter()
            .map(|signer| {
                let until = signer
                    .valid_before
                    .map(|at| format!("valid-before=\"{}\" ", signers_time(at)));
                let comment = if signer.comment.is_empty() {
                    String::new()
                } else {
                    format!(" {}", signer.comment)
                };
                format!(
                    "{}{}{comment}\n",
                    until.unwrap_or_default(),
                    signer.key.to_line()
                )
            })
            .collect()
    }
}

impl Signer {
    /// A key that counts for everything and always.
    pub fn of_key(key: PublicKey, comment: &str) -> Self {
        Self {
            principals: String::new(),
            key,
            comment: comment.to_owned(),
            namespaces: None,
            valid_after: None,
            valid_before: None,
        }
    }
}

fn parse_signer(line: &str, has_principals: bool) -> Result<Signer, &'static str> {
    let (principals, rest) = if has_principals {
        let (word, rest) = next_word(line).ok_or("it has no key")?;
        (word.trim_matches('"').to_owned(), rest)
    } else {
        (String::new(), line)
    };
    let (first, after) = next_word(rest).ok_or("it has no key")?;
    let (options, key) = match KeyKind::parse(first) {
        Some(_) => ("", rest),
        None => (first, after),
    };
    let (key, comment) = PublicKey::parse_line(key)
        .ok_or("it must end with an ed25519, sk-ed25519 or ecdsa-p256 public key")?;
    let mut signer = Signer {
        principals,
        ..Signer::of_key(key, comment)
    };
    for option in split_outside_quotes(options, ',') {
        if !option.is_empty() {
            apply_option(&mut signer, option)?;
        }
    }
    Ok(signer)
}

fn apply_option(signer: &mut Signer, option: &str) -> Result<(), &'static str> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let value = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    let time = || {
        millis_of_signers_time(value)
            .ok_or("its time must be YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in UTC")
    };
    match name.to_ascii_lowercase().as_str() {
        "namespaces" => signer.namespaces = Some(value.to_owned()),
        "valid-after" => signer.valid_after = Some(time()?),
        "valid-before" => signer.valid_before = Some(time()?),
        "cert-authority" => return Err("certificate authorities are not supported"),
        _ => return Err("it has an unknown option"),
    }
    Ok(())
}

/// The first word of a line, whose quoted parts may contain spaces, and the rest.
fn next_word(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let mut is_quoted = false;
    let end = line.char_indices().find(|(_, char)| {
        is_quoted ^= *char == '"';
        !is_quoted && matches!(char, ' ' | '\t')
    });
    let (word, rest) = line.split_at(end.map_or(line.len(), |(at, _)| at));
    (!word.is_empty()).then(|| (word, rest.trim_start()))
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |char| {
        is_quoted ^= char == '"';
        !is_quoted && char == separator
    })
}

/// Whether `text` matches a list of patterns, as OpenSSH's `match_pattern_list` decides.
fn matches_list(patterns: &str, text: &str) -> bool {
    let mut matches = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches_pattern(pattern.as_bytes(), text.as_bytes()) => return false,
            Some(_) => {}
            None => matches |= matches_pattern(pattern.as_bytes(), text.as_bytes()),
        }
    }
    matches
}

/// `*` stands for any text and `?` for any character.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                // The last star takes one character more.
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_openssh() {
        for (patterns, text, expected) in [
            ("hyprbox-job-v1", "hyprbox-job-v1", true),
            ("hyprbox-job-v1", "hyprbox-job-v2", false),
            ("file,hyprbox-*", "hyprbox-job-v1", true),
            ("hyprbox-job-v?", "hyprbox-job-v1", true),
            ("*,!hyprbox-job-v1", "hyprbox-job-v1", false),
            ("*-*-*-v1", "hyprbox-job-v1", false),
            ("*-*-v1*", "hyprbox-job-v1", true),
            ("", "hyprbox-job-v1", false),
        ] {
            assert_eq!(matches_list(patterns, text), expected, "{patterns} {text}");
        }
    }
}
