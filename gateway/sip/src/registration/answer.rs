//! What a registrar's answer says: the time granted, the service route, the identities, where else to go.

use super::Given;
use crate::event::Transport;
use crate::message::{Host, Message, Name, NameAddr, Scheme, Uri, unfold};
use core::net::SocketAddr;

/// Longest service route that is used, in bytes of all its values together.
pub const SERVICE_ROUTE_MAX: usize = 1024;
/// Most associated URIs that are kept.
pub const ASSOCIATED_MAX: usize = 16;
/// Longest associated URI that is kept, in bytes.
const ASSOCIATED_LENGTH: usize = 256;

/// The seconds granted to our binding: those of our Contact, else of Expires, else those asked for (RFC 3261 §10.2.4).
/// A registrar that writes contacts anew (behind a NAT) lists ours in other words: if there is one only, it is ours.
pub(super) fn granted(response: &Message<'_>, contact: &str, asked: u32) -> u32 {
    let ours = Uri::parse(contact.as_bytes());
    let listed: Vec<NameAddr<'_>> = response.values(Name::Contact).filter_map(NameAddr::parse).collect();
    let is_ours = |it: &&NameAddr<'_>| {
        ours.is_some_and(|ours| Uri::parse(it.uri).is_some_and(|uri| is_same_place(&uri, &ours)))
    };
    let found = listed.iter().find(is_ours).or_else(|| listed.first().filter(|_| listed.len() == 1));
    let own = found.and_then(|it| it.params.value("expires")).and_then(seconds);
    own.or_else(|| response.seconds(Name::Expires)).unwrap_or(asked)
}

/// An expiry time; one beyond 32 bits is as long as can be.
fn seconds(value: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(value).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

/// Whether two contacts are of one user at one place. Parameters are left aside: registrars add and drop them.
fn is_same_place(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let user = |uri: &Uri<'_>| {
        let mut user = Vec::new();
        uri.user_unescaped(&mut user);
        user
    };
    let (Some(at), Some(other)) = (a.host_port, b.host_port) else { return false };
    let same_host = match (at.host, other.host) {
        (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    };
    same_host && at.port.unwrap_or(5060) == other.port.unwrap_or(5060) && user(a) == user(b)
}

/// Service-Route and P-Associated-URI of a 2xx; each replaces what was given before (RFC 3608 §5).
pub(super) fn given(response: &Message<'_>) -> Given {
    let mut given = Given::default();
    let mut length = 0;
    for value in response.values(Name::ServiceRoute) {
        let text = String::from_utf8_lossy(&unfold(value)).into_owned();
        length += text.len() + 2;
        // A route that does not say so is of a strict router, which RFC 3608 §4 rules out.
        let is_loose = NameAddr::parse(value)
            .filter(|it| it.bracketed)
            .and_then(|it| Uri::parse(it.uri))
            .is_some_and(|uri| uri.is_sip() && uri.is_loose_router());
        let is_plain = text.bytes().all(|byte| (b' '..0x7f).contains(&byte));
        if !is_loose || length > SERVICE_ROUTE_MAX || !is_plain {
            given.service_route.clear();
            given.service_route_dropped = true;
            break;
        }
        given.service_route.push(text);
    }
    let fields = response.fields().filter(|field| field.spelling.eq_ignore_ascii_case(b"P-Associated-URI"));
    let values = fields.flat_map(|field| crate::message::Elements::new(field.value));
    given.associated = values
        .filter_map(NameAddr::parse)
        .filter(|it| it.uri.len() <= ASSOCIATED_LENGTH && it.uri.is_ascii())
        .map(|it| String::from_utf8_lossy(it.uri).into_owned())
        .take(ASSOCIATED_MAX)
        .collect();
    given
}

/// Where a 3xx leads: its first contact that names an address, since names are not resolved here. What was to be encrypted
/// (`secure`) does not go in clear (RFC 3261 §26.2.2).
pub(super) fn redirection(response: &Message<'_>, secure: bool) -> Option<(Transport, SocketAddr)> {
    response.values(Name::Contact).find_map(|value| {
        let address = NameAddr::parse(value)?;
        let uri = Uri::parse(address.uri).filter(|uri| uri.scheme == Scheme::Sip)?;
        let transport = uri.params.value("transport").map_or(Some(Transport::Udp), Transport::named)?;
        let to = uri.host_port?.socket_address(transport.default_port()).filter(|to| to.port() != 0)?;
        (!transport.is_websocket() && (transport.is_encrypted() || !secure)).then_some((transport, to))
    })
}
