//! The response of digest authentication: the hash that shows that one knows the password (RFC 7616 §3.4.1).

use super::Algorithm;

/// What a response is computed of, besides the password.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Whose password.
    pub username: &'a [u8],
    /// Where it holds.
    pub realm: &'a [u8],
    /// The server's nonce.
    pub nonce: &'a [u8],
    /// The method of the request.
    pub method: &'a [u8],
    /// The `digest-uri`, as the header field has it.
    pub uri: &'a [u8],
    /// The client's nonce and the nonce count as it stands there, for `qop=auth`; `None` without qop (RFC 2069), when
    /// only a session algorithm needs the first of the two.
    pub qop_auth: bool,
    /// The client's nonce; may be empty without qop.
    pub cnonce: &'a [u8],
    /// The nonce count, eight hexadecimal digits; empty without qop.
    pub nc: &'a [u8],
}

/// The response as lower-case hexadecimal digits (RFC 7616 §3.4.1, for SIP RFC 3261 §22.4).
pub fn respond(facts: &Facts<'_>, password: &[u8]) -> String {
    let it = facts;
    let mut key = it.algorithm.of(&[it.username, it.realm, password]);
    if it.algorithm.session {
        key = it.algorithm.of(&[key.as_bytes(), it.nonce, it.cnonce]);
    }
    let what = it.algorithm.of(&[it.method, it.uri]);
    if it.qop_auth {
        it.algorithm.of(&[key.as_bytes(), it.nonce, it.nc, it.cnonce, b"auth", what.as_bytes()])
    } else {
        it.algorithm.of(&[key.as_bytes(), it.nonce, what.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(algorithm: Algorithm) -> Facts<'static> {
        Facts {
            algorithm,
            username: b"Mufasa",
            realm: b"http-auth@example.org",
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            method: b"GET",
            uri: b"/dir/index.html",
            qop_auth: true,
            cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            nc: b"00000001",
        }
    }

    /// RFC 7616 §3.9.1.
    #[test]
    fn the_example_with_md5_and_sha_256() {
        let password = b"Circle of Life";
        assert_eq!(respond(&http(Algorithm::MD5), password), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            respond(&http(Algorithm::SHA_256), password),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    /// RFC 7616 §3.9.2, whose user name is hashed; the hash as corrected by its erratum 4897.
    #[test]
    fn the_example_with_sha_512_256() {
        let user = "J\u{e4}s\u{f8}n Doe".as_bytes();
        let realm = b"api@example.org";
        assert_eq!(
            Algorithm::SHA_512_256.of(&[user, realm]),
            "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
        );
        let facts = Facts {
            algorithm: Algorithm::SHA_512_256,
            username: user,
            realm,
            nonce: b"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            method: b"GET",
            uri: b"/doe.json",
            qop_auth: true,
            cnonce: b"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            nc: b"00000001",
        };
        assert_eq!(
            respond(&facts, b"Secret, or not?"),
            "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
        );
    }

    /// RFC 2617 §3.5, and the same request without qop, as RFC 3261 §22.4 wants it taken from old clients.
    #[test]
    fn the_older_example_with_qop_and_without() {
        let facts = Facts {
            algorithm: Algorithm::MD5,
            username: b"Mufasa",
            realm: b"testrealm@host.com",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            method: b"GET",
            uri: b"/dir/index.html",
            qop_auth: true,
            cnonce: b"0a4f113b",
            nc: b"00000001",
        };
        assert_eq!(respond(&facts, b"Circle Of Life"), "6629fae49393a05397450978507c4ef1");
        let old = Facts { qop_auth: false, cnonce: b"", nc: b"", ..facts };
        assert_eq!(respond(&old, b"Circle Of Life"), "670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn a_session_key_takes_in_both_nonces() {
        let plain = http(Algorithm::MD5);
        let session = Facts { algorithm: Algorithm::parse(b"MD5-sess").unwrap(), ..plain };
        let key = Algorithm::MD5.of(&[b"Mufasa", b"http-auth@example.org", b"pw"]);
        let key = Algorithm::MD5.of(&[key.as_bytes(), session.nonce, session.cnonce]);
        let what = Algorithm::MD5.of(&[b"GET", session.uri]);
        let parts: [&[u8]; 6] =
            [key.as_bytes(), session.nonce, session.nc, session.cnonce, b"auth", what.as_bytes()];
        assert_eq!(respond(&session, b"pw"), Algorithm::MD5.of(&parts));
        assert_ne!(respond(&session, b"pw"), respond(&plain, b"pw"));
    }
}
