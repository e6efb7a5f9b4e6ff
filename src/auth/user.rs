//! Users, and the rules for emails and names.

use serde::{Deserialize, Serialize};

use super::look_alike::{check_address, check_words};
use super::role::Role;
use crate::clock::Timestamp;
use crate::http::ApiError;
use crate::store::user::{self, UserRecord};
use crate::store::{StoreError, Tx};

/// A user in the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// UUIDv7.
    pub id: String,
    /// In lower case.
    pub email: String,
    /// Display name.
    pub name: String,
    pub role: Role,
    pub created_at: Timestamp,
}

impl User {
    /// Converts a row. The schema allows only known roles.
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

    /// The user with this id, if there is one.
    pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Self>, StoreError> {
        let account = user::find(tx, id)?;
        Ok(account.and_then(|account| Self::from_record(account.user).ok()))
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

/// Longest email in characters: the longest address that mail can carry.
const EMAIL_MAX: usize = 254;
/// Longest name of a user or a token, in characters.
const NAME_MAX: usize = 255;

/// Checks an email and returns it as it is stored: trimmed, in lower case. `Err` is the rule that
/// it breaks.
///
/// This refuses what can't be an address and what would mislead a reader. It does not check that
/// mail arrives.
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

/// The email as it is compared; not checked.
pub(super) fn normal_email(typed: &str) -> String {
    typed.trim().to_lowercase()
}

/// Checks a name and returns it trimmed. `Err` is the rule that it breaks. The name may be empty.
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

/// Default name of a user: the email's part before the `@`.
pub(super) fn name_from_email(email: &str) -> String {
    email.split('@').next().unwrap_or(email).to_owned()
}

/// Typed text for a log line or a row: without control characters, at most 254 characters.
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
    fn printable_text_is_one_short_line() {
        assert_eq!(printable(" a\0b\nc "), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(printable(&"x".repeat(300)).len(), 254);
    }
}
