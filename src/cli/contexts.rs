//! The saved servers, each with its login: `~/.config/hyprbox/login.json`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{CliError, io_message};

/// What `hyprbox login` keeps of a server.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Login {
    pub(super) url: String,
    pub(super) token: String,
    /// The token's id, if `login` created it and `logout` must revoke it.
    #[serde(default)]
    pub(super) token_id: Option<String>,
}

/// The saved servers by their names.
#[derive(Clone, Default)]
pub(super) struct Contexts {
    /// The name of the one that commands use.
    pub(super) current: Option<String>,
    pub(super) logins: BTreeMap<String, Login>,
}

/// The file's content. The login in use is at the top, as it was when there was only one.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(default, flatten)]
    login: Option<Login>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    others: BTreeMap<String, Login>,
}

impl From<Stored> for Contexts {
    fn from(stored: Stored) -> Self {
        let Stored {
            login,
            name,
            mut others,
        } = stored;
        let current = login.map(|login| {
            let name = name.unwrap_or_else(|| name_of(&login.url));
            others.insert(name.clone(), login);
            name
        });
        Self {
            current,
            logins: others,
        }
    }
}

impl From<Contexts> for Stored {
    fn from(contexts: Contexts) -> Self {
        let Contexts {
            current,
            mut logins,
        } = contexts;
        let login = current.as_ref().and_then(|name| logins.remove(name));
        Self {
            name: current.filter(|_| login.is_some()),
            login,
            others: logins,
        }
    }
}

impl Contexts {
    /// The login of the server that commands use.
    pub(super) fn current_login(&self) -> Option<&Login> {
        self.logins.get(self.current.as_ref()?)
    }

    /// The login for a server's address: of two, the one in use.
    pub(super) fn login_at(&self, url: &str) -> Option<&Login> {
        let mut logins = self.current_login().into_iter().chain(self.logins.values());
        logins.find(|login| login.url == url)
    }

    /// The name under which a server is saved.
    pub(super) fn name_at(&self, url: &str) -> Option<&str> {
        let current = self.current.as_deref();
        let is_at = |name: &str| self.logins.get(name).is_some_and(|login| login.url == url);
        let others = self.logins.keys().map(String::as_str);
        current.into_iter().chain(others).find(|name| is_at(name))
    }
}

/// The name of a server that the user has not named: its host, and its port if that is unusual.
pub(super) fn name_of(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let name = parsed.and_then(|url| {
        let host = url.host_str()?.to_owned();
        Some(match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        })
    });
    name.unwrap_or_else(|| "default".to_owned())
}

/// The file that `hyprbox login` writes.
pub(super) struct ContextsFile(PathBuf);

impl ContextsFile {
    /// `$XDG_CONFIG_HOME/hyprbox/login.json`, or the same under `~/.config`.
    pub(super) fn at_home(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, CliError> {
        let base = env("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".config")))
            .ok_or_else(|| CliError::failed("neither HOME nor XDG_CONFIG_HOME is set"))?;
        Ok(Self(base.join("hyprbox").join("login.json")))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The saved servers; none if there is no file.
    pub(super) fn read(&self) -> Result<Contexts, CliError> {
        let path = self.0.display();
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Contexts::default());
            }
            Err(error) => {
                return Err(CliError::failed(format!(
                    "{path} can't be read: {}",
                    io_message(&error)
                )));
            }
        };
        let stored: Stored = serde_json::from_slice(&text).map_err(|error| {
            CliError::failed(format!("can't parse {path}: {error}"))
                .hint("log in again: hyprbox login URL")
        })?;
        Ok(stored.into())
    }

    /// Saves the servers. The file is 0600 from its first moment, its folder 0700. Without a server
    /// there is no file.
    pub(super) fn write(&self, contexts: Contexts) -> Result<(), CliError> {
        if contexts.logins.is_empty() {
            return self.remove();
        }
        let stored = Stored::from(contexts);
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
        let text = serde_json::to_vec_pretty(&stored).map_err(|error| wrong(error.into()))?;
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
            // The first error is the one to report.
            let _left = std::fs::remove_file(&new);
        }
        written.map_err(wrong)
    }

    fn remove(&self) -> Result<(), CliError> {
        let removed = std::fs::remove_file(&self.0);
        let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        if removed.as_ref().is_err_and(gone) {
            return Ok(());
        }
        removed.map_err(|error| {
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

    fn parsed(text: &str) -> Contexts {
        serde_json::from_str::<Stored>(text).expect("JSON").into()
    }

    #[test]
    fn a_file_of_one_login_is_a_server_named_after_its_host() {
        let one =
            parsed(r#"{"url": "https://jobs.example.org", "token": "hbu_x", "tokenId": null}"#);
        assert_eq!(one.current.as_deref(), Some("jobs.example.org"));
        assert_eq!(one.current_login().expect("a login").token, "hbu_x");
        assert_eq!(name_of("http://127.0.0.1:4000"), "127.0.0.1:4000");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut contexts = parsed(r#"{"url": "https://a", "token": "one", "name": "home"}"#);
        let login = contexts.logins["home"].clone();
        contexts.logins.insert("work".to_owned(), login);
        for current in [None, Some("home".to_owned()), Some("work".to_owned())] {
            contexts.current = current.clone();
            let stored = serde_json::to_string(&Stored::from(contexts.clone())).expect("JSON");
            let read = parsed(&stored);
            assert_eq!(read.current, current);
            assert_eq!(
                read.logins.keys().collect::<Vec<_>>(),
                ["home", "work"],
                "{stored}"
            );
            // A program that knows one login finds the one in use.
            let value: serde_json::Value = serde_json::from_str(&stored).expect("JSON");
            assert_eq!(value["url"].is_string(), current.is_some(), "{stored}");
        }
    }
}
