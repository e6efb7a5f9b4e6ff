//! TLS for connections to PostgreSQL: the URL's `sslmode`, `sslrootcert`, `sslcert` and `sslkey`,
//! with their meanings in libpq.
//!
//! `prefer` (the default) and `require` encrypt without checking the certificate. `verify-ca`,
//! `verify-full`, and `require` with an `sslrootcert` check it. The connector uses `tokio-rustls`,
//! which the server needs anyway, so no further crate is necessary.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// What is checked of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Nothing. The connection is encrypted, but the server may be anybody.
    None,
    /// A trusted authority issued the certificate.
    Authority,
    /// In addition, the certificate names the requested host.
    Host,
}

/// The TLS parameters of a URL.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct TlsParams {
    pub(super) sslmode: Option<String>,
    pub(super) sslrootcert: Option<String>,
    pub(super) sslcert: Option<String>,
    pub(super) sslkey: Option<String>,
}

/// Returns the mode and the connector for a URL's parameters. The error continues a sentence that
/// ends with "it must be".
pub(super) fn parse(params: &TlsParams) -> Result<(SslMode, Tls), String> {
    let (mode, roots) = (params.sslmode.as_deref(), params.sslrootcert.as_deref());
    let (mode, check) = match (mode, roots) {
        (Some("disable"), _) => (SslMode::Disable, Check::None),
        (None | Some("prefer"), None) => (SslMode::Prefer, Check::None),
        (Some("require"), None) => (SslMode::Require, Check::None),
        (Some("require" | "verify-ca"), _) => (SslMode::Require, Check::Authority),
        (Some("verify-full") | None, _) => (SslMode::Require, Check::Host),
        (Some("prefer"), Some(_)) => {
            return Err("with sslmode=verify-full if sslrootcert is set".to_owned());
        }
        (Some(_), _) => {
            return Err(
                "with sslmode=disable, prefer, require, verify-ca or verify-full".to_owned(),
            );
        }
    };
    let own = match (&params.sslcert, &params.sslkey) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((Path::new(cert), Path::new(key))),
        (Some(_), None) | (None, Some(_)) => {
            return Err("with both sslcert and sslkey, or neither".to_owned());
        }
    };
    Ok((mode, Tls::new(check, roots, own)?))
}

/// Encrypts connections.
#[derive(Clone)]
pub(super) struct Tls(tokio_rustls::TlsConnector);

impl Tls {
    /// `own` is the client certificate and its key.
    fn new(check: Check, roots: Option<&str>, own: Option<(&Path, &Path)>) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let trust = match check {
            Check::None => None,
            Check::Authority | Check::Host => Some(TrustStore::read(roots, &provider)?),
        };
        let verifier = Verifier {
            check,
            trust,
            provider: Arc::clone(&provider),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let (certificates, secret) = (read_certificates("sslcert", cert)?, read_key(key)?);
                config
                    .with_client_auth_cert(certificates, secret)
                    .map_err(|error| {
                        let key = key.display();
                        format!("with an sslkey that belongs to its sslcert ({key}: {error})")
                    })?
            }
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self(Arc::new(config).into()))
    }
}

/// The trusted certificates.
#[derive(Debug)]
struct TrustStore {
    chains: Arc<WebPkiServerVerifier>,
    /// The certificates in the file. A server with a self-signed certificate presents one of these.
    listed: Vec<CertificateDer<'static>>,
}

impl TrustStore {
    fn read(roots: Option<&str>, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let (certificates, listed) = match roots {
            None | Some("system") => (rustls_native_certs::load_native_certs().certs, Vec::new()),
            Some(path) => {
                let certificates = read_certificates("sslrootcert", Path::new(path))?;
                (certificates.clone(), certificates)
            }
        };
        let mut store = RootCertStore::empty();
        let (taken, _) = store.add_parsable_certificates(certificates);
        if taken == 0 {
            return Err("with sslrootcert=FILE, a PEM file of the authority's certificate, since the system has no certificates".to_owned());
        }
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
                .build()
                .map_err(|error| error.to_string())?;
        Ok(Self { chains, listed })
    }
}

fn read_certificates(word: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: &str| {
        let path = path.display();
        format!("with an {word} that is a PEM file of certificates ({path}: {why})")
    };
    let text = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(wrong("it contains no certificate")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        let path = path.display();
        format!("with an sslkey that is a PEM file of a key without a passphrase ({path}: {error})")
    })
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    trust: Option<TrustStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trust) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = if trust.listed.contains(presented) {
            let certificate = ParsedCertificate::try_from(presented)?;
            verify_server_name(&certificate, name).map(|()| ServerCertVerified::assertion())
        } else {
            trust
                .chains
                .verify_server_cert(presented, intermediates, name, ocsp, now)
        };
        match verified {
            // The name is checked last, so everything else was valid.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Authority => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trust.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, presented, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trust.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, presented, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = TlsFault;

    /// Also called for Unix sockets, with an empty host name; these are not encrypted.
    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, TlsFault> {
        Ok(Handshake {
            connector: self.0.clone(),
            host: host.to_owned(),
        })
    }
}

/// A handshake that has not started.
pub(super) struct Handshake {
    connector: tokio_rustls::TlsConnector,
    host: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = TlsFault;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, TlsFault>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host.clone())
                .map_err(|_| TlsFault(format!("{:?} is not a host name", self.host)))?;
            let stream = self.connector.connect(name, socket).await;
            stream
                .map(Encrypted)
                .map_err(|error| fault(&error, &self.host))
        })
    }
}

/// Why a connection can't be encrypted or trusted, including how to fix the problem.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TlsFault(String);

fn fault(error: &io::Error, host: &str) -> TlsFault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    TlsFault(match inner {
        Some(rustls::Error::InvalidCertificate(why)) => certificate_error(why, host),
        Some(other) => other.to_string(),
        None => error.to_string(),
    })
}

fn certificate_error(why: &CertificateError, host: &str) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        UnknownIssuer,
    };
    if matches!(why, NotValidForName | NotValidForNameContext { .. }) {
        format!(
            "the server's certificate does not name {host} (in subjectAltName): connect by a name in the certificate"
        )
    } else if matches!(why, UnknownIssuer | BadSignature) {
        // BadSignature: an authority of the same name but with another key.
        "no trusted authority has signed the server's certificate: set sslrootcert to the authority's certificate".to_owned()
    } else if matches!(why, Expired | ExpiredContext { .. }) {
        "the server's certificate has expired: renew it".to_owned()
    } else {
        format!(
            "the server's certificate is not usable ({why}): if it is the right certificate, set sslrootcert to a copy of it"
        )
    }
}

/// An encrypted connection.
pub(super) struct Encrypted(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
