//! Replaces (RFC 3891) where a dialog rings, where an INVITE makes no offer, and where a REFER that is handed on names a dialog
//! of another worker; and what both ends are told of each other afterwards (Session-ID, RFC 7989).

use crate::message::Message;
use crate::phone::{Dialog, Way};
use crate::transfer::{Scene, TRANSFERRED, named, replaces, said, turned};
use crate::voice::talk;

on_both_drivers! {
    a_call_that_rings_goes_on_for_who_is_put_through
    a_call_that_rings_on_another_worker_goes_on_for_who_is_put_through
    a_ringing_target_that_refuses_leaves_the_call_as_it_was
    a_call_that_rings_here_is_taken_up_by_who_is_put_through
    an_invite_without_an_offer_takes_the_place_of_a_leg
    a_call_that_rings_is_picked_up_without_an_offer
    an_answer_that_is_none_ends_the_call
    who_is_left_alone_hears_the_target
    a_refer_that_is_handed_on_names_a_dialog_of_another_worker
    both_ends_hear_of_each_other
}

/// Alice has a second call, to Carol, which rings: her dialog and the INVITE.
fn rings(scene: &mut Scene) -> (Dialog, (Message, Way)) {
    let (gateway, offer) = (scene.sip(), scene.alice.voice.sdp("sendrecv"));
    let mut second = scene.alice.phone.invite(Way::Udp(gateway), gateway, "1003", &offer);
    let invite = scene.carol.phone.expect("INVITE");
    scene.carol.phone.respond(&invite, 180, "carol", "");
    let ringing = scene.alice.phone.response(&second, 180);
    ringing.field("to").clone_into(&mut second.remote);
    (second, invite)
}

/// What phones call a semi-attended transfer.
fn a_call_that_rings_goes_on_for_who_is_put_through(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    goes_on(&mut scene);
    let cdrs = scene.records(2);
    assert_eq!((&cdrs[1]["transfer"]["part"], &cdrs[1]["status"]), (&"target".into(), &200.into()));
}

/// Each call is on the worker that its Call-ID falls to: sooner or later the two are on different ones.
fn a_call_that_rings_on_another_worker_goes_on_for_who_is_put_through(io: &str) {
    let mut scene = Scene::new(io, 2, "");
    for pairs in 1..=20 {
        goes_on(&mut scene);
        if scene.gateway.metric("trunkline_transfers_elsewhere_total") > 0.0 {
            // One more for the way between the workers.
            let cdrs = scene.gateway.wait_cdrs(2 * pairs + 1);
            assert!(cdrs.iter().any(|cdr| cdr["transfer"]["part"] == "replaced"), "{cdrs:?}");
            return;
        }
    }
    panic!("twenty pairs of calls, each on one worker");
}

fn goes_on(scene: &mut Scene) {
    let (mut a, mut b, answer, to_bob) = scene.call("1002");
    let (mut second, invite) = rings(scene);
    scene.refer(&mut a, &format!("<sip:1003@127.0.0.1?Replaces={}>", replaces(&second)));
    let taken = scene.alice.phone.answered(&mut second);
    assert_eq!(taken.status(), Some(487), "{}", taken.text);
    assert!(taken.field("reason").contains("Call completed elsewhere"), "{}", taken.text);
    assert_eq!(scene.alice.notified().0, "SIP/2.0 180 Ringing\r\n");
    // The first call goes on until then.
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.bob.voice, to_bob.audio()), 5);
    scene.carol.phone.respond(&invite, 200, "carol", &scene.carol.voice.sdp("sendrecv"));
    let c = scene.carol.phone.dialog_of(&invite, "carol");
    scene.carol.phone.expect_in(&c, "ACK");
    assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
    scene.alice.phone.bye(&mut a);
    talk((&mut scene.bob.voice, to_bob.audio()), (&mut scene.carol.voice, invite.0.audio()), 20);
    scene.bob.phone.bye(&mut b);
    scene.carol.is_hung_up(&c);
    scene.gateway.wait_calls(0);
    scene.nothing_more();
}

