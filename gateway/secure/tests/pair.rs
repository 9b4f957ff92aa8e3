//! Two machines with the layer around each, and the bytes between them carried by hand: what each hears, and when.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so when it fails")]

use core::net::SocketAddr;
use core::time::Duration;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sansio::{Action, Input, IoError, Machine, Outbox, SocketId, StreamEnd, StreamEvent, StreamId, Time};
use secure::{Config, Peer, Policy, Secured, Shared, Trust};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::LazyLock;

const LISTENER: SocketId = SocketId(7);
const OUT: StreamId = StreamId(StreamId::SECURED + 3);
const IN: StreamId = StreamId(StreamId::ACCEPTED + 5);
const SERVER: &str = "127.0.0.1:5061";
const CLIENT: &str = "127.0.0.2:40000";

/// What a machine is told by mail to do.
#[derive(Debug)]
enum Order {
    Connect(StreamId),
    Write(StreamId, Vec<u8>),
    Shut(StreamId),
}

/// A machine that does as it is told and remembers what it heard.
#[derive(Default)]
struct Ear {
    heard: Vec<String>,
    text: Vec<u8>,
}

impl Machine for Ear {
    type Mail = Order;

    fn handle(&mut self, _: Time, input: Input<'_, Order>, out: &mut Outbox<Order>) {
        match input {
            Input::Mail(Order::Connect(stream)) => out.connect(stream, None, SERVER.parse().unwrap()),
            Input::Mail(Order::Write(stream, bytes)) => out.write(stream, &bytes),
            Input::Mail(Order::Shut(stream)) => out.shut(stream),
            Input::Stream(_, StreamEvent::Accepted { listener, .. }) => {
                self.heard.push(format!("accepted {}", listener.0));
            }
            Input::Stream(_, StreamEvent::Connected { .. }) => self.heard.push("connected".into()),
            Input::Stream(_, StreamEvent::Data(bytes)) => self.text.extend_from_slice(bytes),
            Input::Stream(_, StreamEvent::Closed(end)) => self.heard.push(format!("closed {end:?}")),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// A root, and a certificate for `gateway.example` and 127.0.0.1 that it signed.
struct Files {
    root: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("pair-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files = Files {
        root: folder.join("root.pem"),
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    };
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(&files.root, root.self_signed(&root_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec![String::from("gateway.example"), String::from("127.0.0.1")];
    let issuer = Issuer::new(root, root_key);
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
});

struct Side {
    machine: Secured<Ear>,
    out: Outbox<Order>,
    /// It has closed the stream: no event follows.
    deaf: bool,
}

impl Side {
    fn new(policy: Policy, sessions: u32) -> Self {
        let config = Config { listeners: vec![LISTENER], handshake: Duration::from_secs(5), sessions };
        let machine = Secured::new(Time::ZERO, Ear::default(), config, Shared::new(policy));
        Self { machine, out: Outbox::new(4, 0), deaf: false }
    }

    fn server() -> Self {
        let server = Some(secure::server(&FILES.certificate, &FILES.key, None).unwrap());
        Self::new(Policy { server, ..Policy::default() }, 4)
    }

    fn client(peer: Option<Peer>) -> Self {
        let trust = Trust::new(secure::roots(Some(&FILES.root)).unwrap(), None).unwrap();
        let peers = peer.map(|peer| (SERVER.parse().unwrap(), peer)).into_iter().collect();
        Self::new(Policy { trust: Some(trust), peers, ..Policy::default() }, 4)
    }

    fn put(&mut self, now: Time, input: Input<'_, Order>) {
        self.machine.handle(now, input, &mut self.out);
    }

    fn order(&mut self, order: Order) {
        self.put(Time::ZERO, Input::Mail(order));
    }

    fn actions(&mut self) -> Vec<Action<Order>> {
        core::iter::from_fn(|| self.out.next_action()).collect()
    }

    /// Moves what it wants done to the end of what is under way. Who closes a stream hears nothing more of it.
    fn leave(&mut self, to_server: bool, under_way: &mut VecDeque<(bool, Action<Order>)>) {
        while let Some(action) = self.out.next_action() {
            self.deaf |= matches!(action, Action::Shut(_));
            under_way.push_back((to_server, action));
        }
    }

    fn heard(&self) -> &[String] {
        &self.machine.inner().heard
    }

    fn text(&self) -> &[u8] {
        &self.machine.inner().text
    }
}

fn accepted() -> StreamEvent<'static> {
    let [local, remote]: [SocketAddr; 2] = [SERVER, CLIENT].map(|address| address.parse().unwrap());
    StreamEvent::Accepted { listener: LISTENER, local, remote }
}

/// Carries what either side writes to the other, in pieces of `piece` bytes, until both are quiet.
fn carry(client: &mut Side, server: &mut Side, piece: usize) {
    let mut under_way = VecDeque::new();
    loop {
        client.leave(true, &mut under_way);
        server.leave(false, &mut under_way);
        let Some((to_server, action)) = under_way.pop_front() else { break };
        let (side, from, stream) =
            if to_server { (&mut *server, &mut *client, IN) } else { (&mut *client, &mut *server, OUT) };
        match action {
            Action::Connect { .. } => {
                (side.deaf, from.deaf) = (false, false);
                side.put(Time::ZERO, Input::Stream(stream, accepted()));
                let local = CLIENT.parse().unwrap();
                from.put(Time::ZERO, Input::Stream(OUT, StreamEvent::Connected { local }));
            }
            Action::Write(_, bytes) => {
                for piece in bytes.chunks(piece) {
                    // It may close in the middle.
                    if side.deaf {
                        break;
                    }
                    side.put(Time::ZERO, Input::Stream(stream, StreamEvent::Data(piece)));
                    side.leave(!to_server, &mut under_way);
                }
            }
            Action::Shut(_) => {
                if !core::mem::replace(&mut side.deaf, true) {
                    side.put(Time::ZERO, Input::Stream(stream, StreamEvent::Closed(StreamEnd::Peer)));
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn both_sides_read_in_clear_however_the_bytes_are_cut() {
    for piece in [1, 7, 100_000] {
        let (mut client, mut server) = (Side::client(None), Side::server());
        client.order(Order::Connect(OUT));
        // Written before the handshake: it waits for it.
        client.order(Order::Write(OUT, b"early ".to_vec()));
        assert!(client.heard().is_empty() && server.heard().is_empty());
        carry(&mut client, &mut server, piece);
        assert_eq!(client.heard(), ["connected"]);
        assert_eq!(server.heard(), ["accepted 7"]);
        let long = vec![b'x'; 50_000];
        client.order(Order::Write(OUT, long.clone()));
        server.order(Order::Write(IN, b"answer".to_vec()));
        carry(&mut client, &mut server, piece);
        assert_eq!(server.text(), [b"early ", &long[..]].concat());
        assert_eq!(client.text(), b"answer");
        client.order(Order::Shut(OUT));
        carry(&mut client, &mut server, piece);
        assert_eq!(server.heard(), ["accepted 7", "closed Peer"]);
        assert_eq!(client.heard(), ["connected"], "who closes hears nothing more");
        let (a, b) = (client.machine.stats(), server.machine.stats());
        assert_eq!((a.handshakes_out, a.sessions, b.handshakes_in, b.sessions), (1, 0, 1, 0));
        assert_eq!((client.machine.deadline(), server.machine.deadline()), (None, None));
    }
}

#[test]
fn nothing_goes_out_in_clear() {
    let (mut client, mut server) = (Side::client(None), Side::server());
    client.order(Order::Connect(OUT));
    client.order(Order::Write(OUT, b"Alice".to_vec()));
    carry(&mut client, &mut server, 1000);
    client.order(Order::Write(OUT, b"Alice".to_vec()));
    for action in client.actions() {
        let Action::Write(stream, bytes) = action else { panic!("{action:?}") };
        assert_eq!(stream, OUT);
        assert!(bytes.len() > 20 && !bytes.windows(5).any(|window| window == b"Alice"));
    }
}

#[test]
fn streams_of_others_pass_untouched() {
    let mut side = Side::client(None);
    let plain = StreamId(9);
    side.order(Order::Connect(plain));
    side.order(Order::Write(plain, b"clear".to_vec()));
    side.order(Order::Shut(plain));
    let actions = side.actions();
    assert!(matches!(
        &actions[..],
        [Action::Connect { stream: StreamId(9), .. }, Action::Write(StreamId(9), bytes), Action::Shut(StreamId(9))]
            if bytes == b"clear"
    ));
    side.put(Time::ZERO, Input::Stream(plain, StreamEvent::Data(b"text")));
    assert_eq!(side.text(), b"text");
}

#[test]
fn a_certificate_has_to_bear_the_name_and_the_trusted_signature() {
    let peer = |name: &str, verify| Some(Peer { name: Some(name.into()), verify });
    for (peer, connects) in [
        (None, true), // by its address
        (peer("gateway.example", true), true),
        (peer("elsewhere.example", true), false),
        (peer("elsewhere.example", false), true),
    ] {
        let (mut client, mut server) = (Side::client(peer.clone()), Side::server());
        client.order(Order::Connect(OUT));
        client.order(Order::Write(OUT, b"secret".to_vec()));
        carry(&mut client, &mut server, 1000);
        assert_eq!(client.heard().contains(&"connected".to_owned()), connects, "{peer:?}");
        assert_eq!(server.text() == b"secret", connects, "{peer:?}");
        assert_eq!(client.machine.stats().certificates_refused, u64::from(!connects));
        if !connects {
            assert_eq!(client.heard(), ["closed Refused(PermissionDenied)"]);
            assert!(server.heard().is_empty(), "a handshake that fails is nobody's business within");
        }
    }
    // Another root: nobody vouches for it.
    let trust = Trust::new(rustls_roots(), None).unwrap();
    let (mut client, mut server) =
        (Side::new(Policy { trust: Some(trust), ..Policy::default() }, 4), Side::server());
    client.order(Order::Connect(OUT));
    carry(&mut client, &mut server, 1000);
    assert_eq!(client.heard(), ["closed Refused(PermissionDenied)"]);
}

/// No roots at all.
fn rustls_roots() -> rustls::RootCertStore {
    rustls::RootCertStore::empty()
}

#[test]
fn a_slow_handshake_ends_at_its_time_and_not_before() {
    let mut server = Side::server();
    server.put(Time::ZERO, Input::Stream(IN, accepted()));
    assert!(server.machine.deadline().is_some_and(|at| at <= Time::from_millis(5010)));
    server.put(Time::from_millis(4000), Input::Timeout);
    assert!(server.actions().is_empty());
    // The beginning of a ClientHello.
    let begun = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    server.put(Time::from_millis(4500), Input::Stream(IN, StreamEvent::Data(&begun)));
    server.put(Time::from_millis(5100), Input::Timeout);
    assert!(matches!(server.actions()[..], [Action::Shut(IN)]));
    assert!(server.heard().is_empty());
    assert_eq!((server.machine.stats().handshakes_late, server.machine.stats().sessions), (1, 0));
    // A client hears that it did not connect.
    let mut client = Side::client(None);
    client.order(Order::Connect(OUT));
    client.put(Time::from_millis(5100), Input::Timeout);
    assert_eq!(client.heard(), ["closed Refused(TimedOut)"]);
    assert!(matches!(client.actions()[..], [Action::Connect { .. }, Action::Write(..), Action::Shut(OUT)]));
}

#[test]
fn what_is_no_tls_is_closed_and_counted() {
    let mut server = Side::server();
    server.put(Time::ZERO, Input::Stream(IN, accepted()));
    server.put(Time::ZERO, Input::Stream(IN, StreamEvent::Data(b"OPTIONS sip:a SIP/2.0\r\n\r\n")));
    assert!(matches!(server.actions().last(), Some(Action::Shut(IN))));
    assert!(server.heard().is_empty());
    assert_eq!(server.machine.stats().handshakes_failed, 1);
    // After the handshake too.
    let mut client = Side::client(None);
    client.order(Order::Connect(OUT));
    carry(&mut client, &mut server, 1000);
    server.put(Time::ZERO, Input::Stream(IN, StreamEvent::Data(&[23, 3, 3, 0, 32, 0, 0, 0, 0, 0])));
    server.put(Time::ZERO, Input::Stream(IN, StreamEvent::Data(&[0; 64])));
    assert_eq!(server.heard(), ["accepted 7", "closed Broken(Reset)"]);
    assert_eq!(server.machine.stats().records_broken, 1);
}

#[test]
fn sessions_and_what_waits_in_them_are_bounded() {
    let mut server = Side::server();
    for number in 0..5 {
        server.put(Time::ZERO, Input::Stream(StreamId(StreamId::ACCEPTED + number), accepted()));
    }
    assert_eq!((server.machine.stats().sessions, server.machine.stats().sessions_full), (4, 1));
    assert!(matches!(server.actions()[..], [Action::Shut(StreamId(last))] if last == StreamId::ACCEPTED + 4));
    // Text that waits for a handshake.
    let mut client = Side::client(None);
    client.order(Order::Connect(OUT));
    for _ in 0..20 {
        client.order(Order::Write(OUT, vec![b'x'; 20_000]));
    }
    assert_eq!(client.heard(), ["closed Stalled"]);
    assert_eq!((client.machine.stats().writes_stalled, client.machine.stats().sessions), (1, 0));
}

#[test]
fn without_trust_no_connection_is_opened() {
    let mut side = Side::new(Policy::default(), 4);
    side.order(Order::Connect(OUT));
    assert!(side.actions().is_empty(), "above all not in clear");
    assert_eq!(side.heard(), [format!("closed {:?}", StreamEnd::Refused(IoError::PermissionDenied))]);
    side.put(Time::ZERO, Input::Stream(IN, accepted()));
    assert!(matches!(side.actions()[..], [Action::Shut(IN)]), "nor is one taken without a certificate");
    assert_eq!(side.machine.stats().clients_unconfigured, 1);
}

#[test]
fn a_session_is_taken_up_again() {
    let (mut client, mut server) = (Side::client(None), Side::server());
    for round in 0..2 {
        client.order(Order::Connect(OUT));
        carry(&mut client, &mut server, 1000);
        // The ticket comes with the first bytes.
        server.order(Order::Write(IN, b"hello".to_vec()));
        carry(&mut client, &mut server, 1000);
        client.order(Order::Shut(OUT));
        carry(&mut client, &mut server, 1000);
        assert_eq!(server.machine.stats().handshakes_resumed, round);
    }
}
