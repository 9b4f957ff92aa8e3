//! STIR/SHAKEN in the configuration: its keys, and the files they name, read and checked.

use crate::config::{ConfigError, File, Span, Trunk};
use ring::rand::SystemRandom;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stir::{ListIssuers, Policy, Revocation, RevocationList, Roots, Signer};
use switch::identity::{IdentityConfig, Signing, TrunkIdentity, Verify};

/// How callers' identities are verified and signed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stir {
    /// For calls that are from no trunk's peer: `off`, `tag` or `reject`.
    pub verify: String,
    /// PEM file with the certificates of those who may vouch for callers' networks.
    pub roots: Option<PathBuf>,
    /// What is asked of lists of revoked certificates: `off`, `prefer` or `require`.
    pub revocation: String,
    /// Files of such lists, PEM or DER, besides those that certificates name.
    pub revocation_lists: Vec<PathBuf>,
    /// PEM file with the certificates of those who keep lists for other authorities.
    pub revocation_issuers: Option<PathBuf>,
    /// How old a token may be.
    pub freshness: Span,
    /// How long a call waits for a certificate that is not known.
    pub patience: Span,
    /// Whether certificates must name a provider or numbers.
    pub authority_required: bool,
    /// Whether attestation and origination are told the callee in fields of their own.
    pub indicator: bool,
    /// Hosts that certificates are fetched from, `.example.com` for all below it; empty: all.
    pub hosts: Vec<String>,
    /// Ports that certificates are fetched from.
    pub ports: Vec<u16>,
    /// Ports that lists of revoked certificates are fetched from without TLS; empty: none.
    pub http_ports: Vec<u16>,
    /// Whether certificates are fetched from loopback, private and link-local addresses too.
    pub private_addresses: bool,
    /// PEM file with whom HTTPS servers have to be known to, instead of those that the host trusts.
    pub https_roots: Option<PathBuf>,
    /// PEM file with the private key that calls are signed with.
    pub key: Option<PathBuf>,
    /// PEM file with the certificate to it, to be compared with the key.
    pub certificate: Option<PathBuf>,
    /// Where others find that certificate.
    pub certificate_url: Option<String>,
    /// Beginnings of numbers whose callers are known to be entitled to them.
    pub full: Vec<String>,
    /// Name of where calls come in; if left out, one is made of each trunk's name or caller's address.
    pub origid: Option<String>,
    /// What tokens of diversions are: `div`, beside those that a call came with, or `div-o`, with that nested.
    pub diversions: String,
}

impl Default for Stir {
    fn default() -> Self {
        Self {
            verify: "off".into(),
            roots: None,
            revocation: "prefer".into(),
            revocation_lists: Vec::new(),
            revocation_issuers: None,
            freshness: Span(std::time::Duration::from_secs(60)),
            patience: Span(std::time::Duration::from_secs(1)),
            authority_required: false,
            indicator: false,
            hosts: Vec::new(),
            ports: vec![443, 8443],
            http_ports: vec![80],
            private_addresses: false,
            https_roots: None,
            key: None,
            certificate: None,
            certificate_url: None,
            full: Vec::new(),
            origid: None,
            diversions: "div".into(),
        }
    }
}

/// How a trunk deals with identities.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrunkStir {
    /// For calls from it: `off`, `tag` or `reject`.
    pub verify: Option<String>,
    /// Whether calls to it are signed.
    pub sign: bool,
    /// Whether calls to it keep the Identity fields they came with.
    pub pass: bool,
    /// Whether it is a gateway from elsewhere, of whose callers nothing is known.
    pub gateway: bool,
}

/// What is configured, checked as far as it can be without its files.
#[derive(Clone, Debug)]
pub struct StirSettings {
    config: Stir,
    verify: Verify,
    revocation: Revocation,
    full: Vec<String>,
    place: String,
    /// Whether anybody is verified at all: then certificates are fetched.
    verifies: bool,
}