fn a_ringing_target_that_refuses_leaves_the_call_as_it_was(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, b, answer, to_bob) = scene.call("1002");
    let (mut second, invite) = rings(&mut scene);
    scene.refer(&mut a, &format!("<sip:1003@127.0.0.1?Replaces={}>", replaces(&second)));
    assert_eq!(scene.alice.phone.answered(&mut second).status(), Some(487));
    assert_eq!(scene.alice.notified().0, "SIP/2.0 180 Ringing\r\n");
    scene.carol.phone.respond(&invite, 486, "carol", "");
    assert_eq!(said(&scene.alice.notified()), ("SIP/2.0 486 Busy Here\r\n", "terminated"));
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.bob.voice, to_bob.audio()), 5);
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
    scene.records(2);
    scene.nothing_more();
}

/// Bob talks with Alice, and Carol calls him: he has Alice take that call.
fn a_call_that_rings_here_is_taken_up_by_who_is_put_through(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, mut b, answer, _) = scene.call("1002");
    let (gateway, offer) = (scene.sip(), scene.carol.voice.sdp("sendrecv"));
    let mut x = scene.carol.phone.invite(Way::Udp(gateway), gateway, "1002", &offer);
    let invite = scene.bob.phone.expect("INVITE");
    scene.bob.phone.respond(&invite, 180, "waits", "");
    scene.carol.phone.response(&x, 180);
    let waiting = scene.bob.phone.dialog_of(&invite, "waits");
    let fields = format!("Refer-To: <sip:1003@127.0.0.1?Replaces={}>\r\n", replaces(&waiting));
    let accepted = scene.bob.phone.request_with(&mut b, "REFER", &fields);
    assert_eq!(accepted.status(), Some(202), "{}", accepted.text);
    assert_eq!(scene.bob.notified().0, "SIP/2.0 100 Trying\r\n");
    let cancel = scene.bob.phone.expect("CANCEL");
    assert!(cancel.0.field("reason").contains("Call completed elsewhere"), "{}", cancel.0.text);
    scene.bob.phone.respond(&cancel, 200, "waits", "");
    scene.bob.phone.respond(&invite, 487, "waits", "");
    let taken = scene.carol.phone.answered(&mut x);
    assert_eq!(taken.status(), Some(200), "{}", taken.text);
    assert_eq!(said(&scene.bob.notified()), TRANSFERRED);
    scene.bob.phone.bye(&mut b);
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.carol.voice, taken.audio()), 20);
    scene.alice.phone.bye(&mut a);
    scene.carol.is_hung_up(&x);
    scene.records(2);
    scene.nothing_more();
}

fn an_invite_without_an_offer_takes_the_place_of_a_leg(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (a, mut b, _, to_bob) = scene.call("1002");
    let gateway = scene.sip();
    let mut x = scene.carol.phone.invite_with(Way::Udp(gateway), gateway, "1002", &named(&a, ""), "");
    let offered = scene.carol.phone.final_response(&x.call_id.clone(), "1 INVITE");
    assert_eq!(offered.status(), Some(200), "{}", offered.text);
    (x.remote, x.target) = (offered.field("to").to_owned(), offered.contact().to_owned());
    assert!(offered.body.contains("m=audio ") && !offered.body.contains("only"), "{}", offered.text);
    scene.alice.is_hung_up(&a);
    scene.carol.phone.ack(&x, &scene.carol.voice.sdp("sendrecv"));
    talk((&mut scene.bob.voice, to_bob.audio()), (&mut scene.carol.voice, offered.audio()), 20);
    scene.bob.phone.bye(&mut b);
    scene.carol.is_hung_up(&x);
    scene.records(1);
    assert_eq!(scene.gateway.metric("trunkline_replaces_done_total"), 1.0);
    scene.nothing_more();
}

