//! What must hold for any bytes whatever. Called by the fuzz targets here and, with a bounded number of mutations of
//! real messages, by `gateway/sip/tests/mutation.rs` on stable Rust.

use core::time::Duration;
use sansio::{Random, Time};
use sip::auth::Account;
use sip::framing::{Frame, Framer};
use sip::message::{
    Capabilities, FIELDS_MAX, Message, Name, NameAddr, RequestWriter, ResponseWriter, Uri, Via, acceptable,
    dialog, peek, unfold, unsupported, validate, validate_response,
};
use sip::registration::{Registration, SERVICE_ROUTE_MAX, Terms};
use sip::sdp::{Direction, Local, LocalOrigin, Relay, Session, crypto_value, rewrite, write_answer};
use sip::transfer::{Join, Refer, Replaces, fragment_status, target_dialog};
use std::sync::Arc;

/// One datagram: parsing, every view, validation, an answer, and whether peeking says the same.
pub fn message(bytes: &[u8]) {
    match Message::parse(bytes) {
        Ok(message) => {
            views(&message);
            same_as_peeked(bytes, &message);
            if message.is_request() {
                let _ = acceptable(
                    &message,
                    &Capabilities { extensions: &[], media_types: &["application/sdp"] },
                );
                answer(&message, validate(&message).err().map_or(200, |reject| reject.status));
                transferred(&message);
            } else {
                let _ = validate_response(&message);
                registered(&message);
            }
            rewritten(&message);
        }
        Err(error) => {
            let _ = peek(bytes);
            if let Some(message) = error.answerable() {
                views(&message);
                answer(&message, error.status());
            }
        }
    }
}

/// What a request says of transfer can be said again.
fn transferred(request: &Message<'_>) {
    let replaces = Replaces::of(request).ok().flatten();
    let join = Join::of(request).ok().flatten();
    let _ = target_dialog(request);
    let refer = Refer::read(request).ok();
    if let Some(refer) = &refer {
        let again = refer.refer_to();
        let address = NameAddr::parse(again.as_bytes()).expect("an address");
        assert!(address.bracketed, "{again}");
    }
    let embedded = refer.as_ref().and_then(|refer| refer.join.clone());
    for join in join.into_iter().chain(embedded) {
        assert_eq!(Join::parse(join.to_string().as_bytes()).as_ref(), Some(&join));
        assert_eq!(Join::from(join.dialog()), join);
    }
    for replaces in replaces.into_iter().chain(refer.and_then(|refer| refer.replaces)) {
        assert_eq!(Replaces::parse(replaces.to_string().as_bytes()).as_ref(), Some(&replaces));
    }
    let _ = fragment_status(request.body());
}

/// Whatever a registrar says, a registration goes on or ends, and what it takes over can be sent.
fn registered(answer: &Message<'_>) {
    let (username, password) = ("a".to_owned(), "b".to_owned());
    let terms = Terms {
        registrar: "sip:r".into(),
        aor: "sip:a@r".into(),
        expires: 60,
        account: Some(Arc::new(Account { username, password })),
        route: None,
        secure: false,
        retry_base: Duration::from_secs(30),
        retry_max: Duration::from_secs(1800),
    };
    let mut it = Registration::new(terms, "i".into(), "t".into(), Time::ZERO);
    let mut random = Random::new(answer.bytes().len() as u64);
    for _ in 0..3 {
        let due = it.next().expect("it waits");
        assert!(it.on_time(due));
        let ask = it.compose(due, 1);
        assert!(ask.fields.iter().all(|(_, value)| !value.contains(['\r', '\n'])));
        it.on_response(due, answer, "sip:a@192.0.2.1", &mut random);
        assert!(it.given().service_route.concat().len() <= SERVICE_ROUTE_MAX);
        assert!(!it.given().service_route.concat().contains(char::is_control));
        assert!(!it.word().reason.contains(char::is_control));
    }
}

