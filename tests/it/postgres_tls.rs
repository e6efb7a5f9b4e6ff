//! The line to PostgreSQL, encrypted: what `sslmode` and `sslrootcert` ask for, and what is said
//! where it can't be had.

use std::sync::LazyLock;

use crate::harness::{Authority, Cluster, Person, Server, Setup, write_file};
use crate::postgres::refused;

/// The key of every server here: a database refuses a server with another one.
static KEY_FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// A server over that database, which takes a job through.
fn works(url: &str) {
    let key = KEY_FOLDER.path().join("secret.key");
    let setup = Setup::new()
        .with("HYPRBOX_DATABASE_URL", url)
        .with("HYPRBOX_SECRET_KEY_FILE", key.to_str().expect("UTF-8"));
    let mut server: Server = setup
        .with("HYPRBOX_ADMIN_EMAIL", "admin@example.org")
        .with("HYPRBOX_ADMIN_PASSWORD", crate::harness::PASSWORD)
        .start();
    let admin: Person = server.login("admin@example.org", crate::harness::PASSWORD);
    let node = format!("n{}", std::process::id());
    let agent = match admin.get(&format!("/api/nodes/{node}")).send().status {
        404 => admin.add_node(&node),
        _ => admin.agent_of(&node),
    };
    let poll = agent.poll("wait=30").send_later();
    let id = admin.queue(&node);
    assert_eq!(
        poll.join().expect("an answer").is(200).json()["job"]["id"],
        id
    );
    agent.say(&id, 0, "over TLS\n");
    agent.succeed(&id);
    assert_eq!(admin.log(&id, "stdout"), b"over TLS\n");
    let status = server.terminate();
    assert!(status.success(), "{status}");
}

fn fails(url: &str, words: &str) {
    let said = refused(&Setup::new().with("HYPRBOX_DATABASE_URL", url));
    assert!(said.contains(words), "{said}");
    assert!(!said.contains("right@"), "{said}");
}

#[test]
fn a_line_that_must_be_encrypted_is() {
    let authority = Authority::new();
    let Some(cluster) = Cluster::encrypted(&authority) else {
        return;
    };
    let roots = |authority: &Authority| format!("sslrootcert={}", authority.ca_file().display());
    works(&cluster.url("127.0.0.1", "sslmode=require"));
    works(&cluster.url(
        "127.0.0.1",
        &format!("sslmode=verify-full&{}", roots(&authority)),
    ));
    // Without a word it is encrypted where the server can, as everywhere else in PostgreSQL's
    // world.
    works(&cluster.url("localhost", "application_name=jobs"));

    // The certificate is for 127.0.0.1 alone.
    works(&cluster.url(
        "localhost",
        &format!("sslmode=verify-ca&{}", roots(&authority)),
    ));
    let named = cluster.url("localhost", &roots(&authority));
    fails(&named, "does not name localhost");
    let other = Authority::new();
    for mode in ["verify-full", "verify-ca", "require"] {
        let url = cluster.url("127.0.0.1", &format!("sslmode={mode}&{}", roots(&other)));
        fails(&url, "set sslrootcert to the authority's certificate");
    }
    fails(
        &cluster.url("127.0.0.1", "sslmode=disable"),
        "no encryption",
    );

    // A server that has signed its own certificate, as many do: it is trusted where it is named,
    // and nowhere else.
    let (cert, key) = Authority::self_signed();
    let files = [("cert", &cert), ("key", &key)].map(|(name, text)| {
        let path = other.folder().join(name);
        write_file(&path, text, 0o600);
        path
    });
    cluster.show(&files[0], &files[1]);
    let named = format!("sslmode=verify-full&sslrootcert={}", files[0].display());
    works(&cluster.url("127.0.0.1", &named));
    fails(&cluster.url("localhost", &named), "does not name localhost");
    let signed = format!("sslmode=verify-full&{}", roots(&authority));
    fails(&cluster.url("127.0.0.1", &signed), "not usable");
}

#[test]
fn a_database_that_asks_for_a_certificate_gets_it() {
    let authority = Authority::new();
    let Some(cluster) = Cluster::asking_for_certificates(&authority) else {
        return;
    };
    let stranger = Authority::new();
    let roots = format!(
        "sslmode=verify-full&sslrootcert={}",
        authority.ca_file().display()
    );
    let with = |signed: &Authority, user: &str| {
        let (cert, key) = signed.issue_for_user(user);
        let files = [("cert", &cert), ("key", &key)].map(|(name, text)| {
            let path = signed.folder().join(format!("{user}.{name}"));
            write_file(&path, text, 0o600);
            path.display().to_string()
        });
        let own = format!("{roots}&sslcert={}&sslkey={}", files[0], files[1]);
        cluster.url("127.0.0.1", &own)
    };
    works(&with(&authority, "hyprbox"));
    fails(
        &with(&authority, "somebody"),
        "certificate authentication failed",
    );
    // It shows nothing that the other end would look at.
    fails(
        &with(&stranger, "hyprbox"),
        "HYPRBOX_DATABASE_URL=postgres://hyprbox@127.0.0.1",
    );
    fails(
        &cluster.url("127.0.0.1", &roots),
        "requires a valid client certificate",
    );
    let (cert, key) = (authority.cert(), stranger.key());
    let apart = format!(
        "{roots}&sslcert={}&sslkey={}",
        cert.display(),
        key.display()
    );
    fails(&cluster.url("127.0.0.1", &apart), "belongs to its sslcert");
}

#[test]
fn a_database_without_tls_is_refused_if_tls_is_required() {
    let setup = Setup::new();
    let database = setup.database();
    if database.sqlite().is_some() {
        return;
    }
    fails(
        &format!("{}?sslmode=require", database.url()),
        "server does not support TLS: turn on ssl in the database server",
    );
}
