//! The PASSporT: a JSON Web Signature over who calls whom and when (RFC 8225), with SHAKEN's claims (RFC 8588).

use crate::failure::{Class, Failure};
use crate::number;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Most destinations of one token.
const DESTINATIONS_MAX: usize = 16;

/// How sure the signer is of the calling number (RFC 8588 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Attestation {
    /// Full: it knows the customer, who may use the number.
    A,
    /// Partial: it knows the customer, not whether he may use the number.
    B,
    /// Gateway: it knows only where the call came in.
    C,
}

impl fmt::Display for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        })
    }
}

/// Somebody named in a token (RFC 8225 §5.2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Party {
    /// A telephone number, canonical.
    #[serde(rename = "tn")]
    Number(String),
    /// A URI.
    #[serde(rename = "uri")]
    Uri(String),
}

impl Party {
    /// What a SIP or tel URI names: a number if its user part can be one, else the URI without parameters, its host in
    /// lower case (RFC 8224 §8.1 and §8.5).
    pub fn of_uri(uri: &str) -> Self {
        let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
        let is_tel = scheme.eq_ignore_ascii_case("tel");
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let named = if is_tel { Some(rest) } else { user };
        if let Some(number) = named.and_then(number::canonical) {
            return Self::Number(number);
        }
        let host = host.split([';', '?']).next().unwrap_or("").to_ascii_lowercase();
        let user = user.map(|user| format!("{}@", user.split(';').next().unwrap_or(""))).unwrap_or_default();
        Self::Uri(format!("{}:{user}{host}", scheme.to_ascii_lowercase()))
    }
}

impl Party {
    /// The one callee of a token that names one.
    pub(crate) fn of_dest(dest: &Destinations) -> Option<Self> {
        match (dest.numbers.as_slice(), dest.uris.as_slice()) {
            ([number], []) => number::canonical(number).map(Self::Number),
            ([], [uri]) => Some(Self::of_uri(uri)),
            _ => None,
        }
    }

    /// In the form in which parties are compared.
    pub(crate) fn canonical(&self) -> Option<Self> {
        match self {
            Self::Number(number) => number::canonical(number).map(Self::Number),
            Self::Uri(uri) => Some(Self::of_uri(uri)),
        }
    }
}

/// Who is called: at least one of both kinds together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destinations {
    /// Telephone numbers, canonical.
    #[serde(rename = "tn", default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<String>,
    /// URIs.
    #[serde(rename = "uri", default, skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<String>,
}

impl Destinations {
    /// One destination.
    pub fn of(party: Party) -> Self {
        match party {
            Party::Number(number) => Self { numbers: vec![number], uris: Vec::new() },
            Party::Uri(uri) => Self { numbers: Vec::new(), uris: vec![uri] },
        }
    }

    /// Whether it is among them.
    pub fn names(&self, party: &Party) -> bool {
        match party {
            Party::Number(number) => {
                self.numbers.iter().any(|other| number::canonical(other).as_ref() == Some(number))
            }
            Party::Uri(_) => self.uris.iter().any(|other| Party::of_uri(other) == *party),
        }
    }
}

/// Whom a call was for before it was sent on (RFC 8946 §3). An index into History-Info that stands with it is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverted {
    /// Whom.
    #[serde(flatten)]
    pub party: Party,
}

/// What a caller is entitled to of Resource-Priority (RFC 8443 §3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Priority {
    /// Values of that field: `ets.0`.
    pub auth: Vec<String>,
}

/// What a token says. The fields stand in the order in which they are written (RFC 8225 §9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// How sure the signer is; in SHAKEN tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attest: Option<Attestation>,
    /// Who is called.
    pub dest: Destinations,
    /// Whom the call was for before; in tokens of diversions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub div: Option<Diverted>,
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// Digest of the message's body; in tokens of messages only (RFC 9475 §3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msgi: Option<String>,
    /// The token of before the diversion, in full form (RFC 8946 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt: Option<String>,
    /// Who calls.
    pub orig: Party,
    /// Where the call came into the signer's network, as an opaque name; in SHAKEN tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origid: Option<String>,
    /// What it may have of Resource-Priority; in tokens about that only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rph: Option<Priority>,
}

impl Claims {
    /// Who asks for whom, and when, in seconds since 1970; nothing else.
    pub const fn new(orig: Party, dest: Destinations, iat: u64) -> Self {
        Self { attest: None, dest, div: None, iat, msgi: None, opt: None, orig, origid: None, rph: None }
    }
}

/// The protected header, in the order in which it is written.
#[derive(Serialize, Deserialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ppt: Option<&'a str>,
    typ: &'a str,
    x5u: &'a str,
}

/// The same as read: what it holds may be written with escapes.
#[derive(Deserialize)]
struct ReadHeader {
    alg: String,
    ppt: Option<String>,
    typ: String,
    x5u: String,
    /// Extensions that must be understood (RFC 7515 §4.1.11): none are.
    crit: Option<serde::de::IgnoredAny>,
}

