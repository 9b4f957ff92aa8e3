//! A call leaves: its caller's number is marked with what is known of it, and signed where that is agreed upon.

use super::verify::{party, source, source_identity};
use super::verstat::mark;
use super::{IdentityConfig, Signing, Standing, TrunkIdentity};
use crate::session;
use crate::stats::Stats;
use crate::trunk::TrunkTable;
use core::net::SocketAddr;
use sip::message::{Message, Name, NameAddr};
use stir::{Attestation, Claims, Destinations, Diverted, Party};

/// Most Identity fields that pass.
const PASSED_MAX: usize = 8;

/// A call that leaves for a trunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure<'a> {
    /// How identities are dealt with.
    pub(crate) config: &'a IdentityConfig,
    /// The trunks.
    pub(crate) table: &'a TrunkTable,
    /// How the trunk it goes to deals with them.
    pub(crate) trunk: TrunkIdentity,
    /// The caller's INVITE.
    pub(crate) invite: &'a Message<'a>,
    /// Where it came from.
    pub(crate) source: SocketAddr,
    /// The caller's number as it is sent, if he is a user who has shown that he is.
    pub(crate) user: Option<&'a str>,
    /// To whom it goes: the To field.
    pub(crate) to: &'a str,
    /// Whether the gateway itself has sent it on to somebody else than it came for.
    pub(crate) sent_on: bool,
    /// The body of a MESSAGE; none: it is a call.
    pub(crate) message: Option<&'a [u8]>,
    /// Now, in seconds since 1970.
    pub(crate) now: u64,
}

/// Completes the fields of an INVITE, From among them.
pub(crate) fn depart(
    call: &Departure<'_>,
    standing: &mut Standing,
    from: &mut String,
    fields: &mut Vec<(String, String)>,
    stats: &mut Stats,
) {
    let orig = caller(from, fields);
    if let Some(verstat) = standing.verstat {
        let verified = standing.verified.as_ref();
        *from = mark(from, verstat, verified);
        for (_, value) in fields.iter_mut().filter(|(name, _)| is(name, "P-Asserted-Identity")) {
            *value = mark(value, verstat, verified);
        }
        if call.config.indicator {
            indicate(standing, fields);
        }
    }
    if let Some(record) = &mut standing.record {
        record.signed = None;
    }
    if standing.presumes {
        // RFC 8443 §4: as if it had not been asked for.
        fields.retain(|(name, _)| !is(name, "Resource-Priority"));
    }
    fields.retain(|(name, _)| !is(name, "Identity"));
    if call.trunk.pass {
        let passed = call.invite.headers(Name::Identity).take(PASSED_MAX).map(session::text);
        fields.extend(passed.map(|value| ("Identity".to_owned(), value)));
    }
    let passes = fields.iter().any(|(name, _)| is(name, "Identity"));
    let Some(signing) = call.config.signing.as_ref().filter(|_| call.trunk.sign) else { return };
    if passes {
        // In place of the one that it has nested.
        let before = sole(fields).filter(|_| signing.nests);
        let value = before.and_then(|at| fields.get(at)).map(|(_, value)| value.as_str());
        if let Some((identity, nests)) = divert(call, signing, standing, value) {
            if let Some(at) = before.filter(|_| nests) {
                fields.remove(at);
            }
            fields.push(("Identity".to_owned(), identity));
            stats.identity_signed_diversions += 1;
        }
        return;
    }
    if let Some(body) = call.message {
        match sign_message(call, signing, orig, body) {
            Some(identity) => {
                fields.retain(|(name, _)| !is(name, "Date"));
                fields.push(("Date".to_owned(), stir::write_date(call.now)));
                fields.push(("Identity".to_owned(), identity));
                stats.identity_signed_messages += 1;
            }
            None => stats.identity_unsigned += 1,
        }
        return;
    }
    match sign(call, signing, orig) {
        Some((attest, identity)) => {
            // RFC 8224 §6.1 step 3: a signed request has a Date field, and it says what the token says.
            fields.retain(|(name, _)| !is(name, "Date"));
            fields.push(("Date".to_owned(), stir::write_date(call.now)));
            fields.push(("Identity".to_owned(), identity));
            standing.record.get_or_insert_default().signed = Some(attest.to_string().into());
            *match attest {
                Attestation::A => &mut stats.identity_signed_a,
                Attestation::B => &mut stats.identity_signed_b,
                Attestation::C => &mut stats.identity_signed_c,
            } += 1;
        }
        None => stats.identity_unsigned += 1,
    }
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// Who calls, as the callee's network sees it: the identity asserted, else From (ATIS-1000074 §5.2.1).
fn caller(from: &str, fields: &[(String, String)]) -> Option<Party> {
    let asserted = fields.iter().filter(|(name, _)| is(name, "P-Asserted-Identity"));
    asserted
        .map(|(_, value)| value.as_str())
        .chain([from])
        .filter_map(|value| NameAddr::parse(value.split(", ").next()?.as_bytes()))
        .map(|address| party(address.uri))
        .find(|party| matches!(party, Party::Number(_)))
}

/// Attestation and origination in fields of their own, as application servers want them.
fn indicate(standing: &Standing, fields: &mut Vec<(String, String)>) {
    let Some(record) = &standing.record else { return };
    if let Some(attest) = &record.attest {
        fields.push(("P-Attestation-Indicator".to_owned(), attest.to_string()));
    }
    // Chosen by whoever signed: nothing goes into a field that could end it.
    if let Some(origid) = record.origid.as_ref().filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic())) {
        fields.push(("P-Origination-ID".to_owned(), origid.clone()));
    }
}

