//! Path (RFC 3327): the proxies between us and a phone, which requests to the phone have to go through.

use core::net::SocketAddr;
use link::Binding;
use locate::{Name, Target};
use sip::Transport;
use sip::message::{Elements, Host, Message, Name as Field, NameAddr, Scheme, Uri, unfold};

/// The option tag of RFC 3327.
pub(crate) const TAG: &str = "path";
/// Most proxies on the way to a phone.
pub(crate) const HOPS_MAX: usize = 8;
/// Longest path that is kept, in bytes of all its values together.
pub(crate) const LENGTH_MAX: usize = 1024;

/// The path of a REGISTER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    /// Its values in their order, as Route has them; empty if there is none.
    pub(crate) route: String,
    /// Where the first proxy is, if its URI names an address.
    pub(crate) first: Option<(Transport, SocketAddr)>,
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It cannot be read, or is none that SIP goes by.
    Malformed,
    /// There are more than [`HOPS_MAX`] values, or [`LENGTH_MAX`] bytes.
    TooLong,
}

impl Path {
    /// What a REGISTER says.
    pub(crate) fn of(request: &Message<'_>) -> Result<Self, Unfit> {
        let mut path = Self::default();
        for (number, value) in request.values(Field::Path).enumerate() {
            // RFC 3327 §4: each is as an element of Route, a name-addr.
            let uri = NameAddr::parse(value).filter(|it| it.bracketed).and_then(|it| Uri::parse(it.uri));
            let uri = uri.filter(|uri| uri.is_sip() && uri.headers.is_none()).ok_or(Unfit::Malformed)?;
            let text = unfold(value);
            let text = core::str::from_utf8(&text).map_err(|_| Unfit::Malformed)?;
            if text.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(Unfit::Malformed);
            }
            if number == 0 {
                path.first = place(&uri);
            } else {
                path.route.push_str(", ");
            }
            path.route.push_str(text);
            if number >= HOPS_MAX || path.route.len() > LENGTH_MAX {
                return Err(Unfit::TooLong);
            }
        }
        Ok(path)
    }
}

/// The name of the first proxy of a binding's path, if it has to be located: by UDP or TCP, since TLS is spoken with those that
/// have opened a connection, or whose address is given.
pub(super) fn name(binding: &Binding) -> Option<Target> {
    if binding.path.is_empty() {
        return None;
    }
    let value = Elements::new(binding.path.as_bytes()).next()?;
    let uri = Uri::parse(NameAddr::parse(value)?.uri).filter(|uri| uri.scheme == Scheme::Sip)?;
    let place = uri.host_port?;
    let name = match (uri.params.value("maddr"), place.host) {
        (Some(maddr), _) => maddr,
        (None, Host::Name(name)) => name,
        (None, Host::Address(_)) => return None,
    };
    let transport = match uri.params.value("transport").map(Transport::named) {
        None => None,
        Some(Some(Transport::Udp)) => Some(locate::Transport::Udp),
        Some(Some(Transport::Tcp)) => Some(locate::Transport::Tcp),
        Some(_) => return None,
    };
    let host = Name::new(core::str::from_utf8(name).ok()?).ok();
    // What `maddr` has may be an address.
    let host = host.filter(|_| !matches!(Host::parse(name), Some(Host::Address(_)) | None))?;
    Some(Target { host, port: place.port, transport })
}

/// Where a proxy is that is named by its address. One that has a name is located ([`name`]).
fn place(uri: &Uri<'_>) -> Option<(Transport, SocketAddr)> {
    let named = uri.params.value("transport").map(Transport::named);
    let transport = match (named, uri.scheme) {
        (Some(named), Scheme::Sip) => named?,
        (Some(named), _) => named.filter(|it| it.is_encrypted()).unwrap_or(Transport::Tls),
        (None, Scheme::Sip) => Transport::Udp,
        (None, _) => Transport::Tls,
    };
    let host = uri.host_port?;
    // RFC 3261 §19.1.1: maddr "overrides any address derived from the host field".
    let host = match uri.params.value("maddr") {
        Some(maddr) => {
            SocketAddr::new(core::str::from_utf8(maddr).ok()?.parse().ok()?, host.port.unwrap_or(0))
        }
        None => host.socket_address(0)?,
    };
    let port = if host.port() == 0 { transport.default_port() } else { host.port() };
    (!transport.is_websocket()).then_some((transport, SocketAddr::new(host.ip(), port)))
}

/// How a request goes to a phone behind proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Course {
    /// The first proxy, if its URI names an address.
    pub(crate) first: Option<(Transport, SocketAddr)>,
    pub(crate) request_uri: String,
    /// The value of Route, if there is to be one.
    pub(crate) route: Option<String>,
}

