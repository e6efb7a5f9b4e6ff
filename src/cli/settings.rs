//! The server and the token to use: flags, then the environment, then the saved login.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hyprbox_protocol::bad_setting;
use serde::{Deserialize, Serialize};

use super::error::{CliError, exit, io_message};

/// What `hyprbox login` keeps.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Login {
    pub(super) url: String,
    pub(super) token: String,
    /// The token's id, where `login` made it and `logout` is to revoke it.
    #[serde(default)]
    pub(super) token_id: Option<String>,
}

/// A server and the token for it.
pub(super) struct Access {
    pub(super) url: String,
    pub(super) token: String,
    /// The token's source, for the message if it is refused.
    pub(super) from: TokenSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenSource {
    /// Standard input or the terminal.
    Given,
    Environment,
    File,
}

type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// An environment variable; an empty one counts as unset.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The server and the token that a command uses. `url` is the flag's.
pub(super) fn access(url: Option<&str>) -> Result<Access, CliError> {
    resolve(url, &variable, || LoginFile::at_home()?.read())
}

fn resolve(
    flag: Option<&str>,
    env: Env<'_>,
    saved: impl FnOnce() -> Result<Option<Login>, CliError>,
) -> Result<Access, CliError> {
    let named = match flag {
        Some(url) => Some(("--url", url.to_owned())),
        None => env("HYPRBOX_URL").map(|url| ("HYPRBOX_URL", url)),
    };
    let named = named
        .map(|(name, url)| check_url(name, &url, env))
        .transpose()?;
    let given = env("HYPRBOX_TOKEN").map(|token| token.trim().to_owned());
    if let (Some(url), Some(token)) = (&named, &given) {
        return Ok(Access {
            url: url.clone(),
            token: check_token(token)?,
            from: TokenSource::Environment,
        });
    }
    let saved = saved()?;
    let url = match (named, &saved) {
        (Some(url), _) => url,
        (None, Some(saved)) => check_url("the saved server", &saved.url, env)?,
        (None, None) => {
            let words = if given.is_some() {
                "no server given: HYPRBOX_TOKEN is set, but HYPRBOX_URL is not"
            } else {
                "not logged in"
            };
            return Err(CliError::new(exit::REFUSED, words).hint(
                "log in: hyprbox login https://jobs.example.org, or set HYPRBOX_URL and HYPRBOX_TOKEN",
            ));
        }
    };
    if let Some(token) = given {
        return Ok(Access {
            url,
            token: check_token(&token)?,
            from: TokenSource::Environment,
        });
    }
    // A token is sent only to the server that issued it.
    match saved {
        Some(saved) if saved.url == url => Ok(Access {
            token: check_token(&saved.token)?,
            url,
            from: TokenSource::File,
        }),
        _ => Err(
            CliError::new(exit::REFUSED, format!("not logged in to {url}"))
                .hint(format!("log in: hyprbox login {url}, or set HYPRBOX_TOKEN")),
        ),
    }
}

fn check_token(token: &str) -> Result<String, CliError> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CliError::new(
            exit::REFUSED,
            "the token (not shown) is malformed: it must be one word, such as hbu_…",
        )
        .hint("log in again, or set HYPRBOX_TOKEN to a valid token"));
    }
    Ok(token.to_owned())
}

