//! TLS of the server's own: https alone, renewals that drop nobody, and files that don't fit.

use serde_json::json;

use crate::config::refused;
use crate::harness::{
    Authority, Field, Raw, RealAgent, Server, Setup, TlsLine, eventually, write_file,
};

fn server(authority: &Authority) -> Server {
    Setup::new().with_tls(authority).start()
}

#[test]
fn people_and_agents_reach_it_by_https() {
    let authority = Authority::new();
    let mut server = server(&authority);
    let url = server.url().to_owned();
    assert!(url.starts_with("https://"), "{url}");
    let code = server.setup_code();
    assert!(server.said().contains(&format!("{url}/setup?code={code}")));
    let admin = server.admin();
    let login = json!({"email": "admin@example.org", "password": crate::harness::PASSWORD});
    let answer = server.post("/api/auth/login", &login).gives(200);
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("Secure"), "{cookie}");

    let node = admin.add_node("n1");
    let _agent = RealAgent::start(&server, &node);
    let id = admin.queue_with("n1", "shell", json!({"code": "seq 1000"}));
    let mut stream = admin.get(&format!("/api/jobs/{id}/stream")).open();
    let events = stream.until_done();
    let done = events.last().expect("an event");
    assert!(done.data.to_string().contains("SUCCEEDED"), "{done:?}");
    let whole: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    assert!(String::from_utf8_lossy(&admin.log(&id, "stdout")).ends_with(&whole));
}

#[test]
fn an_agent_trusts_no_certificate_of_strangers() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut server = server(&authority);
    let node = server.admin().add_node("n1");
    let agent = RealAgent::trusting(&server, &node, &stranger.ca_file());
    eventually("the agent's complaint", || {
        agent.logged("invalid peer certificate").then_some(())
    });
    let node = server.admin().get("/api/nodes/n1").ok();
    assert_eq!(node.field("status"), "OFFLINE");
}

#[test]
fn an_agent_accepts_only_the_self_signed_certificate_it_was_given() {
    let authority = Authority::new();
    let mut server = server(&authority);
    let admin = server.admin();
    let node = admin.add_node("n1");
    admin.queue("n1");
    let (cert, key) = Authority::self_signed();
    write_file(&authority.key(), &key, 0o600);
    write_file(&authority.cert(), &cert, 0o644);
    let (other, _) = Authority::self_signed();
    let other_file = authority.folder().join("other.pem");
    write_file(&other_file, &other, 0o644);
    let stranger = RealAgent::trusting(&server, &node, &other_file);
    eventually("the stranger's complaint", || {
        stranger.logged("CaUsedAsEndEntity").then_some(())
    });
    let agent = RealAgent::trusting(&server, &node, &authority.cert());
    eventually("the job's start", || agent.logged("started").then_some(()));
    assert!(!stranger.logged("started"));
}

#[test]
fn tls_1_2_and_1_3_speak_http_1_1() {
    let authority = Authority::new();
    let server = server(&authority);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut line = TlsLine::offering(&server, &authority, &[version]);
        assert_eq!(line.ask(), 200);
        assert_eq!(line.shown().1, "http/1.1");
    }
}

#[test]
fn a_renewed_certificate_is_used_by_new_connections_and_drops_none() {
    let authority = Authority::new();
    let server = server(&authority);
    let mut old = TlsLine::open(&server, &authority);
    assert_eq!(old.ask(), 200);
    let before = old.shown().0;
    let renewed = authority.renew();
    eventually("the new certificate", || {
        let mut line = TlsLine::open(&server, &authority);
        assert_eq!(line.ask(), 200);
        let shown = line.shown().0;
        assert!(shown == before || shown == renewed);
        (shown == renewed).then_some(())
    });
    assert_eq!(old.ask(), 200);

    // A failed renewal is logged once, and the last valid certificate stays in use.
    let (another, _) = authority.issue();
    write_file(&authority.cert(), &another, 0o644);
    eventually("a complaint of the key", || {
        server
            .logged(&["HYPRBOX_TLS_KEY", "stays in use"])
            .then_some(())
    });
    let mut line = TlsLine::open(&server, &authority);
    assert_eq!(line.ask(), 200);
    assert_eq!(line.shown().0, renewed);
    let renewed = authority.renew();
    eventually("the renewed certificate", || {
        let mut line = TlsLine::open(&server, &authority);
        assert_eq!(line.ask(), 200);
        (line.shown().0 == renewed).then_some(())
    });
}

