//! The client's side: answering the challenges to one request (RFC 3261 §22.1 to §22.3, RFC 8760 §2.4).

use super::response::{Facts, respond};
use super::{Authorization, Challenge};
use crate::message::{Message, Name};
use std::fmt;
use std::sync::Arc;

/// Realms answered for one request at most: a chain of proxies may have several.
const REALMS: usize = 4;

/// A user name and its password. Printing it shows the name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A challenge that was answered, and how often.
#[derive(Debug)]
struct Held {
    proxy: bool,
    challenge: Challenge,
    uses: u32,
}

/// Answers the challenges to one request, each realm and nonce once.
#[derive(Debug)]
pub struct Answerer {
    account: Arc<Account>,
    held: Vec<Held>,
}

impl Answerer {
    /// One that answers with this account, whatever the realm.
    pub const fn new(account: Arc<Account>) -> Self {
        Self { account, held: Vec::new() }
    }

    /// Takes the challenges of a 401 or 407. `false` if there is none that can be answered, or the credentials given
    /// before were wrong: the request is to be given up (RFC 3261 §22.2).
    pub fn take(&mut self, response: &Message<'_>) -> bool {
        let (name, proxy) = match response.status() {
            401 => (Name::WwwAuthenticate, false),
            407 => (Name::ProxyAuthenticate, true),
            _ => return false,
        };
        let mut best: Vec<Challenge> = Vec::new();
        let usable = |it: &Challenge| it.algorithm.is_some() && (it.qop_auth || !it.has_qop);
        for challenge in response.headers(name).filter_map(Challenge::parse).filter(usable) {
            match best.iter_mut().find(|it| it.realm == challenge.realm) {
                // Of equals the topmost is the server's choice (RFC 8760 §2.4).
                Some(known) if challenge.algorithm > known.algorithm => *known = challenge,
                Some(_) => {}
                None => best.push(challenge),
            }
        }
        let mut taken = false;
        for challenge in best {
            let known = |it: &&mut Held| it.proxy == proxy && it.challenge.realm == challenge.realm;
            let room = self.held.len() < REALMS;
            match self.held.iter_mut().find(known) {
                Some(held) if challenge.stale && held.challenge.nonce != challenge.nonce => {
                    *held = Held { proxy, challenge, uses: 0 };
                    taken = true;
                }
                Some(_) => return false,
                None if room => {
                    self.held.push(Held { proxy, challenge, uses: 0 });
                    taken = true;
                }
                None => return false,
            }
        }
        taken
    }

    /// The header fields that answer everything taken so far, for a request with this method and Request-URI.
    /// `chance` is a random number for the client's nonce.
    pub fn fields(&mut self, method: &str, uri: &str, chance: u64) -> Vec<(&'static str, String)> {
        let account = &*self.account;
        let field = |held: &mut Held| {
            held.uses = held.uses.saturating_add(1);
            let challenge = &held.challenge;
            // Never absent: what has none is not taken.
            let algorithm = challenge.algorithm.unwrap_or(super::Algorithm::MD5);
            let wants_cnonce = challenge.qop_auth || algorithm.session;
            let mut shown = Authorization {
                username: account.username.clone().into_bytes(),
                realm: challenge.realm.clone(),
                nonce: challenge.nonce.clone(),
                uri: uri.as_bytes().to_vec(),
                response: Vec::new(),
                algorithm: challenge.algorithm,
                opaque: challenge.opaque.clone(),
                qop: challenge.qop_auth.then(|| b"auth".to_vec()),
                cnonce: if wants_cnonce { format!("{chance:016x}").into_bytes() } else { Vec::new() },
                nc: if challenge.qop_auth { format!("{:08x}", held.uses).into_bytes() } else { Vec::new() },
            };
            let facts = Facts {
                algorithm,
                username: &shown.username,
                realm: &shown.realm,
                nonce: &shown.nonce,
                method: method.as_bytes(),
                uri: &shown.uri,
                qop_auth: challenge.qop_auth,
                cnonce: &shown.cnonce,
                nc: &shown.nc,
            };
            shown.response = respond(&facts, account.password.as_bytes()).into_bytes();
            (if held.proxy { "Proxy-Authorization" } else { "Authorization" }, shown.write())
        };
        self.held.iter_mut().map(field).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, Authority, Presented, Verdict};
    use super::*;
    use core::time::Duration;

    fn answerer() -> Answerer {
        let (username, password) = ("alice".to_owned(), "secret".to_owned());
        Answerer::new(Arc::new(Account { username, password }))
    }

