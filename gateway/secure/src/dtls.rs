//! DTLS 1.3 and 1.2 for the keys of SRTP (RFC 5763, RFC 5764): handshakes by `dimpl`, under one certificate of the process.
//!
//! `dimpl` does no IO: datagrams and times go in, datagrams and keys come out. It takes its randomness, for keys of the
//! exchange and for signatures, from the operating system itself, and so does the certificate.

use core::time::Duration;
use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use rtp::dtls::{Broken, End, Ends, Exported, Fingerprint, Step};
use rtp::srtp::Suite;
use sansio::Time;
use std::sync::Arc;
use std::time::Instant;

/// The first wait for an answer: half of what DTLS says at least, since who waits hears silence (RFC 9147 §5.8.2 permits less
/// than 1 s for real-time media).
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// Times that a flight is said again: the last 26 s after the first.
const RETRIES: usize = 6;
/// A handshake that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(30);
/// Octets of the largest datagram sent: what passes tunnels of IPv6.
const MTU: usize = 1150;

/// The certificate of a process and how handshakes are done under it.
pub struct DtlsEnds {
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
    config: Arc<Config>,
    /// What stands for [`Time::ZERO`]: `dimpl` counts in instants and reads no clock.
    zero: Instant,
}

impl core::fmt::Debug for DtlsEnds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DtlsEnds({})", self.fingerprint)
    }
}

impl DtlsEnds {
    /// Makes a certificate of its own, ECDSA with P-256: nobody vouches for it, signalling says its fingerprint.
    ///
    /// # Errors
    /// Says what could not be made.
    pub fn new() -> Result<Self, String> {
        let made = rcgen::KeyPair::generate().and_then(|key| {
            let mut papers = rcgen::CertificateParams::new(Vec::new())?;
            // It says nothing of who has it.
            papers.distinguished_name = rcgen::DistinguishedName::new();
            papers.distinguished_name.push(rcgen::DnType::CommonName, "trunkline");
            let certificate = papers.self_signed(&key)?;
            Ok((certificate.der().to_vec(), key.serialize_der()))
        });
        let (certificate, private_key) =
            made.map_err(|error| format!("no certificate for DTLS could be made: {error}"))?;
        Self::with(certificate, private_key)
    }

    /// Takes a certificate (DER) and its key (PKCS #8, DER), ECDSA with P-256 or P-384.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn with(certificate: Vec<u8>, private_key: Vec<u8>) -> Result<Self, String> {
        let provider = dimpl::crypto::rust_crypto::default_provider();
        provider
            .key_provider
            .load_private_key(&private_key)
            .map_err(|error| format!("the key cannot be used for DTLS: {error:?}"))?;
        let config = Config::builder()
            .with_crypto_provider(provider)
            .mtu(MTU)
            .flight_start_rto(FIRST_WAIT)
            .flight_retries(RETRIES)
            .handshake_timeout(LONGEST)
            // Who may send here at all is known from signalling and ICE: a cookie would cost a round trip for nothing.
            .use_server_cookie(false)
            .build()
            .map_err(|error| format!("DTLS cannot be set up: {error}"))?;
        let fingerprint = Fingerprint::of(&certificate);
        let certificate = DtlsCertificate { certificate, private_key };
        Ok(Self { certificate, fingerprint, config: Arc::new(config), zero: now() })
    }

    fn instant(&self, time: Time) -> Instant {
        self.zero + Duration::from_nanos(time.as_nanos())
    }
}

/// The present. `dimpl` is told the machine's time: this is where that begins, and by what handshakes are measured.
#[allow(clippy::disallowed_methods, reason = "an edge: the machine's own time comes in as an argument")]
fn now() -> Instant {
    Instant::now()
}

impl Ends for DtlsEnds {
    fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    fn open(&self, time: Time, active: bool) -> Box<dyn End> {
        let began = now();
        let at = self.instant(time);
        let mut dtls = Dtls::new_auto(self.config.clone(), self.certificate.clone(), at);
        dtls.set_active(active);
        let mut end = DtlsEnd { dtls, zero: self.zero, spent: Duration::ZERO };
        if active {
            // Its first flight is due at once.
            let _ = end.dtls.handle_timeout(at);
        }
        end.spent = began.elapsed();
        Box::new(end)
    }
}

/// One end of one handshake.
struct DtlsEnd {
    dtls: Dtls,
    zero: Instant,
    spent: Duration,
}

impl core::fmt::Debug for DtlsEnd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.dtls.fmt(f)
    }
}

impl DtlsEnd {
    fn instant(&self, time: Time) -> Instant {
        self.zero + Duration::from_nanos(time.as_nanos())
    }
}

impl End for DtlsEnd {
    fn handle(&mut self, time: Time, datagram: &[u8]) -> Result<(), Broken> {
        let began = now();
        let at = self.instant(time);
        let done = self.dtls.handle_timeout(at).and_then(|()| self.dtls.handle_packet(datagram));
        self.spent += began.elapsed();
        done.map_err(|_| Broken)
    }

    fn handle_timeout(&mut self, time: Time) -> Result<(), Broken> {
        let began = now();
        let done = self.dtls.handle_timeout(self.instant(time));
        self.spent += began.elapsed();
        done.map_err(|_| Broken)
    }

    fn poll<'a>(&mut self, room: &'a mut [u8]) -> Step<'a> {
        let began = now();
        let step = loop {
            // Each turn takes one thing out of a queue that is not filled here.
            match self.dtls.poll_output(room) {
                Output::Packet(packet) => {
                    let length = packet.len();
                    break Some(length);
                }
                Output::Timeout(at) => {
                    self.spent += began.elapsed();
                    let nanos = at.saturating_duration_since(self.zero).as_nanos();
                    return Step::Wait(Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
                }
                Output::PeerCert(certificate) => {
                    let length = certificate.len();
                    self.spent += began.elapsed();
                    return Step::Certificate(room.get(..length).unwrap_or_default());
                }
                Output::KeyingMaterial(material, profile) => {
                    let exported = suite(profile).and_then(|suite| Exported::new(suite, &material));
                    let Some(exported) = exported else { continue };
                    self.spent += began.elapsed();
                    return Step::Keys(exported);
                }
                Output::CloseNotify => {
                    self.spent += began.elapsed();
                    return Step::Closed;
                }
                // Nothing larger than the MTU is sent, and no certificate of a peer that is larger than the room is looked at.
                Output::BufferTooSmall { .. } => break None,
                // Keys say that it is done; data over DTLS itself is nobody's here.
                Output::Connected | Output::ApplicationData(_) => {}
                _ => {}
            }
        };
        self.spent += began.elapsed();
        match step {
            Some(length) => Step::Send(room.get(..length).unwrap_or_default()),
            None => Step::Closed,
        }
    }

    fn spent(&self) -> u64 {
        u64::try_from(self.spent.as_micros()).unwrap_or(u64::MAX)
    }
}

const fn suite(profile: SrtpProfile) -> Option<Suite> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Suite::AesCm128Sha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Suite::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Suite::AeadAes256Gcm),
        _ => None,
    }
}
