//! Configuration: a bad value stops the start with one line and changes nothing; a flag wins.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use sha2::{Digest, Sha256};

use crate::harness::{PASSWORD, Server, Setup};

/// What a folder holds: each path with its mode and the digest of what is in it.
type Tree = BTreeMap<String, (u32, Vec<u8>)>;

fn tree(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("reads") {
            let path = entry.expect("an entry").path();
            let mode = path.symlink_metadata().expect("there").permissions().mode();
            let digest = if path.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else {
                Sha256::digest(std::fs::read(&path).expect("reads")).to_vec()
            };
            tree.insert(path.display().to_string(), (mode, digest));
        }
    }
    tree
}

pub(crate) fn refused(setup: &Setup) -> String {
    let output = setup.command().output().expect("it runs");
    one_line(&output, 2)
}

/// A start that was refused says so in one line, on standard error, and ends with this code.
#[track_caller]
fn one_line(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(output.stdout, b"", "{stderr}");
    // The log is not part of it; lines of it begin with a time.
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    lines[0].to_owned()
}

/// A bad value of each variable, and a word of what is allowed.
const BAD: &[(&str, &str, &str)] = &[
    ("HYPRBOX_LISTEN", "nowhere", "port"),
    ("HYPRBOX_LISTEN", "127.0.0.1:99999", "port"),
    ("HYPRBOX_LISTEN", "127.0.0.1", "port"),
    ("HYPRBOX_PUBLIC_URL", "jobs.example.org", "http"),
    ("HYPRBOX_PUBLIC_URL", "ftp://jobs.example.org", "http"),
    (
        "HYPRBOX_DATABASE_URL",
        "mysql://localhost/hyprbox",
        "sqlite",
    ),
    ("HYPRBOX_DATABASE_URL", "sqlite:", "sqlite"),
    ("HYPRBOX_PRESETS_DIR", "/nonexistent/presets", "directory"),
    ("HYPRBOX_STDOUT_MAX_BYTES", "65535", "65536"),
    ("HYPRBOX_STDOUT_MAX_BYTES", "1073741825", "1073741824"),
    ("HYPRBOX_STDOUT_MAX_BYTES", "4 MiB", "number"),
    ("HYPRBOX_LEASE_SECONDS", "2", "3"),
    ("HYPRBOX_LEASE_SECONDS", "86401", "86400"),
    ("HYPRBOX_LEASE_SECONDS", "-3", "number"),
    ("HYPRBOX_ADMIN_EMAIL", "nobody", "email"),
    ("HYPRBOX_ALLOW_PUBLIC_REGISTRATION", "perhaps", "true"),
    ("HYPRBOX_PING_URL", "hc.example/abc", "https://"),
    ("HYPRBOX_KEEP_DAYS", "0", "1"),
    ("HYPRBOX_KEEP_DAYS", "x", "number"),
    ("HYPRBOX_BACKUP_DIR", "/etc/passwd", "directory"),
    ("HYPRBOX_BACKUP_EVERY", "daily", "365d"),
    ("HYPRBOX_BACKUP_EVERY", "0s", "365d"),
    ("HYPRBOX_BACKUP_EVERY", "366d", "365d"),
    ("HYPRBOX_BACKUP_KEEP", "0", "1"),
    ("HYPRBOX_BACKUP_KEEP", "many", "number"),
    ("HYPRBOX_AGENT_DIR", "/nonexistent/agents", "directory"),
    ("HYPRBOX_TRUSTED_PROXIES", "10.0.0.0/33", "networks"),
    ("HYPRBOX_TRUSTED_PROXIES", "proxy.example.org", "networks"),
    ("HYPRBOX_OPERATOR_SCOPE", "mine", "own"),
    ("HYPRBOX_PRESETS", "database", "files"),
    ("HYPRBOX_LOG", "a=b=c", "filter"),
    ("HYPRBOX_LOG_FORMAT", "xml", "json"),
];

fn flag_of(variable: &str) -> String {
    let name = variable.trim_start_matches("HYPRBOX_").to_lowercase();
    format!("--{}", name.replace('_', "-"))
}

#[test]
fn a_bad_value_is_one_line_and_changes_nothing() {
    for (variable, value, allowed) in BAD {
        let by_variable = Setup::new().with(variable, value);
        let by_flag = Setup::new().word(&format!("{}={value}", flag_of(variable)));
        // A wrong flag is a wrong command line.
        for (setup, code) in [(by_variable, 2), (by_flag, 64)] {
            let before = tree(setup.folder());
            let line = one_line(&setup.command().output().expect("it runs"), code);
            assert!(
                line.contains(variable) || line.contains(&flag_of(variable)),
                "{variable}: {line}"
            );
            assert!(line.contains(value) && line.contains(allowed), "{line}");
            assert_eq!(tree(setup.folder()), before, "{line}");
        }
    }
}

