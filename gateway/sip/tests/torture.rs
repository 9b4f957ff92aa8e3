//! The messages of RFC 4475 and RFC 5118 against the table in `tests/torture/expected.tsv`.
#![allow(missing_docs, clippy::unwrap_used)]

use sip::framing::{Frame, Framer};
use sip::message::{
    Capabilities, Message, Method, Name, NameAddr, Scheme, Uri, Via, acceptable, peek, unfold, unsupported,
    validate, validate_response,
};
use sip::sdp::Session;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/torture")
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{file}.dat"))).unwrap()
}

struct Row {
    file: String,
    kind: String,
    verdict: String,
    reason: String,
    tcp: String,
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(folder().join("expected.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns.len(), 8, "{line}");
        Row {
            file: columns[0].into(),
            kind: columns[2].into(),
            verdict: columns[3].into(),
            reason: columns[4].into(),
            tcp: columns[5].into(),
        }
    });
    rows.collect()
}

/// Verdict and reason of the parser for a datagram, as the table writes them.
fn verdict(bytes: &[u8]) -> (String, String) {
    match Message::parse(bytes) {
        Err(error) => match error.answerable() {
            Some(_) => (error.status().to_string(), error.reason().into()),
            None => ("drop".into(), "-".into()),
        },
        Ok(message) if message.is_request() => match validate(&message) {
            Ok(()) => ("valid".into(), "-".into()),
            Err(reject) => (reject.status.to_string(), reject.reason.into()),
        },
        Ok(message) => match validate_response(&message) {
            Ok(()) => ("valid".into(), "-".into()),
            Err(_) => ("drop".into(), "-".into()),
        },
    }
}

