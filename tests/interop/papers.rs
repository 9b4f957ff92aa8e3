//! Certificates for flows over TLS, all signed by an authority that lives as long as the flow.

use crate::place::Scene;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: PathBuf,
}

/// A certificate, the key to it, and the certificate of who signed it.
pub(crate) struct Papers {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) root: PathBuf,
}

impl Authority {
    pub(crate) fn new(scene: &Scene) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        // Names of their own: a certificate named as its issuer is taken for one that signed itself.
        parameters.distinguished_name.push(DnType::CommonName, "interop authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = scene.file("root.pem", &parameters.self_signed(&key).unwrap().pem());
        Self { issuer: Issuer::new(parameters, key), root }
    }

    /// Papers for who is reached there.
    pub(crate) fn sign(&self, scene: &Scene, at: SocketAddr) -> Papers {
        let key = KeyPair::generate().unwrap();
        let host = at.ip().to_string();
        let mut parameters = CertificateParams::new(vec![host.clone()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, host.as_str());
        let certificate = parameters.signed_by(&key, &self.issuer);
        Papers {
            certificate: scene.file(&format!("{host}.pem"), &certificate.unwrap().pem()),
            key: scene.file(&format!("{host}.key.pem"), &key.serialize_pem()),
            root: self.root.clone(),
        }
    }
}
