//! The lite agent and its peers: those who know the password, those who do not, and those who stop.

use super::*;
use crate::srtp::Secrets;
use proptest::prelude::*;

const REMOTE_PASSWORD: &[u8] = b"remoteremoteremoteremote";

fn agent() -> Agent {
    let remote = Remote { credentials: Credentials::new(b"remo", REMOTE_PASSWORD).unwrap(), lite: false };
    Agent::new(Credentials::draw(&mut Secrets::new([1; 32])), remote)
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4000))
}

/// A check as a controlling peer sends it.
fn check(agent: &Agent, priority: u32, use_candidate: bool) -> Writer {
    check_of(agent, [9; 12], priority, use_candidate)
}

fn check_of(agent: &Agent, transaction: [u8; 12], priority: u32, use_candidate: bool) -> Writer {
    let name = format!("{}:remo", agent.own.fragment());
    let writer = Writer::new(Class::Request, stun::BINDING, transaction)
        .attribute(stun::USERNAME, name.as_bytes())
        .attribute(stun::PRIORITY, &priority.to_be_bytes())
        .attribute(stun::ICE_CONTROLLING, &[1; 8]);
    if use_candidate { writer.attribute(stun::USE_CANDIDATE, &[]) } else { writer }
}

fn sealed(agent: &Agent, writer: Writer) -> Vec<u8> {
    writer.integrity(agent.own.password().as_bytes()).fingerprint().finish()
}

/// Class and error code of an answer.
fn outcome(heard: &Heard) -> Option<(Class, Option<u16>)> {
    let bytes = heard.answer.as_ref()?;
    let message = Message::parse(bytes).unwrap();
    assert_eq!(message.fingerprint_holds(), Some(true), "RFC 8445 §7.3: with a fingerprint");
    let code = message.get(stun::ERROR_CODE).map(|value| u16::from(value[2]) * 100 + u16::from(value[3]));
    Some((message.class(), code))
}

