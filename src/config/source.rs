//! Reads settings by the name of their variable, and reports unusable values.

use clap::ArgMatches;
use hyprbox_protocol::bad_setting;

/// An unusable setting: one line that names the variable, the value and what is allowed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", bad_setting(.name, Some(.value), .allowed))]
pub struct ConfigError {
    name: &'static str,
    value: String,
    allowed: String,
}

impl ConfigError {
    /// Whether one of the `flags` has the value, and not the environment.
    pub fn is_of_flag(&self, flags: &ArgMatches) -> bool {
        flag(flags, self.name).is_some()
    }
}

fn flag<'f>(flags: &'f ArgMatches, name: &str) -> Option<&'f String> {
    // The command may not have this flag.
    flags.try_get_one::<String>(name).ok().flatten()
}

/// Reads a value by its variable's name, first from the flags, then from the environment. An empty
/// value counts as absent.
pub(super) struct Source<'s> {
    pub(super) flags: &'s ArgMatches,
    pub(super) environment: &'s dyn Fn(&str) -> Option<String>,
}

impl Source<'_> {
    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        flag(self.flags, name)
            .cloned()
            .or_else(|| (self.environment)(name))
            .filter(|value| !value.is_empty())
    }

    pub(super) fn read<T>(
        &self,
        name: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        parse(&value)
            .map(Some)
            .ok_or_else(|| wrong(name, &value, allowed))
    }

    pub(super) fn number(
        &self,
        name: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, ConfigError> {
        self.read(
            name,
            &format!("a whole number from {min} to {max}"),
            |value| {
                value
                    .parse()
                    .ok()
                    .filter(|number| (min..=max).contains(number))
            },
        )
    }
}

pub(super) fn wrong(name: &'static str, value: &str, allowed: impl Into<String>) -> ConfigError {
    // A secret is never printed, not even an unusable one.
    let secret = matches!(
        name,
        "HYPRBOX_ADMIN_PASSWORD" | "HYPRBOX_METRICS_TOKEN" | "HYPRBOX_DATABASE_URL"
    );
    let shown = if secret {
        hide(name, value)
    } else {
        value.to_owned()
    };
    ConfigError {
        name,
        value: shown,
        allowed: allowed.into(),
    }
}

/// Masks the password in a database URL, and any other secret entirely.
fn hide(name: &str, value: &str) -> String {
    if name != "HYPRBOX_DATABASE_URL" {
        return "***".to_owned();
    }
    let authority = value.find("://").map_or(0, |at| at + 3);
    let password = value[authority..].rfind('@').and_then(|end| {
        let colon = value[authority..authority + end].find(':')?;
        Some((authority + colon + 1, authority + end))
    });
    match password {
        Some((from, to)) => format!("{}***{}", &value[..from], &value[to..]),
        None => value.to_owned(),
    }
}
