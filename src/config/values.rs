//! Settings that need more than one line to parse.

use std::path::PathBuf;
use std::time::Duration;

use hyprbox_protocol::TimeRange;
use ipnet::IpNet;

use super::BackupPlan;
use super::DatabaseUrl;
use super::source::{ConfigError, Source, wrong};
use crate::tls::Tls;

pub(super) fn data_dir(source: &Source<'_>) -> Result<PathBuf, ConfigError> {
    if let Some(folder) = source.text("HYPRBOX_DATA_DIR") {
        return Ok(PathBuf::from(folder));
    }
    // systemd may pass several directories; the first is ours.
    let state = (source.environment)("STATE_DIRECTORY").filter(|value| !value.is_empty());
    if let Some(first) = state
        .as_deref()
        .and_then(|folders| folders.split(':').next())
    {
        return Ok(PathBuf::from(first));
    }
    (source.environment)("HOME")
        .filter(|home| !home.is_empty())
        .map(|home| PathBuf::from(home).join(".local/share/hyprbox"))
        .ok_or_else(|| {
            wrong(
                "HYPRBOX_DATA_DIR",
                "",
                "set, because $STATE_DIRECTORY and $HOME are not",
            )
        })
}

pub(super) fn database(
    source: &Source<'_>,
    data_dir: &std::path::Path,
) -> Result<DatabaseUrl, ConfigError> {
    let Some(url) = source.text("HYPRBOX_DATABASE_URL") else {
        return Ok(DatabaseUrl::Sqlite(data_dir.join("hyprbox.db")));
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.is_empty() && !path.contains(['?', '\0']) && path != ":memory:" {
            return Ok(DatabaseUrl::Sqlite(PathBuf::from(path)));
        }
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return postgres(url);
    }
    Err(wrong(
        "HYPRBOX_DATABASE_URL",
        &url,
        "sqlite:PATH or postgres://…",
    ))
}

#[cfg(feature = "postgres")]
pub(super) fn postgres(url: String) -> Result<DatabaseUrl, ConfigError> {
    match crate::store::check_postgres_url(&url) {
        Ok(()) => Ok(DatabaseUrl::Postgres(url)),
        Err(allowed) => Err(wrong("HYPRBOX_DATABASE_URL", &url, allowed)),
    }
}

#[cfg(not(feature = "postgres"))]
pub(super) fn postgres(url: String) -> Result<DatabaseUrl, ConfigError> {
    let allowed = "sqlite:PATH; for postgres://, build this program with `cargo build --release --features postgres`";
    Err(wrong("HYPRBOX_DATABASE_URL", &url, allowed))
}

pub(super) fn admin(source: &Source<'_>) -> Result<Option<(String, String)>, ConfigError> {
    let email = source.read("HYPRBOX_ADMIN_EMAIL", "an email address", |value| {
        crate::auth::check_email(value).ok()
    })?;
    let password = source.read(
        "HYPRBOX_ADMIN_PASSWORD",
        "10 to 1,024 characters",
        |value| {
            (10..=1024)
                .contains(&value.chars().count())
                .then(|| value.to_owned())
        },
    )?;
    match (email, password) {
        (Some(email), Some(password)) => Ok(Some((email, password))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(wrong(
            "HYPRBOX_ADMIN_PASSWORD",
            "",
            "set together with HYPRBOX_ADMIN_EMAIL",
        )),
        (None, Some(_)) => Err(wrong(
            "HYPRBOX_ADMIN_EMAIL",
            "",
            "set together with HYPRBOX_ADMIN_PASSWORD",
        )),
    }
}

pub(super) fn tls(source: &Source<'_>) -> Result<Option<Tls>, ConfigError> {
    let file = |name| source.text(name).map(PathBuf::from);
    let (cert, key) = match (file("HYPRBOX_TLS_CERT"), file("HYPRBOX_TLS_KEY")) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            let allowed = "set together with HYPRBOX_TLS_CERT";
            return Err(wrong("HYPRBOX_TLS_KEY", "", allowed));
        }
        (None, Some(_)) => {
            let allowed = "set together with HYPRBOX_TLS_KEY";
            return Err(wrong("HYPRBOX_TLS_CERT", "", allowed));
        }
    };
    Tls::load(cert, key)
        .map(Some)
        .map_err(|fault| wrong(fault.name, &fault.value, fault.allowed))
}

/// The scheduled backups. The other two settings are refused without a directory.
pub(super) fn backups(
    source: &Source<'_>,
    database: &DatabaseUrl,
) -> Result<Option<BackupPlan>, ConfigError> {
    const EVERY: TimeRange = TimeRange::seconds(1, 365 * 24 * 3_600);
    let every = source.read("HYPRBOX_BACKUP_EVERY", &EVERY.to_string(), |text| {
        EVERY.parse(text)
    })?;
    let keep = source.number("HYPRBOX_BACKUP_KEEP", 1, 10_000)?;
    let Some(dir) = source.text("HYPRBOX_BACKUP_DIR") else {
        return match (every, keep) {
            (None, None) => Ok(None),
            (Some(_), _) => Err(wrong(
                "HYPRBOX_BACKUP_DIR",
                "",
                "set together with HYPRBOX_BACKUP_EVERY",
            )),
            (None, Some(_)) => Err(wrong(
                "HYPRBOX_BACKUP_DIR",
                "",
                "set together with HYPRBOX_BACKUP_KEEP",
            )),
        };
    };
    let path = PathBuf::from(&dir);
    if path.exists() && !path.is_dir() {
        return Err(wrong("HYPRBOX_BACKUP_DIR", &dir, "a directory"));
    }
    match database {
        DatabaseUrl::Sqlite(_) => {}
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(_) => {
            let allowed = "unset with a PostgreSQL database, which pg_dump backs up";
            return Err(wrong("HYPRBOX_BACKUP_DIR", &dir, allowed));
        }
    }
    Ok(Some(BackupPlan {
        dir: path,
        every: every.unwrap_or(Duration::from_secs(24 * 3_600)),
        keep: keep
            .and_then(|keep| usize::try_from(keep).ok())
            .unwrap_or(7),
    }))
}

pub(super) fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

pub(super) fn public_url(value: &str) -> Option<String> {
    let uri: axum::http::Uri = value.parse().ok()?;
    let scheme = uri
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri
        .authority()
        .filter(|authority| !authority.as_str().contains('@'))?;
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    bare.then(|| format!("{scheme}://{authority}"))
}

pub(super) fn networks(value: &str) -> Option<Vec<IpNet>> {
    let parse = |part: &str| -> Option<IpNet> {
        part.parse()
            .ok()
            .or_else(|| part.parse::<std::net::IpAddr>().ok().map(IpNet::from))
    };
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(parse)
        .collect()
}
