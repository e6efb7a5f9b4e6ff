//! The first user, and those who come by themselves where that is allowed.

use subtle::ConstantTimeEq;

use super::password::check_password;
use super::role::Role;
use super::token::random_bytes;
use super::user::{User, check_email, check_name, name_from_email};
use super::{Auth, ClientAddress, session};
use crate::clock;
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::user::Account;
use crate::store::{Tx, user};

/// Without letters and digits that look alike: 32 of them, so a byte picks one evenly.
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

/// Whether `typed` is the code; case, dashes and spaces don't matter. In the same time for every
/// difference.
fn is_setup_code(typed: &str, code: &str) -> bool {
    let bare = |text: &str| -> String {
        let wanted = text.chars().filter(|c| *c != '-' && !c.is_whitespace());
        wanted.map(|c| c.to_ascii_uppercase()).collect()
    };
    bare(typed).as_bytes().ct_eq(bare(code).as_bytes()).into()
}

/// Which role a newcomer gets, given how many users there are. 403 for those who get none.
fn role_of_newcomer(users: u64, is_code: bool, is_public: bool) -> Result<Role, ApiError> {
    match (users, is_code, is_public) {
        (0, true, _) => Ok(Role::Admin),
        (0, false, _) => Err(ApiError::new(
            axum::http::StatusCode::FORBIDDEN,
            "setup_code",
            "The first user needs the setup code that the server printed at its start",
        )),
        (_, _, true) => Ok(Role::Pending),
        (_, _, false) => Err(ApiError::new(
            axum::http::StatusCode::FORBIDDEN,
            "registration_closed",
            "Registration is closed; ask an ADMIN for an account",
        )),
    }
}

/// What somebody fills in who wants an account.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// As typed.
    pub email: String,
    /// 10 to 1,024 characters.
    pub password: String,
    /// `None`, or blank: the email's part before the `@`.
    pub name: Option<String>,
    /// For the first user alone.
    pub setup_code: Option<String>,
}

/// A user to be, all but the hash checked.
pub(super) struct Checked {
    pub(super) email: String,
    pub(super) name: String,
}

/// Checks email, password and name; faults go to `faults`.
pub(super) fn check(
    email: &str,
    password: &str,
    name: Option<&str>,
    faults: &mut FieldErrors,
) -> Checked {
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
    Checked { email, name }
}

/// Checks a whole registration; a 400 names every field at fault.
fn check_all(wanted: &Registration) -> Result<Checked, ApiError> {
    let mut faults = FieldErrors::default();
    let name = wanted.name.as_deref();
    let checked = check(&wanted.email, &wanted.password, name, &mut faults);
    faults.into_result()?;
    Ok(checked)
}

/// Adds a user; 409 when the email is taken.
pub(super) fn insert(
    tx: &mut dyn Tx,
    checked: Checked,
    role: Role,
    password_hash: String,
) -> Result<(User, Account), ApiError> {
    let user = User {
        id: uuid::Uuid::now_v7().to_string(),
        email: checked.email,
        name: checked.name,
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
    /// The code that the first user needs; made anew at each start, unless several servers must
    /// print the same one.
    pub fn setup_code(&self) -> &str {
        &self.inner.setup_code
    }

    /// Whether there is anybody yet.
    pub async fn has_users(&self) -> Result<bool, ApiError> {
        Ok(self.inner.store.read(user::count).await? > 0)
    }

    /// Makes an account and starts a session: ADMIN for the first user, who needs the setup code;
    /// afterwards PENDING where registration is public, else 403. Of two first users at once one
    /// wins.
    pub async fn register(
        &self,
        wanted: Registration,
        from: ClientAddress,
    ) -> Result<(String, User), ApiError> {
        let is_public = self.inner.config.allow_public_registration;
        let typed = wanted.setup_code.as_deref().unwrap_or_default();
        let users = self.inner.store.read(user::count).await?;
        let is_code = if users == 0 && !typed.is_empty() {
            self.guess_setup_code(typed, from).await?
        } else {
            false
        };
        role_of_newcomer(users, is_code, is_public)?;
        let checked = check_all(&wanted)?;
        let hash = self.hash_for_stranger(&wanted.password, from).await?;
        let add = move |tx: &mut dyn Tx| {
            user::lock_first(tx)?;
            let role = role_of_newcomer(user::count(tx)?, is_code, is_public)?;
            let (user, account) = insert(tx, checked, role, hash)?;
            let token = session::start(tx, &account)?.ok_or_else(|| {
                ApiError::internal("a user is gone in the transaction that added it")
            })?;
            let detail = format!("as {role}, from {}", from.0);
            audit::insert(tx, Entry::by(&user.email, "user.register").saying(&detail))?;
            Ok((token, user))
        };
        let (token, user) = self.inner.store.write::<_, ApiError>(add).await?;
        self.note_familiar(&user.email, from);
        Ok((token, user))
    }

    /// Whether that is the setup code; a 429 after ten wrong ones within a minute.
    async fn guess_setup_code(&self, typed: &str, from: ClientAddress) -> Result<bool, ApiError> {
        let guess = self.guess("setup", from).await?;
        let is_code = is_setup_code(typed, &self.inner.setup_code);
        if is_code {
            self.was_right(guess).await?;
        }
        Ok(is_code)
    }

    /// Makes the first ADMIN where there are no users yet (`HYPRBOX_ADMIN_EMAIL`,
    /// `HYPRBOX_ADMIN_PASSWORD`) and says whether it did. A 400 for values that can't be used, in
    /// that case alone.
    pub async fn ensure_admin(&self, email: &str, password: &str) -> Result<bool, ApiError> {
        if self.has_users().await? {
            return Ok(false);
        }
        let wanted = Registration {
            email: email.to_owned(),
            password: password.to_owned(),
            ..Registration::default()
        };
        let checked = check_all(&wanted)?;
        let hash = self.hash(&wanted.password).await?;
        let add = move |tx: &mut dyn Tx| {
            user::lock_first(tx)?;
            if user::count(tx)? > 0 {
                return Ok(false);
            }
            let (user, _) = insert(tx, checked, Role::Admin, hash)?;
            let detail = format!("{} as ADMIN", user.email);
            audit::insert(tx, Entry::by("server", "user.add").saying(&detail))?;
            Ok(true)
        };
        self.inner.store.write::<_, ApiError>(add).await
    }

    /// The hash of a password that was checked.
    pub(super) async fn hash(&self, password: &str) -> Result<String, ApiError> {
        let turn = self.inner.passwords.turn(None).await?;
        turn.hash(password.to_owned()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_readable_and_forgiving() {
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
    fn newcomers() {
        let role = |users, code, public| role_of_newcomer(users, code, public).ok();
        assert_eq!(role(0, true, false), Some(Role::Admin));
        assert_eq!(role(0, false, false), None);
        assert_eq!(
            role(0, false, true),
            None,
            "the first one needs the code in any case"
        );
        assert_eq!(role(0, true, true), Some(Role::Admin));
        assert_eq!(role(1, true, false), None);
        assert_eq!(role(1, true, true), Some(Role::Pending));
        assert_eq!(role(1, false, true), Some(Role::Pending));
    }

    #[test]
    fn all_faults_at_once() {
        let mut faults = FieldErrors::default();
        check("nobody", "short", Some("a\0b"), &mut faults);
        let error = faults.into_result().expect_err("three faults");
        let fields: Vec<&str> = error.fields.keys().map(String::as_str).collect();
        assert_eq!(fields, ["email", "name", "password"]);
    }
}