/// Carol picks up what rings at Bob's, without an offer: her dialog, Alice's, and the offer made to Carol.
fn picks_up(scene: &mut Scene) -> (Dialog, Dialog, Message) {
    let (gateway, offer) = (scene.sip(), scene.alice.voice.sdp("sendrecv"));
    let a = scene.alice.phone.invite(Way::Udp(gateway), gateway, "1002", &offer);
    let invite = scene.bob.phone.expect("INVITE");
    scene.bob.phone.respond(&invite, 180, "bob", "");
    scene.alice.phone.response(&a, 180);
    let fields = named(&scene.bob.phone.dialog_of(&invite, "bob"), ";early-only");
    let mut x = scene.carol.phone.invite_with(Way::Udp(gateway), gateway, "1002", &fields, "");
    let offered = scene.carol.phone.final_response(&x.call_id, "1 INVITE");
    assert_eq!(offered.status(), Some(200), "{}", offered.text);
    (x.remote, x.target) = (offered.field("to").to_owned(), offered.contact().to_owned());
    let cancel = scene.bob.phone.expect("CANCEL");
    scene.bob.phone.respond(&cancel, 200, "bob", "");
    scene.bob.phone.respond(&invite, 487, "bob", "");
    (x, a, offered)
}

fn a_call_that_rings_is_picked_up_without_an_offer(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (x, mut a, offered) = picks_up(&mut scene);
    scene.carol.phone.ack(&x, &scene.carol.voice.sdp("sendrecv"));
    let answer = scene.alice.phone.answered(&mut a);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.carol.voice, offered.audio()), 20);
    scene.alice.phone.bye(&mut a);
    scene.carol.is_hung_up(&x);
    scene.records(1);
    scene.nothing_more();
}

/// RFC 3261 §13.2.2.4.
fn an_answer_that_is_none_ends_the_call(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (x, mut a, _) = picks_up(&mut scene);
    scene.carol.phone.ack(&x, "");
    scene.carol.is_hung_up(&x);
    assert_eq!(scene.alice.phone.answered(&mut a).status(), Some(480));
    scene.records(1);
    scene.nothing_more();
}

/// RFC 3960: Alice has hung up, and Carol's network plays something.
fn who_is_left_alone_hears_the_target(io: &str) {
    for (leaves_first, early) in [(true, true), (false, true), (true, false)] {
        let more =
            format!("[[profile]]\nname = \"bob\"\n[[profile]]\nname = \"carol\"\nearly_media = {early}\n");
        let mut scene = Scene::new(io, 1, &more);
        let (mut a, b, _, to_bob) = scene.call("1002");
        scene.refer(&mut a, "<sip:1003@127.0.0.1>");
        let invite = scene.carol.phone.expect("INVITE");
        if leaves_first {
            scene.alice.phone.bye(&mut a);
        }
        scene.carol.phone.respond(&invite, 183, "carol", &scene.carol.voice.sdp("sendrecv"));
        assert_eq!(scene.alice.notified().0, "SIP/2.0 183 Session Progress\r\n");
        if !leaves_first {
            scene.alice.phone.bye(&mut a);
        }
        if early {
            talk((&mut scene.bob.voice, to_bob.audio()), (&mut scene.carol.voice, invite.0.audio()), 10);
        }
        // The target fails: nobody is left.
        scene.carol.phone.respond(&invite, 480, "carol", "");
        assert_eq!(scene.alice.notified().1, "terminated");
        scene.bob.is_hung_up(&b);
        let heard = scene.gateway.metric("trunkline_transfers_heard_early_total");
        assert_eq!(heard, if early { 1.0 } else { 0.0 });
        scene.records(2);
        scene.nothing_more();
    }
}

