//! Three talk (RFC 5359 §2.11): an INVITE with Join (RFC 3911) goes on to the far end of the call that it names, which mixes;
//! so does one that a REFER asks for.

use crate::message::Message;
use crate::phone::{Dialog, Way};
use crate::transfer::{Scene, TRANSFERRED, replaces, said, turned, unescaped};
use crate::voice::talk;

on_both_drivers! {
    a_third_party_joins
    a_third_party_joins_a_call_of_another_worker
    who_called_can_be_joined_too
    who_was_put_through_to_another_worker_can_be_joined
    who_cannot_mix_says_so
    what_cannot_be_joined_is_refused
    a_profile_may_refuse
    who_is_put_through_may_be_asked_to_join
}

fn join(dialog: &Dialog) -> String {
    format!("Require: join\r\nJoin: {}\r\n", unescaped(dialog))
}

/// Carol calls a number with these fields.
fn carol_calls(scene: &mut Scene, number: &str, fields: &str) -> Dialog {
    let (gateway, offer) = (scene.sip(), scene.carol.voice.sdp("sendrecv"));
    scene.carol.phone.invite_with(Way::Udp(gateway), gateway, number, fields, &offer)
}

/// Alice talks with Bob, and Carol joins them by Bob's phone.
fn joins(scene: &mut Scene, by_bob: bool) {
    let (mut a, b, answer, invited) = scene.call("1002");
    // Carol heard of the call from Alice or from Bob: each tells how his dialog looks to the one who is asked.
    let told = if by_bob { turned(&b) } else { a.clone() };
    let mut c = carol_calls(scene, "1002", &join(&told));
    let joining = scene.bob.phone.expect("INVITE");
    assert_ne!(joining.0.field("call-id"), b.call_id);
    // RFC 3911 §4: Bob's tag is the to-tag, and the dialog is the one that he knows.
    assert_eq!(joining.0.field("join"), unescaped(&turned(&b)), "{}", joining.0.text);
    assert_eq!((joining.0.field("require"), joining.0.number()), ("join", "1002"), "{}", joining.0.text);
    scene.bob.phone.respond(&joining, 200, "mixes", &scene.bob.voice.sdp("sendrecv"));
    let mut third = scene.bob.phone.dialog_of(&joining, "mixes");
    scene.bob.phone.expect_in(&third, "ACK");
    let joined = scene.carol.phone.answered(&mut c);
    assert_eq!(joined.status(), Some(200), "{}", joined.text);
    // Bob has a leg with each.
    talk((&mut scene.carol.voice, joined.audio()), (&mut scene.bob.voice, joining.0.audio()), 10);
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.bob.voice, invited.audio()), 10);
    scene.bob.phone.bye(&mut third);
    scene.carol.is_hung_up(&c);
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
}

fn a_third_party_joins(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    joins(&mut scene, false);
    joins(&mut scene, true);
    scene.records(4);
    for (name, count) in [("asked", 2.0), ("passed", 2.0), ("refused", 0.0)] {
        assert_eq!(scene.gateway.metric(&format!("trunkline_joins_{name}_total")), count, "{name}");
    }
    scene.nothing_more();
}

/// The INVITE comes to the worker that its Call-ID falls to: sooner or later that is not the one with the call.
fn a_third_party_joins_a_call_of_another_worker(io: &str) {
    let mut scene = Scene::new(io, 2, "");
    for _ in 0..20 {
        joins(&mut scene, false);
        if scene.gateway.metric("trunkline_transfers_elsewhere_total") > 0.0 {
            return;
        }
    }
    panic!("twenty pairs of calls, each on one worker");
}

fn who_called_can_be_joined_too(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, b, _, _) = scene.call("1002");
    // Across from Bob's dialog is Alice, for whose number there is no route: she is called where she called from.
    let mut c = carol_calls(&mut scene, "4711", &join(&b));
    let joining = scene.alice.phone.expect("INVITE");
    assert_eq!(joining.0.field("join"), unescaped(&turned(&a)), "{}", joining.0.text);
    scene.alice.phone.respond(&joining, 486, "busy", "");
    scene.alice.phone.expect("ACK");
    assert_eq!(scene.carol.phone.answered(&mut c).status(), Some(486));
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
    scene.records(2);
    scene.nothing_more();
}

