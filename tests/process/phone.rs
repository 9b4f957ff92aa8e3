//! A SIP peer of plain text: one UDP socket, one TCP (or TLS) listener and connections, one thread; it keeps all it
//! received.

use crate::gateway::PATIENCE;
use crate::message::Message;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A word that no other message of this test run has.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:x}x{:05x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The way a message goes or came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Udp(SocketAddr),
    Stream(usize),
}

/// One call as one side sees it.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Our From or To value, with tag.
    pub(crate) local: String,
    /// Theirs.
    pub(crate) remote: String,
    /// Where our requests go: their Contact.
    pub(crate) target: String,
    pub(crate) cseq: u32,
    pub(crate) way: Way,
    branch: String,
}

/// A connection, whatever it speaks below SIP.
pub(crate) trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

/// A connection and what came over it.
struct Conduit {
    io: Option<Box<dyn Duplex>>,
    bytes: Vec<u8>,
    /// As Via calls it.
    transport: &'static str,
}

/// The peer.
pub(crate) struct Phone {
    pub(crate) address: SocketAddr,
    /// What Via and Contact say, if that is another address: the phone is behind a NAT.
    pub(crate) claims: Option<SocketAddr>,
    /// The URI in Contact, if it is another than that of this address.
    pub(crate) contact: Option<String>,
    udp: UdpSocket,
    listener: TcpListener,
    streams: Vec<Conduit>,
    /// Where plain connections lead, by number.
    peers: HashMap<usize, SocketAddr>,
    /// Who connects here is spoken to over TLS.
    tls: Option<Arc<ServerConfig>>,
    inbox: VecDeque<(Message, Way)>,
    /// Repetitions are dropped: loopback loses nothing, a busy machine repeats much.
    seen: HashSet<String>,
    /// Everything received, repetitions left out.
    pub(crate) received: Vec<Message>,
}

impl Phone {
    pub(crate) fn new(host: &str) -> Self {
        Self::at(SocketAddr::new(host.parse().unwrap(), 0))
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        // UDP and TCP on the same port.
        for _ in 0..100 {
            let udp = UdpSocket::bind(address).unwrap();
            let bound = udp.local_addr().unwrap();
            let Ok(listener) = TcpListener::bind(bound) else { continue };
            udp.set_nonblocking(true).unwrap();
            listener.set_nonblocking(true).unwrap();
            return Self {
                address: bound,
                claims: None,
                contact: None,
                udp,
                listener,
                streams: Vec::new(),
                peers: HashMap::new(),
                tls: None,
                inbox: VecDeque::new(),
                seen: HashSet::new(),
                received: Vec::new(),
            };
        }
        panic!("no port of {address} is free for both UDP and TCP");
    }

    /// The address that it believes to have.
    pub(crate) fn shown(&self) -> SocketAddr {
        self.claims.unwrap_or(self.address)
    }

    /// The host as it stands in a URI.
    pub(crate) fn host(&self) -> String {
        host(self.address.ip())
    }

    pub(crate) fn connect(&mut self, to: SocketAddr) -> Way {
        let stream = TcpStream::connect(to).unwrap();
        self.adopt(stream)
    }

    /// Takes TLS connections from now on, and no others.
    pub(crate) fn serve_tls(&mut self, config: Arc<ServerConfig>) {
        self.tls = Some(config);
    }

