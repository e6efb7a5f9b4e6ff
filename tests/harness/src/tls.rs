//! A certificate authority of a test's own, and TLS connections that show what they were shown.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::{PATIENCE, Server};

/// An authority, with a folder for the server's files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("signs"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        write(&authority.ca_file(), &authority.issuer.pem(), 0o644);
        authority.renew();
        authority
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    pub fn cert(&self) -> PathBuf {
        self.folder().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder().join("key.pem")
    }

    /// A certificate for 127.0.0.1 and its key, both PEM.
    pub fn issue(&self) -> (String, String) {
        self.issue_as(|_| {})
    }

    /// One that is otherwise than it should be.
    pub fn issue_as(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("signs");
        (cert.pem(), key.serialize_pem())
    }

    /// A certificate of that user and its key, both PEM.
    pub fn issue_for_user(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("signs");
        (cert.pem(), key.serialize_pem())
    }

    /// A certificate for 127.0.0.1 that nobody else has signed, an authority's by its own words,
    /// and its key, both PEM.
    pub fn self_signed() -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("signs");
        (cert.pem(), key.serialize_pem())
    }

    /// Puts a new certificate and key in the files' place, and gives the certificate as it is
    /// shown.
    pub fn renew(&self) -> Vec<u8> {
        self.renew_as(|_| {})
    }

    /// The same with one that is otherwise than it should be.
    pub fn renew_as(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let (cert, key) = self.issue_as(change);
        write(&self.key(), &key, 0o600);
        write(&self.cert(), &cert, 0o644);
        let shown = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
        shown.to_vec()
    }
}

/// Writes a file of that mode, whole.
pub fn write(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let making = path.with_extension("new");
    std::fs::write(&making, text).expect("writes");
    std::fs::set_permissions(&making, std::fs::Permissions::from_mode(mode)).expect("its mode");
    std::fs::rename(&making, path).expect("renames");
}

/// An open TLS connection.
pub struct TlsLine(StreamOwned<ClientConnection, TcpStream>);

impl TlsLine {
    pub fn open(server: &Server, authority: &Authority) -> Self {
        Self::offering(server, authority, rustls::ALL_VERSIONS)
    }

    /// Offers these versions of TLS alone.
    pub fn offering(
        server: &Server,
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let ca = CertificateDer::from_pem_file(authority.ca_file()).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(ca).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(server.address()).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        Self(StreamOwned::new(client, stream))
    }

    /// The status of an answer to `GET /healthz`.
    pub fn ask(&mut self) -> u16 {
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        self.0.write_all(request).expect("writes");
        let mut answer = String::new();
        let mut bytes = [0; 1024];
        while !answer.ends_with("\"ok\"}") {
            let read = self.0.read(&mut bytes).expect("an answer");
            assert_ne!(read, 0, "closed after {answer:?}");
            answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        let word = answer.split(' ').nth(1).expect("a status line");
        word.parse().expect("a status")
    }

    /// The certificate that it was shown, and the protocol that was agreed on; after the first
    /// [`TlsLine::ask`].
    pub fn shown(&self) -> (Vec<u8>, String) {
        let chain = self.0.conn.peer_certificates().expect("a certificate");
        let protocol = self.0.conn.alpn_protocol().unwrap_or_default();
        (
            chain[0].to_vec(),
            String::from_utf8_lossy(protocol).into_owned(),
        )
    }
}