#[test]
fn a_bad_secret_is_not_repeated() {
    for (variable, value) in [
        ("HYPRBOX_ADMIN_PASSWORD", "too short"),
        ("HYPRBOX_METRICS_TOKEN", "two words"),
        (
            "HYPRBOX_DATABASE_URL",
            "postgres://me:hidden@localhost/jobs",
        ),
    ] {
        let setup = Setup::new().with("HYPRBOX_ADMIN_EMAIL", "a@example.org");
        let setup = if variable == "HYPRBOX_ADMIN_PASSWORD" {
            setup
        } else {
            setup.with("HYPRBOX_ADMIN_PASSWORD", PASSWORD)
        };
        let setup = setup.with(variable, value);
        let before = tree(setup.folder());
        let line = refused(&setup);
        let secret = if value.contains("hidden") {
            "hidden"
        } else {
            value
        };
        assert!(line.contains(variable) && !line.contains(secret), "{line}");
        assert_eq!(tree(setup.folder()), before);
    }
}

#[test]
fn postgres_without_its_feature_explains_how_to_get_it() {
    let setup = Setup::new().with("HYPRBOX_DATABASE_URL", "postgres://localhost/jobs");
    if cfg!(feature = "postgres") {
        return;
    }
    let line = refused(&setup);
    assert!(line.contains("--features postgres"), "{line}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hyprbox"))
        .args([
            "migrate-store",
            "--from",
            "sqlite:a",
            "--to",
            "postgres://localhost/jobs",
        ])
        .output()
        .expect("it runs");
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("--features postgres"), "{line}");
}

#[test]
fn an_admins_email_without_a_password_is_half_a_setting() {
    let setup = Setup::new().with("HYPRBOX_ADMIN_EMAIL", "a@example.org");
    assert!(refused(&setup).contains("HYPRBOX_ADMIN_PASSWORD"));
    let setup = Setup::new().with("HYPRBOX_ADMIN_PASSWORD", PASSWORD);
    assert!(refused(&setup).contains("HYPRBOX_ADMIN_EMAIL"));
}

