//! Users, as an ADMIN manages them. The last ADMIN stays one.

use super::password::check_password;
use super::register::{check, insert};
use super::role::Role;
use super::user::User;
use super::{Auth, ClientAddress};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::{Change, StoreError, Tx, attempt, session, user, user_token};

/// A user to add.
#[derive(Debug, Clone, Default)]
pub struct NewUser {
    /// As typed.
    pub email: String,
    /// 10 to 1,024 characters.
    pub password: String,
    /// `None`, or blank: the email's part before the `@`.
    pub name: Option<String>,
    /// `PENDING`, `VIEWER`, `OPERATOR` or `ADMIN`.
    pub role: String,
}

/// What to change of a user.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// Another role.
    pub role: Option<String>,
    /// Another password.
    pub password: Option<String>,
    /// The password of today, which an ADMIN needs to change their own.
    pub old_password: Option<String>,
}

/// The actor of what was done on the server's machine, past the server.
const COMMAND_LINE: &str = "hyprbox admin";

const ROLES: &str = "must be PENDING, VIEWER, OPERATOR or ADMIN";

impl Auth {
    /// Everybody, in the order in which they came.
    pub async fn users(&self) -> Result<Vec<User>, ApiError> {
        let records = self.inner.store.read(user::list).await?;
        records.into_iter().map(User::from_record).collect()
    }

    /// Adds a user.
    pub async fn add_user(&self, admin: &User, wanted: NewUser) -> Result<User, ApiError> {
        let mut faults = FieldErrors::default();
        let name = wanted.name.as_deref();
        let checked = check(&wanted.email, &wanted.password, name, &mut faults);
        let role = Role::parse(&wanted.role);
        faults.check(role.is_some(), "role", ROLES);
        faults.into_result()?;
        let role = role.unwrap_or(Role::Pending);
        let hash = self.hash(&wanted.password).await?;
        let actor = admin.email.clone();
        let add = move |tx: &mut dyn Tx| {
            let (user, _) = insert(tx, checked, role, hash)?;
            let detail = format!("{} as {role}", user.email);
            audit::insert(tx, Entry::by(&actor, "user.add").saying(&detail))?;
            Ok(user)
        };
        self.inner.store.write::<_, ApiError>(add).await
    }

    /// Changes a user's role, password or both, and ends their sessions; with the password their
    /// personal tokens are revoked too. 409 when that would leave no ADMIN. One's own password
    /// needs the old one.
    pub async fn change_user(
        &self,
        admin: &User,
        id: &str,
        change: UserChange,
        from: ClientAddress,
    ) -> Result<User, ApiError> {
        let id = known_form(id)?;
        let is_own_password = id == admin.id && change.password.is_some();
        let role = check_change(&change, is_own_password)?;
        if is_own_password {
            let old = change.old_password.as_deref().unwrap_or_default();
            self.prove_own(admin, old, from).await?;
        }
        let hash = match &change.password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let actor = admin.email.clone();
        let apply = move |tx: &mut dyn Tx| {
            // Before the users are locked, as a sign-in does it, so that neither waits for the
            // other.
            if is_own_password {
                attempt::clear(tx, &actor, &from.counted())?;
            }
            let admins = user::lock_admins(tx)?;
            let before = user::find(tx, &id)?.ok_or_else(no_user)?.user;
            if let Some(role) = role {
                refuse_last_admin(&admins, &id, role)?;
                user::set_role(tx, &id, role.as_str())?;
            }
            if let Some(hash) = &hash {
                user::set_password(tx, &id, hash)?;
                user_token::delete_of_user(tx, &id)?;
            }
            void_sessions(tx, &id)?;
            let detail = describe(&before.email, &before.role, role, hash.is_some());
            audit::insert(tx, Entry::by(&actor, "user.change").saying(&detail))?;
            let after = user::find(tx, &id)?.ok_or_else(no_user)?.user;
            User::from_record(after)
        };
        self.inner.store.write(apply).await
    }

    /// Sets a user's password without anybody's leave but that of whoever can open the database;
    /// their sessions end, and their personal tokens are revoked.
    pub async fn reset_password(&self, id: &str, password: &str) -> Result<(), ApiError> {
        let hash = self.hash(password).await?;
        let id = known_form(id)?;
        let reset = move |tx: &mut dyn Tx| {
            let before = user::find(tx, &id)?.ok_or_else(no_user)?.user;
            user::set_password(tx, &id, &hash)?;
            user_token::delete_of_user(tx, &id)?;
            void_sessions(tx, &id)?;
            let detail = describe(&before.email, &before.role, None, true);
            audit::insert(tx, Entry::by(COMMAND_LINE, "user.change").saying(&detail))?;
            Ok(())
        };
        self.inner.store.write::<_, ApiError>(reset).await
    }

    /// Removes a user, with their sessions and tokens; their jobs stay. 409 for the last ADMIN.
    pub async fn remove_user(&self, admin: &User, id: &str) -> Result<(), ApiError> {
        let (id, actor) = (known_form(id)?, admin.email.clone());
        let remove = move |tx: &mut dyn Tx| {
            let admins = user::lock_admins(tx)?;
            let before = user::find(tx, &id)?.ok_or_else(no_user)?.user;
            refuse_last_admin(&admins, &id, Role::Pending)?;
            user::delete(tx, &id)?;
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
        faults.add("role", "is needed, or password");
    }
    faults.check(
        !is_own_password || change.old_password.is_some(),
        "oldPassword",
        "is needed to change your own password",
    );
    faults.into_result()?;
    Ok(role.flatten())
}

/// A 409 when `id` is the only ADMIN and is to become something else.
fn refuse_last_admin(admins: &[String], id: &str, becomes: Role) -> Result<(), ApiError> {
    let is_last = admins.len() == 1 && admins.iter().all(|admin| admin == id);
    if is_last && becomes != Role::Admin {
        return Err(ApiError::conflict(
            "last_admin",
            "This is the last ADMIN; make somebody else one first",
        ));
    }
    Ok(())
}

fn void_sessions(tx: &mut dyn Tx, user_id: &str) -> Result<(), StoreError> {
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

/// An id in the form in which ids are stored; what is none names nobody.
pub(super) fn known_form(id: &str) -> Result<String, ApiError> {
    let id = uuid::Uuid::try_parse(id).map_err(|_| no_user())?;
    Ok(id.to_string())
}

pub(super) fn no_user() -> ApiError {
    ApiError::not_found("user_not_found", "User not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_admin_stays() {
        let (one, two) = (["a".to_owned()], ["a".to_owned(), "b".to_owned()]);
        assert!(refuse_last_admin(&one, "a", Role::Operator).is_err());
        assert!(refuse_last_admin(&one, "a", Role::Admin).is_ok());
        assert!(refuse_last_admin(&one, "b", Role::Viewer).is_ok());
        assert!(refuse_last_admin(&two, "a", Role::Pending).is_ok());
    }

    #[test]
    fn a_change_changes_something() {
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
    fn changes_in_words() {
        let words = describe("a@b", "VIEWER", Some(Role::Admin), true);
        assert_eq!(words, "a@b: role VIEWER → ADMIN, password");
    }
}
