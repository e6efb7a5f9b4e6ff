//! Stored secrets: values that an ADMIN keeps sealed on the server, for jobs that nobody is there
//! to type a password for. A request names one as `{"secret": "name"}` in place of a value.

use axum::extract::State;
use axum::http::StatusCode;
use hyprbox_protocol::{Secrets, is_slug};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{JobError, Jobs};
use crate::audit::{self, Entry};
use crate::auth::{Admin, Operator, User};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, FieldErrors, JsonBody, Path};
use crate::presets::{CatalogEntry, ParamKind, Preset, check_secret};
use crate::store::sealed::SealedKind;
use crate::store::stored_secret::{self, SealedSecret, StoredSecret};
use crate::store::{Tx, schedule};

/// The key of a reference: `{"secret": "name"}`.
const REFERENCE: &str = "secret";
/// The most presets that may use one secret.
const PRESETS_MAX: usize = 100;
/// The key of the value among the sealed bytes.
const VALUE: &str = "value";

/// The body of `PUT /api/secrets/:name`.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct SetSecretRequest {
    /// 4 to 65,536 characters. The server never shows it again.
    pub value: String,
    /// The names of 1 to 100 presets, which may use it.
    #[schema(min_items = 1, max_items = 100)]
    pub presets: Vec<String>,
}

/// A stored secret. Its value is never shown.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredSecretView {
    /// The name by which params refer to it.
    pub name: String,
    /// The names of the presets that may use it.
    pub presets: Vec<String>,
    /// The email of the ADMIN who set it last.
    pub changed_by_email: String,
    /// When it was set last.
    pub changed_at: Timestamp,
}

/// All stored secrets.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StoredSecretList {
    /// By name.
    pub secrets: Vec<StoredSecretView>,
}

/// A preset that may use a secret: one of the same name and another origin may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedPreset {
    /// The preset's name.
    pub name: String,
    /// Its origin: `built-in`, `folder` or `app`.
    pub origin: String,
}

/// A stored secret as the pages show it: with the origins of its presets.
#[derive(Debug, Clone)]
pub struct StoredSecretDetail {
    /// The name by which params refer to it.
    pub name: String,
    /// The presets that may use it.
    pub presets: Vec<AllowedPreset>,
    /// The email of the ADMIN who set it last.
    pub changed_by_email: String,
    /// When it was set last.
    pub changed_at: Timestamp,
}

impl StoredSecretDetail {
    /// Whether this preset may use it.
    pub fn is_for(&self, entry: &CatalogEntry) -> bool {
        self.presets.contains(&AllowedPreset::of(entry))
    }
}

impl AllowedPreset {
    /// This preset, as a secret names it.
    pub fn of(entry: &CatalogEntry) -> Self {
        Self {
            name: entry.preset.name.clone(),
            origin: entry.origin.layer().to_owned(),
        }
    }
}

