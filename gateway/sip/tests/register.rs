//! REGISTER as the endpoint writes it, and the connection it went over: kept, pinged, and given up.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Action, Outbox, Random, SocketId, StreamEnd, StreamEvent, StreamId, Time};
use sip::message::{Message, Method, Name, NameAddr};
use sip::{Config, Destination, Endpoint, Event, Register, Registering, StartError, Transport};

const UDP: SocketId = SocketId(0);
const TCP: SocketId = SocketId(1);

/// One endpoint, and what it wrote.
struct Lone {
    endpoint: Endpoint,
    now: Time,
    out: Outbox<()>,
    written: Vec<Vec<u8>>,
    datagrams: Vec<Vec<u8>>,
    connected: Vec<StreamId>,
    shut: Vec<StreamId>,
}

fn registrar() -> SocketAddr {
    "192.0.2.1:5060".parse().unwrap()
}

impl Lone {
    fn new() -> Self {
        let mut endpoint = Endpoint::new(Config::default(), Random::new(1), Time::ZERO);
        let own = "192.0.2.9:5070".parse().unwrap();
        endpoint.add_udp(UDP, own);
        endpoint.add_tcp_listener(TCP, own);
        Self {
            endpoint,
            now: Time::ZERO,
            out: Outbox::new(64, 4),
            written: Vec::new(),
            datagrams: Vec::new(),
            connected: Vec::new(),
            shut: Vec::new(),
        }
    }

    fn register(
        &mut self,
        transport: Transport,
        change: impl Fn(&mut Register<'_>),
    ) -> Result<Registering, StartError> {
        let mut register = Register {
            call_id: "id",
            cseq: 7,
            request_uri: "sip:carrier.example",
            aor: "sip:4711@carrier.example",
            tag: "tag",
            contact_user: "4711",
            expires: 600,
            destination: Destination { transport, remote: registrar(), socket: UDP, over: None },
            headers: &[("Route", "<sip:192.0.2.1;lr>")],
            timeout: Duration::from_secs(32),
        };
        change(&mut register);
        let made = self.endpoint.register(self.now, &register);
        self.flush();
        made
    }

    fn flush(&mut self) {
        self.endpoint.flush(&mut self.out);
        while let Some(action) = self.out.next_action() {
            match action {
                Action::Connect { stream, .. } => self.connected.push(stream),
                Action::Write(_, bytes) => self.written.push(bytes.to_vec()),
                Action::Shut(stream) => self.shut.push(stream),
                _ => {}
            }
        }
        while let Some(send) = self.out.next_send() {
            self.datagrams.push(self.out.pool().bytes(&send.packet).to_vec());
            self.out.pool().release(send.packet);
        }
    }

    /// Lets time pass; gives when pings were sent.
    fn pass(&mut self, span: Duration) -> Vec<Time> {
        let (end, mut pings) = (self.now + span, Vec::new());
        while let Some(due) = self.endpoint.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.written.clear();
            self.flush();
            pings.extend(self.written.iter().filter(|it| *it == b"\r\n\r\n").map(|_| self.now));
        }
        self.now = end;
        pings
    }

    fn hear(&mut self, stream: StreamId, bytes: &[u8]) {
        self.endpoint.handle_stream(self.now, stream, StreamEvent::Data(bytes));
        self.flush();
    }

    /// Registers over TCP, and is answered.
    fn registered(every: Option<Duration>) -> (Self, StreamId) {
        let mut lone = Self::new();
        let made = lone.register(Transport::Tcp, |_| {}).unwrap();
        let stream = lone.connected[0];
        assert_eq!(made.flow.stream(), Some(stream));
        let local = "192.0.2.9:40000".parse().unwrap();
        lone.endpoint.handle_stream(lone.now, stream, StreamEvent::Connected { local });
        let request = lone.written.concat();
        let request = Message::parse(&request).unwrap();
        let copied: String = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq]
            .map(|name| {
                let value = String::from_utf8_lossy(request.header(name).unwrap());
                format!("{}: {value}\r\n", name.as_str())
            })
            .concat();
        lone.hear(stream, format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n").as_bytes());
        let event = lone.endpoint.poll_event();
        assert!(matches!(event, Some(Event::Response { id, status: 200, .. }) if id == made.id), "{event:?}");
        assert!(lone.endpoint.keep_open(lone.now, stream, every));
        (lone, stream)
    }
}

