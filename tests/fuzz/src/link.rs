//! What must hold for what shares a media port with RTP: ICE's checks. Called by the fuzz target here and by
//! `gateway/rtp/tests/fuzzed.rs`.

use rtp::Framing;
use rtp::ice::{Agent, Credentials, Remote};
use rtp::srtp::Secrets;
use sansio::Time;
use std::time::Duration;
use stun::{Class, Message};

/// Datagrams to a lite agent, each behind an octet that says how it is finished: as it is, with a fingerprint, or with
/// integrity by the right password and a fingerprint. Nobody gets in without the password, and every answer can be read.
pub fn ice(bytes: &[u8]) {
    let own = Credentials::draw(&mut Secrets::new([7; 32]));
    let remote = Credentials::new(b"remo", b"remoteremoteremoteremote").expect("credentials");
    let mut agent = Agent::new(own.clone(), Remote { credentials: remote, lite: false });
    let mut now = Time::from_millis(1000);
    for (at, part) in bytes.chunks(96).take(16).enumerate() {
        let Some((&how, part)) = part.split_first() else { continue };
        now += Duration::from_millis(u64::from(how) * 50);
        let source = ([192, 0, 2, how & 15], 4000).into();
        let (chosen, known) = (agent.chosen(), agent.knows(source));
        let (datagram, shows) = finish(how, part, &own, at as u8);
        let heard = agent.handle(now, source, &datagram);
        if let Some(answer) = &heard.answer {
            assert_eq!(Framing::of(answer), Framing::Stun);
            let answer = Message::parse(answer).expect("an answer that can be read");
            assert!(matches!(answer.class(), Class::Success | Class::Error));
            assert_eq!(answer.fingerprint_holds(), Some(true));
            assert_eq!(answer.transaction()[..], datagram[8..20]);
            // Two gateways never answer each other's answers.
            assert_eq!(agent.clone().handle(now, source, &datagram_of(&heard.answer)).answer, None);
        }
        assert!(!heard.authentic || shows, "nobody gets in without the password");
        if !heard.authentic {
            assert_eq!((agent.chosen(), agent.knows(source)), (chosen, known));
        }
        agent.handle_timeout(now);
    }
}

fn datagram_of(answer: &Option<Vec<u8>>) -> Vec<u8> {
    answer.clone().unwrap_or_default()
}

/// A datagram made of what came, and whether it shows the password. Attributes of a fuzzer's are put behind a name that is known.
fn finish(how: u8, part: &[u8], own: &Credentials, transaction: u8) -> (Vec<u8>, bool) {
    if how >> 6 == 0 {
        return (part.to_vec(), false);
    }
    let name = format!("{}:remo", own.fragment());
    let mut writer = stun::Writer::new(Class::Request, stun::BINDING, [transaction; 12]);
    if how & 0x20 == 0 {
        writer = writer.attribute(stun::USERNAME, name.as_bytes());
    }
    let mut rest = part;
    while let Some((&[high, low, length], tail)) = rest.split_first_chunk::<3>() {
        let (value, tail) = tail.split_at(tail.len().min(usize::from(length & 31)));
        writer = writer.attribute(u16::from_be_bytes([high, low]), value);
        rest = tail;
    }
    if how >> 6 == 1 {
        return (writer.fingerprint().finish(), false);
    }
    (writer.integrity(own.password().as_bytes()).fingerprint().finish(), true)
}