fn sign(call: &Departure<'_>, signing: &Signing, orig: Option<Party>) -> Option<(Attestation, String)> {
    let Some(Party::Number(number)) = orig else { return None };
    let dest = party(NameAddr::parse(call.to.as_bytes())?.uri);
    // RFC 8588 §5: SHAKEN is for telephone numbers.
    if !matches!(dest, Party::Number(_)) {
        return None;
    }
    let gateway = source_identity(call.table, call.source).gateway;
    let own = call.user.and_then(stir::canonical).as_ref() == Some(&number);
    let attest = attestation(gateway, own, &signing.full, &number);
    let origid = signing.origid.clone().unwrap_or_else(|| {
        let ip = call.source.ip().to_canonical().to_string();
        let from = source(call.table, call.source).map_or(ip.as_str(), |trunk| trunk.config.name.as_str());
        stir::origination_of(&[signing.signer.x5u(), from])
    });
    let claims = Claims {
        attest: Some(attest),
        origid: Some(origid),
        ..Claims::new(Party::Number(number), Destinations::of(dest), call.now)
    };
    Some((attest, signing.signer.sign(claims)?))
}

/// The token of a diversion, to be added to those that a call came with, which were verified and are for somebody else
/// (RFC 8946 §4.1), or with that of `before` nested in it (§5); whether it has.
fn divert(
    call: &Departure<'_>,
    signing: &Signing,
    standing: &Standing,
    before: Option<&str>,
) -> Option<(String, bool)> {
    let (orig, from) = (standing.verified.clone()?, standing.reached.clone()?);
    let dest = party(NameAddr::parse(call.to.as_bytes())?.uri);
    if !call.sent_on || dest == from {
        return None;
    }
    let claims =
        Claims { div: Some(Diverted { party: from }), ..Claims::new(orig, Destinations::of(dest), call.now) };
    if let Some(identity) = before.and_then(|before| signing.signer.nest(claims.clone(), before)) {
        return Some((identity, true));
    }
    Some((signing.signer.sign_as(Some(stir::DIV), claims)?, false))
}

/// Which field has the one token that says who calls, with all diversions there were; none if it takes several to say so.
fn sole(fields: &[(String, String)]) -> Option<usize> {
    let mut found = None;
    for (at, (_, value)) in fields.iter().enumerate().filter(|(_, (name, _))| is(name, "Identity")) {
        let Ok(identity) = stir::Identity::parse(value.as_bytes()) else { continue };
        match identity.ppt {
            Some(stir::DIV) => return None,
            None | Some(stir::SHAKEN | stir::DIV_O) if found.is_some() => return None,
            None | Some(stir::SHAKEN | stir::DIV_O) => found = Some(at),
            Some(_) => {}
        }
    }
    found
}

/// The token of a message, with the digest of its body (RFC 9475 §3.2).
fn sign_message(call: &Departure<'_>, signing: &Signing, orig: Option<Party>, body: &[u8]) -> Option<String> {
    let orig = orig.filter(|orig| matches!(orig, Party::Number(_)))?;
    let dest = party(NameAddr::parse(call.to.as_bytes())?.uri);
    let claims =
        Claims { msgi: Some(stir::integrity(body)), ..Claims::new(orig, Destinations::of(dest), call.now) };
    signing.signer.sign_as(Some(stir::MSG), claims)
}

/// How sure we are of a caller's number (RFC 8588 §4).
fn attestation(gateway: bool, own: bool, full: &[String], number: &str) -> Attestation {
    match gateway {
        true => Attestation::C,
        false if own || full.iter().any(|prefix| number.starts_with(prefix.as_str())) => Attestation::A,
        false => Attestation::B,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8588 §4
    #[test]
    fn what_is_attested_depends_on_number_and_source() {
        let full = ["4420".to_owned(), "1215".to_owned()];
        let of = |gateway, own, number| attestation(gateway, own, &full, number);
        assert_eq!(of(false, false, "12155551212"), Attestation::A);
        assert_eq!(of(false, false, "8613800"), Attestation::B);
        assert_eq!(of(false, true, "8613800"), Attestation::A);
        assert_eq!(of(true, true, "12155551212"), Attestation::C);
        assert_eq!(attestation(false, false, &[], "1"), Attestation::B);
    }

    /// RFC 8946 §5: what is nested has to say all by itself.
    #[test]
    fn a_token_is_nested_if_it_says_who_calls_by_itself() {
        let identity = |ppt: &str| ("Identity".to_owned(), format!("a.b.c;info=<https://a.example/>{ppt}"));
        let of = |ppts: &[&str]| {
            let fields: Vec<_> = ppts.iter().map(|ppt| identity(ppt)).collect();
            sole(&[vec![("Date".to_owned(), "x".to_owned())], fields].concat())
        };
        assert_eq!((of(&[";ppt=shaken"]), of(&[""]), of(&[";ppt=div-o"])), (Some(1), Some(1), Some(1)));
        assert_eq!((of(&[";ppt=rph", ";ppt=shaken"]), of(&[";ppt=div"])), (Some(2), None));
        assert_eq!((of(&[";ppt=shaken", ";ppt=div"]), of(&[])), (None, None));
    }

    #[test]
    fn the_caller_is_whom_the_callee_sees() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let number = |text: &str| Some(Party::Number(text.into()));
        let asserted = field("p-asserted-identity", "\"A\" <sip:+1215@h>, <tel:+1216>");
        assert_eq!(caller("<sip:+44@h>", &[asserted]), number("1215"));
        assert_eq!(caller("<sip:+44@h>", &[field("P-Asserted-Identity", "<sip:alice@h>")]), number("44"));
        assert_eq!(caller("\"x\" <sip:anonymous@anonymous.invalid>", &[]), None);
    }
}