/// How certificates of callers' networks are fetched.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// The content of the PEM file with whom servers have to be known to; `None`: those that the host trusts.
    pub roots: Option<Vec<u8>>,
    /// The key that names that file, and the file.
    pub roots_place: String,
    /// Ports that may be asked.
    pub ports: Vec<u16>,
    /// Ports that may be asked for lists of revoked certificates without TLS.
    pub plain_ports: Vec<u16>,
    /// Hosts that may be asked; empty: all.
    pub hosts: Vec<String>,
    /// Whether private addresses may be asked.
    pub private: bool,
}

impl StirSettings {
    pub(crate) fn resolve(file: &File, at: &dyn Fn(&str) -> String) -> Result<Self, ConfigError> {
        let it = &file.stir;
        let fail = |key: &str, error: &str| Err(ConfigError::new(at(key), error));
        let verify = verify(&it.verify).map_err(|error| ConfigError::new(at("stir.verify"), error))?;
        let revocation = match it.revocation.as_str() {
            "off" => Revocation::Off,
            "prefer" => Revocation::Prefer,
            "require" => Revocation::Require,
            other => {
                let error = format!("\"{other}\" is not known; one of off, prefer, require");
                return fail("stir.revocation", &error);
            }
        };
        let mut verifies = verify != Verify::Off;
        for trunk in &file.trunks {
            let identity = trunk_identity(trunk, at)?;
            verifies |= identity.verify != Verify::Off;
            if identity.sign && (it.key.is_none() || it.certificate_url.is_none()) {
                let key = format!("trunk \"{}\": stir.sign", trunk.name);
                return fail(&key, "needs stir.key and stir.certificate_url in the [stir] section");
            }
        }
        if verifies && it.roots.is_none() {
            return fail(
                "stir.roots",
                "nobody can be verified without; name a PEM file of the authorities' certificates",
            );
        }
        if it.freshness.0.as_secs() == 0 || it.freshness.0.as_secs() > 3600 {
            return fail("stir.freshness", "1s to 1h; 60s is usual (RFC 8224 section 10.1)");
        }
        if it.patience.0.is_zero() || it.patience.0.as_secs() > 10 {
            return fail("stir.patience", "1ms to 10s; the caller hears nothing meanwhile");
        }
        if it.ports.is_empty() || it.ports.contains(&0) {
            return fail(
                "stir.ports",
                "name the ports that certificates may be fetched from, such as [443, 8443]",
            );
        }
        if it.http_ports.contains(&0) {
            return fail("stir.http_ports", "0 is no port; write [80], or [] to fetch nothing without TLS");
        }
        if let Some(host) =
            it.hosts.iter().find(|host| host.is_empty() || host.contains(['/', ':', '@', ' ']))
        {
            let error = format!(
                "\"{host}\" is no host; write it as cr.example.com, or .example.com for all below it"
            );
            return fail("stir.hosts", &error);
        }
        if let Some(url) = it.certificate_url.as_ref().filter(|url| !stir::is_fetchable(url)) {
            let error = format!(
                "\"{url}\" is no address that others follow; write it as https://cert.example.com/name.pem"
            );
            return fail("stir.certificate_url", &error);
        }
        if it.key.is_some() != it.certificate_url.is_some() {
            let missing = if it.key.is_some() { "stir.certificate_url" } else { "stir.key" };
            return fail(missing, "stir.key and stir.certificate_url go together; give both or none");
        }
        if it.certificate.is_some() && it.key.is_none() {
            return fail("stir.key", "stir.certificate is compared with it; give stir.key too");
        }
        let fits = |id: &String| (1..=255).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if ![stir::DIV, stir::DIV_O].contains(&it.diversions.as_str()) {
            return fail("stir.diversions", &format!("\"{}\" is not known; div or div-o", it.diversions));
        }
        if it.origid.as_ref().is_some_and(|id| !fits(id)) {
            return fail("stir.origid", "write a UUID, such as `uuidgen` makes (RFC 8588 section 5)");
        }
        let full =
            it.full.iter().map(|prefix| stir::canonical(prefix).ok_or(prefix)).collect::<Result<_, _>>();
        let full = full.map_err(|prefix| {
            let error = format!("\"{prefix}\" begins no telephone number; write digits, country code first");
            ConfigError::new(at("stir.full"), error)
        })?;
        Ok(Self { config: it.clone(), verify, revocation, full, place: at(""), verifies })
    }

