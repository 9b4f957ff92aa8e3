//! Dialog state (RFC 3261 §12): who speaks with whom, in what order, by which route.

pub(crate) mod invite;
pub(crate) mod reliable;
pub(crate) mod session;
pub(crate) mod subscription;
pub(crate) mod usage;

use crate::message::{Elements, Message, Name, NameAddr, Uri, unfold};

/// The texts of a dialog.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts<'a> {
    /// Call-ID.
    pub(crate) call_id: &'a [u8],
    /// Our From or To, with our tag at its end.
    pub(crate) local: &'a [u8],
    /// The peer's From or To, with its tag once known.
    pub(crate) remote: &'a [u8],
    /// The peer's tag, empty while unknown.
    pub(crate) remote_tag: &'a [u8],
    /// Remote target: the URI in the peer's Contact.
    pub(crate) target: &'a [u8],
    /// Route set in the order of use, as one list of header elements.
    pub(crate) routes: &'a [u8],
    /// User part of our Contact.
    pub(crate) user: &'a [u8],
}

/// A dialog: its texts in one piece of memory, and its sequence numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    text: Box<[u8]>,
    ends: [u32; 7],
    /// CSeq of our last request.
    pub(crate) local_cseq: u32,
    /// CSeq of the peer's last request, ACK and CANCEL aside.
    pub(crate) remote_cseq: Option<u32>,
}

impl Dialog {
    /// A dialog of these texts.
    pub(crate) fn new(parts: &Parts<'_>, local_cseq: u32, remote_cseq: Option<u32>) -> Self {
        let pieces = [
            parts.call_id,
            parts.local,
            parts.remote,
            parts.remote_tag,
            parts.target,
            parts.routes,
            parts.user,
        ];
        let mut text = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        let mut ends = [0; 7];
        for (piece, end) in pieces.iter().zip(&mut ends) {
            text.extend_from_slice(piece);
            *end = text.len() as u32; // pieces come from messages below 64 KiB
        }
        Self { text: text.into_boxed_slice(), ends, local_cseq, remote_cseq }
    }

    /// The dialog that a request for a new call begins at the called side (RFC 3261 §12.1.1). `to` is our To with tag.
    pub(crate) fn of_request(request: &Message<'_>, to: &[u8]) -> Option<Self> {
        let mut routes = Vec::new();
        for route in request.values(Name::RecordRoute) {
            push_route(&mut routes, route);
        }
        let from = request.from()?;
        let contact = request.contact();
        let user = Uri::parse(request.request_uri()).and_then(|uri| uri.user).unwrap_or_default();
        let parts = Parts {
            call_id: request.call_id(),
            local: to,
            remote: &unfold(request.header(Name::From)?),
            remote_tag: from.tag().unwrap_or_default(),
            // Without Contact there is nowhere else to send to than where the request says it comes from.
            target: contact.map_or(from.uri, |contact| contact.uri),
            routes: &routes,
            user,
        };
        Some(Self::new(&parts, 0, Some(request.cseq()?.number)))
    }

    /// The dialog that a response makes at the calling side (RFC 3261 §12.1.2).
    pub(crate) fn of_response(response: &Message<'_>, user: &[u8]) -> Option<Self> {
        let mut elements: Vec<&[u8]> = response.values(Name::RecordRoute).collect();
        elements.reverse();
        let mut routes = Vec::new();
        for route in elements {
            push_route(&mut routes, route);
        }
        let to = response.to()?;
        let contact = response.contact();
        let parts = Parts {
            call_id: response.call_id(),
            local: &unfold(response.header(Name::From)?),
            remote: &unfold(response.header(Name::To)?),
            remote_tag: to.tag().unwrap_or_default(),
            target: contact.map_or(to.uri, |contact| contact.uri),
            routes: &routes,
            user,
        };
        Some(Self::new(&parts, response.cseq()?.number, None))
    }

