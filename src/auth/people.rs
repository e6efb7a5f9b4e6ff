//! User management by an ADMIN. The last ADMIN can't be removed or demoted.

use serde::Deserialize;

use super::password::check_password;
use super::register::{check_account, insert_account};
use super::role::Role;
use super::user::User;
use super::{Auth, ClientAddress};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::{Change, StoreError, Tx, attempt, schedule, session, user, user_token};

/// A user to add.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewUser {
    /// At most 254 characters; stored in lower case.
    #[serde(default)]
    #[schema(required = true, format = "email", max_length = 254)]
    pub email: String,
    /// 10 to 1,024 characters.
    #[serde(default)]
    #[schema(required = true, min_length = 10, max_length = 1024)]
    pub password: String,
    /// At most 255 characters; without it, the email's part before the `@`.
    #[schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub name: Option<String>,
    // Text, so that a wrong role is reported together with the other wrong fields.
    #[serde(default)]
    #[schema(required = true, value_type = Role)]
    pub role: String,
}

/// Changes to a user; at least a role or a password.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserChange {
    #[schema(value_type = Option<Role>)]
    pub role: Option<String>,
    /// 10 to 1,024 characters.
    #[schema(min_length = 10, max_length = 1024)]
    pub password: Option<String>,
    /// The ADMIN's current password; required to change their own.
    pub old_password: Option<String>,
}

/// Actor of changes made on the server's machine by the command line.
const COMMAND_LINE: &str = "hyprbox admin";

const ROLES: &str = "must be PENDING, VIEWER, OPERATOR or ADMIN";

impl Auth {
    /// All users, oldest first.
    pub async fn users(&self) -> Result<Vec<User>, ApiError> {
        let records = self.inner.store.read(user::list).await?;
        records.into_iter().map(User::from_record).collect()
    }

    /// Adds a user.
    pub async fn add_user(&self, admin: &User, new: NewUser) -> Result<User, ApiError> {
        let mut faults = FieldErrors::default();
        let name = new.name.as_deref();
        let account = check_account(&new.email, &new.password, name, &mut faults);
        let role = Role::parse(&new.role);
        faults.check(role.is_some(), "role", ROLES);
        faults.into_result()?;
        let role = role.unwrap_or(Role::Pending);
        let hash = self.hash(&new.password).await?;
        let actor = admin.email.clone();
        let add = move |tx: &mut dyn Tx| {
            let (user, _) = insert_account(tx, account, role, hash)?;
            let detail = format!("{} as {role}", user.email);
            audit::insert(tx, Entry::by(&actor, "user.add").saying(&detail))?;
            Ok(user)
        };
        self.inner.store.write::<_, ApiError>(add).await
    }

    /// Changes a user's role, password or both, and ends their sessions. A new password also
    /// revokes their personal tokens. A 409 if no ADMIN would be left. An ADMIN who changes their
    /// own password must send the old one.
    pub async fn change_user(
        &self,
        admin: &User,
        id: &str,
        change: UserChange,
        from: ClientAddress,
    ) -> Result<User, ApiError> {
        let id = canonical_id(id)?;
        let is_own_password = id == admin.id && change.password.is_some();
        let role = check_change(&change, is_own_password)?;
        if is_own_password {
            let old = change.old_password.as_deref().unwrap_or_default();
            self.verify_own_password(admin, old, from).await?;
        }
        let hash = match &change.password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let actor = admin.email.clone();
        let apply = move |tx: &mut dyn Tx| {
            // Before the users are locked, in the order of a sign-in: another order could deadlock.
            if is_own_password {
                attempt::clear(tx, &actor, &from.attempt_key())?;
            }
            let admins = user::lock_admins(tx)?;
            let before = user::find(tx, &id)?.ok_or_else(user_not_found)?.user;
            if let Some(role) = role {
                refuse_last_admin(&admins, &id, role)?;
                user::set_role(tx, &id, role.as_str())?;
                if role < Role::Operator {
                    pause_schedules(tx, &id, &before.email)?;
                }
            }
            if let Some(hash) = &hash {
                user::set_password(tx, &id, hash)?;
                user_token::delete_of_user(tx, &id)?;
            }
            end_sessions(tx, &id)?;
            let detail = describe(&before.email, &before.role, role, hash.is_some());
            audit::insert(tx, Entry::by(&actor, "user.change").saying(&detail))?;
            let after = user::find(tx, &id)?.ok_or_else(user_not_found)?.user;
            User::from_record(after)
        };
        self.inner.store.write(apply).await
    }

    /// Sets a user's password without authentication, for somebody who can open the database. Ends
    /// their sessions and revokes their personal tokens.
    pub async fn reset_password(&self, id: &str, password: &str) -> Result<(), ApiError> {
        let hash = self.hash(password).await?;
        let id = canonical_id(id)?;
        let reset = move |tx: &mut dyn Tx| {
            let before = user::find(tx, &id)?.ok_or_else(user_not_found)?.user;
            user::set_password(tx, &id, &hash)?;
            user_token::delete_of_user(tx, &id)?;
            end_sessions(tx, &id)?;
            let detail = describe(&before.email, &before.role, None, true);
            audit::insert(tx, Entry::by(COMMAND_LINE, "user.change").saying(&detail))?;
            Ok(())
        };
        self.inner.store.write::<_, ApiError>(reset).await
    }