    /// Connects over TLS; the error of a handshake that fails.
    pub(crate) fn connect_tls(&mut self, to: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Way> {
        let io = secured(to, config)?;
        Ok(self.take(Box::new(io), "TLS"))
    }

    /// Where a message came from.
    pub(crate) fn peer_of(&self, way: Way) -> Option<SocketAddr> {
        match way {
            Way::Udp(from) => Some(from),
            Way::Stream(number) => self.peers.get(&number).copied(),
        }
    }

    pub(crate) fn close(&mut self, way: Way) {
        if let Way::Stream(number) = way {
            self.streams[number].io = None;
        }
    }

    /// Whether the other side has closed a connection.
    pub(crate) fn is_closed(&mut self, way: Way) -> bool {
        self.poll();
        matches!(way, Way::Stream(number) if self.streams[number].io.is_none())
    }

    fn adopt(&mut self, stream: TcpStream) -> Way {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        self.peers.extend(stream.peer_addr().map(|peer| (self.streams.len(), peer)));
        match self.tls.clone() {
            Some(config) => {
                let tls = ServerConnection::new(config).unwrap();
                self.take(Box::new(StreamOwned::new(tls, stream)), "TLS")
            }
            None => self.take(Box::new(stream), "TCP"),
        }
    }

    pub(crate) fn take(&mut self, io: Box<dyn Duplex>, transport: &'static str) -> Way {
        self.streams.push(Conduit { io: Some(io), bytes: Vec::new(), transport });
        Way::Stream(self.streams.len() - 1)
    }

    pub(crate) fn send(&mut self, way: Way, text: &str) {
        self.send_bytes(way, text.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, way: Way, bytes: &[u8]) {
        match way {
            Way::Udp(to) => {
                self.udp.send_to(bytes, to).unwrap();
            }
            Way::Stream(number) => {
                let Some(stream) = &mut self.streams[number].io else { return };
                // The other side may have closed it: then what it would have said is missed, and the test fails there.
                let _ = stream.write_all(bytes);
            }
        }
    }

    /// Takes in what has arrived.
    fn poll(&mut self) {
        let mut buffer = [0; 65_536];
        let mut found = Vec::new();
        // An ICMP refusal of something sent earlier shows up as an error here; it is no end.
        for _ in 0..1000 {
            match self.udp.recv_from(&mut buffer) {
                Ok((length, from)) => found.push((Message::read(&buffer[..length]), Way::Udp(from))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        while let Ok((stream, _)) = self.listener.accept() {
            self.adopt(stream);
        }
        for (number, Conduit { io: stream, bytes, .. }) in self.streams.iter_mut().enumerate() {
            while let Some(open) = stream {
                match open.read(&mut buffer) {
                    Ok(0) => *stream = None,
                    Ok(length) => bytes.extend_from_slice(&buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => *stream = None,
                }
            }
            while let Some(length) = framed(bytes) {
                let rest = bytes.split_off(length);
                found.push((Message::read(bytes), Way::Stream(number)));
                *bytes = rest;
            }
        }
        for (message, way) in found {
            if self.seen.insert(message.text.clone()) {
                self.received.push(message.clone());
                self.inbox.push_back((message, way));
            }
        }
    }

    /// The first message that fits, waited for; others are kept for later.
    pub(crate) fn find(
        &mut self,
        patience: Duration,
        mut fits: impl FnMut(&Message) -> bool,
    ) -> Option<(Message, Way)> {
        let begun = Instant::now();
        loop {
            self.poll();
            if let Some(at) = self.inbox.iter().position(|(message, _)| fits(message)) {
                return self.inbox.remove(at);
            }
            if begun.elapsed() >= patience {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn must(&mut self, what: &str, fits: impl FnMut(&Message) -> bool) -> (Message, Way) {
        self.find(PATIENCE, fits).unwrap_or_else(|| {
            let starts: Vec<&str> = self.received.iter().map(|message| message.start.as_str()).collect();
            panic!("{what} did not come; received so far: {starts:#?}")
        })
    }

    /// A request, waited for.
    pub(crate) fn expect(&mut self, method: &str) -> (Message, Way) {
        self.must(method, |message| message.method() == method)
    }

    /// A request of one call, waited for.
    pub(crate) fn expect_in(&mut self, dialog: &Dialog, method: &str) -> (Message, Way) {
        let call_id = dialog.call_id.clone();
        self.must(method, |message| message.method() == method && message.field("call-id") == call_id)
    }

    /// The first final response to a request of a call, waited for.
    pub(crate) fn final_response(&mut self, call_id: &str, cseq: &str) -> Message {
        let fits = |message: &Message| message.answers(call_id, cseq) && message.status() >= Some(200);
        self.must(&format!("final response to {cseq} of {call_id}"), fits).0
    }

    /// A response with that status to the INVITE of a call, waited for.
    pub(crate) fn response(&mut self, dialog: &Dialog, status: u16) -> Message {
        let (call_id, cseq) = (dialog.call_id.clone(), format!("{} INVITE", dialog.cseq));
        let fits = |message: &Message| message.answers(&call_id, &cseq) && message.status() == Some(status);
        self.must(&format!("{status} to {cseq}"), fits).0
    }

    fn transport(&self, way: Way) -> &'static str {
        match way {
            Way::Udp(_) => "UDP",
            Way::Stream(number) => self.streams[number].transport,
        }
    }

    fn via(&self, way: Way, branch: &str) -> String {
        let transport = self.transport(way);
        format!("Via: SIP/2.0/{transport} {};branch={branch};rport\r\n", self.shown())
    }

    fn contact(&self, way: Way) -> String {
        if let Some(uri) = &self.contact {
            return format!("Contact: <{uri}>\r\n");
        }
        let transport = match self.transport(way) {
            "UDP" => String::new(),
            "WSS" => String::from(";transport=ws"),
            other => format!(";transport={}", other.to_lowercase()),
        };
        format!("Contact: <sip:phone@{}{transport}>\r\n", self.shown())
    }

    /// Begins a call.
    pub(crate) fn invite(&mut self, way: Way, gateway: SocketAddr, number: &str, sdp: &str) -> Dialog {
        self.invite_with(way, gateway, number, "", sdp)
    }

    /// Begins a call with more header fields.
    pub(crate) fn invite_with(
        &mut self,
        way: Way,
        gateway: SocketAddr,
        number: &str,
        fields: &str,
        sdp: &str,
    ) -> Dialog {
        let word = unique();
        let dialog = Dialog {
            call_id: format!("{word}@{}", self.host()),
            local: format!("\"Alice\" <sip:4711@{}>;tag=from{word}", self.host()),
            remote: format!("<sip:{number}@{}>", host(gateway.ip())),
            target: format!("sip:{number}@{gateway}"),
            cseq: 1,
            way,
            branch: format!("z9hG4bK{word}"),
        };
        self.send_invite(&dialog, fields, sdp);
        dialog
    }

    /// Begins a call to a contact, as a registrar's proxy does: To names another number than the Request-URI.
    pub(crate) fn invite_for(
        &mut self,
        way: Way,
        gateway: SocketAddr,
        contact: &str,
        number: &str,
        sdp: &str,
    ) -> Dialog {
        let word = unique();
        let dialog = Dialog {
            call_id: format!("{word}@{}", self.host()),
            local: format!("\"Alice\" <sip:4711@{}>;tag=from{word}", self.host()),
            remote: format!("<sip:{number}@{}>", self.host()),
            target: format!("sip:{contact}@{gateway}"),
            cseq: 1,
            way,
            branch: format!("z9hG4bK{word}"),
        };
        self.send_invite(&dialog, "", sdp);
        dialog
    }

    /// Begins a call to a URI.
    pub(crate) fn invite_to(&mut self, way: Way, uri: &str, sdp: &str) -> Dialog {
        let word = unique();
        let dialog = Dialog {
            call_id: format!("{word}@{}", self.host()),
            local: format!("\"Alice\" <sip:4711@{}>;tag=from{word}", self.host()),
            remote: format!("<{uri}>"),
            target: uri.to_owned(),
            cseq: 1,
            way,
            branch: format!("z9hG4bK{word}"),
        };
        self.send_invite(&dialog, "", sdp);
        dialog
    }

    /// A call in another name, with an offer and more fields; gives its Call-ID.
    pub(crate) fn invite_from(
        &mut self,
        name: &str,
        way: Way,
        gateway: SocketAddr,
        number: &str,
        fields: &str,
        sdp: &str,
    ) -> String {
        let word = unique();
        let dialog = Dialog {
            call_id: word.clone(),
            local: format!("<sip:{name}@{}>;tag=from{word}", self.host()),
            remote: format!("<sip:{number}@{}>", host(gateway.ip())),
            target: format!("sip:{number}@{gateway}"),
            cseq: 1,
            way,
            branch: format!("z9hG4bK{word}"),
        };
        self.send_invite(&dialog, fields, sdp);
        word
    }

    /// A call in another name, without an offer; gives its Call-ID.
    pub(crate) fn invite_as(&mut self, name: &str, gateway: SocketAddr, number: &str) -> String {
        let word = unique();
        let (way, host) = (Way::Udp(gateway), self.host());
        let text = format!(
            "INVITE sip:{number}@{gateway} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: <sip:{name}@{host}>;tag={word}\r\n\
             To: <sip:{number}@{host}>\r\nCall-ID: {word}\r\nCSeq: 1 INVITE\r\n{}{}",
            self.via(way, &format!("z9hG4bK{word}")),
            self.contact(way),
            with_body(""),
        );
        self.send(way, &text);
        word
    }

    fn send_invite(&mut self, dialog: &Dialog, fields: &str, sdp: &str) {
        let text = format!(
            "INVITE {} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} INVITE\r\n{}{fields}{}",
            dialog.target,
            self.via(dialog.way, &dialog.branch),
            dialog.local,
            dialog.remote,
            dialog.call_id,
            dialog.cseq,
            self.contact(dialog.way),
            with_body(sdp),
        );
        self.send(dialog.way, &text);
    }

    /// The final answer to our INVITE, acknowledged; a 2xx completes the dialog.
    pub(crate) fn answered(&mut self, dialog: &mut Dialog) -> Message {
        let answer = self.final_response(&dialog.call_id, &format!("{} INVITE", dialog.cseq));
        if answer.status() < Some(300) {
            dialog.remote = answer.field("to").to_owned();
            dialog.target = answer.contact().to_owned();
            self.ack(dialog, "");
        } else {
            // RFC 3261 §17.1.1.3: the ACK of a refusal belongs to the INVITE's transaction.
            let text = format!(
                "ACK {} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\n{}",
                dialog.target,
                self.via(dialog.way, &dialog.branch),
                dialog.local,
                answer.field("to"),
                dialog.call_id,
                dialog.cseq,
                with_body(""),
            );
            self.send(dialog.way, &text);
        }
        answer
    }

    /// The ACK of a 2xx.
    pub(crate) fn ack(&mut self, dialog: &Dialog, sdp: &str) {
        self.in_dialog(dialog, "ACK", dialog.cseq, &format!("z9hG4bKack{}", unique()), sdp);
    }

    fn in_dialog(&mut self, dialog: &Dialog, method: &str, cseq: u32, branch: &str, sdp: &str) {
        let text = format!(
            "{method} {} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{}{}",
            dialog.target,
            self.via(dialog.way, branch),
            dialog.local,
            dialog.remote,
            dialog.call_id,
            if method == "INVITE" { self.contact(dialog.way) } else { String::new() },
            with_body(sdp),
        );
        self.send(dialog.way, &text);
    }

    /// A request within the call and its final response.
    pub(crate) fn request(&mut self, dialog: &mut Dialog, method: &str, sdp: &str) -> Message {
        self.begin_request(dialog, method, sdp);
        self.final_response(&dialog.call_id.clone(), &format!("{} {method}", dialog.cseq))
    }

    /// A request within the call, the response yet to come.
    pub(crate) fn begin_request(&mut self, dialog: &mut Dialog, method: &str, sdp: &str) {
        dialog.cseq += 1;
        let branch = format!("z9hG4bK{}", unique());
        self.in_dialog(dialog, method, dialog.cseq, &branch, sdp);
    }

    /// A request within the call that has more header fields and no body; its final response.
    pub(crate) fn request_with(&mut self, dialog: &mut Dialog, method: &str, fields: &str) -> Message {
        self.begin_request_with(dialog, method, fields);
        self.final_response(&dialog.call_id.clone(), &format!("{} {method}", dialog.cseq))
    }

    /// The same, the response yet to come.
    pub(crate) fn begin_request_with(&mut self, dialog: &mut Dialog, method: &str, fields: &str) {
        self.in_dialog_with(dialog, method, fields, &with_body(""));
    }

    /// NOTIFY of a transfer, the response yet to come.
    pub(crate) fn notify(&mut self, dialog: &mut Dialog, fields: &str, fragment: &str) {
        let body = format!(
            "Content-Type: message/sipfrag;version=2.0\r\nContent-Length: {}\r\n\r\n{fragment}",
            fragment.len()
        );
        self.in_dialog_with(dialog, "NOTIFY", fields, &body);
    }

    /// An INFO with a body, the response yet to come.
    pub(crate) fn begin_info(&mut self, dialog: &mut Dialog, content_type: &str, body: &str) {
        let body = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.in_dialog_with(dialog, "INFO", "", &body);
    }

    fn in_dialog_with(&mut self, dialog: &mut Dialog, method: &str, fields: &str, body: &str) {
        dialog.cseq += 1;
        let text = format!(
            "{method} {} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n{}{fields}{body}",
            dialog.target,
            self.via(dialog.way, &format!("z9hG4bK{}", unique())),
            dialog.local,
            dialog.remote,
            dialog.call_id,
            dialog.cseq,
            self.contact(dialog.way),
        );
        self.send(dialog.way, &text);
    }

    /// A request outside of any call that has more header fields; its final response.
    pub(crate) fn outside(&mut self, gateway: SocketAddr, method: &str, fields: &str) -> Message {
        self.outside_as("a", gateway, "", method, fields).1
    }

    /// The same in a name, for a number: the dialog that it may begin, and its final response.
    pub(crate) fn outside_as(
        &mut self,
        name: &str,
        gateway: SocketAddr,
        number: &str,
        method: &str,
        fields: &str,
    ) -> (Dialog, Message) {
        let mut dialog = self.begin_outside(name, gateway, number, method, fields);
        let answer = self.final_response(&dialog.call_id, &format!("7 {method}"));
        (dialog.remote, dialog.target) = (answer.field("to").to_owned(), answer.contact().to_owned());
        (dialog, answer)
    }

    /// The same, the response yet to come.
    pub(crate) fn begin_outside(
        &mut self,
        name: &str,
        gateway: SocketAddr,
        number: &str,
        method: &str,
        fields: &str,
    ) -> Dialog {
        let uri =
            if number.is_empty() { format!("sip:{gateway}") } else { format!("sip:{number}@{gateway}") };
        self.begin_outside_to(name, gateway, &uri, method, fields)
    }

    /// The same, for a URI.
    pub(crate) fn begin_outside_to(
        &mut self,
        name: &str,
        gateway: SocketAddr,
        uri: &str,
        method: &str,
        fields: &str,
    ) -> Dialog {
        let word = unique();
        let way = Way::Udp(gateway);
        let local = format!("<sip:{name}@{}>;tag={word}", self.host());
        let text = format!(
            "{method} {uri} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {local}\r\nTo: <{uri}>\r\n\
             Call-ID: {word}\r\nCSeq: 7 {method}\r\n{}{fields}{}",
            self.via(way, &format!("z9hG4bK{word}")),
            self.contact(way),
            with_body(""),
        );
        self.send(way, &text);
        Dialog {
            call_id: word,
            local,
            remote: String::new(),
            target: uri.to_owned(),
            cseq: 7,
            way,
            branch: String::new(),
        }
    }

    /// Hangs up, and is answered 200.
    pub(crate) fn bye(&mut self, dialog: &mut Dialog) {
        let answer = self.request(dialog, "BYE", "");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
    }

    /// Takes back our INVITE (RFC 3261 §9.1).
    pub(crate) fn cancel(&mut self, dialog: &Dialog) -> Message {
        let text = format!(
            "CANCEL {} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} CANCEL\r\n{}",
            dialog.target,
            self.via(dialog.way, &dialog.branch),
            dialog.local,
            dialog.remote,
            dialog.call_id,
            dialog.cseq,
            with_body(""),
        );
        self.send(dialog.way, &text);
        self.final_response(&dialog.call_id.clone(), &format!("{} CANCEL", dialog.cseq))
    }

    /// Answers a request; a response above 100 carries our tag.
    pub(crate) fn respond(&mut self, request: &(Message, Way), status: u16, tag: &str, sdp: &str) {
        self.respond_with(request, status, tag, "", sdp);
    }

    pub(crate) fn respond_with(
        &mut self,
        request: &(Message, Way),
        status: u16,
        tag: &str,
        fields: &str,
        sdp: &str,
    ) {
        let (message, way) = request;
        let to = message.field("to");
        let to =
            if status == 100 || to.contains(";tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
        let contact = message.method() == "INVITE" && status > 100 && status < 300;
        let text = format!(
            "SIP/2.0 {status} Test\r\n{}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{}{fields}{}",
            message.copied("via", "Via"),
            message.field("from"),
            message.field("call-id"),
            message.field("cseq"),
            if contact { self.contact(*way) } else { String::new() },
            with_body(sdp),
        );
        self.send(*way, &text);
    }

    /// The call that an INVITE begins, as the answering side sees it.
    pub(crate) fn dialog_of(&self, invite: &(Message, Way), tag: &str) -> Dialog {
        let (message, way) = invite;
        Dialog {
            call_id: message.field("call-id").to_owned(),
            local: format!("{};tag={tag}", message.field("to")),
            remote: message.field("from").to_owned(),
            target: message.contact().to_owned(),
            cseq: 100,
            way: *way,
            branch: String::new(),
        }
    }

    /// OPTIONS outside a call: the status it is answered with.
    pub(crate) fn options(&mut self, way: Way, gateway: SocketAddr) -> Option<u16> {
        let word = unique();
        let text = format!(
            "OPTIONS sip:{gateway} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: <sip:a@{}>;tag={word}\r\nTo: <sip:{gateway}>\r\n\
             Call-ID: {word}\r\nCSeq: 7 OPTIONS\r\n{}",
            self.via(way, &format!("z9hG4bK{word}")),
            self.host(),
            with_body(""),
        );
        self.send(way, &text);
        let fits = |message: &Message| message.answers(&word, "7 OPTIONS");
        self.find(PATIENCE, fits)?.0.status()
    }

    /// Bytes that are no message, as they come next over a connection or from the UDP socket; waited for.
    pub(crate) fn raw(&mut self, way: Way, patience: Duration) -> Option<Vec<u8>> {
        let begun = Instant::now();
        let mut buffer = [0; 2048];
        while begun.elapsed() < patience {
            let found = match way {
                Way::Udp(_) => self.udp.recv_from(&mut buffer).map(|(length, _)| length),
                Way::Stream(number) => self.streams[number].io.as_mut().unwrap().read(&mut buffer),
            };
            match found {
                Ok(0) => return None,
                Ok(length) => return Some(buffer[..length].to_vec()),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        None
    }

    /// Takes what comes next as new, though it be the same as something before.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// What has come and was not asked for, after a moment in which more may come.
    pub(crate) fn leftovers(&mut self, moment: Duration) -> Vec<Message> {
        let _ = self.find(moment, |_| false);
        self.inbox.drain(..).map(|(message, _)| message).collect()
    }
}

/// A connection over TLS, its handshake done.
pub(crate) fn secured(
    to: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = ClientConnection::new(config, ServerName::from(to.ip())).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    stream.set_nonblocking(true)?;
    Ok(StreamOwned::new(tls, stream))
}

fn host(ip: IpAddr) -> String {
    if ip.is_ipv4() { ip.to_string() } else { format!("[{ip}]") }
}

fn with_body(sdp: &str) -> String {
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len())
}

/// The length of the first whole message of a stream.
fn framed(bytes: &mut Vec<u8>) -> Option<usize> {
    while bytes.starts_with(b"\r\n") {
        bytes.drain(..2);
    }
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse::<usize>();
    let whole = head + length.ok()?;
    (bytes.len() >= whole).then_some(whole)
}
