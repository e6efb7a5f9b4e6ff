//! `hyprbox admin password`: the way back in.

use super::{Cli, Tty};
use crate::harness::{PASSWORD, Server};

const NEW: &str = "another good password";

/// On the server's machine, with the server's own settings.
fn beside(server: &Server) -> Cli {
    let data = server.setup().data_dir();
    Cli::nobody()
        .with("HYPRBOX_DATA_DIR", data.to_str().expect("UTF-8"))
        .with("HYPRBOX_DATABASE_URL", &server.database().url())
}

#[test]
fn the_password_is_set_while_the_server_runs_and_sessions_end() {
    let mut server = Server::start();
    let admin = server.admin();
    let ann = server.person("ann", "OPERATOR");
    let body = serde_json::json!({"name": "ci"});
    let made = admin.post("/api/auth/tokens", &body).gives(201).json();
    let script = admin.with_token(made["token"].as_str().expect("a token"));
    let cli = beside(&server);
    cli.run_with(
        &["admin", "password", "Admin@example.org"],
        &format!("{NEW}\n"),
    )
    .ends(0)
    .says("admin@example.org (ADMIN)");
    // The server finds out what others wrote by itself.
    crate::harness::eventually("the end of the session", || {
        (admin.get("/api/auth/me").send().status == 401).then_some(())
    });
    script.get("/api/auth/me").gives(401);
    ann.get("/api/auth/me").ok();
    let again = server.login("admin@example.org", NEW);
    let body = serde_json::json!({"email": "admin@example.org", "password": PASSWORD});
    server.post("/api/auth/login", &body).gives(401);
    let entry = ("hyprbox admin".to_owned(), "user.change".to_owned());
    assert!(again.audit("action=user.change").contains(&entry));
}

#[test]
fn it_works_while_the_server_is_down_and_on_a_terminal() {
    let mut server = Server::start();
    server.admin();
    server.terminate();
    let cli = beside(&server);
    let mut tty = Tty::start(&cli, &["admin", "password", "admin@example.org"]);
    for (question, keys) in [
        ("New password for admin@example.org", NEW),
        ("Repeat the password", "something else"),
        ("Try again", NEW),
        ("Repeat the password", NEW),
    ] {
        tty.shows(question);
        tty.type_in(keys);
        tty.type_in("\r");
    }
    let (code, shown) = tty.ended();
    assert!(code == 0 && !shown.contains(NEW), "{code}: {shown}");
    server.start_again();
    server.login("admin@example.org", NEW);
}

#[test]
fn nobody_is_made_and_no_database_either() {
    let mut server = Server::start();
    server.admin();
    let cli = beside(&server);
    cli.run_with(&["admin", "password", "admni@example.org"], NEW)
        .ends(127)
        .says("its users are admin@example.org");
    cli.run_with(&["admin", "password", "admin@example.org"], "short")
        .ends(125)
        .says("10 to 1,024 characters");
    server.login("admin@example.org", PASSWORD);
    let nowhere = Cli::nobody();
    let folder = nowhere.home().join("nothing");
    let folder = folder.to_str().expect("UTF-8");
    nowhere
        .run_with(&["admin", "password", "a@b", "--data-dir", folder], NEW)
        .ends(127)
        .says("no database at");
    assert!(!std::path::Path::new(folder).exists());
}
