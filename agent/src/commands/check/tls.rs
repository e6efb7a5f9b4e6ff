//! Why a TLS connection was not made, in a person's words.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::Finding;

const WHAT: &str = "tls";

/// What TLS says of a call that failed; `None` where it was something else.
pub(super) fn explain(error: &(dyn Error + 'static), host: &str) -> Option<Finding> {
    let found = find(error)?;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library adds kinds; each has words of its own"
    )]
    let (seen, mend) = match found {
        rustls::Error::InvalidCertificate(fault) => certificate(fault, host),
        rustls::Error::InvalidMessage(_) => (
            format!("what answers at {host} doesn't speak TLS"),
            "if it is to be plain http, let HYPRBOX_API_URL begin with http://; else look at the port".to_owned(),
        ),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        ) => (
            format!("{host} has no TLS that is new enough: 1.2 or 1.3 is needed ({found})"),
            "let the server, or the proxy before it, speak TLS 1.2 or 1.3".to_owned(),
        ),
        other => (
            format!("{host} breaks the TLS connection off: {other}"),
            "look at the log of the server, or of the proxy before it".to_owned(),
        ),
    };
    Some(Finding::wrong(WHAT, seen, mend))
}

fn certificate(fault: &CertificateError, host: &str) -> (String, String) {
    let own = format!("this machine's clock says {}", today());
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library adds kinds; each has words of its own"
    )]
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("the certificate of {host} has expired ({own})"),
            "renew it on the server; if it is this clock that is wrong: timedatectl set-ntp true".to_owned(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            format!("the certificate of {host} is not valid yet ({own})"),
            "set this machine's clock: timedatectl set-ntp true".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the certificate is another name's than {host}"),
            "let HYPRBOX_API_URL have the name that the certificate is for, or have one made for this name".to_owned(),
        ),
        // The second of an authority that was made anew under the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("the certificate of {host} is signed by nobody that this machine trusts"),
            "name your own authority's certificate with HYPRBOX_CA_FILE; for a public one install ca-certificates, and let the server send its whole chain"
                .to_owned(),
        ),
        other => (
            format!("the certificate of {host} can't be used: {other:?}"),
            "have another one made for the server".to_owned(),
        ),
    }
}

/// The error of TLS in a chain of errors, which input and output wrap in their own way.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref());
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The day by this machine's clock: `2026-11-24`.
fn today() -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _written = SystemTime.format_time(&mut Writer::new(&mut text));
    text.truncate("2026-11-24".len());
    text
}