#[test]
fn an_unknown_flag_or_word_is_refused() {
    for arguments in [
        &["serve", "--nonsense"][..],
        &["nonsense"],
        &["--nope"],
        &["logz", "x"],
        &["jobz", "list"],
        &["demo", "--nope"],
        &["doctor", "--nope"],
        &["backup"],
        &["restore", "--nope"],
        &["admin"],
        &["jobs"],
        &["--json", "serve"],
        &["--url", "http://127.0.0.1:1", "demo"],
        &[],
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hyprbox"))
            .args(arguments)
            .env_clear()
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_port_in_use_is_reported_and_no_file_is_created() {
    let server = Server::start();
    let setup = Setup::new().with("HYPRBOX_LISTEN", server.address());
    let before = tree(setup.folder());
    let line = refused(&setup);
    assert!(
        line.contains("HYPRBOX_LISTEN") && line.contains(server.address()),
        "{line}"
    );
    assert_eq!(tree(setup.folder()), before);
}

#[test]
fn a_data_folder_that_is_not_writable_is_reported() {
    // Root may write everywhere but where nobody can: below a file, and into /proc.
    let setup = Setup::new();
    let file = setup.folder().join("file");
    std::fs::write(&file, "a file").expect("writes");
    let below = file.join("data");
    for folder in [below.as_path(), Path::new("/proc/hyprbox"), file.as_path()] {
        let setup = Setup::new()
            .with("HYPRBOX_DATA_DIR", folder.to_str().expect("UTF-8"))
            .without("HYPRBOX_DATABASE_URL");
        let before = tree(setup.folder());
        let line = refused(&setup);
        assert!(line.contains(folder.to_str().expect("UTF-8")), "{line}");
        assert_eq!(tree(setup.folder()), before);
    }
    assert_eq!(std::fs::read(&file).expect("reads"), b"a file");
}

/// A database of this server's, cleanly closed.
fn used() -> Setup {
    let mut server = Server::start();
    server.admin();
    assert!(server.terminate().success());
    server.into_setup()
}

#[test]
fn a_database_of_a_newer_version_is_not_changed() {
    let setup = used();
    setup.database().set_version(1_000_000);
    let before = tree(&setup.data_dir());
    let line = refused(&setup);
    assert!(line.contains("newer"), "{line}");
    assert_eq!(tree(&setup.data_dir()), before);
}

#[test]
fn a_file_that_is_not_our_database_is_not_changed() {
    let other = {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other.db");
        let connection = rusqlite::Connection::open(&path).expect("opens");
        connection
            .execute_batch("CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('x');")
            .expect("makes");
        drop(connection);
        std::fs::read(&path).expect("reads")
    };
    for bytes in [
        b"These are a person's notes.\n".to_vec(),
        vec![0; 10_000],
        b"SQLite format 3\0 and then nothing of the kind".to_vec(),
        other,
    ] {
        let setup = Setup::new();
        if setup.database().sqlite().is_none() {
            return;
        }
        std::fs::create_dir(setup.data_dir()).expect("makes");
        let path = setup.data_dir().join("hyprbox.db");
        std::fs::write(&path, &bytes).expect("writes");
        let before = tree(setup.folder());
        let line = refused(&setup);
        assert!(line.contains("hyprbox.db"), "{line}");
        assert_eq!(tree(setup.folder()), before, "{line}");
    }
}

#[test]
fn a_failed_start_removes_the_files_it_created() {
    // The data folder is new, and the database elsewhere is not ours; or the key can be written
    // nowhere.
    let setup = Setup::new();
    let notes = setup.folder().join("notes.txt");
    std::fs::write(&notes, "These are a person's notes.\n").expect("writes");
    let url = format!("sqlite:{}", notes.display());
    let deep = setup.folder().join("a/b/c");
    let setup = setup
        .with("HYPRBOX_DATABASE_URL", &url)
        .with("HYPRBOX_DATA_DIR", deep.to_str().expect("UTF-8"));
    let before = tree(setup.folder());
    assert!(refused(&setup).contains("notes.txt"));
    assert_eq!(tree(setup.folder()), before);

    let setup = Setup::new().with("HYPRBOX_SECRET_KEY_FILE", "/proc/hyprbox/key");
    let before = tree(setup.folder());
    let line = refused(&setup);
    assert!(line.contains("HYPRBOX_SECRET_KEY_FILE"), "{line}");
    assert_eq!(tree(setup.folder()), before);
}

#[test]
fn a_key_file_without_a_key_is_reported() {
    for contents in ["", "not a key\n", "00ff"] {
        let setup = used();
        let key = setup.data_dir().join("secret.key");
        assert_eq!(
            key.metadata().expect("there").permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&key, contents).expect("writes");
        let before = tree(&setup.data_dir());
        let line = refused(&setup);
        assert!(line.contains("secret.key"), "{line}");
        assert_eq!(tree(&setup.data_dir()), before, "{line}");
    }
}

#[test]
fn only_its_owner_may_read_the_data_folder() {
    let server = Server::start();
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    let data = server.setup().data_dir();
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("secret.key")), 0o600);
}

#[test]
fn a_flag_wins_over_its_variable() {
    let mut server = Setup::new()
        .with("HYPRBOX_LEASE_SECONDS", "7")
        .flag("--lease-seconds", "11")
        .start();
    let agent = server.admin().add_node("n1");
    assert_eq!(agent.poll("").ok()["leaseSeconds"], 11);
    // Also over a bad one.
    let mut server = Setup::new()
        .with("HYPRBOX_LEASE_SECONDS", "nonsense")
        .flag("--lease-seconds", "12")
        .start();
    let agent = server.admin().add_node("n1");
    assert_eq!(agent.poll("").ok()["leaseSeconds"], 12);
}

#[test]
fn the_data_folder_follows_systemd_or_home() {
    let state = tempfile::tempdir().expect("a folder");
    let folder = state.path().join("hyprbox");
    let server = Setup::new()
        .without("HYPRBOX_DATA_DIR")
        .without("HYPRBOX_DATABASE_URL")
        .with("STATE_DIRECTORY", folder.to_str().expect("UTF-8"))
        .start();
    assert!(folder.join("hyprbox.db").is_file());
    drop(server);
    let server = Setup::new()
        .without("HYPRBOX_DATA_DIR")
        .without("HYPRBOX_DATABASE_URL")
        .start();
    let home = server.setup().folder().join(".local/share/hyprbox");
    assert!(home.join("hyprbox.db").is_file());
}

#[test]
fn the_log_can_be_json() {
    let server = Setup::new().flag("--log-format", "json").try_lines();
    let (line, _) = server.split_once('\n').expect("a line");
    let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert!(
        entry["level"].is_string() && entry["fields"].is_object(),
        "{entry}"
    );
}
