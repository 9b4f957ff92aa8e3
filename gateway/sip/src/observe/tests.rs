//! The recorder against a plain list of everything that was recorded.

use super::*;
use proptest::prelude::*;

fn header(at: u64, direction: Direction) -> Header {
    let v6 = at.is_multiple_of(3);
    let remote = if v6 { "[2001:db8::7]:5070" } else { "192.0.2.7:5070" };
    let local = if v6 { "[2001:db8::1]:5060" } else { "192.0.2.1:5060" };
    Header {
        at: Time::from_nanos(at),
        direction,
        transport: if at.is_multiple_of(2) { Transport::Udp } else { Transport::Tcp },
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
    }
}

fn all_of<'a>(recorder: &'a Recorder, call_ids: &[&'a str]) -> Vec<Recorded<'a>> {
    let (found, more) = recorder.messages(call_ids.iter().map(|id| id.as_bytes()), usize::MAX, usize::MAX);
    assert!(!more);
    found
}

#[test]
fn a_call_is_found_by_either_leg_and_told_in_order() {
    let mut recorder = Recorder::new(0, &mut Random::new(1));
    recorder.record(&header(1, Direction::In), b"caller", b"INVITE in");
    recorder.record(&header(2, Direction::Out), b"other", b"noise");
    recorder.bind(b"caller", 77, 0, "caller");
    recorder.record(&header(3, Direction::Out), b"callee", b"INVITE out");
    recorder.bind(b"callee", 77, 1, "carrier-a");
    recorder.record(&header(4, Direction::In), b"callee", b"200 in");
    recorder.record(&header(5, Direction::Out), b"caller", b"200 out");
    assert_eq!((recorder.call_of(b"callee"), recorder.call_of(b"other")), (Some(77), None));
    let legs = recorder.legs(77);
    let told: Vec<_> = legs.iter().map(|leg| (leg.leg, &*leg.label, &*leg.call_id)).collect();
    assert_eq!(told, [(0, "caller", "caller"), (1, "carrier-a", "callee")]);
    let found = all_of(&recorder, &["caller", "callee"]);
    let told: Vec<_> = found.iter().map(|it| (it.header.at.as_nanos(), it.call, it.leg, it.bytes)).collect();
    let expected: [(u64, u64, u16, &[u8]); 4] =
        [(1, 77, 0, b"INVITE in"), (3, 77, 1, b"INVITE out"), (4, 77, 1, b"200 in"), (5, 77, 0, b"200 out")];
    assert_eq!(told, expected);
    assert_eq!(found[1].header, header(3, Direction::Out));
    let (newest, more) = recorder.messages([&b"caller"[..], b"callee"].into_iter(), 2, usize::MAX);
    assert!(more, "the newest are told, and that there were more");
    assert_eq!(newest.iter().map(|it| it.bytes).collect::<Vec<_>>(), [&b"200 in"[..], b"200 out"]);
    let (newest, more) = recorder.messages([&b"caller"[..]].into_iter(), 10, 10);
    assert!(more && newest.len() == 1);
}

#[test]
fn a_binding_told_again_outlives_what_is_overwritten() {
    let mut recorder = Recorder::new(0, &mut Random::new(2));
    recorder.record(&header(1, Direction::In), b"long", b"INVITE");
    recorder.bind(b"long", 5, 0, "caller");
    let noise = vec![b'x'; 1000];
    while recorder.stats().overwritten == 0 {
        recorder.record(&header(2, Direction::In), b"noise", &noise);
    }
    assert_eq!(recorder.legs(5), []);
    recorder.record(&header(3, Direction::In), b"long", b"BYE");
    recorder.bind(b"long", 5, 0, "caller");
    assert_eq!(recorder.legs(5).len(), 1);
    assert_eq!(all_of(&recorder, &["long"])[0].call, 5);
}

#[test]
fn what_is_too_long_is_counted_and_left_out() {
    let mut recorder = Recorder::new(0, &mut Random::new(3));
    let long = vec![0; recorder.capacity() / 4];
    recorder.record(&header(1, Direction::In), b"a", &long);
    assert_eq!(recorder.stats(), RecorderStats { too_long: 1, ..RecorderStats::default() });
    assert_eq!(all_of(&recorder, &["a"]), []);
}

proptest! {
    /// Whatever is recorded, the survivors are the newest, each found by its Call-ID, in order and unchanged.
    #[test]
    fn the_ring_holds_the_newest(
        sizes in proptest::collection::vec((0usize..9000, 0usize..12, any::<bool>()), 1..400),
        seed in any::<u64>(),
    ) {
        let mut recorder = Recorder::new(0, &mut Random::new(seed));
        let mut model: Vec<(String, Header, Vec<u8>)> = Vec::new();
        let names: Vec<String> = (0..12).map(|name| format!("call-{name}@host")).collect();
        let mut seen = 0;
        let mut position = 0;
        for (at, (size, name, bound)) in sizes.into_iter().enumerate() {
            let name = &names[name];
            let header = header(at as u64, if bound { Direction::In } else { Direction::Out });
            let bytes: Vec<u8> = (0..size).map(|byte| (byte + at) as u8).collect();
            recorder.record(&header, name.as_bytes(), &bytes);
            if bound {
                recorder.bind(name.as_bytes(), 1 + name.len() as u64, 3, "leg");
            }
            seen += recorder.since(position).count();
            position = recorder.position();
            model.push((name.clone(), header, bytes));
        }
        prop_assert_eq!(seen, model.len(), "who looks after each message sees each");
        let stats = recorder.stats();
        prop_assert_eq!(stats.recorded, model.len() as u64);
        prop_assert_eq!(stats.unfindable, 0);
        let alive = &model[stats.overwritten as usize..];
        for name in &names {
            let found = all_of(&recorder, &[name]);
            let expected: Vec<_> = alive.iter().filter(|it| it.0 == *name).collect();
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                prop_assert_eq!(found.header, expected.1);
                prop_assert_eq!(found.bytes, &expected.2[..]);
            }
        }
        let everything: Vec<_> = recorder.since(0).map(|it| it.bytes.to_vec()).collect();
        prop_assert_eq!(everything, alive.iter().map(|it| it.2.clone()).collect::<Vec<_>>());
    }
}
