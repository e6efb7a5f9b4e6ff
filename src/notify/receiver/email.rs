//! Email over SMTP, always encrypted.

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde_json::Value;

use super::text::Text;
use super::{Outcome, kept_words};
use crate::clock;
use crate::notify::settings::Settings;

/// Sends a message as an email.
pub(super) async fn send(settings: &Settings, id: &str, message: &Value) -> Outcome {
    let (mail, transport) = match prepare(settings, id, message) {
        Ok(prepared) => prepared,
        Err(error) => return Outcome::failed(error),
    };
    match transport.send(mail).await {
        Ok(answer) => Outcome {
            status: Some(answer.code().into()),
            answer: kept_words(&answer.message().collect::<Vec<_>>().join("\n")),
            ..Outcome::default()
        },
        Err(error) => {
            let status = error.status().map(u16::from);
            let words = causes(&error);
            Outcome {
                status,
                answer: status.and_then(|_| kept_words(&words)),
                error: Some(words),
                retry_after: None,
            }
        }
    }
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

fn prepare(settings: &Settings, id: &str, message: &Value) -> Result<(Message, Transport), String> {
    let setting = |name| settings.text(name).ok_or(format!("{name} is not set"));
    let host = setting("host")?;
    let tls = TlsParameters::new(host.to_owned()).map_err(|error| causes(&error))?;
    let tls = match setting("security")? {
        "tls" => Tls::Wrapper(tls),
        _ => Tls::Required(tls),
    };
    let from: Mailbox = setting("from")?
        .parse()
        .map_err(|error| format!("from: {error}"))?;
    let domain = from.email.domain().to_owned();
    let port = settings.plain.get("port").and_then(Value::as_u64);
    let mut transport = Transport::builder_dangerous(host)
        .port(port.and_then(|port| port.try_into().ok()).unwrap_or(587))
        .hello_name(ClientId::Domain(domain.clone()))
        .tls(tls);
    if let (Some(name), Some(password)) = (settings.text("username"), settings.text("password")) {
        let credentials = Credentials::new(name.to_owned(), password.to_owned());
        transport = transport.credentials(credentials);
    } else if settings.text("username").is_some() {
        return Err(
            "the password is not set, or can't be read with this server's key file".to_owned(),
        );
    }
    Ok((
        mail(settings, from, &domain, id, message)?,
        transport.build(),
    ))
}

fn mail(
    settings: &Settings,
    from: Mailbox,
    domain: &str,
    id: &str,
    message: &Value,
) -> Result<Message, String> {
    let text = Text::of(message);
    let mut mail = Message::builder()
        .from(from)
        .subject(text.title.as_str())
        .date(clock::system_now())
        // The same at each attempt, so that a mail program shows one message.
        .message_id(Some(format!("<{id}@{domain}>")))
        .header(ContentType::TEXT_PLAIN);
    let receivers = settings.plain.get("to").and_then(Value::as_array);
    for receiver in receivers.into_iter().flatten() {
        let receiver = receiver.as_str().unwrap_or_default();
        mail = mail.to(receiver.parse().map_err(|error| format!("to: {error}"))?);
    }
    let body = format!("{}\n\n{}\n", text.body(), text.url);
    let mut mail = mail.body(body).map_err(|error| causes(&error))?;
    // Answering machines must not answer (RFC 3834).
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    let header = HeaderValue::new(name, "auto-generated".to_owned());
    mail.headers_mut().insert_raw(header);
    Ok(mail)
}

/// An error with its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        next = cause.source();
    }
    words
}
