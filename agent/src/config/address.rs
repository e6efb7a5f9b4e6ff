//! The server's address: which ones are allowed.

use super::{ConfigError, URL_ALLOWED, bad};

/// Whether an address is on this machine, so that plain http is safe.
pub fn is_loopback(url: &reqwest::Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Whether others on the path can read and change what is sent to this address.
#[cfg(target_os = "linux")]
pub(crate) fn is_in_the_clear(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "http" && !is_loopback(&url))
}

/// Checks a server's address, and returns it without a trailing slash.
pub(super) fn check_url(
    name: &str,
    value: &str,
    insecure_http: bool,
) -> Result<String, ConfigError> {
    // An address with a password is not shown.
    let url = match reqwest::Url::parse(value) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            return Err(ConfigError::BadSecret {
                name: name.to_owned(),
                allowed: format!("{URL_ALLOWED}, without a user or password"),
            });
        }
        Ok(url) => url,
        Err(_) => return Err(bad(name, value, URL_ALLOWED)),
    };
    let plain = match url.scheme() {
        "https" => false,
        "http" => true,
        _ => return Err(bad(name, value, URL_ALLOWED)),
    };
    if !url.has_host() || url.query().is_some() || url.fragment().is_some() {
        return Err(bad(name, value, URL_ALLOWED));
    }
    if plain && !is_loopback(&url) && !insecure_http {
        let allowed = "an https address: over plain http anyone on the network path can read the node token \
             and the output, and can insert scripts that run here as this user (HYPRBOX_INSECURE_HTTP=1 accepts that risk)";
        return Err(bad(name, value, allowed));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
