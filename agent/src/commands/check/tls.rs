//! Explains why a TLS connection failed, and how to fix it.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::Finding;

const SUBJECT: &str = "tls";

/// Explains a failed call; `None` if TLS was not the cause.
pub(super) fn explain(error: &(dyn Error + 'static), host: &str) -> Option<Finding> {
    let cause = find_tls_error(error)?;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library adds kinds; its own text explains them"
    )]
    let (message, fix) = match cause {
        rustls::Error::InvalidCertificate(fault) => certificate(fault, host),
        rustls::Error::InvalidMessage(_) => (
            format!("{host} doesn't speak TLS on this port"),
            "check the port in HYPRBOX_API_URL; if the server is meant to use plain http, begin the address with http://".to_owned(),
        ),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        ) => (
            format!("{host} offers no TLS version that is new enough: TLS 1.2 or 1.3 is required ({cause})"),
            "enable TLS 1.2 or 1.3 on the server, or on the proxy in front of it".to_owned(),
        ),
        other => (
            format!("the TLS connection to {host} failed: {other}"),
            "check the log of the server, or of the proxy in front of it".to_owned(),
        ),
    };
    Some(Finding::wrong(SUBJECT, message, fix))
}

fn certificate(fault: &CertificateError, host: &str) -> (String, String) {
    let clock = format!("this machine's clock says {}", today());
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library adds kinds; its own text explains them"
    )]
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("the certificate of {host} has expired ({clock})"),
            "renew it on the server; if this machine's clock is wrong, run: timedatectl set-ntp true".to_owned(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            format!("the certificate of {host} is not valid yet ({clock})"),
            "set this machine's clock: timedatectl set-ntp true".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the server's certificate is not for {host}"),
            "set HYPRBOX_API_URL to the name in the certificate, or get a certificate for this name".to_owned(),
        ),
        // `BadSignature` means that an authority was created again under the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("the certificate of {host} is not signed by an authority that this machine trusts"),
            "set HYPRBOX_CA_FILE to your own authority's certificate; for a public authority, install ca-certificates and make the server send the whole chain"
                .to_owned(),
        ),
        other => (
            format!("the certificate of {host} can't be used: {other:?}"),
            "get another certificate for the server".to_owned(),
        ),
    }
}

/// Finds the TLS error in a chain of errors. `io::Error` hides its cause from `source()`.
fn find_tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref::<rustls::Error>() {
            return Some(cause);
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

/// Today's date by this machine's clock, such as `2026-11-24`.
fn today() -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _written = SystemTime.format_time(&mut Writer::new(&mut text));
    text.truncate("2026-11-24".len());
    text
}
