//! Email: sent over TLS to a mail server that a test plays.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{add_channel, add_rule, deliveries};
use crate::harness::{Authority, Field, Server, chunk, eventually};

/// What a mail server has read, line by line.
type Lines = Arc<Mutex<Vec<String>>>;

struct MailServer {
    port: u16,
    lines: Lines,
}

impl MailServer {
    /// With `is_wrapped`, TLS begins with the first byte; otherwise after STARTTLS, if
    /// `offers_tls`.
    fn start(cert: &Path, key: &Path, is_wrapped: bool, offers_tls: bool) -> Self {
        let cert = CertificateDer::from_pem_file(cert).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .expect("a configuration");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let lines = Lines::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, kept) = (Arc::clone(&config), Arc::clone(&kept));
                std::thread::spawn(move || match is_wrapped {
                    true => session(&mut encrypted(stream, config), &kept, "AUTH PLAIN"),
                    false => {
                        let offer = if offers_tls { "STARTTLS" } else { "SIZE 100" };
                        let mut plain = stream.try_clone().expect("a handle");
                        if session(&mut plain, &kept, offer) {
                            kept.lock().expect("no panic").push("TLS".to_owned());
                            session(&mut encrypted(stream, config), &kept, "AUTH PLAIN")
                        } else {
                            false
                        }
                    }
                });
            }
        });
        Self { port, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }
}

fn encrypted(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> StreamOwned<ServerConnection, TcpStream> {
    let connection = ServerConnection::new(config).expect("a connection");
    StreamOwned::new(connection, stream)
}

/// Plays a mail server. Returns whether TLS must begin.
fn session(stream: &mut (impl Read + Write), kept: &Lines, offer: &str) -> bool {
    // After STARTTLS the server waits for the client's EHLO.
    let is_second = kept
        .lock()
        .expect("no panic")
        .last()
        .is_some_and(|line| line == "TLS");
    if !is_second && stream.write_all(b"220 mail.example.org\r\n").is_err() {
        return false;
    }
    let mut is_data = false;
    let mut reader = BufReader::with_capacity(1, stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        let line = line.trim_end().to_owned();
        kept.lock().expect("no panic").push(line.clone());
        let answer = if is_data {
            if line != "." {
                continue;
            }
            is_data = false;
            "250 queued as 42\r\n".to_owned()
        } else if line.starts_with("EHLO") {
            format!("250-mail.example.org\r\n250 {offer}\r\n")
        } else if line == "STARTTLS" {
            "220 go\r\n".to_owned()
        } else if line == "DATA" {
            is_data = true;
            "354 go\r\n".to_owned()
        } else if line.starts_with("AUTH") {
            "235 welcome\r\n".to_owned()
        } else if line == "QUIT" {
            "221 bye\r\n".to_owned()
        } else {
            "250 fine\r\n".to_owned()
        };
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return false;
        }
        let _flushed = reader.get_mut().flush();
        if line == "STARTTLS" {
            return true;
        }
    }
}

fn settings(port: u16, security: &str) -> Value {
    json!({"host": "127.0.0.1", "port": port, "security": security, "username": "ops",
        "password": "hunter22", "from": "HyprBox <hyprbox@example.org>",
        "to": ["Ann <ann@example.org>", "bob@example.org"]})
}

#[test]
fn an_email_is_sent_over_either_kind_of_tls() {
    let authority = Authority::new();
    let ca = authority.ca_file();
    let ca = ca.to_str().expect("UTF-8");
    let mut server = Server::with(&[("SSL_CERT_FILE", ca)]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    for (count, security) in [(1, "tls"), (2, "starttls")] {
        let mail = MailServer::start(&authority.cert(), &authority.key(), security == "tls", true);
        let channel = add_channel(&admin, "email", &settings(mail.port, security));
        add_rule(&admin, &channel, &["job_failed"], json!({}));
        let job = admin.queue("n1");
        agent.claim();
        agent.output(&job, &[chunk("stderr", 0, "kein Platz für die Datei\n.\n")]);
        agent.complete(&job, &json!({"exitCode": 3})).gives(200);
        let delivery = eventually("the mail", || {
            let delivery = deliveries(&admin, &channel).into_iter().next()?;
            (delivery["state"] == "delivered").then_some(delivery)
        });
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["status"], 250, "{count}");
        assert_eq!(attempt["answer"], "queued as 42");
        let lines = mail.lines();
        let has = |wanted: &str| lines.iter().any(|line| line == wanted);
        if security == "starttls" {
            // Nothing but the greeting is sent in the clear.
            assert_eq!(lines[1..3], ["STARTTLS", "TLS"], "{lines:?}");
        }
        // ops and hunter22, as PLAIN has them.
        assert!(has("AUTH PLAIN AG9wcwBodW50ZXIyMg=="), "{lines:?}");
        assert!(has("RCPT TO:<ann@example.org>") && has("RCPT TO:<bob@example.org>"));
        assert!(has("Subject: Failed: note on n1"), "{lines:?}");
        assert!(has("Auto-Submitted: auto-generated"), "{lines:?}");
        let id = format!("Message-ID: <{}@example.org>", delivery.field("id"));
        assert!(has(&id), "{id}: {lines:?}");
        let text = lines.join("\n");
        assert!(text.contains(&format!("/jobs/{job}")), "{text}");
        admin.delete(&format!("/api/channels/{channel}")).gives(204);
    }
}

#[test]
fn an_email_is_never_sent_in_the_clear_or_to_a_stranger() {
    let (known, stranger) = (Authority::new(), Authority::new());
    let ca = known.ca_file();
    let mut server = Server::with(&[("SSL_CERT_FILE", ca.to_str().expect("UTF-8"))]);
    let admin = server.admin();
    let test = |mail: &MailServer, security: &str| {
        let channel = add_channel(&admin, "email", &settings(mail.port, security));
        let tested = admin
            .call("POST", &format!("/api/channels/{channel}/test"))
            .ok();
        assert_eq!(tested["ok"], false, "{tested}");
        tested.field("answer")
    };
    let plain = MailServer::start(&known.cert(), &known.key(), false, false);
    let answer = test(&plain, "starttls");
    assert!(answer.to_uppercase().contains("STARTTLS"), "{answer}");
    let foreign = MailServer::start(&stranger.cert(), &stranger.key(), true, true);
    let answer = test(&foreign, "tls");
    assert!(answer.contains("certificate"), "{answer}");
    for mail in [&plain, &foreign] {
        let lines = mail.lines();
        assert!(
            !lines
                .iter()
                .any(|line| line.starts_with("AUTH") || line == "DATA"),
            "{lines:?}"
        );
    }
}
