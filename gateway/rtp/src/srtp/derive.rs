//! Session keys from a master key (RFC 3711 §4.3; with longer keys RFC 6188 §3; for GCM RFC 7714 §11).

use super::Keying;
use super::cipher::{Aes, Authenticated, Counter, Guard, Mac};
use zeroize::Zeroizing;

/// Octets of the key of HMAC-SHA1 (RFC 3711 §5.2).
const AUTH_LEN: usize = 20;

/// What session keys are for (RFC 3711 §4.3.2): encryption key, authentication key and salt have numbers in a row.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Rtp = 0,
    Rtcp = 3,
}

/// The session key of a label, as long as `key`. The derivation rate is always zero, so that keys do not depend on indices.
pub(super) fn session_key(keying: &Keying, label: u8, key: &mut [u8]) {
    let mut iv = [0; 16];
    // A salt of 96 bits stands to the left as one of 112 does.
    iv[..keying.salt().len()].copy_from_slice(keying.salt());
    iv[7] ^= label;
    key.fill(0);
    Aes::new(keying.key()).xor_keystream(iv, key);
}

/// What protects the packets of one kind.
pub(super) fn guard(keying: &Keying, what: Use) -> Guard {
    let first = what as u8;
    let suite = keying.suite();
    let mut key = Zeroizing::new([0; 32]);
    let key = &mut key[..suite.key_len()];
    session_key(keying, first, key);
    if suite.is_aead() {
        let mut salt = [0; 12];
        session_key(keying, first + 2, &mut salt);
        return Guard::Gcm(Authenticated::new(key, salt));
    }
    let mut auth = Zeroizing::new([0; AUTH_LEN]);
    session_key(keying, first + 1, &mut auth[..]);
    let mut salt = [0; 14];
    session_key(keying, first + 2, &mut salt);
    Guard::Counter(Counter::new(Aes::new(key), salt, Mac::new(&auth[..])))
}