fn views(message: &Message<'_>) {
    assert!(message.bytes().len() >= message.body().len());
    for field in message.fields() {
        assert!(!unfold(field.value).contains(&b'\n'));
        if field.name != Name::Other {
            assert!(message.headers(field.name).any(|value| value == field.value));
            let _ = message.values(field.name).count();
        }
        let _ = NameAddr::parse(field.value).map(|address| (address.display_text(), address.tag()));
        let _ = Uri::parse(field.value);
        let _ = sip::auth::Challenge::parse(field.value).map(|it| it.write());
        let _ = sip::auth::Authorization::parse(field.value).map(|it| it.write());
    }
    for via in message.values(Name::Via).filter_map(Via::parse) {
        let _ =
            (via.branch(), via.rport(), via.received(), via.maddr(), via.ttl(), via.params.is_well_formed());
    }
    let _ = (message.call_id(), message.cseq(), message.from(), message.to(), message.top_via());
    let _ = (message.contact(), message.max_forwards(), message.method(), message.reason());
    let _ = (
        message.is_content("application/sdp"),
        message.seconds(Name::Expires),
        unsupported(message, &[]).count(),
    );
    uri(message.request_uri());
    sdp(message.body());
}

fn same_as_peeked(bytes: &[u8], message: &Message<'_>) {
    let peek = peek(bytes).expect("what parses can be peeked into");
    assert_eq!(peek.call_id, message.call_id());
    let method =
        if message.is_request() { Some(message.method()) } else { peek.cseq.map(|cseq| cseq.method) };
    assert_eq!(dialog(bytes), Some((peek.start, peek.call_id, method)));
    assert_eq!(peek.cseq, message.cseq());
    assert_eq!(peek.branch, message.top_via().and_then(|via| via.branch()));
    let start = match peek.start {
        sip::message::Start::Request(method) => (0, method),
        sip::message::Start::Response(status) => (status, message.method()),
    };
    assert_eq!(start, (message.status(), message.method()));
}

/// An answer can always be written, is a message itself, and holds as many Via fields as were received.
fn answer(request: &Message<'_>, status: u16) {
    let mut out = Vec::new();
    let source = Some("[2001:db8::7]:5060".parse().expect("an address"));
    let written = ResponseWriter::answer(&mut out, request, status, None, Some(b"tag"), source).end();
    assert_eq!(written, Ok(()));
    if answered_fields(request, status) > FIELDS_MAX {
        return; // The Content-Length is one more than our own parser takes.
    }
    let response = Message::parse(&out).expect("what was written parses");
    assert_eq!(response.status(), status);
    assert_eq!(response.count(Name::Via), request.count(Name::Via));
    assert_eq!(response.call_id(), unfold(request.call_id()).as_ref());
    assert_eq!(response.cseq(), request.cseq());
    assert_eq!(response.fields().count(), answered_fields(request, status));
}

fn answered_fields(request: &Message<'_>, status: u16) -> usize {
    let copied = [Name::Via, Name::From, Name::CallId, Name::CSeq];
    let to = if response_adds_tag(request) { 1 } else { request.count(Name::To) };
    let timestamp = if status == 100 { request.count(Name::Timestamp) } else { 0 };
    copied.into_iter().map(|name| request.count(name)).sum::<usize>() + to + timestamp + 1
}

fn response_adds_tag(request: &Message<'_>) -> bool {
    request.header(Name::To).is_some() && request.to().is_none_or(|to| to.tag().is_none())
}

/// Written again field by field, a message reads the same.
fn rewritten(message: &Message<'_>) {
    let mut out = Vec::new();
    let mut writer = if message.is_request() {
        RequestWriter::begin(&mut out, message.method_bytes(), message.request_uri())
    } else {
        ResponseWriter::begin(&mut out, message.status(), Some(message.reason()))
    };
    let kept = || message.fields().filter(|field| field.name != Name::ContentLength);
    if kept().count() == FIELDS_MAX {
        return; // No room for the Content-Length that is written beside them.
    }
    for field in kept() {
        writer.header_named(core::str::from_utf8(field.spelling).expect("a token"), field.value);
    }
    if writer.end().is_err() {
        // Only a Request-URI can hold what a request line of ours may not.
        assert!(message.is_request() && Uri::parse(message.request_uri()).is_none());
        return;
    }
    let again = Message::parse(&out).expect("what was written parses");
    assert_eq!(again.method(), message.method());
    assert_eq!(again.request_uri(), message.request_uri());
    let mut fields = again.fields();
    for field in kept() {
        let found = fields.next().expect("as many fields");
        assert_eq!((found.spelling, found.name), (field.spelling, field.name));
        assert_eq!(unfold(field.value).as_ref(), found.value);
    }
}

