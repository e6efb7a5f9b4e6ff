//! In and out: a personal token of the machine's own, for its user's eyes alone.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{Cli, Tty};
use crate::harness::{Field, PASSWORD, Person, Server};

fn token_names(person: &Person) -> Vec<String> {
    let tokens = person.get("/api/auth/tokens").ok().list("tokens");
    tokens.iter().map(|token| token.field("name")).collect()
}

fn kept(cli: &Cli) -> Value {
    let text = std::fs::read(cli.home().join(".config/hyprbox/login.json")).expect("a file");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn on_a_terminal_the_password_is_typed_unseen() {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    let cli = Cli::nobody();
    let mut tty = Tty::start(&cli, &["login", server.url()]);
    tty.shows("Email: ");
    tty.type_in("anm\x7fn@example.org\r");
    tty.shows("Password: ");
    tty.type_in(PASSWORD);
    tty.type_in("\r");
    let (code, shown) = tty.ended();
    assert!(
        code == 0 && shown.contains("ann@example.org (OPERATOR)"),
        "{shown}"
    );
    assert!(!shown.contains(PASSWORD), "{shown}");

    // What is kept is a personal token, named after the machine; the session has ended.
    let file = cli.home().join(".config/hyprbox/login.json");
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path)
            .expect("is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("a folder")), 0o700);
    let token = kept(&cli).field("token");
    assert!(token.starts_with("hbu_"), "{token}");
    assert!(!shown.contains(&token), "{shown}");
    let names = token_names(&ann);
    assert!(
        names.len() == 1 && names[0].starts_with("hyprbox on "),
        "{names:?}"
    );
    let sessions = server.database().number("SELECT count(*) FROM sessions");
    // The admin's and ann's own, of this test.
    assert_eq!(sessions, 2);
    cli.run(&["jobs", "list"]).ends(0);

    // Another login takes the place of the first; the way out revokes the token.
    let words = ["login", server.url(), "--email", "ann@example.org"];
    cli.run_with(&words, PASSWORD).ends(0);
    assert_ne!(kept(&cli).field("token"), token);
    assert_eq!(token_names(&ann).len(), 1);
    cli.run(&["logout"]).ends(0).says("revoked");
    assert!(token_names(&ann).is_empty() && !file.exists());
    cli.run(&["jobs", "list"]).ends(126).says("not logged in");
    cli.run(&["logout"]).ends(0).says("Not logged in");
}

#[test]
fn what_goes_wrong_keeps_nothing() {
    let mut server = Server::start();
    server.person("ann", "OPERATOR");
    server.person("new", "PENDING");
    let cli = Cli::nobody();
    let login = |email: &str, password: &str| {
        cli.run_with(&["login", server.url(), "--email", email], password)
    };
    login("ann@example.org", "not the password").ends(126);
    login("new@example.org", PASSWORD)
        .ends(126)
        .says("an ADMIN must give your account a role");
    cli.run(&["login", "http://127.0.0.1:1", "--email", "a@b"])
        .ends(125)
        .says("can't reach");
    cli.run(&["login", "http://192.0.2.1"])
        .ends(125)
        .says("HYPRBOX_INSECURE_HTTP");
    cli.run(&["login", "nonsense"]).ends(64);
    // Ctrl-C in the middle of a password.
    let mut tty = Tty::start(&cli, &["login", server.url(), "--email", "ann@example.org"]);
    tty.shows("Password: ");
    tty.type_in("half\x03");
    let (code, shown) = tty.ended();
    assert!(code == 130 && !shown.contains("half"), "{code}: {shown}");
    assert!(!cli.home().join(".config").exists());
}

#[test]
fn a_token_that_was_made_elsewhere() {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    let made = Cli::of(&server, &ann).run(&["tokens", "add", "laptop", "--expires-in-days", "7"]);
    let token = made
        .ends(0)
        .says("shown only once")
        .text()
        .trim()
        .to_owned();
    // A file is not a folder.
    let cli = Cli::nobody().with("XDG_CONFIG_HOME", env!("CARGO_BIN_EXE_hyprbox"));
    cli.run_with(&["login", server.url(), "--token"], &token)
        .ends(125)
        .says("can't be written");
    let cli = Cli::nobody();
    cli.run_with(&["login", server.url(), "--token"], "hbu_nothing\n")
        .ends(126)
        .says("check that you copied all of it");
    cli.run_with(&["login", server.url(), "--token"], &format!("{token}\n"))
        .ends(0);
    assert_eq!(
        (&kept(&cli)["token"], &kept(&cli)["tokenId"]),
        (&json!(token), &Value::Null)
    );
    // Not made by the login, not revoked by the way out.
    cli.run(&["logout"]).ends(0).says("still works");
    assert_eq!(token_names(&ann), ["laptop"]);
    let cli = Cli::of(&server, &ann);
    let list = cli.run(&["tokens", "list"]).ends(0).text();
    assert!(
        list.contains("EXPIRES") && !list.contains("never\n"),
        "{list}"
    );
    cli.run(&["tokens", "add", "for-ever"]).ends(0);
    let list = cli.run(&["tokens", "list"]).ends(0).text();
    let row = list.lines().find(|line| line.contains("for-ever"));
    assert!(row.is_some_and(|row| row.ends_with("never")), "{list}");
    cli.run(&["tokens", "revoke", "for-ever"]).ends(0);
    cli.run(&["tokens", "remove", "laptop"]).ends(0);
    assert!(token_names(&ann).is_empty());
}

#[test]
fn a_revoked_login_explains_how_to_log_in_again() {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    let cli = Cli::nobody();
    cli.run_with(
        &["login", server.url(), "--email", "ann@example.org"],
        PASSWORD,
    )
    .ends(0);
    let id = kept(&cli).field("tokenId");
    ann.delete(&format!("/api/auth/tokens/{id}")).gives(204);
    let again = format!("hyprbox login {}", server.url());
    cli.run(&["jobs", "list"]).ends(126).says(&again);
}