    /// Removes a user, their sessions and their tokens; their jobs stay. A 409 for the last ADMIN.
    pub async fn remove_user(&self, admin: &User, id: &str) -> Result<(), ApiError> {
        let (id, actor) = (canonical_id(id)?, admin.email.clone());
        let remove = move |tx: &mut dyn Tx| {
            let admins = user::lock_admins(tx)?;
            let before = user::find(tx, &id)?.ok_or_else(user_not_found)?.user;
            refuse_last_admin(&admins, &id, Role::Pending)?;
            user::delete(tx, &id)?;
            pause_schedules(tx, &id, &before.email)?;
            tx.publish(Change::Credentials);
            audit::insert(tx, Entry::by(&actor, "user.remove").saying(&before.email))?;
            Ok(())
        };
        self.inner.store.write::<_, ApiError>(remove).await
    }
}

fn check_change(change: &UserChange, is_own_password: bool) -> Result<Option<Role>, ApiError> {
    let mut faults = FieldErrors::default();
    if let Some(Err(fault)) = change.password.as_deref().map(check_password) {
        faults.add("password", fault);
    }
    let role = change.role.as_deref().map(Role::parse);
    faults.check(role != Some(None), "role", ROLES);
    if change.role.is_none() && change.password.is_none() {
        faults.add("role", "is required, or password");
    }
    faults.check(
        !is_own_password || change.old_password.is_some(),
        "oldPassword",
        "is required to change your own password",
    );
    faults.into_result()?;
    Ok(role.flatten())
}

/// A 409 if `id` is the only ADMIN and `new_role` is another role.
fn refuse_last_admin(admins: &[String], id: &str, new_role: Role) -> Result<(), ApiError> {
    let is_last = admins.len() == 1 && admins.iter().all(|admin| admin == id);
    if is_last && new_role != Role::Admin {
        return Err(ApiError::conflict(
            "last_admin",
            "This is the last ADMIN; make another user ADMIN first",
        ));
    }
    Ok(())
}

/// Why a schedule is paused whose maker may no longer queue.
pub fn maker_gone(email: &str) -> String {
    format!("its maker, {email}, may no longer queue; an OPERATOR who resumes it becomes its maker")
}

/// Pauses the schedules that act with a user's rights.
fn pause_schedules(tx: &mut dyn Tx, user_id: &str, email: &str) -> Result<(), StoreError> {
    let because = maker_gone(email);
    if schedule::pause_of_user(tx, user_id, &because)? > 0 {
        audit::insert(tx, Entry::by("server", "schedule.pause").saying(&because))?;
    }
    Ok(())
}

fn end_sessions(tx: &mut dyn Tx, user_id: &str) -> Result<(), StoreError> {
    session::delete_of_user(tx, user_id)?;
    tx.publish(Change::Credentials);
    Ok(())
}

fn describe(email: &str, before: &str, role: Option<Role>, password: bool) -> String {
    let role = role.map(|role| format!("role {before} → {role}"));
    let password = password.then(|| "password".to_owned());
    let changed: Vec<String> = role.into_iter().chain(password).collect();
    format!("{email}: {}", changed.join(", "))
}

/// The id as it is stored; a 404 for a text that is not an id.
pub(super) fn canonical_id(id: &str) -> Result<String, ApiError> {
    let id = uuid::Uuid::try_parse(id).map_err(|_| user_not_found())?;
    Ok(id.to_string())
}

pub(super) fn user_not_found() -> ApiError {
    ApiError::not_found("user_not_found", "User not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_admin_cannot_be_demoted() {
        let (one, two) = (["a".to_owned()], ["a".to_owned(), "b".to_owned()]);
        assert!(refuse_last_admin(&one, "a", Role::Operator).is_err());
        assert!(refuse_last_admin(&one, "a", Role::Admin).is_ok());
        assert!(refuse_last_admin(&one, "b", Role::Viewer).is_ok());
        assert!(refuse_last_admin(&two, "a", Role::Pending).is_ok());
    }

    #[test]
    fn an_empty_change_is_refused() {
        let change = |role: Option<&str>, password: Option<&str>| {
            let change = UserChange {
                role: role.map(str::to_owned),
                password: password.map(str::to_owned),
                old_password: None,
            };
            check_change(&change, false)
        };
        assert_eq!(change(Some("VIEWER"), None).ok(), Some(Some(Role::Viewer)));
        assert_eq!(change(None, Some("long enough")).ok(), Some(None));
        assert!(change(None, None).is_err());
        let error = change(Some("viewer"), Some("short")).expect_err("two faults");
        assert_eq!(error.fields.len(), 2);
    }

    #[test]
    fn changes_are_described() {
        let words = describe("a@b", "VIEWER", Some(Role::Admin), true);
        assert_eq!(words, "a@b: role VIEWER → ADMIN, password");
    }
}
