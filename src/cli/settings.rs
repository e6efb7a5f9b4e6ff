//! The server and the token to use: flags, then the environment, then the saved servers.

use hyprbox_protocol::bad_setting;

use super::contexts::{Contexts, ContextsFile};
use super::error::{CliError, closest, exit};

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

/// The server that the command line names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Named<'a> {
    /// `--url`
    pub(super) url: Option<&'a str>,
    /// `--context`
    pub(super) context: Option<&'a str>,
}

type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// An environment variable; an empty one counts as unset.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The server and the token that a command uses.
pub(super) fn access(named: Named<'_>) -> Result<Access, CliError> {
    resolve(named, &variable, || {
        ContextsFile::at_home(&variable)?.read()
    })
}

fn resolve(
    named: Named<'_>,
    env: Env<'_>,
    saved: impl FnOnce() -> Result<Contexts, CliError>,
) -> Result<Access, CliError> {
    if let Some(name) = named.context {
        return of_context(name, &saved()?, env);
    }
    let url = match named.url {
        Some(url) => Some(("--url", url.to_owned())),
        None => env("HYPRBOX_URL").map(|url| ("HYPRBOX_URL", url)),
    };
    let url = url
        .map(|(name, url)| check_url(name, &url, env))
        .transpose()?;
    let given = env("HYPRBOX_TOKEN").map(|token| token.trim().to_owned());
    if let (Some(url), Some(token)) = (&url, &given) {
        return Ok(Access {
            url: url.clone(),
            token: check_token(token)?,
            from: TokenSource::Environment,
        });
    }
    let saved = saved()?;
    let url = match (url, saved.current_login()) {
        (Some(url), _) => url,
        (None, Some(login)) => check_url("the saved server", &login.url, env)?,
        (None, None) => return Err(no_server(&saved, given.is_some())),
    };
    if let Some(token) = given {
        return Ok(Access {
            url,
            token: check_token(&token)?,
            from: TokenSource::Environment,
        });
    }
    // A token is sent only to the server that issued it.
    match saved.login_at(&url) {
        Some(login) => Ok(Access {
            token: check_token(&login.token)?,
            url,
            from: TokenSource::File,
        }),
        None => Err(
            CliError::new(exit::REFUSED, format!("not logged in to {url}"))
                .hint(format!("log in: hyprbox login {url}, or set HYPRBOX_TOKEN")),
        ),
    }
}

fn of_context(name: &str, saved: &Contexts, env: Env<'_>) -> Result<Access, CliError> {
    let Some(login) = saved.logins.get(name) else {
        return Err(no_context(name, saved));
    };
    Ok(Access {
        url: check_url("the saved server", &login.url, env)?,
        token: check_token(&login.token)?,
        from: TokenSource::File,
    })
}

/// The error for a name under which no server is saved.
pub(super) fn no_context(name: &str, saved: &Contexts) -> CliError {
    let near = closest(name, saved.logins.keys().map(String::as_str));
    let error = CliError::not_found(format!("no server is saved as {name:?}"));
    if near.is_empty() {
        return error.hint("`hyprbox context list` lists them");
    }
    error.hint(format!(
        "did you mean {}? `hyprbox context list` lists them",
        near.join(" or ")
    ))
}

fn no_server(saved: &Contexts, has_token: bool) -> CliError {
    if !saved.logins.is_empty() {
        let names: Vec<&str> = saved.logins.keys().map(String::as_str).collect();
        return CliError::new(exit::REFUSED, "no saved server is in use").hint(format!(
            "choose one: hyprbox context use {}",
            names.join(", or ")
        ));
    }
    let words = if has_token {
        "no server given: HYPRBOX_TOKEN is set, but HYPRBOX_URL is not"
    } else {
        "not logged in"
    };
    CliError::new(exit::REFUSED, words).hint(
        "log in: hyprbox login https://jobs.example.org, or set HYPRBOX_URL and HYPRBOX_TOKEN",
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::contexts::Login;

    fn with(
        named: Named<'_>,
        env: &[(&str, &str)],
        saved: Contexts,
    ) -> Result<(String, String), CliError> {
        let variable = |name: &str| {
            let pair = env.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        resolve(named, &variable, || Ok(saved)).map(|access| (access.url, access.token))
    }

    /// The first of the saved servers is in use.
    fn saved(logins: &[(&str, &str, &str)]) -> Contexts {
        let mut saved = Contexts::default();
        for (name, url, token) in logins {
            let login = Login {
                url: (*url).to_owned(),
                token: (*token).to_owned(),
                token_id: None,
            };
            saved.logins.insert((*name).to_owned(), login);
        }
        saved.current = logins.first().map(|(name, _, _)| (*name).to_owned());
        saved
    }

    fn found(
        url: Option<&str>,
        env: &[(&str, &str)],
        kept: Option<(&str, &str)>,
    ) -> Result<(String, String), CliError> {
        let kept = kept.map(|(url, token)| ("a", url, token));
        let named = Named { url, context: None };
        with(named, env, saved(kept.as_slice()))
    }

    #[test]
    fn a_named_server_has_its_own_token_whatever_is_set() {
        let logins = [("home", "https://a", "one"), ("work", "https://b", "two")];
        let env = [("HYPRBOX_URL", "https://c"), ("HYPRBOX_TOKEN", "given")];
        let named = |context| Named {
            url: None,
            context: Some(context),
        };
        let get = |named, env: &[_]| with(named, env, saved(&logins));
        assert_eq!(
            get(Named::default(), &[]).expect("one"),
            pair("https://a", "one")
        );
        assert_eq!(
            get(named("work"), &env).expect("two"),
            pair("https://b", "two")
        );
        let error = get(named("wrok"), &[]).expect_err("no such name");
        assert_eq!(error.code, exit::NOT_FOUND);
        assert!(error.to_string().contains("did you mean work?"), "{error}");
        // An address also finds the saved token of its server.
        let at = |url| Named {
            url: Some(url),
            context: None,
        };
        assert_eq!(
            get(at("https://b/"), &[]).expect("two"),
            pair("https://b", "two")
        );
        let mut none = saved(&logins);
        none.current = None;
        let error = with(Named::default(), &[], none).expect_err("none is in use");
        assert!(
            error.to_string().contains("context use home, or work"),
            "{error}"
        );
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
