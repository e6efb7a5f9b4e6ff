//! Tokens: a prefix that says what it opens, and 32 random bytes. The database keeps only the
//! SHA-256.
//!
//! A guess has 2^256 possibilities, so a fast hash is enough, and a lookup by hash leaks nothing of
//! use through its time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Of sessions.
pub const SESSION: &str = "hbs_";
/// Of personal tokens.
pub const PERSONAL: &str = "hbu_";
/// Of nodes' tokens.
pub const NODE: &str = "hbn_";

/// Of one-time codes that enrol a node's agent. They open nothing else.
pub const ENROLMENT: &str = "hbe_";

/// Longer texts are no tokens, and aren't hashed to find that out.
const LENGTH_MAX: usize = 128;
/// Characters of a token that a list shows.
const SHOWN: usize = 10;

/// What a token opens, told by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Session,
    Personal,
    Node,
}

impl TokenKind {
    /// `None`: this is no token of ours.
    pub(super) fn of(token: &str) -> Option<Self> {
        if token.len() > LENGTH_MAX {
            return None;
        }
        [
            (SESSION, TokenKind::Session),
            (PERSONAL, TokenKind::Personal),
            (NODE, TokenKind::Node),
        ]
        .into_iter()
        .find(|(prefix, _)| token.starts_with(prefix))
        .map(|(_, kind)| kind)
    }
}

/// A new token with one of the prefixes above: the token, its SHA-256 for the database, and its
/// first characters for lists.
pub fn mint(prefix: &str) -> (String, [u8; 32], String) {
    let token = format!("{prefix}{}", random_text());
    let sha256 = digest(&token);
    let shown = token.chars().take(SHOWN).collect();
    (token, sha256, shown)
}

/// The SHA-256 of a one-time code; `None` where the text can't be one.
pub fn digest_of_code(code: &str) -> Option<[u8; 32]> {
    let is_code = code.len() <= LENGTH_MAX && code.starts_with(ENROLMENT);
    is_code.then(|| digest(code))
}

/// The SHA-256 of a token.
pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// 32 random bytes as base64url.
pub(super) fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<32>())
}

/// Bytes from the system's generator.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .expect("the system's random generator works on every Linux we run on");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_opens_and_is_never_twice_the_same() {
        let (token, sha256, shown) = mint(NODE);
        assert_eq!(token.len(), 4 + 43);
        assert!(token.starts_with(&shown));
        assert_eq!(sha256, digest(&token));
        assert_ne!(mint(NODE).0, token);
        assert_eq!(TokenKind::of(&token), Some(TokenKind::Node));
        assert_eq!(TokenKind::of(&mint(SESSION).0), Some(TokenKind::Session));
        assert_eq!(TokenKind::of(&mint(PERSONAL).0), Some(TokenKind::Personal));
        for odd in ["", "hbx_abc", "abc", &format!("hbs_{}", "a".repeat(200))] {
            assert_eq!(TokenKind::of(odd), None, "{odd}");
        }
    }
}
