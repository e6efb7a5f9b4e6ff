//! Registration: of the first user, and of anybody if that is allowed.

use serde::Deserialize;

use super::password::check_password;
use super::role::Role;
use super::user::{User, check_email, check_name, name_from_email};
use super::{Auth, ClientAddress, session};
use crate::clock;
use crate::crypto::{is_same_secret, random_bytes};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::user::Account;
use crate::store::{Tx, user};

/// Letters and digits that don't look alike. There are 32, so that each is equally likely for a
/// random byte.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Sixteen characters in four groups: 80 bits.
pub(super) fn new_setup_code() -> String {
    setup_code_of(random_bytes())
}

pub(super) fn setup_code_of(bytes: [u8; 16]) -> String {
    let picks = bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let groups: Vec<String> = picks
        .chunks(4)
        .map(|group| group.iter().collect())
        .collect();
    groups.join("-")
}

/// Whether `typed` is the code, in constant time; case, dashes and spaces don't matter.
fn is_setup_code(typed: &str, code: &str) -> bool {
    let bare = |text: &str| -> String {
        let wanted = text.chars().filter(|c| *c != '-' && !c.is_whitespace());
        wanted.map(|c| c.to_ascii_uppercase()).collect()
    };
    is_same_secret(bare(typed).as_bytes(), bare(code).as_bytes())
}

/// The role of a new user, given how many users there are, or a 403.
fn role_of_new_user(users: u64, is_code: bool, is_public: bool) -> Result<Role, ApiError> {
    match (users, is_code, is_public) {
        (0, true, _) => Ok(Role::Admin),
        (0, false, _) => Err(ApiError::new(
            axum::http::StatusCode::FORBIDDEN,
            "setup_code",
            "The first user needs the setup code that the server printed at startup",
        )),
        (_, _, true) => Ok(Role::Pending),
        (_, _, false) => Err(ApiError::new(
            axum::http::StatusCode::FORBIDDEN,
            "registration_closed",
            "Registration is closed; ask an ADMIN for an account",
        )),
    }
}

/// A request for an account.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
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
    /// For the first user: the code that the server printed at startup.
    pub setup_code: Option<String>,
}

/// The checked email and name of a new user.
pub(super) struct NewAccount {
    pub(super) email: String,
    pub(super) name: String,
}

/// Checks email, password and name, and adds what is wrong to `faults`.
pub(super) fn check_account(
    email: &str,
    password: &str,
    name: Option<&str>,
    faults: &mut FieldErrors,
) -> NewAccount {
    let mut or_fault = |field: &str, checked: Result<String, &'static str>| {
        checked.unwrap_or_else(|fault| {
            faults.add(field, fault);
            String::new()
        })
    };
    let email = or_fault("email", check_email(email));
    let name = or_fault("name", check_name(name.unwrap_or_default()));
    or_fault("password", check_password(password).map(|()| String::new()));
    let name = if name.is_empty() {
        name_from_email(&email)
    } else {
        name
    };
    NewAccount { email, name }
}

/// Checks a registration; a 400 names every wrong field.
fn check_registration(wanted: &Registration) -> Result<NewAccount, ApiError> {
    let mut faults = FieldErrors::default();
    let name = wanted.name.as_deref();
    let account = check_account(&wanted.email, &wanted.password, name, &mut faults);
    faults.into_result()?;
    Ok(account)
}

/// Adds a user; a 409 if the email is taken.
pub(super) fn insert_account(
    tx: &mut dyn Tx,
    account: NewAccount,
    role: Role,
    password_hash: String,
) -> Result<(User, Account), ApiError> {
    let user = User {
        id: uuid::Uuid::now_v7().to_string(),
        email: account.email,
        name: account.name,
        role,
        created_at: clock::now(),
    };
    let record = user.to_record();
    if !user::insert(tx, &record, &password_hash)? {
        const TAKEN: &str = "is taken by another user";
        return Err(
            ApiError::conflict("email_taken", format!("email: {TAKEN}")).with_field("email", TAKEN)
        );
    }
    let account = Account {
        user: record,
        password_hash,
    };
    Ok((user, account))
}

impl Auth {
    /// The code that the first user needs. It is new at each start, unless several servers share a
    /// database.
    pub fn setup_code(&self) -> &str {
        &self.inner.setup_code
    }

    /// Whether there are any users.
    pub async fn has_users(&self) -> Result<bool, ApiError> {
        Ok(self.inner.store.read(user::count).await? > 0)
    }

