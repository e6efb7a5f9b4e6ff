//! TLS of the server's own: the certificate and key that `HYPRBOX_TLS_CERT` and `HYPRBOX_TLS_KEY`
//! name, and those that a renewal puts in their place, without a connection being dropped.

mod expiry;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::clock::Timestamp;
use crate::tasks::TASKS;

/// How often the files are looked at. What is served meanwhile is still valid: renewals come days
/// ahead.
const LOOK_EVERY: Duration = Duration::from_secs(2);

const CERT: &str = "HYPRBOX_TLS_CERT";
const KEY: &str = "HYPRBOX_TLS_KEY";

/// What is wrong with the files: the variable, its value, and what is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TlsFault {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) allowed: String,
}

/// A certificate chain and its key, as the files have them; clones share what is served.
#[derive(Clone)]
pub struct Tls(Arc<Parts>);

struct Parts {
    cert: PathBuf,
    key: PathBuf,
    served: Arc<Served>,
    acceptor: TlsAcceptor,
    /// Digest of the files that are served, or that were found wrong and told of.
    known: RwLock<[u8; 32]>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("cert", &self.0.cert)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

/// What new connections are shown.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&served))
    }
}

impl Tls {
    /// Reads both files, and refuses a key that is not the certificate's.
    pub(crate) fn load(cert: PathBuf, key: PathBuf) -> Result<Self, TlsFault> {
        let files = Files::read(&cert, &key)?;
        let known = files.digest();
        let served = Arc::new(Served(RwLock::new(files.certified(&cert, &key)?)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(CERT, &cert, format!("served by TLS 1.2 or 1.3 ({error})")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&served) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self(Arc::new(Parts {
            cert,
            key,
            served,
            acceptor,
            known: RwLock::new(known),
        })))
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.0.acceptor
    }

    /// Until when the certificate that is served holds.
    pub(crate) fn not_after(&self) -> Option<Timestamp> {
        let served = self
            .0
            .served
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        expiry::not_after(served.cert.first()?)
    }

    /// The file that the certificate is in.
    pub(crate) fn cert(&self) -> &Path {
        &self.0.cert
    }

    /// Says it where everybody on this machine may read the key.
    pub(crate) fn warn_of_an_open_key(&self) {
        let mode = std::fs::metadata(&self.0.key).map_or(0, |about| about.permissions().mode());
        if mode & 0o004 != 0 {
            tracing::warn!(
                file = %self.0.key.display(), mode = format!("{:04o}", mode & 0o7777),
                "every user of this machine can read the key that HYPRBOX_TLS_KEY names; chmod o-rwx it"
            );
        }
    }

    /// Takes over what a renewal puts in place. Files that don't fit leave what is served as it is.
    pub(crate) async fn follow_renewals(self) {
        let mut doubtful = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tls = self.clone();
            let looked = tokio::task::spawn_blocking(move || tls.look(doubtful)).await;
            doubtful = looked.unwrap_or_else(|error| {
                // What is served stays.
                TASKS.died("certificate", &error.to_string());
                None
            });
        }
    }

    /// Gives what was found wrong for the first time: a renewal may stand between its two files,
    /// and gets another look.
    fn look(&self, doubtful: Option<[u8; 32]>) -> Option<[u8; 32]> {
        let parts = &self.0;
        let read = Files::read(&parts.cert, &parts.key);
        // Files that can't be read have a digest, too: their own absence.
        let digest = read.as_ref().map_or([0; 32], Files::digest);
        if *parts.known.read().unwrap_or_else(PoisonError::into_inner) == digest {
            return None;
        }
        match read.and_then(|files| files.certified(&parts.cert, &parts.key)) {
            Ok(fresh) => {
                let mut served = parts
                    .served
                    .0
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                *served = fresh;
                drop(served);
                tracing::info!(file = %parts.cert.display(), "a new certificate is served");
                self.warn_of_an_open_key();
            }
            Err(_) if doubtful != Some(digest) => return Some(digest),
            Err(fault) => tracing::warn!(
                "{}={:?} changed and is not usable: it must be {}; the old certificate is served on",
                fault.name,
                fault.value,
                fault.allowed
            ),
        }
        *parts.known.write().unwrap_or_else(PoisonError::into_inner) = digest;
        None
    }
}

/// The files' bytes.
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
        let mut hash = Sha256::new();
        hash.update((self.cert.len() as u64).to_be_bytes());
        hash.update(&self.cert);
        hash.update(&self.key);
        hash.finalize().into()
    }

    fn certified(&self, cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsFault> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(CERT, cert, format!("a PEM file of certificates ({error})")))?;
        if chain.is_empty() {
            let allowed = "a PEM file with a CERTIFICATE in it, followed by its chain";
            return Err(fault(CERT, cert, allowed));
        }
        let secret = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            let allowed = "a PEM file with a PRIVATE KEY in it that no password guards";
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
