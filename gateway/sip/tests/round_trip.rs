//! What is written is read back: generated messages, addresses and descriptions.
#![allow(missing_docs, clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use sip::message::{
    Message, Method, Name, NameAddr, Params, RequestWriter, ResponseWriter, Uri, Via, WriteError, peek,
    validate,
};
use sip::sdp::{
    Direction, Local, LocalOrigin, OfferedCodec, Relay, Session, rewrite, write_answer, write_offer,
};

/// A value that needs no trimming and holds no control characters.
fn value() -> impl Strategy<Value = String> {
    "[!-~\u{e9}\u{4e2d}]([ -~\u{e9}]{0,60}[!-~])?"
}

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9.!%*_+`'~-]{1,20}"
}

fn address() -> impl Strategy<Value = String> {
    (
        prop_oneof![Just(String::new()), "\"([ -!#-\\[\\]-~]|\\\\[ -~]){0,12}\" ?", "[A-Za-z]{1,8}( [a-z]{1,8})? "],
        "sips?:[a-z0-9.&=+$,;?/-]{1,12}@([a-z]{1,8}\\.example|192\\.0\\.2\\.[1-9]|\\[2001:db8::[1-9a-f]\\])(:[1-9][0-9]{1,3})?(;lr)?",
        prop_oneof![Just(String::new()), ";tag=[A-Za-z0-9-]{1,16}"],
    )
        .prop_map(|(display, uri, tag)| format!("{display}<{uri}>{tag}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_read_as_it_was_written(
        fields in vec((token(), value()), 0..20),
        from in address(),
        to in address(),
        number in 0..1u32 << 31,
        body in vec(any::<u8>(), 0..300),
        branch in "[A-Za-z0-9]{1,20}",
        call_id in "[!-~]{1,40}",
    ) {
        let fields: Vec<_> = fields.into_iter().filter(|(name, _)| Name::parse(name.as_bytes()) == Name::Other).collect();
        let mut out = Vec::new();
        let mut writer = RequestWriter::begin(&mut out, b"INFO", b"sip:b@[2001:db8::1]:5070;transport=tcp");
        writer.header_parts("Via", &[b"SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK", branch.as_bytes()]);
        writer.header(Name::From, from.as_bytes());
        writer.header(Name::To, to.as_bytes());
        writer.header(Name::CallId, call_id.as_bytes());
        writer.header_parts("CSeq", &[number.to_string().as_bytes(), b" INFO"]);
        for (name, value) in &fields {
            writer.header_named(name, value.as_bytes());
        }
        writer.body("application/octet-stream", &body).unwrap();
        let message = Message::parse(&out).unwrap();
        prop_assert_eq!(validate(&message), Ok(()));
        prop_assert_eq!(message.method(), Method::Info);
        prop_assert_eq!(message.cseq().unwrap().number, number);
        prop_assert_eq!(message.call_id(), call_id.as_bytes());
        prop_assert_eq!(message.body(), &body[..]);
        prop_assert!(message.has_content_length());
        let others: Vec<_> = message.fields().filter(|field| field.name == Name::Other)
            .map(|field| (field.spelling.to_vec(), field.value.to_vec())).collect();
        let expected: Vec<_> = fields.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())).collect();
        prop_assert_eq!(others, expected);
        for address in [message.from().unwrap(), message.to().unwrap()] {
            prop_assert!(address.parsed_uri().unwrap().is_sip());
            prop_assert!(address.params.is_well_formed());
        }
        let peek = peek(&out).unwrap();
        prop_assert_eq!(peek.branch.unwrap(), &[b"z9hG4bK", branch.as_bytes()].concat()[..]);
        // Bytes behind the body are no part of it (RFC 3261 §18.3).
        let length = out.len();
        out.extend_from_slice(&body);
        prop_assert_eq!(Message::parse(&out).unwrap().bytes().len(), length);
    }

    #[test]
    fn a_fold_anywhere_reads_as_a_space(words in vec("[!-~]{1,10}", 1..8), folds in vec("[ \t]{0,3}\r\n[ \t]{1,3}", 8)) {
        let mut text = b"OPTIONS sip:h SIP/2.0\r\nX:".to_vec();
        for (word, fold) in words.iter().zip(&folds) {
            text.extend_from_slice(fold.as_bytes());
            text.extend_from_slice(word.as_bytes());
        }
        text.extend_from_slice(b"\r\n\r\n");
        let message = Message::parse(&text).unwrap();
        let value = message.header_by_name("x").unwrap();
        let flat = sip::message::unfold(value);
        prop_assert_eq!(flat.into_owned(), words.join(" ").into_bytes());
    }

    #[test]
    fn no_value_begins_a_field_of_its_own(value in "[ -~\r\n\0\t]{0,40}", name in "[ -~\r\n]{0,10}", uri in "[ -~\r\n]{0,20}") {
        let mut out = Vec::new();
        let mut writer = RequestWriter::begin(&mut out, b"OPTIONS", uri.as_bytes());
        writer.header_named(&name, value.as_bytes());
        writer.header_parts("Subject", &[value.as_bytes()]);
        match writer.end() {
            Err(WriteError::ControlCharacter | WriteError::HeaderName | WriteError::StartLine) => prop_assert!(out.is_empty()),
            Ok(()) => {
                let message = Message::parse(&out).unwrap();
                prop_assert_eq!(message.fields().count(), 3);
                prop_assert_eq!(message.request_uri(), uri.as_bytes());
            }
        }
        let mut out = Vec::new();
        let written = ResponseWriter::begin(&mut out, 200, Some(value.as_bytes())).end();
        if written.is_ok() {
            prop_assert_eq!(Message::parse(&out).unwrap().fields().count(), 1);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200), text in "[ -~]{0,80}") {
        for input in [&bytes[..], text.as_bytes()] {
            let _ = (Message::parse(input).is_ok(), Uri::parse(input), NameAddr::parse(input), Via::parse(input));
            let _ = (Session::parse(input), Params::new(input).iter().count(), Params::new(input).is_well_formed());
        }
    }

    #[test]
    fn an_offer_survives_the_relay_and_is_answered(
        offered in vec(0..4usize, 1..4),
        port in 1024..65_000u16,
        relay_port in 1024..65_000u16,
        v6 in any::<bool>(),
        direction in 0..4usize,
    ) {
        let known = [
            OfferedCodec::PCMU,
            OfferedCodec::PCMA,
            OfferedCodec::G722,
            OfferedCodec { payload: 97, name: "iLBC", clock: 8000, channels: 1, parameters: Some("mode=30") },
        ];
        let mut codecs: Vec<_> = offered.iter().map(|&index| known[index]).collect();
        codecs.sort_by_key(|codec| codec.payload);
        codecs.dedup();
        codecs.push(OfferedCodec::TELEPHONE_EVENT);
        let direction = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive][direction];
        let address = if v6 { "2001:db8::5" } else { "192.0.2.5" }.parse().unwrap();
        let local = Local { address, port, ptime: 20, direction, events: true, secured: false, parameters: None };
        let (mut offer, mut relayed, mut answer) = (Vec::new(), Vec::new(), Vec::new());
        write_offer(&local, &codecs, &mut LocalOrigin::new(9), &mut offer);
        let session = Session::parse(&offer).unwrap();
        let relay = Relay {
            address: "198.51.100.9".parse().unwrap(),
            ports: &[relay_port],
            codecs: &[],
            events: sip::sdp::Events::AsDescribed,
            direction: Direction::SendRecv,
            protocol: None,
            crypto: &[],
            extended_reports: None,
            added: sip::sdp::Added::default(),
        };
        rewrite(&session, &relay, &mut LocalOrigin::new(10), &mut relayed).unwrap();
        let relayed = Session::parse(&relayed).unwrap();
        let (_, audio) = relayed.audio().unwrap();
        prop_assert_eq!(audio.rtp_address().unwrap().to_string(), format!("198.51.100.9:{relay_port}"));
        prop_assert_eq!(audio.direction, direction);
        prop_assert!(audio.codecs().eq(session.media[0].codecs()));
        let names: Vec<&str> = known.iter().map(|codec| codec.name).collect();
        let mine = Local { address, port: 7000, ptime: 20, direction: Direction::SendRecv, events: true, secured: false, parameters: None };
        let chosen = write_answer(&relayed, &mine, &names, &mut LocalOrigin::new(11), &mut answer).unwrap();
        prop_assert_eq!(chosen.codec.payload, codecs[0].payload);
        prop_assert_eq!(chosen.telephone_event, Some(101));
        let answer = Session::parse(&answer).unwrap();
        prop_assert_eq!(answer.media[0].direction, direction.reversed());
    }
}