#[test]
fn silent_and_garbled_greetings_hold_nobody_up_and_end() {
    let authority = Authority::new();
    let mut server = server(&authority);
    let silent: Vec<Raw> = (0..200).map(|_| Raw::open(&server)).collect();
    let mut half = Raw::open(&server);
    half.write([0x16, 0x03, 0x01, 0x02]);
    let mut garbled = Raw::open(&server);
    garbled.write([0x16; 4096]);
    let mut line = TlsLine::open(&server, &authority);
    assert_eq!(line.ask(), 200);
    // Nobody waits for the silent ones: one after the other, they would take half an hour.
    // An alert is a TLS record; nothing of HTTP.
    assert!(!garbled.rest().contains("HTTP"));
    for line in silent.into_iter().chain([half]) {
        assert_eq!(line.rest(), "");
    }
    let late = Raw::open(&server);
    assert!(server.terminate().success());
    assert_eq!(late.rest(), "");
}

#[test]
fn plain_http_is_answered_with_a_hint_to_https() {
    let authority = Authority::new();
    let server = server(&authority);
    let mut plain = Raw::open(&server);
    plain.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = plain.rest();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let head = head.to_lowercase();
    for header in [
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "content-security-policy: default-src 'none'",
        &format!("content-length: {}", body.len()),
    ] {
        assert!(head.contains(header), "{header}: {answer}");
    }
    assert!(body.contains("https"), "{answer}");
}

#[test]
fn files_that_do_not_fit_stop_the_start_in_one_line() {
    let authority = Authority::new();
    let path = |name: &str| authority.folder().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let (_, another) = authority.issue();
    write_file(&authority.folder().join("another.pem"), &another, 0o600);
    write_file(&authority.folder().join("words.pem"), "no PEM\n", 0o600);
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    write_file(&authority.folder().join("broken.pem"), broken, 0o600);
    let none = String::new();
    for (cert, key, names, words) in [
        (&cert, &none, "HYPRBOX_TLS_KEY", "with HYPRBOX_TLS_CERT"),
        (&none, &key, "HYPRBOX_TLS_CERT", "with HYPRBOX_TLS_KEY"),
        (&path("absent.pem"), &key, "HYPRBOX_TLS_CERT", "absent.pem"),
        (&cert, &path("absent.pem"), "HYPRBOX_TLS_KEY", "absent.pem"),
        (&path(""), &key, "HYPRBOX_TLS_CERT", "PEM"),
        (&path("words.pem"), &key, "HYPRBOX_TLS_CERT", "CERTIFICATE"),
        (&path("broken.pem"), &key, "HYPRBOX_TLS_CERT", "X.509"),
        (&cert, &path("words.pem"), "HYPRBOX_TLS_KEY", "PRIVATE KEY"),
        (&cert, &path("another.pem"), "HYPRBOX_TLS_KEY", &cert),
        (&key, &key, "HYPRBOX_TLS_CERT", "CERTIFICATE"),
    ] {
        let setup = Setup::new()
            .with("HYPRBOX_TLS_CERT", cert)
            .with("HYPRBOX_TLS_KEY", key);
        let line = refused(&setup);
        assert!(line.contains(names) && line.contains(words), "{line}");
        assert!(!setup.data_dir().exists(), "{line}");
    }
}

#[test]
fn a_key_that_everybody_can_read_is_reported() {
    let authority = Authority::new();
    let (cert, key) = authority.issue();
    write_file(&authority.key(), &key, 0o644);
    write_file(&authority.cert(), &cert, 0o644);
    let server = server(&authority);
    eventually("a warning", || {
        server.logged(&["WARN", "key.pem", "0644"]).then_some(())
    });
}