/// The way to a binding by its path; `None` if it has none (RFC 3327 §5.3, RFC 3261 §16.12).
pub(crate) fn course(binding: &Binding) -> Option<Course> {
    let mut values = Elements::new(binding.path.as_bytes());
    let first = NameAddr::parse(values.next()?)?;
    let uri = Uri::parse(first.uri)?;
    let contact = binding.contact.to_string();
    if uri.is_loose_router() {
        let route = Some(binding.path.to_string());
        return Some(Course { first: place(&uri), request_uri: contact, route });
    }
    // RFC 3261 §16.6 step 6: a proxy that does not say so expects itself in the Request-URI, and the phone at the end.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let rest: Vec<String> = values.map(text).chain([format!("<{contact}>")]).collect();
    Some(Course { first: place(&uri), request_uri: text(first.uri), route: Some(rest.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &str) -> Result<Path, Unfit> {
        let text = format!(
            "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\n\
             Call-ID: c\r\nCSeq: 1 REGISTER\r\n{fields}\r\n"
        );
        Path::of(&Message::parse(text.as_bytes()).unwrap())
    }

    /// RFC 3327 §4 and §5.3: the order is kept, whether in one field or several.
    #[test]
    fn a_path_is_kept_as_route_has_it() {
        assert_eq!(of(""), Ok(Path::default()));
        let it = of(
            "Path: <sip:P3@192.0.2.3:5070;lr;transport=tcp>,\r\n <sip:p2.example;lr>\r\npath: \"P\" <sip:p1;lr>\r\n",
        );
        let it = it.unwrap();
        assert_eq!(
            it.route,
            "<sip:P3@192.0.2.3:5070;lr;transport=tcp>, <sip:p2.example;lr>, \"P\" <sip:p1;lr>"
        );
        assert_eq!(it.first, Some((Transport::Tcp, "192.0.2.3:5070".parse().unwrap())));
        for (value, first) in [
            ("<sip:192.0.2.3;lr>", Some((Transport::Udp, "192.0.2.3:5060"))),
            ("<sips:[2001:db8::3];lr>", Some((Transport::Tls, "[2001:db8::3]:5061"))),
            ("<sip:p.example:5080;maddr=192.0.2.9;lr>", Some((Transport::Udp, "192.0.2.9:5080"))),
            ("<sip:p.example;lr>", None),
            ("<sip:192.0.2.3;transport=ws;lr>", None),
            ("<sip:192.0.2.3;transport=sctp;lr>", None),
        ] {
            let first = first.map(|(transport, place)| (transport, place.parse().unwrap()));
            assert_eq!(of(&format!("Path: {value}\r\n")).unwrap().first, first, "{value}");
        }
    }

    /// RFC 3263 §4: what is a name, and what is said of port and transport beside it.
    #[test]
    fn a_name_is_to_be_located_and_an_address_is_not() {
        let mut all = Vec::new();
        let mut wish = super::super::bindings::tests::wish("sip:a@10.0.0.1", 60, "i", 1);
        for (path, expected) in [
            ("", ""),
            ("<sip:P3.Example.;lr>, <sip:192.0.2.1;lr>", "p3.example"),
            ("<sip:u@p3:5070;transport=TCP;lr>", "p3:5070;transport=tcp"),
            ("<sip:192.0.2.1;maddr=p.example;lr>", "p.example"),
            ("<sip:p.example;maddr=192.0.2.1;lr>", ""),
            ("<sip:192.0.2.1;lr>, <sip:p.example;lr>", ""),
            ("<sip:p.example;transport=tls;lr>", ""),
            ("<sips:p.example;lr>", ""),
            ("<sip:p.example;transport=ws;lr>", ""),
        ] {
            all.clear();
            wish.path = path.into();
            let limits = super::super::Limits::default();
            super::super::bindings::apply(&mut all, link::UnixMicros(0), &wish, &"".into(), &limits).unwrap();
            let name = name(&all[0]).map_or(String::new(), |target| target.to_string());
            assert_eq!(name, expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_route_or_too_much_of_it_is_refused() {
        for value in ["sip:p;lr", "<tel:1>", "<sip:p?a=b>", "<>", "<sip:p;lr"] {
            assert_eq!(of(&format!("Path: {value}\r\n")), Err(Unfit::Malformed), "{value}");
        }
        let many = |count: usize| of(&"Path: <sip:p;lr>\r\n".repeat(count)).map(|_| ());
        assert_eq!((many(HOPS_MAX), many(HOPS_MAX + 1)), (Ok(()), Err(Unfit::TooLong)));
        let long = format!("Path: <sip:{}@p;lr>\r\n", "x".repeat(LENGTH_MAX));
        assert_eq!(of(&long), Err(Unfit::TooLong));
    }

    /// RFC 3261 §16.6 step 6.
    #[test]
    fn a_strict_router_finds_itself_in_the_request_uri() {
        let mut all = Vec::new();
        let mut wish = super::super::bindings::tests::wish("sip:a@10.0.0.1", 60, "i", 1);
        let mut course_by = |path: &str| {
            all.clear();
            wish.path = path.into();
            let limits = super::super::Limits::default();
            super::super::bindings::apply(&mut all, link::UnixMicros(0), &wish, &"".into(), &limits).unwrap();
            course(&all[0]).map(|it| (it.request_uri, it.route.unwrap_or_default()))
        };
        let way = |uri: &str, route: &str| Some((uri.to_owned(), route.to_owned()));
        assert_eq!(course_by(""), None);
        assert_eq!(course_by("<sip:p;lr>, <sip:q>"), way("sip:a@10.0.0.1", "<sip:p;lr>, <sip:q>"));
        assert_eq!(course_by("<sip:p>, <sip:q;lr>"), way("sip:p", "<sip:q;lr>, <sip:a@10.0.0.1>"));
        assert_eq!(course_by("<sip:p>"), way("sip:p", "<sip:a@10.0.0.1>"));
    }
}