/// A token before it is signed, or after it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passport {
    /// Where the certificate is.
    pub x5u: String,
    /// Its type; none: the basic one.
    pub ppt: Option<String>,
    /// What it says.
    pub claims: Claims,
}

impl Passport {
    /// Header and claims as they are signed: JSON with its keys in order and without blanks, in base64url, parted by
    /// a dot (RFC 8225 §6 and §9).
    pub fn signing_input(&self) -> String {
        let header = Header { alg: "ES256", ppt: self.ppt.as_deref(), typ: "passport", x5u: &self.x5u };
        // Structs of text and numbers can always be written as JSON.
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let claims = serde_json::to_vec(&self.claims).unwrap_or_default();
        let mut out = String::with_capacity((header.len() + claims.len()) * 4 / 3 + 8);
        BASE64URL.encode_string(header, &mut out);
        out.push('.');
        BASE64URL.encode_string(claims, &mut out);
        out
    }

    /// Reads header and claims from their base64url forms.
    ///
    /// # Errors
    /// A [`Failure`]: what is missing or malformed, an algorithm or a type that is not supported.
    pub fn read(header: &str, claims: &str) -> Result<Self, Failure> {
        let bytes = |what: &str, text: &str| {
            BASE64URL
                .decode(text)
                .map_err(|_| Failure::invalid(format!("the token's {what} is no base64url")))
        };
        let json = |what: &str, error: &serde_json::Error| {
            Failure::invalid(format!("the token's {what} cannot be read: {error}"))
        };
        let header: ReadHeader =
            serde_json::from_slice(&bytes("header", header)?).map_err(|error| json("header", &error))?;
        if !header.typ.eq_ignore_ascii_case("passport") {
            return Err(Failure::invalid("the token is no PASSporT"));
        }
        if header.crit.is_some() {
            return Err(Failure::invalid("the token demands extensions that are not known"));
        }
        // RFC 8225 §4.2: ES256 is what everybody has.
        if header.alg != "ES256" {
            return Err(Failure::new(Class::Unsupported, "the token's algorithm is not ES256"));
        }
        let claims: Claims =
            serde_json::from_slice(&bytes("claims", claims)?).map_err(|error| json("claims", &error))?;
        let destinations = claims.dest.numbers.len() + claims.dest.uris.len();
        if destinations == 0 || destinations > DESTINATIONS_MAX {
            return Err(Failure::invalid(format!("the token has {destinations} destinations")));
        }
        let passport = Self { x5u: header.x5u, ppt: header.ppt, claims };
        passport.check_shaken()?;
        let (ppt, claims) = (passport.ppt.as_deref(), &passport.claims);
        if ppt == Some(crate::DIV) && claims.div.is_none() {
            return Err(Failure::invalid("the token of a diversion does not say whom the call was for"));
        }
        if ppt == Some(crate::DIV_O) && (claims.div.is_none() || claims.opt.is_none()) {
            return Err(Failure::invalid("the token of a diversion has no token of before it"));
        }
        if ppt == Some(crate::RPH) && claims.rph.as_ref().is_none_or(|rph| rph.auth.is_empty()) {
            return Err(Failure::invalid("the token about Resource-Priority entitles to nothing"));
        }
        Ok(passport)
    }

