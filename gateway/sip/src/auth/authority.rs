//! The server's side: nonces that carry their own proof, and the judgement of credentials (RFC 7616 §3.3, §5.4 and §5.5).
//!
//! A nonce is its time of birth, some random digits and a MAC over both: whoever has the secret knows its own
//! nonces, however many it gave away, without a table. Only nonces that were used successfully are remembered, with
//! the counts seen, so that nothing that was overheard can be sent again.

use super::algorithm::hex;
use super::response::{Facts, respond};
use super::{Algorithm, Authorization, Challenge};
use core::time::Duration;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;

/// Digits of time, of chance, and of the MAC.
const PARTS: [usize; 3] = [12, 16, 32];

/// The uses of a nonce: the highest count, and which of the 64 below it were seen too, since UDP may turn them around.
#[derive(Clone, Copy, Debug)]
struct Uses {
    highest: u32,
    below: u64,
}

impl Uses {
    /// Takes a count; `false` if it was there before, or too long ago to know.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.below = self.below.checked_shl(ahead).unwrap_or(0);
            if ahead <= 64 && self.highest > 0 {
                self.below |= 1 << (ahead - 1);
            }
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if count == 0 || behind == 0 || behind > 64 || self.below & (1 << (behind - 1)) != 0 {
            return false;
        }
        self.below |= 1 << (behind - 1);
        true
    }
}

/// A nonce without its MAC.
type Birth = (u64, u64);

/// Credentials as they came, and what they are held against.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The credentials.
    pub shown: &'a Authorization,
    /// The method of the request.
    pub method: &'a [u8],
    /// Our realm.
    pub realm: &'a [u8],
    /// The algorithms that were offered.
    pub offered: &'a [Algorithm],
    /// The user's password; `None` for a user that is not there, which costs and looks the same as a wrong password.
    pub password: Option<&'a [u8]>,
}

/// What credentials are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are right, and new.
    Right,
    /// The nonce is good, the response is not: wrong password, or no such user.
    Wrong,
    /// The response is right for a nonce that is too old, used up or not ours: to be asked for again with `stale=true`.
    Stale,
    /// They are not for us (another realm, an algorithm or nonce that we did not give): as if there were none.
    Foreign,
}

/// Who makes nonces and judges.
pub struct Authority {
    key: Hmac<Sha256>,
    /// The password of users that are not there.
    nobody: [u8; 16],
    lifetime: Duration,
    used: BTreeMap<Birth, Uses>,
    /// Nonces up to this one are as good as too old: those in use that were forgotten for want of room are among them.
    floor: Option<Birth>,
    used_max: usize,
    /// Credentials refused since their nonce count had been used before.
    pub replays: u64,
    /// Nonces in use that had to be forgotten before their time since there was no room for more.
    pub full: u64,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("used", &self.used.len()).finish_non_exhaustive()
    }
}

impl Authority {
    /// One that makes its nonces with `secret`: all that have the same know each other's. A nonce is good for
    /// `lifetime`; of those in use at most `used_max` are remembered, about 60 bytes each: where there are more, the oldest
    /// are good no longer.
    pub fn new(secret: &[u8; 32], lifetime: Duration, used_max: usize) -> Self {
        let key = keyed(secret);
        let mut nobody = [0; 16];
        let tag = key.clone().chain_update(b"nobody").finalize().into_bytes();
        nobody.copy_from_slice(&tag[..16]);
        Self { key, nobody, lifetime, used: BTreeMap::new(), floor: None, used_max, replays: 0, full: 0 }
    }

    /// Used nonces remembered now.
    pub fn remembered(&self) -> usize {
        self.used.len()
    }

    /// A nonce. `wall` is the time in unix milliseconds, `chance` a random number.
    pub fn nonce(&self, wall: u64, chance: u64) -> String {
        let wall = wall & 0xffff_ffff_ffff;
        format!("{wall:012x}{chance:016x}{}", self.proof((wall, chance)))
    }

    fn proof(&self, (wall, chance): Birth) -> String {
        let mac = self.key.clone().chain_update(wall.to_be_bytes()).chain_update(chance.to_be_bytes());
        hex(&mac.finalize().into_bytes()[..PARTS[2] / 2])
    }