/// Any URI.
pub fn uri(bytes: &[u8]) {
    if let Some(uri) = Uri::parse(bytes) {
        let mut user = Vec::new();
        uri.user_unescaped(&mut user);
        assert!(user.len() <= bytes.len());
        assert_eq!(uri.is_sip(), uri.host_port.is_some());
        let _ = (uri.is_loose_router(), uri.params.iter().count(), uri.params.is_well_formed());
        // What is a URI can stand in brackets.
        let address = [b"<", bytes, b">"].concat();
        assert_eq!(NameAddr::parse(&address).map(|address| address.uri), Some(bytes));
    }
}

/// Any description: what a relay makes of it can be read, and leads to the relay.
pub fn sdp(bytes: &[u8]) {
    let Ok(session) = Session::parse(bytes) else { return };
    // A relay adds lines; near the limits what it wrote would not be read by the same reader.
    if bytes.len() > 8_000 || bytes.iter().filter(|&&byte| byte == b'\n').count() > 400 {
        return;
    }
    for media in &session.media {
        let _ =
            (media.rtp_address(), media.rtcp_address(), media.codecs().count(), media.telephone_event(8000));
    }
    let address = core::net::IpAddr::from([192, 0, 2, 77]);
    let ports = [40_000; 3];
    let mut out = Vec::new();
    let crypto = [crypto_value(7, "AEAD_AES_128_GCM", &[0x55; 28])];
    let relay = Relay {
        address,
        ports: &ports,
        codecs: &[],
        events: sip::sdp::Events::AsDescribed,
        direction: Direction::SendRecv,
        protocol: Some("RTP/SAVP"),
        crypto: &crypto,
        extended_reports: None,
        added: sip::sdp::Added::default(),
    };
    if rewrite(&session, &relay, &mut LocalOrigin::new(1), &mut out).is_ok() {
        let again = Session::parse(&out).expect("what was written parses");
        assert_eq!(again.media.len(), session.media.len());
        for (index, (media, before)) in again.media.iter().zip(&session.media).enumerate() {
            assert_eq!(media.kind, before.kind);
            assert_eq!(media.port, if before.port == 0 || index >= ports.len() { 0 } else { 40_000 });
            assert_eq!(media.connection.and_then(|connection| connection.address), Some(address));
            assert_eq!((media.rtcp, media.rtcp_mux), (None, false));
            if media.port != 0 {
                assert!(media.codecs().eq(before.codecs()));
                // What stands beside speech is relayed in the clear or not at all.
                let ours = usize::from(before.is_audio() && before.is_rtp());
                let keys = media.crypto();
                assert_eq!(keys.len(), ours, "no key but ours");
                assert!(keys.iter().all(|key| key.tag == 7 && key.secret == [0x55; 28]), "no key but ours");
                assert_eq!(media.protocol, if ours == 1 { b"RTP/SAVP" } else { before.protocol });
            }
        }
    }
    let local = Local {
        address,
        port: 40_000,
        ptime: 20,
        direction: Direction::SendRecv,
        events: true,
        secured: false,
        parameters: None,
    };
    let mut out = Vec::new();
    if write_answer(&session, &local, &["PCMU", "PCMA"], &mut LocalOrigin::new(1), &mut out).is_ok() {
        let answer = Session::parse(&out).expect("what was written parses");
        assert_eq!(answer.media.len(), session.media.len());
        assert!(answer.audio().is_some());
    }
}

/// Any stream, cut in any way (the first byte says into which pieces): the same frames.
pub fn framing(bytes: &[u8]) {
    let Some((&size, stream)) = bytes.split_first() else { return };
    let whole = frames(stream, stream.len());
    let pieces = frames(stream, usize::from(size));
    assert_eq!(whole, pieces);
}

fn frames(stream: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for mut piece in stream.chunks(size.max(1)) {
        while let Some(frame) = framer.next(&mut piece) {
            match frame {
                Frame::Message(message) => found.push(message.to_vec()),
                Frame::KeepAlive => found.push(b"keep-alive".to_vec()),
                Frame::Broken(error) => {
                    let _ = error.answerable();
                    found.push(b"broken".to_vec());
                }
            }
        }
        assert!(piece.is_empty());
    }
    found
}
