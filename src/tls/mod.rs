//! The server's own TLS: the certificate and key in `HYPRBOX_TLS_CERT` and `HYPRBOX_TLS_KEY`,
//! reloaded after a renewal without dropping connections.

mod expiry;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::clock::Timestamp;
use crate::crypto::Sha256;
use crate::sync::{read, write};
use crate::tasks::TASKS;

/// How often the files are checked. Renewals come days before expiry, so this need not be short.
const CHECK_EVERY: Duration = Duration::from_secs(2);

const CERT: &str = "HYPRBOX_TLS_CERT";
const KEY: &str = "HYPRBOX_TLS_KEY";

/// A problem with the files: the variable, its value, and what is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TlsFault {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) allowed: String,
}

/// The certificate chain and key that the server uses. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Parts>);

struct Parts {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<CurrentKey>,
    acceptor: TlsAcceptor,
    /// Digest of the files in use, or of unusable files that were already logged.
    handled: RwLock<[u8; 32]>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("cert", &self.0.cert)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

/// The certificate and key for new connections.
#[derive(Debug)]
struct CurrentKey(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for CurrentKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&read(&self.0)))
    }
}

impl Tls {
    /// Reads both files, and refuses a key that does not match the certificate.
    pub(crate) fn load(cert: PathBuf, key: PathBuf) -> Result<Self, TlsFault> {
        let files = Files::read(&cert, &key)?;
        let digest = files.digest();
        let current = Arc::new(CurrentKey(RwLock::new(files.certified(&cert, &key)?)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(CERT, &cert, format!("served by TLS 1.2 or 1.3 ({error})")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self(Arc::new(Parts {
            cert,
            key,
            current,
            acceptor,
            handled: RwLock::new(digest),
        })))
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.0.acceptor
    }

    /// Expiry date of the certificate in use.
    pub(crate) fn not_after(&self) -> Option<Timestamp> {
        let current = read(&self.0.current.0);
        expiry::not_after(current.cert.first()?)
    }

    /// The certificate's file.
    pub(crate) fn cert(&self) -> &Path {
        &self.0.cert
    }

    /// Logs a warning if every user of this machine can read the key.
    pub(crate) fn warn_of_readable_key(&self) {
        let mode = std::fs::metadata(&self.0.key).map_or(0, |about| about.permissions().mode());
        if mode & 0o004 != 0 {
            tracing::warn!(
                file = %self.0.key.display(), mode = format!("{:04o}", mode & 0o7777),
                "every user of this machine can read the key in HYPRBOX_TLS_KEY; run chmod o-rwx on it"
            );
        }
    }

    /// Reloads the files after a renewal. Unusable files leave the current certificate in use.
    pub(crate) async fn follow_renewals(self) {
        let mut doubtful = None;
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            let tls = self.clone();
            let checked = tokio::task::spawn_blocking(move || tls.reload(doubtful)).await;
            doubtful = checked.unwrap_or_else(|error| {
                TASKS.died("certificate", &error.to_string());
                None
            });
        }
    }

    /// Reloads changed files. Returns the digest of files that are unusable for the first time: a
    /// renewal may have replaced only one of the two files, so they are checked once more.
    fn reload(&self, doubtful: Option<[u8; 32]>) -> Option<[u8; 32]> {
        let parts = &self.0;
        let files = Files::read(&parts.cert, &parts.key);
        // Zeros stand for files that can't be read.
        let digest = files.as_ref().map_or([0; 32], Files::digest);
        if *read(&parts.handled) == digest {
            return None;
        }
        match files.and_then(|files| files.certified(&parts.cert, &parts.key)) {
            Ok(fresh) => {
                *write(&parts.current.0) = fresh;
                tracing::info!(file = %parts.cert.display(), "loaded the new certificate");
                self.warn_of_readable_key();
            }
            Err(_) if doubtful != Some(digest) => return Some(digest),
            Err(fault) => tracing::warn!(
                "{}={:?} changed and is not usable: it must be {}; the old certificate stays in use",
                fault.name,
                fault.value,
                fault.allowed
            ),
        }
        *write(&parts.handled) = digest;
        None
    }
}

/// The content of both files.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(cert: &Path, key: &Path) -> Result<Self, TlsFault> {
        let read = |name, path: &Path, what: &str| {
            std::fs::read(path).map_err(|error| fault(name, path, format!("{what} ({error})")))
        };
        Ok(Self {
            cert: read(
                CERT,
                cert,
                "a readable PEM file of the certificate and its chain",
            )?,
            key: read(
                KEY,
                key,
                "a readable PEM file of the certificate's private key",
            )?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::default();
        hash.update((self.cert.len() as u64).to_be_bytes());
        hash.update(&self.cert);
        hash.update(&self.key);
        hash.finish()
    }

    fn certified(&self, cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsFault> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(CERT, cert, format!("a PEM file of certificates ({error})")))?;
        if chain.is_empty() {
            let allowed = "a PEM file with a CERTIFICATE, followed by its chain";
            return Err(fault(CERT, cert, allowed));
        }
        let secret = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            let allowed = "a PEM file with a PRIVATE KEY without a password";
            fault(KEY, key, format!("{allowed} ({error})"))
        })?;
        let provider = rustls::crypto::ring::default_provider();
        match CertifiedKey::from_der(chain, secret, &provider) {
            Ok(certified) => Ok(Arc::new(certified)),
            Err(rustls::Error::InconsistentKeys(_)) => Err(fault(
                KEY,
                key,
                format!(
                    "the private key of the first certificate in {}",
                    cert.display()
                ),
            )),
            Err(rustls::Error::InvalidCertificate(error)) => Err(fault(
                CERT,
                cert,
                format!("a PEM file of X.509 certificates ({error})"),
            )),
            Err(error) => Err(fault(
                KEY,
                key,
                format!("an RSA, ECDSA or Ed25519 key ({error})"),
            )),
        }
    }
}

fn fault(name: &'static str, path: &Path, allowed: impl Into<String>) -> TlsFault {
    TlsFault {
        name,
        value: path.display().to_string(),
        allowed: allowed.into(),
    }
}
