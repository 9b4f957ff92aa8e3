//! TLS in a town: the layer around gateway shards and peers, with certificates of one key.
//!
//! What rustls draws is not seeded, and neither is its time. The key is an Ed25519 key and the certificate is valid for
//! all time that matters, so that every record of a session has the same length in every run: what is cut where, and what
//! comes of it, is the same, though the bytes are not.

use crate::peer::Peer;
use crate::town::{Mail, Places};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use sansio::{Input, Machine, Outbox, SocketId, Time};
use secure::{Config, Policy, Secured, Shared, Trust};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The key of everybody's certificate.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIPYmZgIOB1FPSnM0vP3AYjVGuAY5GVS9GE5k8CE7t5tE\n\
    -----END PRIVATE KEY-----\n";
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Most sessions of one machine.
const SESSIONS: u32 = 64;

/// The certificate and its key, as DER.
static IDENTITY: LazyLock<Option<(Vec<u8>, Vec<u8>)>> = LazyLock::new(|| {
    let key = KeyPair::from_pem(KEY).ok()?;
    let hosts = (0..8).flat_map(|index| [1, 5, 9].map(|net| Places::V4.host(net, index).ip().to_string()));
    let certificate = CertificateParams::new(hosts.collect::<Vec<_>>()).ok()?.self_signed(&key).ok()?;
    Some((certificate.der().to_vec(), key.serialize_der()))
});

/// The time that rustls goes by: always the same.
#[derive(Debug)]
struct Noon;

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000)))
    }
}

fn policy() -> Option<Policy> {
    let (certificate, key) = IDENTITY.as_ref()?;
    let chain = vec![CertificateDer::from(certificate.clone())];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_details(provider, Arc::new(Noon))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.clone()).into())
        .ok()?;
    let trust = Trust::new(roots, None).ok()?;
    Some(Policy { server: Some(Arc::new(server)), trust: Some(trust), ..Policy::default() })
}

/// Puts the layer around a machine; without `tls` it has nothing to do there.
pub(crate) fn around<M: Machine>(now: Time, machine: M, listeners: &[SocketId], tls: bool) -> Secured<M> {
    let sessions = if tls { SESSIONS } else { 0 };
    let config = Config { listeners: listeners.to_vec(), handshake: HANDSHAKE, sessions };
    // Without a certificate every handshake fails, which no flow over TLS survives.
    let policy = tls.then(policy).flatten().unwrap_or_default();
    Secured::new(now, machine, config, Shared::new(policy))
}

/// A peer, as a machine of the town.
#[derive(Debug)]
pub struct Spoken(pub Peer);

impl Machine for Spoken {
    type Mail = Mail;

    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        self.0.handle(now, input, out);
    }

    fn deadline(&self) -> Option<Time> {
        self.0.deadline()
    }
}
