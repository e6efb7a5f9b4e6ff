//! TLS on the way to Postgres: `sslmode`, `sslrootcert`, `sslcert` and `sslkey` of the URL, with
//! the meanings that they have in libpq.
//!
//! `prefer` (what counts without any) and `require` encrypt and look at no certificate; `verify-ca`
//! and `verify-full` look at it, and so does `require` with an `sslrootcert`. A connector of our
//! own over the `tokio-rustls` that the server has anyway is less to keep than a crate for it.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use postgres::Socket;
use postgres::config::SslMode;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
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

/// What is asked of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Nothing: the line is encrypted, whoever is at its end.
    None,
    /// It comes from an authority that is trusted.
    Authority,
    /// And it is the host's that was asked for.
    Host,
}

/// What a URL says of TLS.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) sslmode: Option<String>,
    pub(super) sslrootcert: Option<String>,
    pub(super) sslcert: Option<String>,
    pub(super) sslkey: Option<String>,
}

/// What these words ask for; the error is in words that follow "it must be".
pub(super) fn of(words: &Words) -> Result<(SslMode, Tls), String> {
    let (mode, roots) = (words.sslmode.as_deref(), words.sslrootcert.as_deref());
    let (mode, proof) = match (mode, roots) {
        (Some("disable"), _) => (SslMode::Disable, Proof::None),
        (None | Some("prefer"), None) => (SslMode::Prefer, Proof::None),
        (Some("require"), None) => (SslMode::Require, Proof::None),
        (Some("require" | "verify-ca"), _) => (SslMode::Require, Proof::Authority),
        (Some("verify-full") | None, _) => (SslMode::Require, Proof::Host),
        (Some("prefer"), Some(_)) => {
            return Err("with sslmode=verify-full where sslrootcert is set".to_owned());
        }
        (Some(_), _) => {
            return Err(
                "with sslmode=disable, prefer, require, verify-ca or verify-full".to_owned(),
            );
        }
    };
    let own = match (&words.sslcert, &words.sslkey) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((Path::new(cert), Path::new(key))),
        (Some(_), None) | (None, Some(_)) => {
            return Err("with both sslcert and sslkey, or neither".to_owned());
        }
    };
    Ok((mode, Tls::new(proof, roots, own)?))
}

/// Makes lines that are encrypted.
#[derive(Clone)]
pub(super) struct Tls(tokio_rustls::TlsConnector);

impl Tls {
    /// `own`: the certificate that we show, and its key.
    fn new(proof: Proof, roots: Option<&str>, own: Option<(&Path, &Path)>) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let trusted = match proof {
            Proof::None => None,
            Proof::Authority | Proof::Host => Some(Trusted::read(roots, &provider)?),
        };
        let verifier = Verifier {
            proof,
            trusted,
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

/// Whose certificates are taken.
#[derive(Debug)]
struct Trusted {
    chains: Arc<WebPkiServerVerifier>,
    /// Those of the file themselves: a server that signed its own shows one of these.
    named: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn read(roots: Option<&str>, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let (certificates, named) = match roots {
            None | Some("system") => (rustls_native_certs::load_native_certs().certs, Vec::new()),
            Some(path) => {
                let certificates = read_certificates("sslrootcert", Path::new(path))?;
                (certificates.clone(), certificates)
            }
        };
        let mut store = RootCertStore::empty();
        let (taken, _) = store.add_parsable_certificates(certificates);
        if taken == 0 {
            return Err("with sslrootcert=FILE, a PEM file of the authority's certificate: there are none of the system's".to_owned());
        }
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
                .build()
                .map_err(|error| error.to_string())?;
        Ok(Self { chains, named })
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
        Ok(_) => Err(wrong("no certificate is in it")),
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
    proof: Proof,
    trusted: Option<Trusted>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trusted) = &self.trusted else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = if trusted.named.iter().any(|named| named == shown) {
            let certificate = ParsedCertificate::try_from(shown)?;
            verify_server_name(&certificate, name).map(|()| ServerCertVerified::assertion())
        } else {
            trusted
                .chains
                .verify_server_cert(shown, between, name, ocsp, now)
        };
        match verified {
            // The name is looked at last: all the rest was right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.proof == Proof::Authority => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trusted.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trusted.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, known)
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

    /// Called for sockets of the machine, too, whose name is empty: they are not encrypted then.
    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, TlsFault> {
        Ok(Handshake {
            connector: self.0.clone(),
            host: host.to_owned(),
        })
    }
}

/// One handshake to be.
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
                .map_err(|_| TlsFault(format!("{:?} is no name of a host", self.host)))?;
            let stream = self.connector.connect(name, socket).await;
            stream
                .map(Encrypted)
                .map_err(|error| fault(&error, &self.host))
        })
    }
}

/// Why a line can't be encrypted, or is not to be trusted, with the mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TlsFault(String);

fn fault(error: &io::Error, host: &str) -> TlsFault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    TlsFault(match inner {
        Some(rustls::Error::InvalidCertificate(why)) => unfit(why, host),
        Some(other) => other.to_string(),
        None => error.to_string(),
    })
}

fn unfit(why: &CertificateError, host: &str) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        UnknownIssuer,
    };
    if matches!(why, NotValidForName | NotValidForNameContext { .. }) {
        format!(
            "the server's certificate does not name {host} (in subjectAltName): connect by a name that it has"
        )
    } else if matches!(why, UnknownIssuer | BadSignature) {
        // The latter is an authority of the same name.
        "no trusted authority has signed the server's certificate: set sslrootcert to the authority's certificate".to_owned()
    } else if matches!(why, Expired | ExpiredContext { .. }) {
        "the server's certificate has expired: renew it there".to_owned()
    } else {
        format!(
            "the server's certificate is not usable ({why}): set sslrootcert to a copy of it, if it is the right one"
        )
    }
}

/// A line that is encrypted.
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
