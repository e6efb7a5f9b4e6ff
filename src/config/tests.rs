//! Reading settings, and refusing unusable ones.

use super::*;

fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let words = std::iter::once("serve").chain(arguments.iter().copied());
    let flags = serve_command().try_get_matches_from(words).expect("flags");
    let environment = |name: &str| {
        let all = variables.iter().chain(&[("HOME", "/home/ann")]);
        all.clone()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Config::read(&flags, &environment)
}

#[test]
fn defaults_match_the_contract() {
    let config = read(&[], &[]).expect("reads");
    assert_eq!(config.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(
        config.database,
        DatabaseUrl::Sqlite("/home/ann/.local/share/hyprbox/hyprbox.db".into())
    );
    assert_eq!(config.stdout_max_bytes, 4_194_304);
    assert_eq!(config.lease_seconds, 90);
}

#[test]
fn a_flag_wins_over_its_variable() {
    let config = read(&["--lease-seconds", "5"], &[("HYPRBOX_LEASE_SECONDS", "7")]).expect("reads");
    assert_eq!(config.lease_seconds, 5);
}

#[test]
fn every_bad_value_is_one_line_with_name_value_and_allowed() {
    for (name, value, allowed) in [
        ("HYPRBOX_LISTEN", "nowhere", "address"),
        ("HYPRBOX_PUBLIC_URL", "ftp://x", "http"),
        ("HYPRBOX_PUBLIC_URL", "http://x/path", "path"),
        ("HYPRBOX_DATABASE_URL", "mysql:x", "sqlite"),
        ("HYPRBOX_DATABASE_URL", "mysql://h/d", "sqlite"),
        ("HYPRBOX_PRESETS_DIR", "/nonexistent", "directory"),
        ("HYPRBOX_STDOUT_MAX_BYTES", "1", "65536"),
        ("HYPRBOX_LEASE_SECONDS", "2", "86400"),
        ("HYPRBOX_METRICS_TOKEN", "two words", "printable"),
        ("HYPRBOX_ADMIN_EMAIL", "nobody", "email"),
        ("HYPRBOX_ALLOW_PUBLIC_REGISTRATION", "perhaps", "true"),
        ("HYPRBOX_PING_URL", "ftp://hc.example", "https://"),
        ("HYPRBOX_KEEP_DAYS", "0", "1"),
        ("HYPRBOX_TRUSTED_PROXIES", "10.0.0.0/99", "networks"),
        ("HYPRBOX_OPERATOR_SCOPE", "everybody", "own"),
        ("HYPRBOX_PRESETS", "folder", "files"),
        ("HYPRBOX_LOG", "a=b=c", "filter"),
        ("HYPRBOX_LOG_FORMAT", "xml", "json"),
    ] {
        let line = read(&[], &[(name, value)]).expect_err(name).to_string();
        let secret = matches!(name, "HYPRBOX_METRICS_TOKEN");
        assert!(
            line.contains(name) && line.contains(allowed) && !line.contains('\n'),
            "{line}"
        );
        assert_eq!(line.contains(value), !secret, "{line}");
    }
}

#[test]
fn a_password_in_the_database_url_is_not_repeated() {
    let url = "postgres://u:hidden@h/d?sslmode=maybe";
    let line = read(&[], &[("HYPRBOX_DATABASE_URL", url)])
        .expect_err("no feature, or no such mode")
        .to_string();
    let why = if cfg!(feature = "postgres") {
        "verify-full"
    } else {
        "--features postgres"
    };
    assert!(
        line.contains(why) && line.contains("postgres://u:***@h/d"),
        "{line}"
    );
}