    /// Reads the files, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// Names the key, the file and the cure.
    pub(crate) fn load(&self, now: u64) -> Result<IdentityConfig, ConfigError> {
        let it = &self.config;
        let roots = match &it.roots {
            Some(path) => {
                let pem = self.read("stir.roots", path)?;
                Roots::read(&pem).map_err(|error| self.error("stir.roots", path, &error.to_string()))?
            }
            None => Roots::default(),
        };
        let list_issuers = match &it.revocation_issuers {
            Some(path) => {
                ListIssuers::read(&self.read("stir.revocation_issuers", path)?).ok_or_else(|| {
                    let what =
                        "holds no certificate in PEM form, or one that may not sign lists (keyUsage cRLSign)";
                    self.error("stir.revocation_issuers", path, what)
                })?
            }
            None => ListIssuers::default(),
        };
        let list = |path: &PathBuf| {
            let bytes = self.read("stir.revocation_lists", path)?;
            let list = RevocationList::read(&bytes, &list_issuers);
            list.map(Arc::new).map_err(|error| self.error("stir.revocation_lists", path, &error))
        };
        let lists = it.revocation_lists.iter().map(list).collect::<Result<_, _>>()?;
        Ok(IdentityConfig {
            verify: self.verify,
            revocation: self.revocation,
            lists,
            list_issuers,
            roots,
            policy: Policy { freshness: it.freshness.0.as_secs(), authority_required: it.authority_required },
            patience: it.patience.0,
            indicator: it.indicator,
            signing: self.signing(now)?,
        })
    }

    fn signing(&self, now: u64) -> Result<Option<Signing>, ConfigError> {
        let it = &self.config;
        let (Some(path), Some(url)) = (&it.key, &it.certificate_url) else { return Ok(None) };
        let pem = self.read("stir.key", path)?;
        let signer = Signer::new(&pem, url, Box::new(SystemRandom::new()))
            .map_err(|error| self.error("stir.key", path, &error.to_string()))?;
        if let Some(certificate) = &it.certificate {
            let error = |what: &str| self.error("stir.certificate", certificate, what);
            let bytes = self.read("stir.certificate", certificate)?;
            let (key, from, until) = stir::validity(&bytes)
                .ok_or_else(|| error("holds no certificate with a key for ES256 (P-256)"))?;
            if key != signer.public_key() {
                return Err(error(&format!("is not the certificate to the key in {}", path.display())));
            }
            if now > until {
                let what = format!("expired on {}; have a new one made", stir::write_date(until));
                return Err(error(&what));
            }
            if now < from {
                let what = format!("is valid from {} on only; look at the clock", stir::write_date(from));
                return Err(error(&what));
            }
        }
        Ok(Some(Signing {
            signer: Arc::new(signer),
            full: self.full.clone(),
            origid: it.origid.clone(),
            nests: it.diversions == stir::DIV_O,
        }))
    }

    /// How certificates are fetched; `None` if none are needed.
    ///
    /// # Errors
    /// Names the key, the file and the cure.
    pub fn fetching(&self) -> Result<Option<FetchSettings>, ConfigError> {
        if !self.verifies {
            return Ok(None);
        }
        let it = &self.config;
        let roots = it.https_roots.as_ref().map(|path| self.read("stir.https_roots", path)).transpose()?;
        let path = it.https_roots.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        Ok(Some(FetchSettings {
            roots,
            roots_place: format!("{}stir.https_roots: {path}", self.place),
            ports: it.ports.clone(),
            plain_ports: it.http_ports.clone(),
            hosts: it.hosts.clone(),
            private: it.private_addresses,
        }))
    }