    fn take(answerer: &mut Answerer, status: u16, challenges: &[&str]) -> bool {
        let name = if status == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" };
        let fields: String = challenges.iter().map(|it| format!("{name}: {it}\r\n")).collect();
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
             Call-ID: i\r\nCSeq: 1 INVITE\r\n{fields}\r\n"
        );
        answerer.take(&Message::parse(text.as_bytes()).unwrap())
    }

    fn shown(fields: &[(&str, String)], at: usize) -> Authorization {
        Authorization::parse(fields[at].1.as_bytes()).unwrap()
    }

    /// RFC 8760 §2.4: the strongest that is known, wherever it stands.
    #[test]
    fn the_strongest_algorithm_is_answered() {
        let mut it = answerer();
        let offered = [
            "Digest realm=\"r\", nonce=\"0\", algorithm=TOP-SECRET, qop=\"auth\"",
            "Digest realm=\"r\", nonce=\"1\", algorithm=MD5, qop=\"auth\"",
            "Digest realm=\"r\", nonce=\"2\", algorithm=SHA-256, qop=\"auth,auth-int\", opaque=\"o\"",
            "Digest realm=\"r\", nonce=\"3\", algorithm=SHA-512-256, qop=\"auth-int\"",
        ];
        assert!(take(&mut it, 401, &offered));
        let fields = it.fields("INVITE", "sip:1@h", 1);
        let answer = shown(&fields, 0);
        assert_eq!((fields.len(), fields[0].0), (1, "Authorization"));
        assert_eq!(answer.algorithm, Some(Algorithm::SHA_256));
        assert_eq!(answer.opaque.as_deref(), Some(&b"o"[..]));
    }

    /// RFC 3261 §22.2: no second try with what was refused; a stale nonce is none.
    #[test]
    fn a_realm_is_answered_once_unless_its_nonce_went_stale() {
        let mut it = answerer();
        assert!(take(&mut it, 407, &["Digest realm=\"r\", nonce=\"1\", qop=\"auth\""]));
        assert!(take(&mut it, 407, &["Digest realm=\"r\", nonce=\"2\", stale=true, qop=\"auth\""]));
        assert!(!take(&mut it, 407, &["Digest realm=\"r\", nonce=\"2\", stale=true, qop=\"auth\""]));
        assert!(!take(&mut it, 407, &["Digest realm=\"r\", nonce=\"3\", qop=\"auth\""]));
        assert!(!take(&mut it, 401, &["Basic realm=\"r\""]));
        assert!(!take(&mut it, 403, &["Digest realm=\"x\", nonce=\"1\""]));
    }

    /// RFC 3261 §22.3: one proxy after the other, and the callee itself.
    #[test]
    fn several_realms_are_answered_together() {
        let mut it = answerer();
        assert!(take(&mut it, 407, &["Digest realm=\"p\", nonce=\"1\", qop=\"auth\""]));
        it.fields("INVITE", "sip:1@h", 1);
        assert!(take(&mut it, 401, &["Digest realm=\"u\", nonce=\"1\""]));
        let fields = it.fields("INVITE", "sip:1@h", 2);
        assert_eq!([fields[0].0, fields[1].0], ["Proxy-Authorization", "Authorization"]);
        assert_eq!(shown(&fields, 0).nc, b"00000002", "the nonce is used a second time");
        assert_eq!((shown(&fields, 1).qop, shown(&fields, 1).cnonce), (None, Vec::new()));
        for number in 0..8 {
            take(&mut it, 407, &[&format!("Digest realm=\"{number}\", nonce=\"1\"")]);
        }
        assert_eq!(it.held.len(), REALMS);
    }

    #[test]
    fn our_own_authority_takes_our_own_answer() {
        let mut authority = Authority::new(&[1; 32], Duration::from_secs(60), 9);
        let sessions = ["MD5-sess", "SHA-256-sess", "SHA-512-256-sess"];
        let mut offered = vec![Algorithm::SHA_512_256, Algorithm::SHA_256, Algorithm::MD5];
        offered.extend(sessions.iter().filter_map(|name| Algorithm::parse(name.as_bytes())));
        for (chance, algorithm) in (0..).zip(offered.clone()) {
            let challenges = authority.challenges(5, b"r", &[algorithm], false, || chance);
            let mut it = answerer();
            assert!(take(&mut it, 401, &[&challenges[0]]));
            let answer = shown(&it.fields("INVITE", "sip:1@h", 77), 0);
            let presented = Presented {
                shown: &answer,
                method: b"INVITE",
                realm: b"r",
                offered: &offered,
                password: Some(b"secret"),
            };
            assert_eq!(authority.judge(6, &presented), Verdict::Right, "{algorithm}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        assert!(!format!("{:?}", answerer()).contains("secret"));
    }
}