/// The stored secrets to which the params of a request refer, opened.
#[derive(Default)]
pub(super) struct OpenedSecrets(Vec<(String, Result<OpenedSecret, &'static str>)>);

struct OpenedSecret {
    value: String,
    presets: Vec<AllowedPreset>,
}

impl From<StoredSecret> for StoredSecretView {
    fn from(secret: StoredSecret) -> Self {
        let presets = allowed(&secret.presets).into_iter();
        Self {
            name: secret.name,
            presets: presets.map(|preset| preset.name).collect(),
            changed_by_email: secret.changed_by_email,
            changed_at: secret.changed_at,
        }
    }
}

fn allowed(json: &str) -> Vec<AllowedPreset> {
    serde_json::from_str(json).unwrap_or_default()
}

/// The name in a reference to a stored secret; `None` if the value is not a reference.
pub fn secret_name(value: &Value) -> Option<&str> {
    match value.as_object() {
        Some(object) if object.len() == 1 => object.get(REFERENCE)?.as_str(),
        _ => None,
    }
}

/// Refuses values of secret params that are not references to stored secrets, for work that is
/// kept.
pub fn refuse_literal_secrets(
    preset: &Preset,
    params: &Map<String, Value>,
    faults: &mut FieldErrors,
) {
    for param in &preset.params {
        let is_literal = params
            .get(&param.name)
            .is_some_and(|value| secret_name(value).is_none());
        faults.check(
            param.kind != ParamKind::Secret || !is_literal,
            &format!("params.{}", param.name),
            "must name a stored secret: {\"secret\": \"name\"}",
        );
    }
}

impl OpenedSecrets {
    /// Puts the values of stored secrets in the place of references, where the preset has a secret
    /// param.
    pub(super) fn resolve(
        &self,
        entry: &CatalogEntry,
        params: &mut Map<String, Value>,
        faults: &mut FieldErrors,
    ) -> Result<(), JobError> {
        let secret_params = entry
            .preset
            .params
            .iter()
            .filter(|param| param.kind == ParamKind::Secret);
        for param in secret_params {
            let Some(value) = params.get_mut(&param.name) else {
                continue;
            };
            let Some(name) = secret_name(value).map(str::to_owned) else {
                continue;
            };
            let opened = self.0.iter().find(|(known, _)| *known == name);
            let secret = match opened {
                Some((_, Ok(secret))) => secret,
                Some((_, Err(fault))) => {
                    let field = format!("params.{}", param.name);
                    faults.add(field, format!("names the stored secret {name:?}, {fault}"));
                    // A valid value, so that the reference has one fault.
                    *value = Value::from("unknown");
                    continue;
                }
                None => continue,
            };
            if !secret.presets.contains(&AllowedPreset::of(entry)) {
                return Err(JobError::SecretForbidden {
                    secret: name,
                    preset: entry.preset.name.clone(),
                });
            }
            *value = Value::from(secret.value.as_str());
        }
        Ok(())
    }
}

impl Jobs {
    /// Opens the stored secrets to which params refer.
    pub(super) async fn open_secrets(
        &self,
        params: &Map<String, Value>,
    ) -> Result<OpenedSecrets, JobError> {
        let names: Vec<String> = params
            .values()
            .filter_map(|value| secret_name(value).map(str::to_owned))
            .collect();
        if names.is_empty() {
            return Ok(OpenedSecrets::default());
        }
        let find = move |tx: &mut dyn Tx| {
            let mut found = Vec::with_capacity(names.len());
            for name in names {
                let sealed = stored_secret::find_sealed(tx, &name)?;
                found.push((name, sealed));
            }
            Ok::<_, JobError>(found)
        };
        let found = self.store.read(find).await?.into_iter();
        let open = |(name, sealed): (String, Option<SealedSecret>)| {
            let opened = match sealed {
                Some(sealed) => self.open_secret(&name, &sealed),
                None => Err("which does not exist"),
            };
            (name, opened)
        };
        Ok(OpenedSecrets(found.map(open).collect()))
    }

    fn open_secret(&self, name: &str, sealed: &SealedSecret) -> Result<OpenedSecret, &'static str> {
        let secrets = self.0.key.unseal(&context(name), &sealed.sealed);
        let value = secrets
            .ok()
            .and_then(|(secrets, _)| secrets.get(VALUE).cloned());
        Ok(OpenedSecret {
            value: value.ok_or("which can't be read with this server's key file: set it again")?,
            presets: allowed(&sealed.presets),
        })
    }

    /// All stored secrets, without their values.
    pub async fn stored_secrets(&self) -> Result<Vec<StoredSecretView>, JobError> {
        let secrets = self
            .store
            .read(|tx| Ok::<_, JobError>(stored_secret::list(tx)?))
            .await?;
        Ok(secrets.into_iter().map(StoredSecretView::from).collect())
    }

    /// All stored secrets with the origins of their presets.
    pub async fn stored_secret_details(&self) -> Result<Vec<StoredSecretDetail>, JobError> {
        let secrets = self
            .store
            .read(|tx| Ok::<_, JobError>(stored_secret::list(tx)?))
            .await?;
        let detail = |secret: StoredSecret| StoredSecretDetail {
            presets: allowed(&secret.presets),
            name: secret.name,
            changed_by_email: secret.changed_by_email,
            changed_at: secret.changed_at,
        };
        Ok(secrets.into_iter().map(detail).collect())
    }

    /// Stores a secret or replaces it; true if it is new.
    pub async fn set_secret(
        &self,
        admin: &User,
        name: String,
        request: SetSecretRequest,
    ) -> Result<(StoredSecretView, bool), JobError> {
        let mut faults = FieldErrors::default();
        faults.check(is_slug(&name), "name", NAME_RULE);
        if let Err(rule) = check_secret(&request.value) {
            faults.add("value", rule);
        }
        faults.check(
            (1..=PRESETS_MAX).contains(&request.presets.len()),
            "presets",
            "must name 1 to 100 presets",
        );
        let catalog = self.presets().await?;
        let mut presets: Vec<AllowedPreset> = Vec::new();
        for preset in request.presets.iter().take(PRESETS_MAX) {
            match catalog.get(preset) {
                Some(entry) if presets.iter().any(|known| known.name == entry.preset.name) => {}
                Some(entry) => presets.push(AllowedPreset::of(entry)),
                None => faults.add("presets", format!("names {preset:?}, which does not exist")),
            }
        }
        faults.into_faults().map_err(JobError::Fields)?;
        let value = Secrets::from_iter([(VALUE.to_owned(), request.value)]);
        let sealed = self.seal(&context(&name), &value)?.sealed;
        let sealed = sealed.ok_or(JobError::CantSeal)?;
        let secret = StoredSecret {
            name,
            presets: serde_json::to_string(&presets).map_err(|_| JobError::CantSeal)?,
            changed_by_email: admin.email.clone(),
            changed_at: clock::now(),
        };
        let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
        let detail = format!("{} for {}", secret.name, names.join(", "));
        let write = move |tx: &mut dyn Tx| {
            let is_new = stored_secret::set(tx, &secret, sealed)?;
            let entry = Entry::by(&secret.changed_by_email, "secret.set").saying(&detail);
            audit::record(tx, entry)?;
            Ok::<_, JobError>((StoredSecretView::from(secret), is_new))
        };
        self.store.write(write).await
    }

    /// Removes a secret that no schedule names.
    pub async fn remove_secret(&self, admin: &User, name: String) -> Result<(), JobError> {
        let actor = admin.email.clone();
        let write = move |tx: &mut dyn Tx| {
            stored_secret::lock(tx)?;
            for schedule in schedule::list(tx)? {
                if names_secret(&schedule.request, &name) {
                    return Err(JobError::SecretInUse(schedule.id));
                }
            }
            if !stored_secret::delete(tx, &name)? {
                return Err(JobError::SecretNotFound);
            }
            audit::record(tx, Entry::by(&actor, "secret.remove").saying(&name))?;
            Ok(())
        };
        self.store.write(write).await
    }
}

const NAME_RULE: &str =
    "must have 1 to 63 characters of a-z, 0-9 and hyphens, and neither begin nor end with one";

fn context(name: &str) -> String {
    SealedKind::StoredSecret.bound_to(name)
}

/// Whether the params of a schedule's request name a secret.
fn names_secret(request: &str, name: &str) -> bool {
    let request: Value = serde_json::from_str(request).unwrap_or_default();
    let params = request.get("params").and_then(Value::as_object);
    params.is_some_and(|params| {
        params
            .values()
            .any(|value| secret_name(value) == Some(name))
    })
}

/// Stores a secret, or replaces it.
#[utoipa::path(put, path = "/api/secrets/{name}", tag = "secrets", operation_id = "set_secret", params(("name" = String, Path)),
    request_body = SetSecretRequest,
    responses((status = 200, body = StoredSecretView, description = "The secret was replaced"),
        (status = 201, body = StoredSecretView, description = "The secret is new")),
    security(("bearer" = []), ("cookie" = [])))]
