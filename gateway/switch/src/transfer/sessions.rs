//! Whether two legs that never spoke with each other can, as their sessions stand; and what to offer if not.

use crate::bridge::Side as Leg;
use crate::call::{CallMedia, at};
use crate::leg_media::Direction;
use crate::session::Described;
use link::Side;

/// What a leg has agreed upon: codecs that both its peer and the gateway named, by number and name; telephone events.
#[derive(Debug, PartialEq, Eq)]
struct Agreed {
    codecs: Vec<(u8, String)>,
    event_type: Option<u8>,
}

/// Whether both sides can go on with what each was told last: they have agreed upon the same codecs under the same
/// numbers, and both send and receive.
pub(super) fn fit(media: &CallMedia) -> bool {
    match (agreed(media, Side::Caller), agreed(media, Side::Callee)) {
        (Some(caller), Some(callee)) => caller == callee,
        _ => false,
    }
}

/// `None` if the leg does not talk and listen.
fn agreed(media: &CallMedia, side: Side) -> Option<Agreed> {
    let session = &media.sessions[at(side)];
    let (told, said) = (Described::read(&session.last()).ok()?, Described::read(session.said()).ok()?);
    if [&told, &said].iter().any(|it| it.direction() != Direction::SEND_RECV)
        || !media.bridge.leg(Leg::from(side)).is_placed()
    {
        return None;
    }
    let named = |(number, name): &(u8, String)| {
        told.codecs().iter().any(|(other, its)| other == number && its.eq_ignore_ascii_case(name))
    };
    let mut codecs: Vec<(u8, String)> = said
        .codecs()
        .iter()
        .filter(|codec| named(codec))
        .map(|(number, name)| (*number, name.to_ascii_uppercase()))
        .collect();
    codecs.sort_unstable();
    let event_type = said.event_type().filter(|number| told.event_type() == Some(*number));
    (!codecs.is_empty()).then_some(Agreed { codecs, event_type })
}

/// A description as it would be if its side were not held: without the directions in it, and with an address where
/// RFC 2543 hold has none. To be rewritten before anybody sees it.
pub(crate) fn open(body: &[u8]) -> Vec<u8> {
    const DIRECTIONS: [&[u8]; 4] = [b"a=sendrecv", b"a=sendonly", b"a=recvonly", b"a=inactive"];
    let mut out = Vec::with_capacity(body.len());
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty())
    {
        if DIRECTIONS.iter().any(|direction| line.eq_ignore_ascii_case(direction)) {
            continue;
        }
        let line = if line == b"c=IN IP4 0.0.0.0" { &b"c=IN IP4 192.0.2.1"[..] } else { line };
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The names of the codecs that two descriptions have in common, in the order of the first.
pub(super) fn common(one: &Described, other: &Described) -> Vec<String> {
    let has = |name: &str| other.codecs().iter().any(|(_, its)| its.eq_ignore_ascii_case(name));
    one.codecs().iter().map(|(_, name)| name).filter(|name| has(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &[u8] = b"v=0\r\no=a 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=sendonly\r\n\
        m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=inactive\r\n";

    #[test]
    fn a_held_session_is_opened() {
        let opened = open(HELD);
        let text = String::from_utf8(opened.clone()).unwrap();
        assert!(!text.contains("only") && !text.contains("inactive") && !text.contains("0.0.0.0"), "{text}");
        let described = Described::read(&opened).unwrap();
        assert_eq!(described.direction(), Direction::SEND_RECV);
        assert_eq!(described.codecs().len(), 2);
        assert_eq!(open(&opened), opened);
    }

    #[test]
    fn codecs_in_common_keep_their_order() {
        let read = |formats: &str| {
            let text = format!(
                "v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 4000 RTP/AVP {formats}\r\na=rtpmap:96 opus/48000/2\r\n"
            );
            Described::read(text.as_bytes()).unwrap()
        };
        assert_eq!(common(&read("96 8 0"), &read("0 8")), ["PCMA", "PCMU"]);
        assert!(common(&read("96"), &read("0 8")).is_empty());
    }
}