/// Checks a server's address and removes a final slash. Refuses plain http to another machine,
/// which would send the token in the clear.
pub(super) fn check_url(name: &str, text: &str, env: Env<'_>) -> Result<String, CliError> {
    let allowed = "a server's address such as https://jobs.example.org";
    let url = match reqwest::Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            return Err(CliError::usage(format!(
                "{name} (not shown) contains a user or a password: it must be {allowed}"
            )));
        }
        Ok(url) => url,
        Err(_) => {
            let error = CliError::usage(bad_setting(name, Some(text), allowed));
            let with_scheme = format!("https://{text}");
            let is_host = !text.contains("://") && reqwest::Url::parse(&with_scheme).is_ok();
            return Err(match is_host {
                true => error.hint(format!("did you mean {with_scheme}?")),
                false => error,
            });
        }
    };
    let is_http = matches!(url.scheme(), "http" | "https");
    if !is_http || !url.has_host() || url.query().is_some() || url.fragment().is_some() {
        return Err(CliError::usage(bad_setting(name, Some(text), allowed)));
    }
    let allowed = env("HYPRBOX_INSECURE_HTTP").is_some_and(|value| value == "1");
    if url.scheme() == "http" && !hyprbox_agent::config::is_loopback(&url) && !allowed {
        return Err(CliError::failed(format!(
            "{name}: {text} uses plain http to another machine: anyone on the path could read your token and act as you"
        ))
        .hint("use https, or an SSH tunnel to a local port; HYPRBOX_INSECURE_HTTP=1 accepts the risk"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The file that `hyprbox login` writes.
pub(super) struct LoginFile(PathBuf);

impl LoginFile {
    /// `$XDG_CONFIG_HOME/hyprbox/login.json`, or the same under `~/.config`.
    pub(super) fn at_home() -> Result<Self, CliError> {
        let base = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")))
            .ok_or_else(|| CliError::failed("neither HOME nor XDG_CONFIG_HOME is set"))?;
        Ok(Self(base.join("hyprbox").join("login.json")))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What is saved, if anything is.
    pub(super) fn read(&self) -> Result<Option<Login>, CliError> {
        let path = self.0.display();
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(CliError::failed(format!(
                    "{path} can't be read: {}",
                    io_message(&error)
                )));
            }
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            CliError::failed(format!("can't parse {path}: {error}"))
                .hint("log in again: hyprbox login URL")
        })
    }

    /// Keeps it, for this user's eyes alone: the file is 0600 from its first moment, its folder
    /// 0700.
    pub(super) fn write(&self, login: &Login) -> Result<(), CliError> {
        let wrong = |error: std::io::Error| {
            CliError::failed(format!(
                "{} can't be written: {}",
                self.0.display(),
                io_message(&error)
            ))
        };
        let folder = self.0.parent().expect("the file has a folder");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(wrong)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(wrong)?;
        let text = serde_json::to_vec_pretty(login).map_err(|error| wrong(error.into()))?;
        let new = folder.join(format!("login.json.{}", std::process::id()));
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&new, &self.0));
        if written.is_err() {
            // The first error is the one to tell.
            let _left = std::fs::remove_file(&new);
        }
        written.map_err(wrong)
    }

    pub(super) fn remove(&self) -> Result<(), CliError> {
        std::fs::remove_file(&self.0).map_err(|error| {
            CliError::failed(format!(
                "{} can't be removed: {}",
                self.0.display(),
                io_message(&error)
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        flag: Option<&str>,
        env: &[(&str, &str)],
        saved: Option<(&str, &str)>,
    ) -> Result<(String, String), CliError> {
        let variable = |name: &str| {
            let pair = env.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        let saved = saved.map(|(url, token)| Login {
            url: url.to_owned(),
            token: token.to_owned(),
            token_id: None,
        });
        resolve(flag, &variable, || Ok(saved)).map(|access| (access.url, access.token))
    }

    const KEPT: Option<(&str, &str)> = Some(("https://a", "saved"));

    fn pair(url: &str, token: &str) -> (String, String) {
        (url.to_owned(), token.to_owned())
    }

    #[test]
    fn flag_over_environment_over_file() {
        let env = [("HYPRBOX_URL", "https://b/"), ("HYPRBOX_TOKEN", "given")];
        let get = |flag, env: &[_], saved| found(flag, env, saved).expect("found");
        assert_eq!(get(None, &[], KEPT), pair("https://a", "saved"));
        assert_eq!(get(None, &env, KEPT), pair("https://b", "given"));
        assert_eq!(
            get(Some("https://c"), &env, KEPT),
            pair("https://c", "given")
        );
        assert_eq!(get(None, &env[1..], KEPT), pair("https://a", "given"));
    }

    #[test]
    fn a_saved_token_goes_only_to_its_own_server() {
        for (flag, env) in [
            (Some("https://evil"), &[][..]),
            (None, &[("HYPRBOX_URL", "https://evil")]),
        ] {
            let error = found(flag, env, KEPT).expect_err("no token for that one");
            assert_eq!(error.code, exit::REFUSED);
            assert!(error.to_string().contains("https://evil"), "{error}");
        }
        assert!(found(Some("https://a/"), &[], KEPT).is_ok());
    }

    #[test]
    fn a_command_without_a_login_explains_how_to_log_in() {
        let error = found(None, &[], None).expect_err("nothing");
        assert!(
            error.to_string().contains("hyprbox login https://"),
            "{error}"
        );
        let error = found(None, &[("HYPRBOX_TOKEN", "x")], None).expect_err("no server");
        assert!(error.to_string().contains("HYPRBOX_URL"), "{error}");
    }

    #[test]
    fn plain_http_leaves_this_machine_only_when_allowed() {
        let nothing = |_: &str| None;
        let allowed = |name: &str| (name == "HYPRBOX_INSECURE_HTTP").then(|| "1".to_owned());
        for url in [
            "http://127.0.0.1:4000",
            "http://localhost",
            "http://[::1]:1",
            "https://x",
        ] {
            assert!(check_url("--url", url, &nothing).is_ok(), "{url}");
        }
        let error = check_url("--url", "http://jobs.lan", &nothing).expect_err("in the clear");
        assert!(
            error.to_string().contains("HYPRBOX_INSECURE_HTTP=1"),
            "{error}"
        );
        assert!(check_url("--url", "http://jobs.lan", &allowed).is_ok());
    }

    #[test]
    fn an_address_is_an_address() {
        for bad in [
            "",
            "jobs",
            "ftp://x",
            "https://",
            "https://x?y",
            "https://x#y",
        ] {
            let error = check_url("--url", bad, &|_| None).expect_err(bad);
            assert_eq!(error.code, exit::USAGE, "{bad}");
        }
        let error = check_url("--url", "https://u:secret@x", &|_| None).expect_err("a password");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