async fn set(
    State(jobs): State<Jobs>,
    Admin(user): Admin,
    Path(name): Path<String>,
    JsonBody(request): JsonBody<SetSecretRequest>,
) -> Result<(StatusCode, axum::Json<StoredSecretView>), ApiError> {
    let (secret, is_new) = jobs.set_secret(&user, name, request).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, axum::Json(secret)))
}

/// Lists stored secrets, without their values.
#[utoipa::path(get, path = "/api/secrets", tag = "secrets", operation_id = "list_secrets",
    responses((status = 200, body = StoredSecretList)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(jobs): State<Jobs>,
    Operator(_): Operator,
) -> Result<axum::Json<StoredSecretList>, ApiError> {
    let secrets = jobs.stored_secrets().await?;
    Ok(axum::Json(StoredSecretList { secrets }))
}

/// Removes a stored secret.
#[utoipa::path(delete, path = "/api/secrets/{name}", tag = "secrets", operation_id = "remove_secret", params(("name" = String, Path)),
    responses((status = 204), (status = 409, description = "A schedule names the secret")),
    security(("bearer" = []), ("cookie" = [])))]
async fn remove(
    State(jobs): State<Jobs>,
    Admin(user): Admin,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    jobs.remove_secret(&user, name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(set, remove))
}