    /// The texts.
    pub(crate) fn parts(&self) -> Parts<'_> {
        let piece = |index: usize| {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            &self.text[start as usize..self.ends[index] as usize]
        };
        Parts {
            call_id: piece(0),
            local: piece(1),
            remote: piece(2),
            remote_tag: piece(3),
            target: piece(4),
            routes: piece(5),
            user: piece(6),
        }
    }

    /// Bytes held.
    pub(crate) const fn len(&self) -> usize {
        self.text.len()
    }

    /// Takes over the Contact of a target refresh (RFC 3261 §12.2.1.2, §12.2.2).
    pub(crate) fn refresh(&mut self, message: &Message<'_>) {
        let Some(contact) = message.contact() else { return };
        let parts = self.parts();
        if contact.uri.is_empty() || contact.uri == parts.target {
            return;
        }
        let parts = Parts { target: contact.uri, ..parts };
        *self = Self::new(&parts, self.local_cseq, self.remote_cseq);
    }

    /// Whether a request with this CSeq comes in order (RFC 3261 §12.2.2); if so it is the last one now.
    pub(crate) fn takes(&mut self, cseq: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| cseq < last) {
            return false;
        }
        self.remote_cseq = Some(cseq);
        true
    }

    /// The number of our next request.
    pub(crate) const fn next_cseq(&mut self) -> u32 {
        self.local_cseq = (self.local_cseq + 1) & 0x7fff_ffff;
        self.local_cseq
    }

    /// How a request inside the dialog travels (RFC 3261 §12.2.1.1).
    pub(crate) fn path(&self) -> Path<'_> {
        let parts = self.parts();
        let mut elements = Elements::new(parts.routes);
        let Some(first) = elements.next() else {
            return Path { request_uri: parts.target, routes: b"", last_route: None, next_hop: parts.target };
        };
        let first_uri = NameAddr::parse(first).map_or(first, |address| address.uri);
        if Uri::parse(first_uri).is_none_or(|uri| uri.is_loose_router()) {
            return Path {
                request_uri: parts.target,
                routes: parts.routes,
                last_route: None,
                next_hop: first_uri,
            };
        }
        // A strict router: its URI becomes the Request-URI, the target the last route.
        let rest = elements.next().map_or(&b""[..], |second| {
            let start = second.as_ptr() as usize - parts.routes.as_ptr() as usize;
            &parts.routes[start..]
        });
        Path { request_uri: first_uri, routes: rest, last_route: Some(parts.target), next_hop: first_uri }
    }
}

/// How a request inside a dialog travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    /// Request-URI.
    pub(crate) request_uri: &'a [u8],
    /// Value of Route, perhaps empty.
    pub(crate) routes: &'a [u8],
    /// A URI to stand behind `routes`.
    pub(crate) last_route: Option<&'a [u8]>,
    /// The URI whose address the request is sent to.
    pub(crate) next_hop: &'a [u8],
}

fn push_route(routes: &mut Vec<u8>, element: &[u8]) {
    if !routes.is_empty() {
        routes.extend_from_slice(b", ");
    }
    routes.extend_from_slice(&unfold(element));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(routes: &str) -> Dialog {
        let parts = Parts { target: b"sip:peer@192.0.2.1", routes: routes.as_bytes(), ..Parts::default() };
        Dialog::new(&parts, 7, None)
    }

    #[test]
    fn requests_go_to_the_target_without_routes_and_to_the_first_route_with() {
        let target = &b"sip:peer@192.0.2.1"[..];
        let direct = dialog("");
        let path = direct.path();
        assert_eq!((path.request_uri, path.routes, path.next_hop), (target, &b""[..], target));
        let loose = dialog("<sip:p1;lr>, <sip:p2;lr>");
        let path = loose.path();
        assert_eq!(path.request_uri, target);
        assert_eq!(path.routes, b"<sip:p1;lr>, <sip:p2;lr>");
        assert_eq!(path.next_hop, b"sip:p1;lr");
    }

    #[test]
    fn a_strict_router_takes_the_request_uri_as_rfc_3261_12_2_1_1_has_it() {
        let strict = dialog("<sip:p1>, <sip:p2;lr>");
        let path = strict.path();
        assert_eq!(path.request_uri, b"sip:p1");
        assert_eq!(path.routes, b"<sip:p2;lr>");
        assert_eq!(path.last_route, Some(&b"sip:peer@192.0.2.1"[..]));
        assert_eq!(dialog("<sip:p1>").path().routes, b"");
    }

    #[test]
    fn the_callers_routes_are_the_response_s_in_reverse() {
        let response = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nRecord-Route: <sip:p2;lr>, <sip:p1;lr>\r\n\
            Record-Route: <sip:p0;lr>\r\nFrom: <sip:a@h>;tag=l\r\nTo: B <sip:b@h>;tag=r\r\nCall-ID: c\r\n\
            CSeq: 5 INVITE\r\nContact: <sip:b@192.0.2.9>\r\n\r\n";
        let dialog = Dialog::of_response(&Message::parse(response).unwrap(), b"user").unwrap();
        let parts = dialog.parts();
        assert_eq!(parts.routes, b"<sip:p0;lr>, <sip:p1;lr>, <sip:p2;lr>");
        assert_eq!((parts.remote_tag, parts.target), (&b"r"[..], &b"sip:b@192.0.2.9"[..]));
        assert_eq!((parts.remote, parts.user), (&b"B <sip:b@h>;tag=r"[..], &b"user"[..]));
        assert_eq!(dialog.local_cseq, 5);
    }

    #[test]
    fn sequence_numbers_only_rise() {
        let mut dialog = dialog("");
        assert!(dialog.takes(5) && dialog.takes(5) && dialog.takes(9));
        assert!(!dialog.takes(8));
        assert_eq!(dialog.next_cseq(), 8);
    }
}