    fn read(&self, key: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
        std::fs::read(path).map_err(|error| self.error(key, path, &format!("cannot be read: {error}")))
    }

    fn error(&self, key: &str, path: &Path, what: &str) -> ConfigError {
        ConfigError::new(format!("{}{key}", self.place), format!("{} {what}", path.display()))
    }
}

/// What a trunk's keys say.
pub(crate) fn trunk_identity(
    trunk: &Trunk,
    at: &dyn Fn(&str) -> String,
) -> Result<TrunkIdentity, ConfigError> {
    let it = &trunk.stir;
    let verify =
        it.verify.as_deref().map_or(Ok(Verify::Off), verify).map_err(|error| {
            ConfigError::new(at(&format!("trunk \"{}\": stir.verify", trunk.name)), error)
        })?;
    Ok(TrunkIdentity { verify, sign: it.sign, pass: it.pass, gateway: it.gateway })
}

fn verify(text: &str) -> Result<Verify, String> {
    match text {
        "off" => Ok(Verify::Off),
        "tag" => Ok(Verify::Tag),
        "reject" => Ok(Verify::Reject),
        other => Err(format!("\"{other}\" is not known; one of off, tag, reject")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let file = File::parse(text).unwrap();
        StirSettings::resolve(&file, &|key| format!("f: {key}")).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named() {
        assert!(error("[stir]\nverify = \"yes\"").starts_with("f: stir.verify: \"yes\" is not known"));
        assert!(error("[stir]\nverify = \"tag\"").starts_with("f: stir.roots: "));
        assert!(error("[stir]\nkey = \"k\"").starts_with("f: stir.certificate_url: "));
        assert!(error("[stir]\ncertificate_url = \"https://a/\"").starts_with("f: stir.key: "));
        assert!(error("[stir]\ncertificate = \"c\"").starts_with("f: stir.key: "));
        assert!(error("[stir]\nkey = \"k\"\ncertificate_url = \"http://a/\"").contains("\"http://a/\""));
        assert!(error("[stir]\nfull = [\"44x\"]").contains("\"44x\" begins no telephone number"));
        assert!(error("[stir]\nfreshness = \"0s\"").starts_with("f: stir.freshness: "));
        assert!(error("[stir]\npatience = \"1m\"").starts_with("f: stir.patience: "));
        assert!(error("[stir]\nports = []").starts_with("f: stir.ports: "));
        assert!(error("[stir]\nhttp_ports = [0]").starts_with("f: stir.http_ports: "));
        assert!(
            error("[stir]\nrevocation = \"yes\"").starts_with("f: stir.revocation: \"yes\" is not known")
        );
        assert!(error("[stir]\nhosts = [\"https://a\"]").starts_with("f: stir.hosts: "));
        assert!(error("[stir]\norigid = \"\"").starts_with("f: stir.origid: "));
        assert!(error("[stir]\ndiversions = \"both\"").ends_with("div or div-o"));
        let trunk = "[[trunk]]\nname = \"a\"\npeers = [\"192.0.2.1:5060\"]\n";
        assert!(error(&format!("{trunk}stir.sign = true")).starts_with("f: trunk \"a\": stir.sign: "));
        assert!(error(&format!("{trunk}stir.verify = \"x\"")).starts_with("f: trunk \"a\": stir.verify: "));
        assert!(error(&format!("{trunk}stir.verify = \"reject\"")).starts_with("f: stir.roots: "));
    }

    #[test]
    fn files_that_are_no_good_are_named() {
        let file = File::parse("[stir]\nverify = \"tag\"\nroots = \"/nowhere/roots.pem\"").unwrap();
        let settings = StirSettings::resolve(&file, &|key| format!("f: {key}")).unwrap();
        let error = settings.load(0).unwrap_err().to_string();
        assert!(error.starts_with("f: stir.roots: /nowhere/roots.pem cannot be read: "), "{error}");
    }
}