/// Each call is on the worker that its Call-ID falls to: sooner or later the two are on different ones.
fn a_refer_that_is_handed_on_names_a_dialog_of_another_worker(io: &str) {
    let more = "[[profile]]\nname = \"bob\"\ntransfer = \"pass\"\n[[profile]]\nname = \"carol\"\n";
    let mut scene = Scene::new(io, 2, more);
    let gateway = scene.sip();
    for _ in 0..20 {
        let (mut a, mut b, _, _) = scene.call("1002");
        let offer = scene.bob.voice.sdp("sendrecv");
        let mut second = scene.bob.phone.invite(Way::Udp(gateway), gateway, "1003", &offer);
        let (c, _) = scene.carol.answers();
        assert_eq!(scene.bob.phone.answered(&mut second).status(), Some(200));
        let fields = format!("Refer-To: <sip:1003@{gateway}?Replaces={}>\r\n", replaces(&second));
        scene.bob.phone.begin_request_with(&mut b, "REFER", &fields);
        let refer = scene.alice.phone.expect_in(&a, "REFER");
        // RFC 3891 §3: the dialog that Carol knows.
        let expected = format!("<sip:1003@{gateway}?Replaces={}>", replaces(&turned(&c)));
        assert_eq!(refer.0.field("refer-to"), expected);
        scene.alice.phone.respond(&refer, 603, "", "");
        let sent = format!("{} REFER", b.cseq);
        assert_eq!(scene.bob.phone.final_response(&b.call_id.clone(), &sent).status(), Some(603));
        scene.alice.phone.bye(&mut a);
        scene.bob.is_hung_up(&b);
        scene.bob.phone.bye(&mut second);
        scene.carol.is_hung_up(&c);
        if scene.gateway.metric("trunkline_transfers_elsewhere_total") > 0.0 {
            return;
        }
    }
    panic!("twenty pairs of calls, each on one worker");
}

fn ends(message: &Message) -> (String, String) {
    let field = message.field("session-id");
    let (local, remote) = field.split_once(";remote=").unwrap_or_else(|| panic!("{}", message.text));
    (local.to_owned(), remote.to_owned())
}

/// RFC 7989 §7: who takes UPDATE hears at once, with whom he is now; the others with the next message.
fn both_ends_hear_of_each_other(io: &str) {
    const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n";
    let uuid = |letter: &str| letter.repeat(32);
    let mut scene = Scene::new(io, 1, "");
    let (gateway, offer) = (scene.sip(), scene.alice.voice.sdp("sendrecv"));
    let own = format!("Session-ID: {};remote={}\r\n", uuid("a"), uuid("0"));
    let mut a = scene.alice.phone.invite_with(Way::Udp(gateway), gateway, "1002", &own, &offer);
    let answers = |party: &mut crate::transfer::Party, letter: &str, tag: &str| {
        let invite = party.phone.expect("INVITE");
        let own = format!("{ALLOW}Session-ID: {};remote={}\r\n", uuid(letter), ends(&invite.0).0);
        let sdp = party.voice.sdp("sendrecv");
        party.phone.respond_with(&invite, 200, tag, &own, &sdp);
        let dialog = party.phone.dialog_of(&invite, tag);
        party.phone.expect_in(&dialog, "ACK");
        dialog
    };
    let mut b = answers(&mut scene.bob, "b", "bob");
    assert_eq!(ends(&scene.alice.phone.answered(&mut a)), (uuid("b"), uuid("a")));
    scene.refer(&mut a, "<sip:1003@127.0.0.1>");
    let c = answers(&mut scene.carol, "c", "carol");
    for (party, dialog, other, own) in [(&mut scene.bob, &b, "c", "b"), (&mut scene.carol, &c, "b", "c")] {
        let update = party.phone.expect_in(dialog, "UPDATE");
        assert_eq!(ends(&update.0), (uuid(other), uuid(own)), "{}", update.0.text);
        assert!(update.0.body.is_empty(), "{}", update.0.text);
        party.phone.respond_with(&update, 200, "", ALLOW, "");
    }
    assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
    scene.alice.phone.bye(&mut a);
    scene.bob.phone.bye(&mut b);
    let bye = scene.carol.phone.expect_in(&c, "BYE");
    assert_eq!(ends(&bye.0), (uuid("b"), uuid("c")), "{}", bye.0.text);
    scene.carol.phone.respond(&bye, 200, "", "");
    let cdrs = scene.records(2);
    assert_eq!(cdrs[1]["session_id"], format!("{};remote={}", uuid("b"), uuid("c")));
}
