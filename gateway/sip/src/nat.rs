//! Peers behind a NAT: the signs by which their messages show it. Where requests to them go then is the endpoint's:
//! back the way they came, as their responses do (RFC 3581, RFC 5626 §1), and not to the address in their Contact.

use crate::event::{Flow, Transport};
use crate::message::{Host, Message, Name, NameAddr};
use core::net::IpAddr;

/// Whether a peer's requests go where its own come from, rather than to the Contact or route it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nat {
    /// If its messages show that it is behind a NAT ([`shows_nat`]).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: the names in its messages are right.
    Never,
}

impl Nat {
    /// The rule of a name: `auto`, `always` or `never`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }

    /// What follows for a peer whose messages show a NAT or not.
    pub const fn applies(self, shown: bool) -> bool {
        match self {
            Self::Auto => shown,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Addresses that mean something only within somebody's network (RFC 1918, RFC 6598, RFC 4193, link-local).
pub const fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether a request shows that whoever sent it is behind a NAT. Either of two signs will do:
///
/// - Its top Via names another address than it came from (so that `received` is put in, RFC 3261 §18.2.1), and where it
///   wants to be called is that same address or a private one. Over UDP the sender must have asked for `rport` (RFC 3581),
///   or name a private address: else it may listen where it says and send from elsewhere.
/// - Its Contact is private and it came from a public address.
///
/// What a proxy passed on shows nothing of the phone behind it; it may show that the proxy is behind a NAT.
pub fn shows_nat(request: &Message<'_>, flow: &Flow) -> bool {
    let source = flow.remote.ip().to_canonical();
    let Some(via) = request.top_via() else { return false };
    let named = via.host().address().map(|host| host.to_canonical());
    let settled = flow.transport != Transport::Udp || via.rport().is_some();
    let displaced = named.filter(|named| *named != source && (settled || is_private(*named)));
    let route = request.values(Name::RecordRoute).next();
    if route.is_some() || request.values(Name::Via).nth(1).is_some() {
        let route = route.and_then(host_of);
        return displaced.is_some() && route == displaced;
    }
    let contact = request.contact().and_then(|contact| host_of(contact.uri));
    let calls_home = displaced.is_some() && contact.is_none_or(|at| Some(at) == displaced || is_private(at));
    calls_home || contact.is_some_and(|at| is_private(at) && !is_private(source))
}

/// Whether a response shows that its sender is behind a NAT: no proxy stays on the way, and the Contact is private
/// although the request went to a public address.
pub(crate) fn response_shows_nat(response: &Message<'_>, flow: &Flow) -> bool {
    let contact = response.contact().and_then(|contact| host_of(contact.uri));
    response.header(Name::RecordRoute).is_none()
        && contact.is_some_and(|at| is_private(at) && !is_private(flow.remote.ip().to_canonical()))
}

/// The address in a URI, or in a name-addr's URI, if it names one.
fn host_of(text: &[u8]) -> Option<IpAddr> {
    let uri = crate::message::Uri::parse(text).or_else(|| NameAddr::parse(text)?.parsed_uri())?;
    match uri.host_port?.host {
        Host::Address(address) => Some(address.to_canonical()),
        Host::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Link;

    fn request(via: &str, more: &str) -> String {
        format!(
            "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n{more}\r\n"
        )
    }

    fn flow(transport: Transport, source: &str) -> Flow {
        let remote = core::net::SocketAddr::new(source.parse().unwrap(), 40000);
        Flow { transport, link: Link::Socket(sansio::SocketId(0)), local: remote, remote }
    }

    fn shows(transport: Transport, source: &str, via: &str, more: &str) -> bool {
        shows_nat(&Message::parse(request(via, more).as_bytes()).unwrap(), &flow(transport, source))
    }

    #[test]
    fn a_nat_shows_where_what_is_named_is_not_where_it_comes_from() {
        let udp = |source, via, more: &str| shows(Transport::Udp, source, via, more);
        let home = "Contact: <sip:a@192.168.1.7:5062>\r\n";
        assert!(udp("192.0.2.9", "UDP 192.168.1.7:5062;rport", home));
        assert!(udp("192.0.2.9", "UDP 192.168.1.7:5062", home), "private addresses without rport too");
        assert!(udp("10.9.9.9", "UDP 192.168.1.7:5062;rport", home), "a NAT behind a NAT");
        assert!(udp("192.0.2.9", "UDP 192.0.2.9;rport", home), "Contact alone");
        assert!(!udp("192.168.1.7", "UDP 192.168.1.7:5062;rport", home), "the port alone is none");
        assert!(!udp("10.0.0.1", "UDP 10.0.0.1;rport", home), "another host of the same network");
        let public = "Contact: <sip:a@198.51.100.4:5062>\r\n";
        assert!(!udp("192.0.2.9", "UDP 192.0.2.9;rport", public), "a carrier that answers elsewhere");
        assert!(
            udp("192.0.2.9", "UDP 198.51.100.4;rport", public),
            "private addresses that are not of RFC 1918"
        );
        assert!(!udp("192.0.2.9", "UDP 198.51.100.4", public), "it may listen where it says");
        assert!(!udp("192.0.2.9", "UDP 192.168.1.7;rport", public), "it has found its public address itself");
        assert!(shows(Transport::Tcp, "192.0.2.9", "TCP 192.168.1.7", home));
        assert!(!udp("192.0.2.9", "UDP phone.example;rport", "Contact: <sip:a@phone.example>\r\n"));
        assert!(udp("2001:db8::9", "UDP [fd00::7];rport", "Contact: <sip:a@[fd00::7]>\r\n"));
    }

    #[test]
    fn what_a_proxy_passes_on_shows_what_the_proxy_is() {
        let inner = "Via: SIP/2.0/UDP 192.168.1.7;branch=z9hG4bK2\r\nContact: <sip:a@192.168.1.7>\r\n";
        let routed = |route: &str| format!("{inner}Record-Route: <sip:{route};lr>\r\n");
        let udp = |source, via, more: &str| shows(Transport::Udp, source, via, more);
        assert!(!udp("192.0.2.9", "UDP 192.0.2.9;rport", inner));
        assert!(!udp("192.0.2.9", "UDP 192.0.2.9;rport", &routed("192.0.2.9")));
        assert!(udp("192.0.2.9", "UDP 10.0.0.2;rport", &routed("10.0.0.2")), "a proxy behind a NAT");
        assert!(
            !udp("192.0.2.9", "UDP 10.0.0.2;rport", &routed("192.0.2.9")),
            "that says where it really is"
        );
    }

    #[test]
    fn answers_show_a_nat_by_a_private_contact_alone() {
        let answer = |contact: &str, more: &str, to: &str| {
            let text = format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\n\
                 Call-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:b@{contact}>\r\n{more}\r\n"
            );
            response_shows_nat(&Message::parse(text.as_bytes()).unwrap(), &flow(Transport::Udp, to))
        };
        assert!(answer("192.168.1.7", "", "192.0.2.9"));
        assert!(!answer("192.168.1.7", "", "10.0.0.1"), "a proxy of a private network that leaves the way");
        assert!(!answer("198.51.100.4", "", "192.0.2.9"));
        assert!(!answer("192.168.1.7", "Record-Route: <sip:192.0.2.9;lr>\r\n", "192.0.2.9"));
    }

    #[test]
    fn rules_have_names() {
        for rule in [Nat::Auto, Nat::Always, Nat::Never] {
            assert_eq!(Nat::named(rule.name()), Some(rule));
        }
        assert_eq!(Nat::named("on"), None);
        assert!(Nat::Auto.applies(true) && !Nat::Auto.applies(false));
        assert!(Nat::Always.applies(false) && !Nat::Never.applies(true));
    }
}