    /// Challenges for these algorithms, in their order, with one nonce each, to be put into a field each (RFC 8760 §2.3).
    pub fn challenges(
        &self,
        wall: u64,
        realm: &[u8],
        offered: &[Algorithm],
        stale: bool,
        mut chance: impl FnMut() -> u64,
    ) -> Vec<String> {
        let challenge = |algorithm: &Algorithm| {
            let nonce = self.nonce(wall, chance()).into_bytes();
            let realm = realm.to_vec();
            let algorithm = Some(*algorithm);
            Challenge { realm, nonce, opaque: None, stale, algorithm, has_qop: true, qop_auth: true }.write()
        };
        offered.iter().map(challenge).collect()
    }

    /// Judges credentials, and remembers the nonce's use if they are right. `wall` is the time in unix milliseconds.
    pub fn judge(&mut self, wall: u64, presented: &Presented<'_>) -> Verdict {
        let shown = presented.shown;
        let Some(algorithm) = shown.algorithm.filter(|it| presented.offered.contains(it)) else {
            return Verdict::Foreign;
        };
        let count = match &shown.qop {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => match count(&shown.nc) {
                Some(count) if !shown.cnonce.is_empty() => Some(count),
                _ => return Verdict::Foreign,
            },
            Some(_) => return Verdict::Foreign,
        };
        if shown.realm != presented.realm {
            return Verdict::Foreign;
        }
        let facts = Facts {
            algorithm,
            username: &shown.username,
            realm: presented.realm,
            nonce: &shown.nonce,
            method: presented.method,
            uri: &shown.uri,
            qop_auth: count.is_some(),
            cnonce: &shown.cnonce,
            nc: &shown.nc,
        };
        let wanted = respond(&facts, presented.password.unwrap_or(&self.nobody));
        let right = is_same(&wanted.into_bytes(), &shown.response.to_ascii_lowercase())
            & presented.password.is_some();
        match (self.birth(&shown.nonce).filter(|birth| self.is_fresh(wall, *birth)), right) {
            (None, true) => Verdict::Stale,
            (None, false) => Verdict::Foreign,
            (Some(_), false) => Verdict::Wrong,
            (Some(birth), true) => self.spend(wall, birth, count),
        }
    }

    /// When a nonce of ours was made; `None` if it is not ours.
    fn birth(&self, nonce: &[u8]) -> Option<Birth> {
        let text = core::str::from_utf8(nonce).ok().filter(|text| text.is_ascii())?;
        if text.len() != PARTS.iter().sum::<usize>() {
            return None;
        }
        let (wall, rest) = text.split_at(PARTS[0]);
        let (chance, proof) = rest.split_at(PARTS[1]);
        let birth = (u64::from_str_radix(wall, 16).ok()?, u64::from_str_radix(chance, 16).ok()?);
        is_same(self.proof(birth).as_bytes(), proof.as_bytes()).then_some(birth)
    }

    fn is_fresh(&self, wall: u64, birth: Birth) -> bool {
        // Another machine of the same secret may be ahead by as much as the lifetime.
        u128::from(wall.abs_diff(birth.0)) <= self.lifetime.as_millis() && Some(birth) > self.floor
    }

    /// Notes a use; a response without count may use a nonce once.
    fn spend(&mut self, wall: u64, birth: Birth, count: Option<u32>) -> Verdict {
        let once = Uses { highest: u32::MAX, below: u64::MAX };
        let taken = match (self.used.get_mut(&birth), count) {
            (Some(uses), Some(count)) => uses.take(count),
            (Some(_), None) => false,
            (None, count) => {
                self.forget(wall);
                let mut uses = Uses { highest: 0, below: 0 };
                let taken = count.is_none_or(|count| uses.take(count));
                self.used.insert(birth, if count.is_some() { uses } else { once });
                taken
            }
        };
        self.replays += u64::from(!taken);
        if taken { Verdict::Right } else { Verdict::Stale }
    }

    /// Lets go of nonces that are too old to be used again, and of the oldest if there is no room for another one.
    fn forget(&mut self, wall: u64) {
        while let Some((oldest, _)) = self.used.first_key_value() {
            let oldest = *oldest;
            let is_fresh = self.is_fresh(wall, oldest);
            if is_fresh && self.used.len() < self.used_max {
                return;
            }
            self.used.pop_first();
            if is_fresh {
                self.full += 1;
                self.floor = self.floor.max(Some(oldest));
            }
        }
    }
}