    /// Creates an account and starts a session. The first user needs the setup code and becomes
    /// ADMIN. After that, a new user is PENDING if registration is public, otherwise a 403. Of two
    /// concurrent first users, one wins.
    pub async fn register(
        &self,
        registration: Registration,
        from: ClientAddress,
    ) -> Result<(String, User), ApiError> {
        let is_public = self.inner.config.allow_public_registration;
        let typed = registration.setup_code.as_deref().unwrap_or_default();
        let users = self.inner.store.read(user::count).await?;
        let is_code = if users == 0 && !typed.is_empty() {
            self.verify_setup_code(typed, from).await?
        } else {
            false
        };
        role_of_new_user(users, is_code, is_public)?;
        let account = check_registration(&registration)?;
        let hash = self.hash_for_stranger(&registration.password, from).await?;
        let add = move |tx: &mut dyn Tx| {
            user::lock_first(tx)?;
            let role = role_of_new_user(user::count(tx)?, is_code, is_public)?;
            let (user, account) = insert_account(tx, account, role, hash)?;
            let token = session::start(tx, &account)?.ok_or_else(|| {
                ApiError::internal("a user is missing in the transaction that added it")
            })?;
            let detail = format!("as {role}, from {}", from.0);
            audit::insert(tx, Entry::by(&user.email, "user.register").saying(&detail))?;
            Ok((token, user))
        };
        let (token, user) = self.inner.store.write::<_, ApiError>(add).await?;
        self.remember_address(&user.email, from);
        Ok((token, user))
    }

    /// Whether `typed` is the setup code; a 429 after ten wrong ones within a minute.
    async fn verify_setup_code(&self, typed: &str, from: ClientAddress) -> Result<bool, ApiError> {
        let guess = self.record_guess("setup", from).await?;
        let is_code = is_setup_code(typed, &self.inner.setup_code);
        if is_code {
            self.accept_guess(guess).await?;
        }
        Ok(is_code)
    }

    /// Adds the first ADMIN (`HYPRBOX_ADMIN_EMAIL`, `HYPRBOX_ADMIN_PASSWORD`) and returns whether
    /// it did. If there are users already, it does not even check the values; otherwise bad values
    /// are a 400.
    pub async fn ensure_admin(&self, email: &str, password: &str) -> Result<bool, ApiError> {
        if self.has_users().await? {
            return Ok(false);
        }
        let registration = Registration {
            email: email.to_owned(),
            password: password.to_owned(),
            ..Registration::default()
        };
        let account = check_registration(&registration)?;
        let hash = self.hash(&registration.password).await?;
        let add = move |tx: &mut dyn Tx| {
            user::lock_first(tx)?;
            if user::count(tx)? > 0 {
                return Ok(false);
            }
            let (user, _) = insert_account(tx, account, Role::Admin, hash)?;
            let detail = format!("{} as ADMIN", user.email);
            audit::insert(tx, Entry::by("server", "user.add").saying(&detail))?;
            Ok(true)
        };
        self.inner.store.write::<_, ApiError>(add).await
    }

    /// Hashes a password that was checked.
    pub(super) async fn hash(&self, password: &str) -> Result<String, ApiError> {
        let turn = self.inner.passwords.turn(None).await?;
        turn.hash(password.to_owned()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setup_code_may_be_typed_in_any_case_and_grouping() {
        let code = new_setup_code();
        assert_eq!(code.len(), 19);
        assert_ne!(code, new_setup_code());
        assert!(is_setup_code(&code, &code));
        assert!(is_setup_code(&code.to_lowercase().replace('-', " "), &code));
        for wrong in ["", "AAAA-AAAA-AAAA-AAAA", &code[..18]] {
            assert!(!is_setup_code(wrong, &code), "{wrong}");
        }
    }

    #[test]
    fn roles_of_new_users() {
        let role = |users, code, public| role_of_new_user(users, code, public).ok();
        assert_eq!(role(0, true, false), Some(Role::Admin));
        assert_eq!(role(0, false, false), None);
        assert_eq!(
            role(0, false, true),
            None,
            "the first user always needs the code"
        );
        assert_eq!(role(0, true, true), Some(Role::Admin));
        assert_eq!(role(1, true, false), None);
        assert_eq!(role(1, true, true), Some(Role::Pending));
        assert_eq!(role(1, false, true), Some(Role::Pending));
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let mut faults = FieldErrors::default();
        check_account("nobody", "short", Some("a\0b"), &mut faults);
        let error = faults.into_result().expect_err("three faults");
        let fields: Vec<&str> = error.fields.keys().map(String::as_str).collect();
        assert_eq!(fields, ["email", "name", "password"]);
    }
}
