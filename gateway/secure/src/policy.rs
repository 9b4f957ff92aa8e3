//! Certificates, keys and trust: read from files, made into what sessions are opened by, and replaced while they run.

use core::fmt;
use core::net::SocketAddr;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// A file of certificates or a key that cannot be used: which, why, and the cure.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    what: String,
}

impl FileError {
    fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for FileError {}

/// Our certificate with its chain, and the key to it.
#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// What a peer that is connected to has to show.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The name its certificate has to bear, sent to it as SNI; `None`: its IP address.
    pub name: Option<String>,
    /// Whether its certificate is held against anything. Without, whoever is on the way can read and change all.
    pub verify: bool,
}

/// What peers that are connected to are held against.
#[derive(Clone, Debug)]
pub struct Trust {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

/// By what sessions are opened: our certificate, whom we trust, what peers are called.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// For peers that connect to us; `None`: none may.
    pub server: Option<Arc<ServerConfig>>,
    /// For peers we connect to; `None`: to none.
    pub trust: Option<Trust>,
    /// What certain peers have to show; all others are known by their IP address and verified.
    pub peers: BTreeMap<SocketAddr, Peer>,
}

/// A policy that several machines follow and that may be replaced; sessions that stand keep what they began with.
#[derive(Clone, Debug)]
pub struct Shared(Arc<RwLock<Arc<Policy>>>);

impl Shared {
    /// Shares a policy.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(policy))))
    }

    /// The policy now. Looked at once per connection.
    pub fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the policy for connections from now on.
    pub fn replace(&self, policy: Policy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| FileError::new(path, format!("cannot be read: {error}")))?;
    if chain.is_empty() {
        return Err(FileError::new(
            path,
            "holds no certificate; give a PEM file with \"BEGIN CERTIFICATE\" in it",
        ));
    }
    Ok(chain)
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, FileError> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => FileError::new(
            key,
            "holds no private key; give a PEM file with \"BEGIN PRIVATE KEY\" in it, without a password",
        ),
        error => FileError::new(key, format!("cannot be read: {error}")),
    })?;
    Ok(Identity { chain, key })
}

/// The certificates of a file as roots of trust; without a file those that the host trusts.
///
/// # Errors
/// The file cannot be read or holds no certificate that can be used.
pub fn roots(file: Option<&Path>) -> Result<RootCertStore, FileError> {
    let mut store = RootCertStore::empty();
    let Some(path) = file else {
        // What cannot be read of the host's store vouches for nobody; that fails where it is needed.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| {
            FileError::new(path, format!("holds a certificate that cannot be used: {error}"))
        })?;
    }
    Ok(store)
}

/// What peers that connect to us meet: our certificate, and with `clients` the demand for theirs, signed by one of these.
///
/// # Errors
/// A file cannot be read, or key and certificate do not fit.
pub fn server(
    certificate: &Path,
    key: &Path,
    clients: Option<&Path>,
) -> Result<Arc<ServerConfig>, FileError> {
    let own = identity(certificate, key)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| FileError::new(certificate, error.to_string()))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(Some(path))?.into(), provider());
            let verifier = verifier.build().map_err(|error| FileError::new(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config =
        builder.with_single_cert(own.chain, own.key).map_err(|error| misfit(certificate, key, &error))?;
    if clients.is_none() {
        // Resumption without state on our side; who has to show a certificate shows it each time.
        config.ticketer = ring::Ticketer::new().map_err(|error| FileError::new(key, error.to_string()))?;
    } else {
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    }
    Ok(Arc::new(config))
}

fn misfit(certificate: &Path, key: &Path, error: &Error) -> FileError {
    let what = match error {
        Error::InconsistentKeys(_) => {
            format!("is not the key to {}; give both of one pair", certificate.display())
        }
        error => format!("cannot be used with {}: {error}", certificate.display()),
    };
    FileError::new(key, what)
}

impl Trust {
    /// Trust in peers whose certificates `roots` vouch for. `own` (certificate and key) is shown to peers that ask for
    /// one.
    ///
    /// # Errors
    /// A file cannot be read, or key and certificate do not fit.
    pub fn new(roots: RootCertStore, own: Option<(&Path, &Path)>) -> Result<Self, FileError> {
        let build = |verify: bool| -> Result<Arc<ClientConfig>, FileError> {
            let builder = ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .map_err(|error| FileError::new(Path::new("TLS"), error.to_string()))?;
            let builder = if verify {
                builder.with_root_certificates(roots.clone())
            } else {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider())))
            };
            let config = match own {
                None => builder.with_no_client_auth(),
                Some((certificate, key)) => {
                    let own = identity(certificate, key)?;
                    builder
                        .with_client_auth_cert(own.chain, own.key)
                        .map_err(|error| misfit(certificate, key, &error))?
                }
            };
            Ok(Arc::new(config))
        };
        Ok(Self { verified: build(true)?, unverified: build(false)? })
    }
}

impl Policy {
    /// How to begin with a peer we connect to: what to hold it against, and its name.
    pub(crate) fn towards(&self, remote: SocketAddr) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let trust = self.trust.as_ref()?;
        let peer = self.peers.get(&remote);
        let address = || ServerName::from(remote.ip());
        let named = peer.and_then(|peer| peer.name.clone());
        // The configuration checks names; one that is none matches no certificate under the address either.
        let name = named.and_then(|name| ServerName::try_from(name).ok()).unwrap_or_else(address);
        let verify = peer.is_none_or(|peer| peer.verify);
        Some((Arc::clone(if verify { &trust.verified } else { &trust.unverified }), name))
    }
}

impl Peer {
    /// Whether a text can be a server's name.
    pub fn is_name(text: &str) -> bool {
        ServerName::try_from(text).is_ok()
    }
}

/// Takes any certificate, as long as the peer has the key to it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