/// Bob and Carol have been put through to each other. If their calls are of two workers, there is a call between those: across from
/// Bob is Carol all the same.
fn who_was_put_through_to_another_worker_can_be_joined(io: &str) {
    let mut scene = Scene::new(io, 2, "");
    for _ in 0..20 {
        let before = scene.gateway.metric("trunkline_transfers_elsewhere_total");
        let (mut a, b, _, _) = scene.call("1002");
        scene.hold(&mut a, &b);
        let (consultation, mut c, _, to_carol) = scene.call("1003");
        scene.refer(&mut a, &format!("<sip:1003@127.0.0.1?Replaces={}>", replaces(&consultation)));
        scene.alice.is_hung_up(&consultation);
        scene.bob.agrees(&b);
        assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
        scene.alice.phone.bye(&mut a);
        let between = scene.gateway.metric("trunkline_transfers_elsewhere_total") > before;

        let (gateway, offer) = (scene.sip(), scene.alice.voice.sdp("sendrecv"));
        let way = Way::Udp(gateway);
        let mut third = scene.alice.phone.invite_with(way, gateway, "1003", &join(&b), &offer);
        let joining = scene.carol.phone.expect("INVITE");
        assert_eq!(joining.0.field("join"), unescaped(&turned(&c)), "{}", joining.0.text);
        assert_eq!(joining.0.number(), "1003", "{}", joining.0.text);
        scene.carol.phone.respond(&joining, 200, "mixes", &scene.carol.voice.sdp("sendrecv"));
        let mixed = scene.carol.phone.dialog_of(&joining, "mixes");
        scene.carol.phone.expect_in(&mixed, "ACK");
        let joined = scene.alice.phone.answered(&mut third);
        assert_eq!(joined.status(), Some(200), "{}", joined.text);
        talk((&mut scene.alice.voice, joined.audio()), (&mut scene.carol.voice, joining.0.audio()), 10);
        assert_eq!(to_carol.number(), "1003");
        scene.alice.phone.bye(&mut third);
        scene.carol.is_hung_up(&mixed);
        scene.carol.phone.bye(&mut c);
        scene.bob.is_hung_up(&b);
        scene.gateway.wait_calls(0);
        scene.nothing_more();
        if between {
            return;
        }
    }
    panic!("twenty pairs of calls, each on one worker");
}

fn who_cannot_mix_says_so(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, b, _, _) = scene.call("1002");
    for (status, fields) in [(420, "Unsupported: join\r\n"), (488, "")] {
        let mut c = carol_calls(&mut scene, "1002", &join(&a));
        let joining = scene.bob.phone.expect("INVITE");
        scene.bob.phone.respond_with(&joining, status, "no", fields, "");
        scene.bob.phone.expect("ACK");
        let refused = scene.carol.phone.answered(&mut c);
        assert_eq!(refused.status(), Some(status), "{}", refused.text);
        assert_eq!(refused.field("unsupported"), if status == 420 { "join" } else { "" });
    }
    // RFC 3911 §4: the dialog is as it was.
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
    scene.records(3);
}

fn what_cannot_be_joined_is_refused(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, b, _, _) = scene.call("1002");
    let one = format!("Join: {}\r\n", unescaped(&a));
    let wrong = one.replace(";from-tag=", ";from-tag=x");
    for (fields, status) in [
        ("Join: abc;to-tag=1;from-tag=2\r\n", 481),
        (wrong.as_str(), 481),
        ("Join: abc;to-tag=1\r\n", 400),
        (&one.repeat(2), 400),
        (&format!("{one}Replaces: {}\r\n", unescaped(&a)), 400),
    ] {
        let mut c = carol_calls(&mut scene, "1002", fields);
        let refused: Message = scene.carol.phone.answered(&mut c);
        assert_eq!(refused.status(), Some(status), "{fields}: {}", refused.text);
    }
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
    assert_eq!(scene.gateway.metric("trunkline_joins_refused_total"), 2.0);
    scene.records(1);
    scene.nothing_more();
}

fn a_profile_may_refuse(io: &str) {
    for (bob, carol) in [("join = \"refuse\"", ""), ("", "join = \"refuse\"")] {
        let more = format!("[[profile]]\nname = \"bob\"\n{bob}\n[[profile]]\nname = \"carol\"\n{carol}\n");
        let mut scene = Scene::new(io, 1, &more);
        let (mut a, b, _, _) = scene.call("1002");
        let fields = join(&a);
        let mut c = carol_calls(&mut scene, "1002", &fields);
        assert_eq!(scene.carol.phone.answered(&mut c).status(), Some(603));
        scene.alice.phone.bye(&mut a);
        scene.bob.is_hung_up(&b);
        scene.records(1);
        scene.nothing_more();
    }
}

/// RFC 3911 §5 by way of a REFER: Bob is put through to Carol, who is to mix him with Alice.
fn who_is_put_through_may_be_asked_to_join(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, mut b, _, to_bob) = scene.call("1002");
    let (mut second, c, _, _) = scene.call("1003");
    scene.refer(&mut a, &format!("<sip:1003@127.0.0.1?Join={}>", replaces(&second)));
    let joining = scene.carol.phone.expect("INVITE");
    assert_eq!(joining.0.field("join"), unescaped(&turned(&c)), "{}", joining.0.text);
    assert!(joining.0.field("from").contains("sip:1002@"), "{}", joining.0.text);
    scene.carol.phone.respond(&joining, 200, "mixes", &scene.carol.voice.sdp("sendrecv"));
    let third = scene.carol.phone.dialog_of(&joining, "mixes");
    scene.carol.phone.expect_in(&third, "ACK");
    assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
    scene.alice.phone.bye(&mut a);
    talk((&mut scene.bob.voice, to_bob.audio()), (&mut scene.carol.voice, joining.0.audio()), 10);
    scene.bob.phone.bye(&mut b);
    scene.carol.is_hung_up(&third);
    scene.alice.phone.bye(&mut second);
    scene.carol.is_hung_up(&c);
    scene.records(3);
    scene.nothing_more();
}
