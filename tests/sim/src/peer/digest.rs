//! Digest as a scripted peer knows it (RFC 7616 with MD5 and qop=auth): an implementation of its own, on purpose.

use super::{Login, Peer, Text};
use md5::{Digest, Md5};

/// The realm of a peer's challenges.
const REALM: &str = "carrier.example";

fn hash(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A quoted or bare parameter of a challenge or of credentials.
fn part<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let parts = field.strip_prefix("Digest ")?;
    parts.split(',').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        (key == name).then(|| value.trim_matches('"'))
    })
}

fn response(login: Login, realm: &str, method: &str, uri: &str, nonce: &str, rest: &str) -> String {
    let secret = hash(&format!("{}:{realm}:{}", login.user, login.password));
    let request = hash(&format!("{method}:{uri}"));
    hash(&format!("{secret}:{nonce}:{rest}:auth:{request}"))
}

/// The nonce of the credentials that a REGISTER shows.
pub(super) fn nonce(text: &Text) -> &str {
    part(text.field("Authorization"), "nonce").unwrap_or_default()
}

/// The header line that answers the first MD5 challenge of a 401 or 407.
pub(super) fn answer(
    login: Login,
    method: &str,
    uri: &str,
    challenged: &Text,
    cnonce: &str,
) -> Option<String> {
    let (asked, name) = match challenged.status()? {
        401 => ("WWW-Authenticate", "Authorization"),
        _ => ("Proxy-Authenticate", "Proxy-Authorization"),
    };
    let field = challenged.all(asked).find(|field| part(field, "algorithm").is_none_or(|it| it == "MD5"))?;
    let (realm, nonce) = (part(field, "realm")?, part(field, "nonce")?);
    let opaque = part(field, "opaque").map(|it| format!(", opaque=\"{it}\"")).unwrap_or_default();
    let rest = format!("00000001:{cnonce}");
    let response = response(login, realm, method, uri, nonce, &rest);
    Some(format!(
        "{name}: Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm=MD5, cnonce=\"{cnonce}\", qop=auth, nc=00000001{opaque}\r\n",
        login.user
    ))
}

impl Peer {
    /// A challenge with a nonce of its own, as the header line `name`.
    pub(super) fn challenge(&mut self, name: &str) -> String {
        self.nonces += 1;
        let nonce = format!("n{}x{}", self.nonces, self.random.below(1 << 40));
        format!("{name}: Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"\r\n")
    }

    /// Whether a request shows credentials in header `name`; those that are wrong are a fault.
    pub(super) fn shows(&mut self, login: Login, text: &Text, name: &str, bytes: &[u8]) -> bool {
        let Some(field) = text.get(name) else { return false };
        let get = |part_name| part(field, part_name).unwrap_or_default();
        let rest = format!("{}:{}", get("nc"), get("cnonce"));
        let wanted = response(login, REALM, text.method(), get("uri"), get("nonce"), &rest);
        let right = get("username") == login.user && get("realm") == REALM && get("response") == wanted;
        if !right || get("uri") != text.uri() {
            self.fault("wrong credentials", bytes);
        }
        right
    }
}
