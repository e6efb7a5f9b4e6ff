//! Tokens: a prefix that names the kind, and 32 random bytes. The database has only the SHA-256.
//!
//! There are 2^256 possible tokens, so a fast hash is enough, and the duration of a lookup by hash
//! reveals nothing useful.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::{random_bytes, sha256};

/// Prefix of session tokens.
pub const SESSION: &str = "hbs_";
/// Prefix of personal tokens.
pub const PERSONAL: &str = "hbu_";
/// Prefix of node tokens.
pub const NODE: &str = "hbn_";
/// Prefix of the one-time codes that enrol a node's agent. They are not tokens.
pub const ENROLMENT: &str = "hbe_";

/// A longer text is not a token and is not worth a hash.
const LENGTH_MAX: usize = 128;
/// Characters of a token that lists show.
const PREFIX_CHARS: usize = 10;

/// The kind of a token, by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Session,
    Personal,
    Node,
}

impl TokenKind {
    /// `None` if the text is not one of our tokens.
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

/// Creates a token with one of the prefixes above. Returns the token, its SHA-256 for the database,
/// and its first characters for lists.
pub fn mint(prefix: &str) -> (String, [u8; 32], String) {
    let token = format!("{prefix}{}", random_text());
    let sha256 = digest(&token);
    let shown = token.chars().take(PREFIX_CHARS).collect();
    (token, sha256, shown)
}

/// The SHA-256 of a one-time code; `None` if the text can't be one.
pub fn digest_of_code(code: &str) -> Option<[u8; 32]> {
    let is_code = code.len() <= LENGTH_MAX && code.starts_with(ENROLMENT);
    is_code.then(|| digest(code))
}

/// The SHA-256 of a token.
pub(super) fn digest(token: &str) -> [u8; 32] {
    sha256(token)
}

/// 32 random bytes as base64url.
pub(super) fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_kinds_prefix_and_is_unique() {
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
