//! A person, and what their email, name and password must look like.

use serde::{Deserialize, Serialize};

use super::look_alike::{check_address, check_words};
use super::role::Role;
use crate::clock::Timestamp;
use crate::http::ApiError;
use crate::store::user::UserRecord;

/// A user, as the API shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// UUIDv7.
    pub id: String,
    /// In lower case.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created_at: Timestamp,
}

impl User {
    /// The user of a row. The schema lets no other role in.
    pub(super) fn from_record(record: UserRecord) -> Result<Self, ApiError> {
        let role = Role::parse(&record.role)
            .ok_or_else(|| ApiError::internal(format!("unknown role {:?}", record.role)))?;
        Ok(Self {
            id: record.id,
            email: record.email,
            name: record.name,
            role,
            created_at: record.created_at,
        })
    }

    pub(super) fn to_record(&self) -> UserRecord {
        UserRecord {
            id: self.id.clone(),
            email: self.email.clone(),
            name: self.name.clone(),
            role: self.role.as_str().to_owned(),
            created_at: self.created_at,
        }
    }
}

/// The most characters of an email: the longest address that mail can carry.
const EMAIL_MAX: usize = 254;
/// The most characters of a user's or a token's name.
const NAME_MAX: usize = 255;

/// The email as it is stored and looked for: trimmed, in lower case. `Err` says what it must be.
///
/// Whether mail reaches it nobody checks: this keeps out what can't be an address, and what would
/// confuse a reader.
pub fn check_email(typed: &str) -> Result<String, &'static str> {
    const WRONG: &str = "must be an email address, like ada@example.org";
    let email = normal_email(typed);
    if email.chars().count() > EMAIL_MAX {
        return Err("must have at most 254 characters");
    }
    let (local, domain) = email.split_once('@').ok_or(WRONG)?;
    let odd = |c: char| c.is_control() || c.is_whitespace() || "\"(),:;<>[\\]@".contains(c);
    let labels = domain
        .split('.')
        .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    if local.is_empty() || !labels || email.replacen('@', "", 1).chars().any(odd) {
        return Err(WRONG);
    }
    check_address(&email)?;
    Ok(email)
}

/// The form in which emails are compared; no check.
pub(super) fn normal_email(typed: &str) -> String {
    typed.trim().to_lowercase()
}

/// A name, trimmed. `Err` says what it must be. It may be empty: what that means is the caller's.
pub(super) fn check_name(typed: &str) -> Result<String, &'static str> {
    let name = typed.trim();
    if name.chars().any(char::is_control) {
        return Err("must be one line, without control characters");
    }
    if name.chars().count() > NAME_MAX {
        return Err("must have at most 255 characters");
    }
    check_words(name)?;
    Ok(name.to_owned())
}

/// What a user is called who gave no name: the email's part before the `@`.
pub(super) fn name_from_email(email: &str) -> String {
    email.split('@').next().unwrap_or(email).to_owned()
}

/// What somebody typed, made fit for a log line or a row: no control characters, 254 characters at
/// the most.
pub(super) fn printable(typed: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    typed.trim().chars().take(EMAIL_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails() {
        for good in [
            "a@b",
            "Ada.Lovelace+x@Example.org",
            " ü@straße.de ",
            "o'neil@x-y.io",
        ] {
            assert!(check_email(good).is_ok(), "{good}");
        }
        assert_eq!(
            check_email(" Ada@Example.ORG\n").as_deref(),
            Ok("ada@example.org")
        );
        let long = format!("{}@b.c", "a".repeat(251));
        for bad in [
            "", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c", "a@.b", "a@b.", "a@b..c", "a@-b",
            "a\0@b", "a@b\u{7}", "<a@b>", "a,c@b", "\"a\"@b", &long,
        ] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(check_name("  Ada "), Ok("Ada".to_owned()));
        assert!(check_name("A\nB").is_err());
        assert!(check_name("A\0B").is_err());
        assert!(check_name(&"ü".repeat(255)).is_ok());
        assert!(check_name(&"ü".repeat(256)).is_err());
        assert_eq!(name_from_email("ada@x"), "ada");
    }

    #[test]
    fn what_was_typed_becomes_one_short_line() {
        assert_eq!(printable(" a\0b\nc "), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(printable(&"x".repeat(300)).len(), 254);
    }
}