fn keyed(secret: &[u8; 32]) -> Hmac<Sha256> {
    // A MAC of this kind takes a key of any length; the block's length is the one that cannot fail by type.
    let mut block = [0; 64];
    block[..32].copy_from_slice(secret);
    Hmac::new(&block.into())
}

/// A nonce count: eight hexadecimal digits (RFC 7616 §3.4); fewer are taken too.
fn count(digits: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(digits).ok().filter(|text| !text.is_empty() && text.len() <= 8)?;
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
}

/// Whether two texts are the same, in a time that does not tell where they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let differing = a.iter().zip(b).fold(0, |so_far, (a, b)| core::hint::black_box(so_far | (a ^ b)));
    core::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [Algorithm; 2] = [Algorithm::SHA_256, Algorithm::MD5];
    const REALM: &[u8] = b"example.com";

    fn authority() -> Authority {
        Authority::new(&[7; 32], Duration::from_secs(300), 2)
    }

    fn shown(nonce: &str, nc: Option<u32>, password: &str) -> Authorization {
        let mut it = Authorization {
            username: b"alice".to_vec(),
            realm: REALM.to_vec(),
            nonce: nonce.into(),
            uri: b"sip:example.com".to_vec(),
            response: Vec::new(),
            algorithm: Some(Algorithm::SHA_256),
            opaque: None,
            qop: nc.map(|_| b"auth".to_vec()),
            cnonce: if nc.is_some() { b"c".to_vec() } else { Vec::new() },
            nc: nc.map(|nc| format!("{nc:08x}").into_bytes()).unwrap_or_default(),
        };
        let facts = Facts {
            algorithm: Algorithm::SHA_256,
            username: &it.username,
            realm: &it.realm,
            nonce: &it.nonce,
            method: b"REGISTER",
            uri: &it.uri,
            qop_auth: nc.is_some(),
            cnonce: &it.cnonce,
            nc: &it.nc,
        };
        it.response = respond(&facts, password.as_bytes()).into_bytes();
        it
    }

    fn judge(authority: &mut Authority, wall: u64, shown: &Authorization, known: bool) -> Verdict {
        let password = known.then_some(&b"secret"[..]);
        let presented = Presented { shown, method: b"REGISTER", realm: REALM, offered: &OFFERED, password };
        authority.judge(wall, &presented)
    }

    #[test]
    fn a_nonce_is_known_to_all_that_share_the_secret_and_ages() {
        let (one, mut other) = (authority(), authority());
        let mut stranger = Authority::new(&[8; 32], Duration::from_secs(300), 2);
        let nonce = one.nonce(1_000_000, 5);
        let right = shown(&nonce, Some(1), "secret");
        assert_eq!(judge(&mut other, 1_300_000, &right, true), Verdict::Right);
        assert_eq!(judge(&mut other, 1_300_001, &shown(&nonce, Some(2), "secret"), true), Verdict::Stale);
        assert_eq!(judge(&mut other, 1_300_001, &shown(&nonce, Some(2), "guess"), true), Verdict::Foreign);
        assert_eq!(judge(&mut stranger, 1_000_001, &right, true), Verdict::Stale);
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_look_the_same() {
        let mut it = authority();
        let nonce = it.nonce(1000, 1);
        assert_eq!(judge(&mut it, 1000, &shown(&nonce, Some(1), "guess"), true), Verdict::Wrong);
        assert_eq!(judge(&mut it, 1000, &shown(&nonce, Some(1), "secret"), false), Verdict::Wrong);
        assert_eq!(it.remembered(), 0, "what is wrong takes no place");
        // Not even the password that stands in for the missing one opens.
        let nobody = String::from_utf8_lossy(&it.nobody).into_owned();
        assert_eq!(judge(&mut it, 1000, &shown(&nonce, Some(1), &nobody), false), Verdict::Wrong);
    }

    /// RFC 7616 §5.5: replays; counts may come turned around, never twice.
    #[test]
    fn each_count_is_good_once() {
        let mut it = authority();
        let nonce = it.nonce(1000, 1);
        let mut take = |nc| judge(&mut it, 1000, &shown(&nonce, Some(nc), "secret"), true);
        for (nc, verdict) in [
            (1, Verdict::Right),
            (1, Verdict::Stale),
            (4, Verdict::Right),
            (3, Verdict::Right),
            (3, Verdict::Stale),
            (4, Verdict::Stale),
            (0, Verdict::Stale),
            (1, Verdict::Stale),
            (100, Verdict::Right),
            (2, Verdict::Stale),
            (36, Verdict::Right),
            (36, Verdict::Stale),
        ] {
            assert_eq!(take(nc), verdict, "{nc}");
        }
        assert_eq!(it.replays, 7);
    }

    #[test]
    fn a_response_without_count_uses_its_nonce_up() {
        let mut it = authority();
        let nonce = it.nonce(1000, 1);
        assert_eq!(judge(&mut it, 1000, &shown(&nonce, None, "secret"), true), Verdict::Right);
        assert_eq!(judge(&mut it, 1000, &shown(&nonce, None, "secret"), true), Verdict::Stale);
        assert_eq!(judge(&mut it, 1000, &shown(&nonce, Some(1), "secret"), true), Verdict::Stale);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_is_too_old() {
        let mut it = authority();
        let nonces: Vec<String> = (0..3).map(|chance| it.nonce(1000, chance)).collect();
        let verdicts: Vec<Verdict> =
            nonces.iter().map(|nonce| judge(&mut it, 1000, &shown(nonce, Some(1), "secret"), true)).collect();
        assert_eq!(verdicts, [Verdict::Right; 3]);
        assert_eq!((it.full, it.remembered()), (1, 2));
        // The first had to go, and is not good any more; nothing can be sent a second time.
        for (nonce, count) in [(0, 1), (0, 2), (1, 1), (2, 1)] {
            assert_eq!(
                judge(&mut it, 1000, &shown(&nonces[nonce], Some(count), "secret"), true),
                Verdict::Stale
            );
        }
        assert_eq!(judge(&mut it, 1000, &shown(&nonces[1], Some(2), "secret"), true), Verdict::Right);
        let later = it.nonce(400_000, 9);
        assert_eq!(judge(&mut it, 400_000, &shown(&later, Some(1), "secret"), true), Verdict::Right);
        assert_eq!(it.remembered(), 1);
    }

    #[test]
    fn what_was_not_offered_is_as_if_it_were_not_there() {
        let mut it = authority();
        let nonce = it.nonce(1000, 1);
        let right = shown(&nonce, Some(1), "secret");
        let mut check = |change: fn(&mut Authorization)| {
            let mut changed = right.clone();
            change(&mut changed);
            judge(&mut it, 1000, &changed, true)
        };
        assert_eq!(check(|it| it.algorithm = None), Verdict::Foreign);
        assert_eq!(check(|it| it.algorithm = Some(Algorithm::SHA_512_256)), Verdict::Foreign);
        assert_eq!(check(|it| it.realm = b"elsewhere".to_vec()), Verdict::Foreign);
        assert_eq!(check(|it| it.qop = Some(b"auth-int".to_vec())), Verdict::Foreign);
        assert_eq!(check(|it| it.nc = b"xyz".to_vec()), Verdict::Foreign);
        assert_eq!(check(|it| it.nc = b"+1".to_vec()), Verdict::Foreign);
        assert_eq!(check(|it| it.nonce = b"0".to_vec()), Verdict::Foreign);
        assert_eq!(check(|it| it.nonce = "\u{e4}".repeat(30).into_bytes()), Verdict::Foreign);
        assert_eq!(check(|it| it.response.clear()), Verdict::Wrong);
        assert_eq!(check(|it| it.response.make_ascii_uppercase()), Verdict::Right);
    }

    /// RFC 8760 §2.3: one field per algorithm, the preferred one first.
    #[test]
    fn challenges_stand_in_the_order_offered() {
        let it = authority();
        let mut chance = 0;
        let fields = it.challenges(1000, REALM, &OFFERED, true, || {
            chance += 1;
            chance
        });
        let read: Vec<Challenge> =
            fields.iter().map(|field| Challenge::parse(field.as_bytes()).unwrap()).collect();
        assert_eq!(read.iter().map(|it| it.algorithm).collect::<Vec<_>>(), OFFERED.map(Some));
        assert!(read.iter().all(|it| it.stale && it.qop_auth) && read[0].nonce != read[1].nonce);
    }
}