/// RFC 3261 §10.2; RFC 3327 §5.1 for `path`.
#[test]
fn a_register_says_what_was_asked_for() {
    let mut lone = Lone::new();
    let made = lone.register(Transport::Udp, |_| {}).unwrap();
    assert_eq!(made.contact, "sip:4711@192.0.2.9:5070");
    let sent = lone.datagrams[0].clone();
    let request = Message::parse(&sent).unwrap();
    assert_eq!((request.method(), request.request_uri()), (Method::Register, &b"sip:carrier.example"[..]));
    let to = request.to().unwrap();
    assert_eq!((to.uri, to.tag()), (&b"sip:4711@carrier.example"[..], None));
    assert_eq!(request.from().unwrap().tag(), Some(&b"tag"[..]));
    assert_eq!((request.cseq().unwrap().number, request.call_id()), (7, &b"id"[..]));
    let contact = NameAddr::parse(request.header(Name::Contact).unwrap()).unwrap();
    assert_eq!((contact.uri, contact.params.value("expires")), (made.contact.as_bytes(), Some(&b"600"[..])));
    assert_eq!(request.seconds(Name::Expires), Some(600));
    assert_eq!(request.header(Name::Route), Some(&b"<sip:192.0.2.1;lr>"[..]));
    assert!(request.lists(Name::Supported, "path"));
    assert!(!request.top_via().unwrap().params.has("keep"), "over UDP keep-alives would be STUN");
    sip::message::validate(&request).unwrap();
    // It is sent again until answered, and fails in the end.
    lone.pass(Duration::from_secs(33));
    assert!(lone.datagrams.len() > 8);
    assert!(matches!(lone.endpoint.poll_event(), Some(Event::RequestFailed { id, .. }) if id == made.id));
}

#[test]
fn what_would_break_a_line_is_refused() {
    let mut lone = Lone::new();
    type Change = fn(&mut Register<'_>);
    let changes: [Change; 7] = [
        |it| it.aor = "sip:a@b>\r\nEvil: 1",
        |it| it.aor = "",
        |it| it.contact_user = "a>b",
        |it| it.contact_user = "a\r\nb",
        |it| it.request_uri = "sip:a b",
        |it| it.tag = "",
        |it| it.headers = &[("Route", "a\r\nb")],
    ];
    for change in changes {
        assert_eq!(lone.register(Transport::Udp, change).unwrap_err(), StartError::BadText);
    }
    assert!(lone.datagrams.is_empty() && lone.endpoint.is_idle(), "{:?}", lone.endpoint.census());
    let other = |it: &mut Register<'_>| it.destination.remote = "[2001:db8::1]:5060".parse().unwrap();
    assert_eq!(lone.register(Transport::Udp, other).unwrap_err(), StartError::NoSocket);
}

/// RFC 5626 §4.4.1: a ping each 95 to 120 s. Who never answered one is not held to it.
#[test]
fn a_kept_connection_stays_and_is_pinged() {
    let (mut lone, _) = Lone::registered(None);
    let pings = lone.pass(Duration::from_secs(3600));
    assert!((28..=38).contains(&pings.len()), "{} pings", pings.len());
    assert!(pings.windows(2).all(|two| two[1].since(two[0]) >= Duration::from_secs(96)), "{pings:?}");
    assert!(lone.shut.is_empty() && lone.endpoint.census().connections == 1);
    assert!(lone.endpoint.poll_event().is_none());
}

/// RFC 5626 §4.4.1: no answer within 10 s means that the flow is gone.
#[test]
fn a_side_that_answered_pings_is_given_up_when_it_does_not() {
    let (mut lone, stream) = Lone::registered(None);
    for _ in 0..5 {
        while lone.pass(Duration::from_secs(1)).is_empty() {}
        lone.hear(stream, b"\r\n");
    }
    assert!(lone.shut.is_empty());
    while lone.pass(Duration::from_secs(1)).is_empty() {}
    lone.pass(Duration::from_secs(11));
    assert_eq!(lone.shut, [stream]);
    assert!(matches!(lone.endpoint.poll_event(), Some(Event::KeptLost { stream: lost }) if lost == stream));
    assert_eq!(lone.endpoint.stats().connections_pong_missing, 1);
    assert_eq!(lone.endpoint.census().connections, 0);
}

/// RFC 6223 §4.3: who names a time answers, so that its silence means something the first time.
#[test]
fn the_other_side_may_say_how_often() {
    let (mut lone, stream) = Lone::registered(Some(Duration::from_secs(30)));
    for _ in 0..10 {
        let begun = lone.now;
        while lone.pass(Duration::from_millis(100)).is_empty() {}
        let waited = lone.now.since(begun);
        assert!(waited >= Duration::from_secs(24) && waited <= Duration::from_millis(30_100), "{waited:?}");
        lone.hear(stream, b"\r\n");
    }
    lone.pass(Duration::from_secs(45));
    assert_eq!(lone.shut, [stream]);
}

#[test]
fn the_end_of_a_kept_connection_is_told_and_of_another_is_not() {
    let (mut lone, stream) = Lone::registered(None);
    lone.endpoint.handle_stream(lone.now, stream, StreamEvent::Closed(StreamEnd::Peer));
    assert!(matches!(lone.endpoint.poll_event(), Some(Event::KeptLost { .. })));
    assert!(!lone.endpoint.keep_open(lone.now, stream, None), "it is gone");
    let (mut lone, stream) = Lone::registered(None);
    lone.endpoint.let_go(lone.now, stream);
    lone.pass(Duration::from_secs(300));
    assert_eq!(lone.shut, [stream], "idle like any other");
    assert!(lone.endpoint.poll_event().is_none());
}
