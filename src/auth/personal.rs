//! Personal tokens: for scripts and CI, with their user's role.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::people::{known_form, no_user};
use super::token::{self, mint};
use super::user::{User, check_name};
use super::{Auth, Caller, ClientAddress, Credential};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::user_token::{self, UserTokenRecord};
use crate::store::{Change, Tx, attempt, user};

/// The most days that a token may hold; without a number it holds until it is revoked.
const DAYS_MAX: i64 = 3_650;
const DAY_MILLIS: i64 = 24 * 3_600 * 1_000;
/// So long after a sign-in a token is made without the password: 15 minutes.
const RECENT_MILLIS: i64 = 15 * 60 * 1_000;

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

/// A token to make.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'t> {
    /// As typed.
    pub name: &'t str,
    /// `None`: the token is accepted until it is revoked.
    pub expires_in_days: Option<i64>,
    /// The caller's password.
    pub password: Option<&'t str>,
}

impl Caller {
    /// Whether the caller showed who they are so lately that a new token needs no password.
    pub fn is_recent(&self, now: Timestamp) -> bool {
        now.millis_since(self.since).abs() < RECENT_MILLIS
    }
}

fn password_needed() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "password_needed",
        "You signed in more than 15 minutes ago: send your password with this",
    )
    .with_field("password", "is needed")
}

impl Auth {
    /// Makes a token and returns its id and the token itself, which is kept nowhere. A 403
    /// `password_needed` if the caller signed in too long ago and there is no password: whoever
    /// finds a browser open must not take a lasting key along.
    pub async fn add_token(
        &self,
        caller: &Caller,
        wanted: NewToken<'_>,
        from: ClientAddress,
    ) -> Result<(String, String), ApiError> {
        let name = check(wanted.name, wanted.expires_in_days)?;
        let now = clock::now();
        let is_proved = match (caller.is_recent(now), wanted.password) {
            (true, _) => false,
            (false, Some(password)) => {
                self.prove_own(&caller.user, password, from).await?;
                true
            }
            (false, None) => return Err(password_needed()),
        };
        let (token, sha256, prefix) = mint(token::PERSONAL);
        let record = UserTokenRecord {
            id: uuid::Uuid::now_v7().to_string(),
            name,
            prefix,
            created_at: now,
            expires_at: wanted
                .expires_in_days
                .map(|days| now.plus_millis(days * DAY_MILLIS)),
            last_used_at: None,
        };
        let (id, user) = (record.id.clone(), caller.user.clone());
        let add = move |tx: &mut dyn Tx| {
            if is_proved {
                attempt::clear(tx, &user.email, &from.counted())?;
            }
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

    /// The user of that id and their tokens, for an ADMIN.
    pub async fn tokens_of(&self, user_id: &str) -> Result<(User, Vec<PersonalToken>), ApiError> {
        let id = known_form(user_id)?;
        let find = move |tx: &mut dyn Tx| {
            let account = user::find(tx, &id)?.ok_or_else(no_user)?;
            Ok((account.user, user_token::list(tx, &id)?))
        };
        let (user, records) = self.inner.store.read::<_, ApiError>(find).await?;
        let tokens = records.into_iter().map(|record| self.shown(record));
        Ok((User::from_record(user)?, tokens.collect()))
    }

    /// Revokes one of the user's own tokens: the very next call with it is a 401. 404 for anybody
    /// else's.
    pub async fn revoke_token(&self, user: &User, id: &str) -> Result<(), ApiError> {
        self.revoke_token_of(user, &user.id, id).await
    }

    /// Revokes a token of that user on behalf of `actor`, who may: the very next call with it is a
    /// 401.
    pub async fn revoke_token_of(
        &self,
        actor: &User,
        user_id: &str,
        id: &str,
    ) -> Result<(), ApiError> {
        let missing = || ApiError::not_found("token_not_found", "Token not found");
        let user_id = known_form(user_id)?;
        let id = uuid::Uuid::try_parse(id).map_err(|_| missing())?;
        let actor = actor.clone();
        let revoke = move |tx: &mut dyn Tx| {
            let owner = user::find(tx, &user_id)?.ok_or_else(no_user)?.user;
            let name = user_token::delete(tx, &id.to_string(), &owner.id)?.ok_or_else(missing)?;
            tx.publish(Change::Credentials);
            let detail = match owner.id == actor.id {
                true => name,
                false => format!("{name}, of {}", owner.email),
            };
            audit::insert(tx, Entry::by(&actor.email, "token.revoke").saying(&detail))?;
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