#[test]
fn every_message_gets_its_verdict() {
    let rows = table();
    assert_eq!(rows.len(), 61);
    let mut wrong = Vec::new();
    for row in &rows {
        let bytes = read(&row.file);
        let (found, reason) = verdict(&bytes);
        if (&found, &reason) != (&row.verdict, &row.reason) {
            wrong.push(format!("{}: {found} {reason}, not {} {}", row.file, row.verdict, row.reason));
        }
        let is_response = bytes.starts_with(b"SIP/2.0 ");
        assert_eq!(row.kind == "response", is_response, "{}", row.file);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_stands_in_the_table() {
    let mut files: Vec<String> = Vec::new();
    for rfc in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(folder().join(rfc)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            files.push(format!("{rfc}/{}", name.strip_suffix(".dat").unwrap()));
        }
    }
    let mut rows: Vec<String> = table().into_iter().map(|row| row.file).collect();
    files.sort();
    rows.sort();
    assert_eq!(files, rows);
}

#[test]
fn a_stream_of_each_yields_what_the_table_says() {
    for row in table() {
        for size in [1, 100, usize::MAX] {
            let bytes = read(&row.file);
            let mut framer = Framer::new();
            let mut found = "waits";
            for mut piece in bytes.chunks(size.min(bytes.len())) {
                while let Some(frame) = framer.next(&mut piece) {
                    match frame {
                        Frame::Message(message) if found == "waits" => {
                            found = "whole";
                            assert!(bytes.starts_with(message));
                        }
                        Frame::Broken(_) if found == "waits" => found = "broken",
                        _ => {}
                    }
                }
            }
            assert_eq!(found, row.tcp, "{} in pieces of {size}", row.file);
        }
    }
}

#[test]
fn steering_reads_the_same_as_parsing() {
    for row in table() {
        let bytes = read(&row.file);
        if let Ok(message) = Message::parse(&bytes) {
            let peek = peek(&bytes).unwrap();
            assert_eq!(peek.call_id, message.call_id(), "{}", row.file);
            assert_eq!(peek.cseq, message.cseq(), "{}", row.file);
            assert_eq!(peek.branch, message.top_via().and_then(|via| via.branch()), "{}", row.file);
        }
    }
}

/// Calls `check` with the parsed message of a file.
fn with(file: &str, check: impl FnOnce(&Message<'_>)) {
    let bytes = read(file);
    check(&Message::parse(&bytes).unwrap());
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_short_tortuous_invite() {
    with("rfc4475/wsinv", |message| {
        assert_eq!(message.method(), Method::Invite);
        assert_eq!(message.request_uri(), b"sip:vivekg@chair-dnrc.example.com;unknownparam");
        assert_eq!(message.to().unwrap().tag(), Some(&b"1918181833n"[..]));
        let from = message.from().unwrap();
        assert_eq!(from.display_text().as_ref(), b"J Rosenberg \\\"");
        assert_eq!((from.uri, from.tag()), (&b"sip:jdrosen@example.com"[..], Some(&b"98asjd8"[..])));
        assert_eq!(message.max_forwards(), Some(68));
        assert_eq!(message.call_id(), b"wsinv.ndaksdj@192.0.2.1");
        let cseq = message.cseq().unwrap();
        assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
        let vias: Vec<Via<'_>> = message.values(Name::Via).map(|via| Via::parse(via).unwrap()).collect();
        let expected = [("UDP", "390skdjuw"), ("TCP", "z9hG4bK9ikj8"), ("UDP", "z9hG4bK30239")];
        let found: Vec<_> =
            vias.iter().map(|via| (text(via.transport), text(via.branch().unwrap()))).collect();
        assert_eq!(found, expected);
        assert!(vias.iter().all(|via| via.is_sip_2));
        assert_eq!(message.header(Name::Subject), Some(&b""[..]));
        let novel = message.header_by_name("newfangledheader").unwrap();
        assert_eq!(unfold(novel).as_ref(), b"newfangled value continued newfangled value");
        assert_eq!(message.header_by_name("UnknownHeaderWithUnusualValue"), Some(&b";;,,;;,;"[..]));
        let route = NameAddr::parse(message.values(Name::Route).next().unwrap()).unwrap();
        assert!(route.parsed_uri().unwrap().is_loose_router());
        let contact = message.contact().unwrap();
        assert_eq!(contact.display_text().as_ref(), b"Quoted string \"\"");
        assert_eq!(contact.params.value("newparam"), Some(&b"newvalue"[..]));
        assert_eq!(contact.params.value("q"), Some(&b"0.33"[..]));
        assert_eq!(message.body().len(), 150);
        assert_eq!(Session::parse(message.body()).unwrap().media.len(), 2);
    });
}

#[test]
fn wide_range_of_valid_characters() {
    with("rfc4475/intmeth", |message| {
        assert_eq!(message.method(), Method::Other);
        assert_eq!(message.method_bytes(), b"!interesting-Method0123456789_*+`.%indeed'~");
        let uri = Uri::parse(message.request_uri()).unwrap();
        assert_eq!(uri.user, Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
        assert_eq!(uri.password, Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..]));
        assert_eq!(message.to().unwrap().display_text().as_ref(), b"BEL:\x07 NUL:\0 DEL:\x7f");
        let from = message.from().unwrap();
        assert_eq!(from.display, b"token1~` token2'+_ token3*%!.-");
        assert_eq!(from.tag(), Some(&b"_token~1'+`*%!-."[..]));
        assert_eq!(message.call_id(), b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
        assert_eq!(message.max_forwards(), Some(255));
        assert_eq!(message.header_by_name("extensionHeader-!.%*+_`'~").unwrap(), "\u{feff}大停電".as_bytes());
    });
}

#[test]
fn escapes_are_resolved_where_and_only_where_they_are_escapes() {
    with("rfc4475/esc01", |message| {
        let uri = Uri::parse(message.request_uri()).unwrap();
        let mut user = Vec::new();
        uri.user_unescaped(&mut user);
        assert_eq!(user, b"sips:user@example.com");
        assert_eq!(uri.scheme, Scheme::Sip);
        let contact = message.contact().unwrap().parsed_uri().unwrap();
        assert!(!contact.is_loose_router());
        assert_eq!(contact.params.value("n%61me"), Some(&b"v%61lue%25%34%31"[..]));
    });
    with("rfc4475/escnull", |message| {
        let users: Vec<Vec<u8>> = message
            .values(Name::Contact)
            .map(|contact| {
                let mut user = Vec::new();
                NameAddr::parse(contact).unwrap().parsed_uri().unwrap().user_unescaped(&mut user);
                user
            })
            .collect();
        assert_eq!(users, [vec![0], vec![0, 0]]);
    });
    with("rfc4475/esc02", |message| {
        assert_eq!(message.method(), Method::Other);
        assert_eq!(message.count(Name::Contact), 2);
        assert_eq!(message.to().unwrap().display_text().as_ref(), b"%Z%45");
    });
}

#[test]
fn long_and_double() {
    with("rfc4475/longreq", |message| {
        assert_eq!(message.count(Name::Via), 34);
        assert_eq!(message.to().unwrap().params.iter().count(), 0);
        let uri = message.to().unwrap().parsed_uri().unwrap();
        assert_eq!(uri.host_port.unwrap().port, Some(6000));
        assert_eq!(uri.params.iter().count(), 3);
        assert!(uri.params.value("unknownparam1").is_some_and(|value| value.len() > 80));
        assert!(uri.params.iter().any(|(name, value)| name.len() > 60 && value == Some(b"shortvalue")));
        assert!(message.header_by_name("Unknown-LongLong").is_none());
        assert_eq!(message.body().len(), 150);
    });
    with("rfc4475/dblreq", |message| {
        assert_eq!(message.method(), Method::Register);
        assert_eq!(message.call_id(), b"dblreq.0ha0isndaksdj99sdfafnl3lk233412");
        assert!(message.body().is_empty() && message.bytes().ends_with(b"Content-Length: 0\r\n\r\n"));
    });
    let bytes = read("rfc4475/dblreq");
    let (mut framer, mut input, mut methods) = (Framer::new(), &bytes[..], Vec::new());
    while let Some(frame) = framer.next(&mut input) {
        if let Frame::Message(message) = frame {
            methods.push(Message::parse(message).unwrap().method());
        }
    }
    assert_eq!(methods, [Method::Register, Method::Invite]);
}

#[test]
fn other_valid_messages() {
    with("rfc4475/lwsdisp", |message| assert_eq!(message.from().unwrap().display, b"caller"));
    with("rfc4475/semiuri", |message| {
        let uri = Uri::parse(message.request_uri()).unwrap();
        assert_eq!(uri.user, Some(&b"user;par=u%40example.net"[..]));
        assert_eq!(message.values(Name::Accept).count(), 6);
    });
    with("rfc4475/transports", |message| {
        let transports: Vec<_> = message
            .values(Name::Via)
            .map(|via| text(Via::parse(via).unwrap().transport).to_owned())
            .collect();
        assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
    });
    with("rfc4475/mpart01", |message| {
        assert!(message.is_content("multipart/mixed"));
        assert_eq!(message.body().len(), 553);
    });
    with("rfc4475/unreason", |message| {
        assert_eq!(message.status(), 200);
        assert!(text(message.reason()).starts_with("= 2**3 * 5**2 но"));
    });
    with("rfc4475/noreason", |message| assert_eq!((message.status(), message.reason()), (100, &b""[..])));
    with("rfc4475/cparam01", |message| assert!(message.contact().unwrap().params.has("unknownparam")));
    with("rfc4475/cparam02", |message| {
        let contact = message.contact().unwrap();
        assert!(!contact.params.has("unknownparam"));
        assert!(contact.parsed_uri().unwrap().params.has("unknownparam"));
    });
    with("rfc4475/regescrt", |message| {
        let uri = message.contact().unwrap().parsed_uri().unwrap();
        assert_eq!(uri.headers, Some(&b"Route=%3Csip:sip.example.com%3E"[..]));
    });
    with("rfc4475/unksm2", |message| {
        assert_eq!(message.to().unwrap().parsed_uri().unwrap().scheme, Scheme::Other);
        assert_eq!(message.contact().unwrap().uri, b"name:John_Smith");
    });
    with("rfc4475/inv2543", |message| {
        assert_eq!(message.top_via().unwrap().branch(), None);
        assert_eq!(message.from().unwrap().tag(), None);
        assert!(!message.has_content_length());
        assert_eq!(Session::parse(message.body()).unwrap().audio().unwrap().1.port, 49217);
    });
}

#[test]
fn a_display_name_with_a_comma_needs_quotes() {
    let mut bytes = read("rfc4475/baddn");
    bytes.extend_from_slice(b"\r\n");
    assert_eq!(verdict(&bytes), ("400".into(), "Malformed From".into()));
}

#[test]
fn what_is_well_formed_but_not_understood() {
    let capabilities = Capabilities { extensions: &[], media_types: &["application/sdp"] };
    for (file, status) in [
        ("rfc4475/bext01", Some(420)),
        ("rfc4475/invut", Some(415)),
        ("rfc4475/sdp01", Some(406)),
        ("rfc4475/wsinv", None),
        ("rfc4475/semiuri", None),
        ("rfc4475/longreq", None),
    ] {
        with(file, |message| {
            assert_eq!(
                acceptable(message, &capabilities).err().map(|reject| reject.status),
                status,
                "{file}"
            );
        });
    }
    with("rfc4475/bext01", |message| {
        let tags: Vec<_> = unsupported(message, &[]).map(text).collect();
        // As the callee's agent and as what stands where a proxy would (RFC 4475 §3.3.5: "depending on the role").
        assert_eq!(tags[..2], ["nothingSupportsThis", "nothingSupportsThisEither"]);
        assert_eq!(tags[2..], ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]);
    });
}

#[test]
fn ipv6_in_every_place() {
    with("rfc5118/port-ambiguous", |message| {
        let place = Uri::parse(message.request_uri()).unwrap().host_port.unwrap();
        assert_eq!(
            (place.host.address().unwrap().to_string().as_str(), place.port),
            ("2001:db8::10:5070", None)
        );
    });
    with("rfc5118/port-unambiguous", |message| {
        let place = Uri::parse(message.request_uri()).unwrap().host_port.unwrap();
        assert_eq!(
            (place.host.address().unwrap().to_string().as_str(), place.port),
            ("2001:db8::10", Some(5070))
        );
    });
    for file in ["rfc5118/via-received-param-with-delim", "rfc5118/via-received-param-no-delim"] {
        with(file, |message| {
            assert_eq!(message.top_via().unwrap().received().unwrap().to_string(), "2001:db8::9:255");
        });
    }
    with("rfc5118/ipv6-in-sdp", |message| {
        let session = Session::parse(message.body()).unwrap();
        assert_eq!(session.media[0].rtp_address().unwrap().to_string(), "[2001:db8::20]:6000");
    });
    with("rfc5118/mult-ip-in-sdp", |message| {
        let session = Session::parse(message.body()).unwrap();
        let found: Vec<_> =
            session.media.iter().map(|media| media.rtp_address().unwrap().to_string()).collect();
        assert_eq!(found, ["192.0.2.1:22334", "[2001:db8::1]:6024"]);
    });
    with("rfc5118/ipv4-mapped-ipv6", |message| {
        let session = Session::parse(message.body()).unwrap();
        assert_eq!(session.media[0].rtp_address().unwrap().to_string(), "[::ffff:192.0.2.2]:6000");
        assert_eq!(message.values(Name::Via).count(), 2);
    });
    let mut hosts = Vec::new();
    for file in ["rfc5118/ipv6-bug-abnf-3-colons", "rfc5118/ipv6-correct-abnf-2-colons"] {
        with(file, |message| {
            hosts.push(Uri::parse(message.request_uri()).unwrap().host_port.unwrap().host.address())
        });
    }
    assert_eq!(hosts[0], hosts[1]);
    assert!(hosts[0].is_some());
}