    /// What a SHAKEN token must hold (RFC 8588 §3 to §5, ATIS-1000074 §5.2.1).
    fn check_shaken(&self) -> Result<(), Failure> {
        if self.ppt.as_deref() != Some(crate::SHAKEN) {
            return Ok(());
        }
        if self.claims.attest.is_none() {
            return Err(Failure::invalid("the SHAKEN token has no attestation"));
        }
        if self.claims.origid.as_ref().is_none_or(|id| id.is_empty() || id.len() > 255) {
            return Err(Failure::invalid("the SHAKEN token has no origid"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaken() -> Passport {
        Passport {
            x5u: "https://cert.example.org/passport.cer".into(),
            ppt: Some("shaken".into()),
            claims: Claims {
                attest: Some(Attestation::A),
                origid: Some("123e4567-e89b-12d3-a456-426655440000".into()),
                ..Claims::new(
                    Party::Number("12155550121".into()),
                    Destinations::of(Party::Number("12155550131".into())),
                    1_443_208_345,
                )
            },
        }
    }

    fn decoded(part: &str) -> String {
        String::from_utf8(BASE64URL.decode(part).unwrap()).unwrap()
    }

    /// RFC 8588 §7, RFC 8225 §9
    #[test]
    fn a_token_is_written_in_order_and_without_blanks() {
        let input = shaken().signing_input();
        let (header, claims) = input.split_once('.').unwrap();
        assert_eq!(
            decoded(header),
            r#"{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://cert.example.org/passport.cer"}"#
        );
        assert_eq!(
            decoded(claims),
            r#"{"attest":"A","dest":{"tn":["12155550131"]},"iat":1443208345,"orig":{"tn":"12155550121"},"origid":"123e4567-e89b-12d3-a456-426655440000"}"#
        );
        assert_eq!(Passport::read(header, claims).unwrap(), shaken());
    }

    /// RFC 8946 §3, RFC 8443 §3, RFC 9475 §3.2
    #[test]
    fn tokens_of_other_types_have_their_claims() {
        let number = |text: &str| Party::Number(text.into());
        let base =
            || Claims::new(number("12155551212"), Destinations::of(number("12155551214")), 1_443_208_345);
        let of = |ppt: &str, claims: Claims| {
            let passport = Passport { x5u: "https://a/".into(), ppt: Some(ppt.into()), claims };
            let input = passport.signing_input();
            let (header, claims) = input.split_once('.').unwrap();
            let read = Passport::read(header, claims);
            (decoded(claims), read.map(|read| read == passport).map_err(|failure| failure.class.status()))
        };
        let div = Claims { div: Some(Diverted { party: number("12155551213") }), ..base() };
        assert_eq!(
            of("div", div),
            (
                r#"{"dest":{"tn":["12155551214"]},"div":{"tn":"12155551213"},"iat":1443208345,"orig":{"tn":"12155551212"}}"#
                    .into(),
                Ok(true)
            )
        );
        let rph = Claims { rph: Some(Priority { auth: vec!["ets.0".into(), "wps.0".into()] }), ..base() };
        assert_eq!(
            of("rph", rph),
            (
                r#"{"dest":{"tn":["12155551214"]},"iat":1443208345,"orig":{"tn":"12155551212"},"rph":{"auth":["ets.0","wps.0"]}}"#
                    .into(),
                Ok(true)
            )
        );
        let msg = Claims { msgi: Some("sha256-AA==".into()), ..base() };
        assert!(of("msg", msg).0.contains(r#""iat":1443208345,"msgi":"sha256-AA==","orig""#));
        assert_eq!(
            (of("div", base()).1, of("rph", base()).1, of("msg", base()).1),
            (Err(438), Err(438), Ok(true))
        );
        // What stands beside the number is none of ours.
        let hi = r#"{"dest":{"tn":["1"]},"div":{"hi":"1.1","tn":"2"},"iat":1,"orig":{"uri":"sip:a@b"}}"#;
        assert_eq!(serde_json::from_str::<Claims>(hi).unwrap().div.unwrap().party, number("2"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let header = r#"{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://a/"}"#;
        let claims = r#"{"attest":"A","dest":{"tn":["1"]},"iat":1,"orig":{"tn":"2"},"origid":"x"}"#;
        let read = |header: &str, claims: &str| {
            Passport::read(&BASE64URL.encode(header), &BASE64URL.encode(claims)).map_err(|f| f.class.status())
        };
        assert!(read(header, claims).is_ok());
        let many = claims.replace("\"1\"", &["\"1\""; 17].join(","));
        for (header, claims, status) in [
            ("", claims, 438),
            ("{}", claims, 438),
            (&*header.replace("ES256", "RS256"), claims, 437),
            (&*header.replace("ES256", "none"), claims, 437),
            (&*header.replace("passport", "JWT"), claims, 438),
            (&*header.replace("{\"alg\"", "{\"crit\":[\"b64\"],\"alg\""), claims, 438),
            (&*header.replace("{\"alg\"", "{\"alg\":\"ES256\",\"alg\""), claims, 438),
            (header, "", 438),
            (header, &*claims.replace("\"attest\":\"A\",", ""), 438),
            (header, &*claims.replace("\"A\"", "\"D\""), 438),
            (header, &*claims.replace(",\"origid\":\"x\"", ""), 438),
            (header, &*claims.replace("[\"1\"]", "[]"), 438),
            (header, &*claims.replace("\"iat\":1", "\"iat\":\"1\""), 438),
            (header, &*claims.replace("\"iat\":1", "\"iat\":-1"), 438),
            (header, &*claims.replace("{\"tn\":\"2\"}", "{\"tn\":\"2\",\"uri\":\"sip:a@b\"}"), 438),
            (header, &many, 438),
        ] {
            assert_eq!(read(header, claims), Err(status), "{header} {claims}");
        }
        assert!(Passport::read("a=", "b").is_err());
    }

    /// RFC 8224 §8.1
    #[test]
    fn parties_are_numbers_where_they_can_be() {
        let number = |text: &str| Party::Number(text.into());
        assert_eq!(Party::of_uri("sip:+1-215;npdi@192.0.2.1;user=phone"), number("1215"));
        assert_eq!(Party::of_uri("tel:+1215;verstat=x"), number("1215"));
        assert_eq!(Party::of_uri("SIP:Alice;x@Example.COM;y=z"), Party::Uri("sip:Alice@example.com".into()));
        assert_eq!(Party::of_uri("sip:example.com"), Party::Uri("sip:example.com".into()));
        let named =
            Destinations { numbers: vec!["+1215".into()], uris: vec!["sip:bob@Biloxi.example".into()] };
        assert!(named.names(&number("1215")) && !named.names(&number("1216")));
        assert!(named.names(&Party::of_uri("sip:bob@biloxi.example")));
    }
}
