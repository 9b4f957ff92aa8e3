//! What a configuration says of TLS, checked, and made into what sessions are opened by.

use crate::config::{ConfigError, File};
use secure::{FileError, Peer, Policy, Trust};
use sip::Transport;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use switch::trunk::TrunkConfig;

/// Certificates, keys and trust: the files' names, not yet what is in them.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Our certificate and the key to it.
    own: Option<(PathBuf, PathBuf)>,
    ca: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
    /// What peers of trunks have to show.
    peers: BTreeMap<SocketAddr, Peer>,
    serves: bool,
    /// Where it is written: the file's name or "command line".
    place: String,
    /// Trunks whose peers' certificates are not checked.
    pub unverified: Vec<String>,
}

impl TlsSettings {
    pub(crate) fn resolve(
        file: &File,
        trunks: &[TrunkConfig],
        at: &dyn Fn(&str) -> String,
    ) -> Result<Self, ConfigError> {
        let tls = &file.tls;
        let serves = !file.tls_listen.is_empty() || !file.wss_listen.is_empty();
        let own = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) if serves => {
                let error =
                    "needs a certificate; give --cert FILE and --key FILE, or tls.certificate and tls.key";
                let key =
                    if file.tls_listen.is_empty() { "wss_listen (--wss)" } else { "tls_listen (--tls)" };
                return Err(ConfigError::new(at(key), error));
            }
            (None, None) => None,
            (Some(_), None) => {
                let error = "a certificate is of no use without its key; give --key FILE or tls.key";
                return Err(ConfigError::new(at("tls.key (--key)"), error));
            }
            (None, Some(_)) => {
                let error = "a key is of no use without its certificate; give --cert FILE or tls.certificate";
                return Err(ConfigError::new(at("tls.certificate (--cert)"), error));
            }
        };
        if tls.handshake_timeout.0.is_zero() {
            return Err(ConfigError::new(
                at("tls.handshake_timeout"),
                "0 would end every handshake; 5s is usual",
            ));
        }
        let mut peers = BTreeMap::new();
        for (trunk, written) in trunks.iter().zip(&file.trunks) {
            let key = |key: &str| at(&format!("trunk \"{}\": {key}", trunk.name));
            if let Some(name) = written.tls_name.as_ref().filter(|name| !Peer::is_name(name)) {
                let error =
                    format!("\"{name}\" is no name that a certificate can bear; write it as sip.example.com");
                return Err(ConfigError::new(key("tls_name"), error));
            }
            let registrar = trunk.register.iter().map(|register| &register.to);
            let spoken_to = trunk.peers.iter().chain(registrar);
            for peer in spoken_to.filter(|peer| peer.transport == Transport::Tls) {
                let shown = Peer { name: written.tls_name.clone(), verify: written.tls_verify };
                let same = |other: &Peer| (&other.name, other.verify) == (&shown.name, shown.verify);
                if peers.get(&peer.address).is_some_and(|other| !same(other)) {
                    let error = format!(
                        "another trunk says something else of {}; say the same in both",
                        peer.address
                    );
                    return Err(ConfigError::new(key("tls_name, tls_verify"), error));
                }
                peers.insert(peer.address, shown);
            }
        }
        let unverified =
            file.trunks.iter().filter(|trunk| !trunk.tls_verify).map(|trunk| trunk.name.clone()).collect();
        Ok(Self {
            own,
            ca: tls.ca.clone(),
            client_ca: tls.client_ca.clone(),
            handshake: tls.handshake_timeout.0,
            peers,
            serves,
            place: at(""),
            unverified,
        })
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Names the key, the flag, the file and the cure.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let mut policy = Policy { peers: self.peers.clone(), ..Policy::default() };
        let own = self.own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        if let Some((certificate, key)) = own.filter(|_| self.serves) {
            let server = secure::server(certificate, key, self.client_ca.as_deref());
            policy.server = Some(server.map_err(|error| self.error(&error))?);
        }
        if self.serves || !self.peers.is_empty() {
            let trust = secure::roots(self.ca.as_deref()).and_then(|roots| Trust::new(roots, own));
            policy.trust = Some(trust.map_err(|error| self.error(&error))?);
        }
        Ok(policy)
    }

    fn error(&self, error: &FileError) -> ConfigError {
        let is = |path: Option<&PathBuf>| path.is_some_and(|path| path == error.path());
        let key = match &self.own {
            Some((certificate, _)) if is(Some(certificate)) => "tls.certificate (--cert)",
            Some((_, key)) if is(Some(key)) => "tls.key (--key)",
            _ if is(self.ca.as_ref()) => "tls.ca",
            _ if is(self.client_ca.as_ref()) => "tls.client_ca",
            _ => "tls",
        };
        ConfigError::new(format!("{}{key}", self.place), error.to_string())
    }
}