fn seconds(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn nominate(agent: &mut Agent, at: Time, from: SocketAddr, priority: u32) -> bool {
    let SocketAddr::V4(v4) = from else { return false };
    let transaction = [v4.ip().octets()[3]; 12];
    let bytes = sealed(agent, check_of(agent, transaction, priority, true));
    agent.handle(at, from, &bytes).moved
}

#[test]
fn a_check_is_answered_with_where_it_came_from() {
    let mut agent = agent();
    let bytes = sealed(&agent, check(&agent, 5, false));
    let heard = agent.handle(seconds(1), address(1), &bytes);
    assert!(heard.authentic && !heard.moved);
    let answer = heard.answer.unwrap();
    let message = Message::parse(&answer).unwrap();
    assert_eq!((message.class(), message.transaction()), (Class::Success, [9; 12]));
    assert_eq!(message.integrity_holds(agent.own.password().as_bytes()), Some(true));
    assert!(message.get(stun::XOR_MAPPED_ADDRESS).is_some());
    assert!(agent.knows(address(1)) && !agent.knows(address(2)));
    assert_eq!(agent.chosen(), None, "RFC 8445 §7.3.2: only USE-CANDIDATE chooses");
    assert!(nominate(&mut agent, seconds(2), address(1), 5));
    assert_eq!(agent.chosen(), Some(address(1)));
}

/// RFC 8489 §9.1.3.
#[test]
fn who_does_not_know_the_password_is_nobody() {
    let mut agent = agent();
    let good = check(&agent, 5, true);
    let wrong = good.clone().integrity(b"wrong").fingerprint().finish();
    let none = good.fingerprint().finish();
    let other = Writer::new(Class::Request, stun::BINDING, [9; 12]).attribute(stun::USERNAME, b"evil:remo");
    let other = sealed(&agent, other);
    for (bytes, code) in [(wrong, 401), (none, 400), (other, 401)] {
        let heard = agent.handle(seconds(1), address(1), &bytes);
        assert_eq!(outcome(&heard), Some((Class::Error, Some(code))));
        assert!(!heard.authentic && !heard.moved);
    }
    assert!(!agent.knows(address(1)) && agent.chosen().is_none());
    assert_eq!(agent.account().unauthentic, 3);
}

#[test]
fn without_a_fingerprint_nothing_is_answered() {
    let mut agent = agent();
    let bare = check(&agent, 5, true).integrity(agent.own.password().as_bytes()).finish();
    let mut broken = sealed(&agent, check(&agent, 5, true));
    *broken.last_mut().unwrap() ^= 1;
    let response = answer(&Message::parse(&bare).unwrap(), Class::Success);
    let response = sealed(&agent, response);
    for bytes in [&bare[..], &broken, &response, b"noise", &[0; 20]] {
        assert_eq!(agent.handle(seconds(1), address(1), bytes), Heard::default());
    }
    assert_eq!(agent.account().ignored, 5);
    let keep_alive = Writer::new(Class::Indication, stun::BINDING, [1; 12]).fingerprint().finish();
    assert_eq!(agent.handle(seconds(1), address(1), &keep_alive), Heard::default());
    assert_eq!(agent.account().ignored, 5, "RFC 8445 §11");
}

/// RFC 8445 §7.3.1.1.
#[test]
fn who_thinks_itself_controlled_is_told_of_the_conflict() {
    let mut agent = agent();
    let name = format!("{}:remo", agent.own.fragment());
    let check = Writer::new(Class::Request, stun::BINDING, [9; 12])
        .attribute(stun::USERNAME, name.as_bytes())
        .attribute(stun::ICE_CONTROLLED, &[0xff; 8]);
    let bytes = sealed(&agent, check);
    let heard = agent.handle(seconds(1), address(1), &bytes);
    assert_eq!(outcome(&heard), Some((Class::Error, Some(487))));
    let answer = heard.answer.unwrap();
    let held = Message::parse(&answer).unwrap().integrity_holds(agent.own.password().as_bytes());
    assert_eq!(held, Some(true), "RFC 8489 §9.1.3: with integrity");
    assert!(!agent.knows(address(1)));
    assert_eq!(agent.account().conflicts, 1);
}

#[test]
fn what_is_not_understood_is_named() {
    let mut agent = agent();
    let bytes = sealed(&agent, check(&agent, 5, true).attribute(0x7000, b"x"));
    let heard = agent.handle(seconds(1), address(1), &bytes);
    assert_eq!(outcome(&heard), Some((Class::Error, Some(420))));
    assert_eq!(agent.chosen(), None);
}

#[test]
fn of_several_ways_the_best_is_taken_until_the_peer_moves() {
    let mut agent = agent();
    assert!(nominate(&mut agent, seconds(1), address(1), 5));
    assert!(!nominate(&mut agent, seconds(1), address(2), 4), "a lower priority at the same time");
    assert!(nominate(&mut agent, seconds(1), address(3), 6));
    assert!(!nominate(&mut agent, seconds(4), address(3), 6));
    assert!(!nominate(&mut agent, seconds(6), address(2), 4), "the best is still named");
    assert!(nominate(&mut agent, seconds(8), address(2), 4), "not any more");
    assert_eq!(agent.chosen(), Some(address(2)));
}

/// A check that was heard cannot be used by somebody else to draw media to himself.
#[test]
fn a_check_that_is_said_again_from_elsewhere_gains_nothing() {
    let mut agent = agent();
    let bytes = sealed(&agent, check(&agent, 5, true));
    assert!(agent.handle(seconds(1), address(1), &bytes).moved);
    assert_eq!(agent.handle(seconds(9), address(66), &bytes), Heard::default());
    assert!(!agent.knows(address(66)));
    assert_eq!((agent.chosen(), agent.account().replayed), (Some(address(1)), 1));
    assert!(agent.handle(seconds(9), address(1), &bytes).authentic, "a retransmission is answered");
}

/// RFC 7675 §5.1.
#[test]
fn consent_runs_out_when_checks_stop_and_comes_back_with_them() {
    let mut agent = agent();
    nominate(&mut agent, seconds(1), address(1), 5);
    assert_eq!(agent.consent_ends(), None, "a peer that never renews is not held to it");
    let again = sealed(&agent, check(&agent, 5, false));
    agent.handle(seconds(6), address(1), &again);
    assert_eq!(agent.consent_ends(), Some(seconds(36)));
    assert!(!agent.handle_timeout(seconds(35)));
    assert!(agent.handle_timeout(seconds(36)));
    assert!(agent.has_lapsed() && agent.chosen().is_none());
    assert!(!agent.handle_timeout(seconds(37)), "once");
    assert_eq!(agent.account().lapses, 1);
    let heard = agent.handle(seconds(40), address(1), &again);
    assert!(heard.moved);
    assert_eq!(agent.chosen(), Some(address(1)));
}

/// RFC 8445 §9.
#[test]
fn a_restart_keeps_the_way_until_another_is_chosen() {
    let mut agent = agent();
    nominate(&mut agent, seconds(1), address(1), 5);
    let old = sealed(&agent, check(&agent, 5, false));
    let own = Credentials::draw(&mut Secrets::new([2; 32]));
    let remote = agent.remote.clone();
    agent.renew(&own, &remote);
    assert_eq!(agent.chosen(), Some(address(1)));
    assert!(agent.handle(seconds(2), address(1), &old).authentic, "checks on their way are still answered");
    assert!(nominate(&mut agent, seconds(5), address(2), 5));
    assert!(!agent.handle(seconds(6), address(1), &old).authentic, "no more once the new ones were used");
}

#[test]
fn sources_are_bounded_and_the_silent_make_room() {
    let mut agent = agent();
    let check = |agent: &Agent, n: u8| sealed(agent, check_of(agent, [n; 12], 5, false));
    for n in 0..SOURCES_MAX as u8 {
        let bytes = check(&agent, n);
        assert!(agent.handle(seconds(1), address(n), &bytes).authentic);
    }
    let more = check(&agent, 200);
    assert_eq!(agent.handle(seconds(2), address(200), &more), Heard::default());
    assert_eq!(agent.account().crowded, 1);
    assert!(agent.handle(seconds(40), address(200), &more).authentic);
}

proptest! {
    #[test]
    fn no_input_panics_or_is_believed(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..120, bit in 0u8..8) {
        let mut agent = agent();
        prop_assert!(!agent.handle(seconds(1), address(1), &bytes).authentic);
        let mut changed = sealed(&agent, check(&agent, 5, true));
        let at = at % changed.len();
        changed[at] ^= 1 << bit;
        prop_assert!(!agent.handle(seconds(1), address(1), &changed).authentic);
        prop_assert_eq!(agent.chosen(), None);
    }
}
