//! Personal tokens: for scripts and CI, with their user's role.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::people::{canonical_id, user_not_found};
use super::token::{self, mint};
use super::user::{User, check_name};
use super::{Auth, Caller, ClientAddress, Credential};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::id::{TokenId, UserId};
use crate::store::user_token::{self, UserTokenRecord};
use crate::store::{Change, Tx, attempt, user};

/// Longest validity of a token, in days. Without a number it is valid until it is revoked.
const DAYS_MAX: i64 = 3_650;
const DAY_MILLIS: i64 = 24 * 3_600 * 1_000;
/// For this long after a sign-in, a token is created without the password: 15 minutes.
const RECENT_MILLIS: i64 = 15 * 60 * 1_000;

/// A personal token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonalToken {
    /// UUIDv7.
    pub id: String,
    /// What its user calls it.
    pub name: String,
    /// The first characters, to distinguish tokens.
    pub prefix: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires; null: never.
    #[schema(required = true)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute; null: never.
    #[schema(required = true)]
    pub last_used_at: Option<Timestamp>,
}

/// A token to create.
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
    /// Whether the caller signed in recently enough to create a token without the password.
    pub fn is_recent(&self, now: Timestamp) -> bool {
        now.millis_since(self.since).abs() < RECENT_MILLIS
    }
}

fn password_needed() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "password_needed",
        "You signed in more than 15 minutes ago: send your password again",
    )
    .with_field("password", "is required")
}

impl Auth {
    /// Creates a token and returns its id and the token itself, which is not stored. A 403
    /// `password_needed` if the caller signed in too long ago and sent no password: somebody who
    /// finds a browser open must not get a permanent key.
    pub async fn add_token(
        &self,
        caller: &Caller,
        token: NewToken<'_>,
        from: ClientAddress,
    ) -> Result<(String, String), ApiError> {
        let name = check(token.name, token.expires_in_days)?;
        let now = clock::now();
        let used_password = match (caller.is_recent(now), token.password) {
            (true, _) => false,
            (false, Some(password)) => {
                self.verify_own_password(&caller.user, password, from)
                    .await?;
                true
            }
            (false, None) => return Err(password_needed()),
        };
        let days = token.expires_in_days;
        let (token, sha256, prefix) = mint(token::PERSONAL);
        let record = UserTokenRecord {
            id: uuid::Uuid::now_v7().to_string(),
            name,
            prefix,
            created_at: now,
            expires_at: days.map(|days| now.plus_millis(days * DAY_MILLIS)),
            last_used_at: None,
        };
        let (id, user) = (record.id.clone(), caller.user.clone());
        let add = move |tx: &mut dyn Tx| {
            if used_password {
                attempt::clear(tx, &user.email, &from.attempt_key())?;
            }
            // The user may have been removed since the request was authenticated.
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
            .map(|record| self.view(record))
            .collect())
    }

    /// A user and their tokens, for an ADMIN.
    pub async fn tokens_of(&self, user_id: &str) -> Result<(User, Vec<PersonalToken>), ApiError> {
        let id = canonical_id(user_id)?;
        let find = move |tx: &mut dyn Tx| {
            let account = user::find(tx, &id)?.ok_or_else(user_not_found)?;
            Ok((account.user, user_token::list(tx, &id)?))
        };
        let (user, records) = self.inner.store.read::<_, ApiError>(find).await?;
        let tokens = records.into_iter().map(|record| self.view(record));
        Ok((User::from_record(user)?, tokens.collect()))
    }

    /// Revokes one of the user's own tokens: the next call with it is a 401. A 404 for anybody
    /// else's token.
    pub async fn revoke_token(&self, user: &User, id: &str) -> Result<(), ApiError> {
        self.revoke_token_of(user, UserId(&user.id), TokenId(id))
            .await
    }

    /// Revokes a user's token on behalf of `actor`, whose role was checked: the next call with it
    /// is a 401.
    pub async fn revoke_token_of(
        &self,
        actor: &User,
        user_id: UserId<&str>,
        id: TokenId<&str>,
    ) -> Result<(), ApiError> {
        let missing = || ApiError::not_found("token_not_found", "Token not found");
        let user_id = canonical_id(user_id.0)?;
        let id = uuid::Uuid::try_parse(id.0).map_err(|_| missing())?;
        let actor = actor.clone();
        let revoke = move |tx: &mut dyn Tx| {
            let owner = user::find(tx, &user_id)?.ok_or_else(user_not_found)?.user;
            let name = user_token::delete(tx, TokenId(&id.to_string()), UserId(&owner.id))?
                .ok_or_else(missing)?;
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

    fn view(&self, record: UserTokenRecord) -> PersonalToken {
        let pending = self.last_used(&Credential::UserToken(record.id.clone()));
        PersonalToken {
            id: record.id,
            name: record.name,
            prefix: record.prefix,
            created_at: record.created_at,
            expires_at: record.expires_at,
            last_used_at: pending.or(record.last_used_at),
        }
    }
}

fn check(name: &str, expires_in_days: Option<i64>) -> Result<String, ApiError> {
    let mut faults = FieldErrors::default();
    let name = check_name(name).and_then(|name| match name.as_str() {
        "" => Err("is required, to distinguish tokens"),
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
    fn a_token_has_a_name_and_may_expire() {
        assert_eq!(check(" ci ", None).ok().as_deref(), Some("ci"));
        assert!(check("ci", Some(1)).is_ok());
        assert!(check("ci", Some(3_650)).is_ok());
        for days in [i64::MIN, -1, 0, 3_651, i64::MAX] {
            assert!(check("ci", Some(days)).is_err(), "{days}");
        }
        assert_eq!(check(" ", Some(0)).expect_err("both").fields.len(), 2);
    }
}
