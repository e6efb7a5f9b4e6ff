//! Personal tokens: for scripts and CI, with their user's role.

use serde::{Deserialize, Serialize};

use super::token::{self, mint};
use super::user::{User, check_name};
use super::{Auth, Credential};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::user_token::{self, UserTokenRecord};
use crate::store::{Change, Tx, user};

/// The most days that a token may hold; without a number it holds until it is revoked.
const DAYS_MAX: i64 = 3_650;
const DAY_MILLIS: i64 = 24 * 3_600 * 1_000;

/// A personal token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonalToken {
    /// UUIDv7.
    pub id: String,
    /// What its user calls it.
    pub name: String,
    /// The first characters, to tell tokens apart.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is no longer taken; null: never.
    #[schema(required = true)]
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute; null: never.
    #[schema(required = true)]
    pub last_used_at: Option<Timestamp>,
}

impl Auth {
    /// Makes a token and gives its id and the token itself, which is kept nowhere.
    pub async fn add_token(
        &self,
        user: &User,
        name: &str,
        expires_in_days: Option<i64>,
    ) -> Result<(String, String), ApiError> {
        let name = check(name, expires_in_days)?;
        let now = clock::now();
        let (token, sha256, prefix) = mint(token::PERSONAL);
        let record = UserTokenRecord {
            id: uuid::Uuid::now_v7().to_string(),
            name,
            prefix,
            created_at: now,
            expires_at: expires_in_days.map(|days| now.plus_millis(days * DAY_MILLIS)),
            last_used_at: None,
        };
        let (id, user) = (record.id.clone(), user.clone());
        let add = move |tx: &mut dyn Tx| {
            // The user may have been removed since the request was let in.
            if user::find_held(tx, &user.id)?.is_none() {
                return Err(ApiError::unauthorized("Sign in again"));
            }
            user_token::insert(tx, &user.id, &record, sha256)?;
            audit::insert(tx, Entry::by(&user.email, "token.add").saying(&record.name))?;
            Ok(())
        };
        self.inner.store.write(add).await?;
        Ok((id, token))
    }

    /// A user's tokens, newest first.
    pub async fn tokens(&self, user: &User) -> Result<Vec<PersonalToken>, ApiError> {
        let user_id = user.id.clone();
        let list = move |tx: &mut dyn Tx| user_token::list(tx, &user_id);
        let records = self.inner.store.read(list).await?;
        Ok(records
            .into_iter()
            .map(|record| self.shown(record))
            .collect())
    }

    /// Revokes a token of that user: the very next call with it is a 401. 404 for anybody else's.
    pub async fn revoke_token(&self, user: &User, id: &str) -> Result<(), ApiError> {
        let missing = || ApiError::not_found("token_not_found", "Token not found");
        let id = uuid::Uuid::try_parse(id).map_err(|_| missing())?;
        let user = user.clone();
        let revoke = move |tx: &mut dyn Tx| {
            let name = user_token::delete(tx, &id.to_string(), &user.id)?.ok_or_else(missing)?;
            tx.note(Change::Credentials);
            audit::insert(tx, Entry::by(&user.email, "token.revoke").saying(&name))?;
            Ok(())
        };
        self.inner.store.write::<_, ApiError>(revoke).await
    }

    fn shown(&self, record: UserTokenRecord) -> PersonalToken {
        let noted = self.last_used(&Credential::UserToken(record.id.clone()));
        PersonalToken {
            id: record.id,
            name: record.name,
            prefix: record.prefix,
            created_at: record.created_at,
            expires_at: record.expires_at,
            last_used_at: noted.or(record.last_used_at),
        }
    }
}

fn check(name: &str, expires_in_days: Option<i64>) -> Result<String, ApiError> {
    let mut faults = FieldErrors::default();
    let name = check_name(name).and_then(|name| match name.as_str() {
        "" => Err("is needed, to tell tokens apart"),
        _ => Ok(name),
    });
    if let Err(fault) = name {
        faults.add("name", fault);
    }
    let days = expires_in_days.is_none_or(|days| (1..=DAYS_MAX).contains(&days));
    faults.check(days, "expiresInDays", "must be 1 to 3,650");
    faults.into_result()?;
    Ok(name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_name_and_perhaps_an_end() {
        assert_eq!(check(" ci ", None).ok().as_deref(), Some("ci"));
        assert!(check("ci", Some(1)).is_ok());
        assert!(check("ci", Some(3_650)).is_ok());
        for days in [i64::MIN, -1, 0, 3_651, i64::MAX] {
            assert!(check("ci", Some(days)).is_err(), "{days}");
        }
        assert_eq!(check(" ", Some(0)).expect_err("both").fields.len(), 2);
    }
}
