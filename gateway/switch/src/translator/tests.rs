//! Packets translated: numbers and times of what goes out, whatever comes in.

use super::*;
use media::resample::Rate;

const SSRC: u32 = 0x1234_5678;

fn spoken(codec: Codec, payload_type: u8) -> Spoken {
    Spoken { codec, payload_type, event_type: Some(101), noise_type: Some(13) }
}

/// A packet, and what becomes of it; `None`: it was dropped.
fn feed(way: &mut Translator, header: Header, payload: &[u8]) -> Option<Vec<(Header, Vec<u8>)>> {
    let mut datagram = vec![0; 12 + payload.len()];
    header.write(&mut datagram).unwrap();
    datagram[12..].copy_from_slice(payload);
    let packet = Packet::parse(&datagram).unwrap();
    let mut sent = Vec::new();
    way.translate(&packet, |header, payload| sent.push((header, payload.to_vec()))).then_some(sent)
}

fn header(payload_type: u8, sequence: u16, timestamp: u32) -> Header {
    Header { payload_type, marker: false, sequence, timestamp, ssrc: SSRC }
}

#[test]
fn between_the_laws_only_octets_and_payload_type_change() {
    let mut way = Translator::new(spoken(Codec::Pcma, 8), spoken(Codec::Pcmu, 0));
    let octets: Vec<u8> = (0..=255).collect();
    // Late, doubled, jumping: all is the receiver's business.
    for (sequence, timestamp) in [(7, 100), (7, 100), (3, 5), (40_000, 9)] {
        let sent = feed(&mut way, header(8, sequence, timestamp), &octets).unwrap();
        let [(out, payload)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(*out, header(0, sequence, timestamp));
        assert!(octets.iter().zip(payload).all(|(a, u)| g711::alaw_to_ulaw(*a) == *u));
    }
    // Events and comfort noise go through as they are; what is unknown does not.
    for payload_type in [101, 13] {
        let sent = feed(&mut way, header(payload_type, 8, 260), &[1, 2, 3, 4]).unwrap();
        assert_eq!(sent, [(header(payload_type, 8, 260), vec![1, 2, 3, 4])]);
    }
    assert_eq!(feed(&mut way, header(3, 9, 420), &octets), None);
    assert_eq!(feed(&mut way, header(8, 9, 420), &[0; PAYLOAD_MAX + 1]), None);
}

#[test]
fn payload_types_are_the_other_legs() {
    let theirs = Spoken { event_type: Some(96), noise_type: None, ..spoken(Codec::Pcma, 8) };
    let mut way = Translator::new(theirs, spoken(Codec::G729, 18));
    assert_eq!(feed(&mut way, header(96, 1, 0), &[5, 0, 0, 160]).unwrap()[0].0.payload_type, 101);
    assert_eq!(feed(&mut way, header(101, 2, 0), &[5, 0, 0, 160]), None);
    assert_eq!(feed(&mut way, header(13, 3, 0), &[40]), None, "one side knows no comfort noise");
    assert_eq!(feed(&mut way, header(8, 4, 160), &[0x55; 160]).unwrap()[0].0.payload_type, 18);
}

#[test]
fn losses_and_pauses_go_through_and_what_is_late_does_not() {
    let mut way = Translator::new(spoken(Codec::Pcmu, 0), spoken(Codec::G722, 9));
    let mut sent = |sequence, timestamp| {
        let sent = feed(&mut way, header(0, sequence, timestamp), &[0xff; 160])?;
        assert!(sent.iter().all(|(_, payload)| payload.len() == 160));
        Some(sent.iter().map(|(out, _)| (out.sequence, out.timestamp)).collect::<Vec<_>>())
    };
    assert_eq!(sent(65_534, 1000), Some(vec![(65_534, 1000)]));
    assert_eq!(sent(65_535, 1160), Some(vec![(65_535, 1160)]));
    assert_eq!(sent(65_535, 1160), None, "doubled");
    assert_eq!(sent(2, 1640), Some(vec![(2, 1640)]), "two were lost");
    assert_eq!(sent(1, 1480), None, "late");
    assert_eq!(sent(3, 9800), Some(vec![(3, 9800)]), "a pause");
    // A jump is another beginning.
    assert_eq!(sent(30_000, 77), Some(vec![(30_000, 77)]));
    assert_eq!(sent(30_001, 237), Some(vec![(30_001, 237)]));
}

#[test]
fn packets_gathered_and_divided_are_numbered_without_gaps() {
    // Halves of a frame: every second one makes a packet.
    let mut way = Translator::new(spoken(Codec::Pcma, 8), spoken(Codec::G729, 18));
    let mut numbers = Vec::new();
    for n in 0..8u16 {
        for (out, payload) in feed(&mut way, header(8, 100 + n, u32::from(n) * 40), &[0x55; 40]).unwrap() {
            numbers.push((out.sequence, out.timestamp, payload.len()));
        }
    }
    let first = numbers[0].0;
    let expected: Vec<_> = (0..4u16).map(|n| (first + n, u32::from(n) * 80, 10)).collect();
    assert_eq!(numbers, expected);
    // One half is lost: the other is void, and the gap stays one.
    assert_eq!(feed(&mut way, header(8, 108, 320), &[0x55; 40]), Some(vec![]));
    assert_eq!(feed(&mut way, header(8, 110, 400), &[0x55; 40]), Some(vec![]));
    let sent = feed(&mut way, header(8, 111, 440), &[0x55; 40]).unwrap();
    assert_eq!(sent[0].0.timestamp, 400);
    // 100 ms become 60 and 40.
    let mut marked = header(8, 112, 480);
    marked.marker = true;
    let sent = feed(&mut way, marked, &[0x55; 800]).unwrap();
    let next = sent[0].0.sequence;
    let facts: Vec<_> = sent.iter().map(|(it, _)| (it.sequence, it.timestamp, it.marker)).collect();
    assert_eq!(facts, [(next, 480, true), (next + 1, 960, false)]);
    let sent = feed(&mut way, header(8, 113, 1280), &[0x55; 160]).unwrap();
    assert_eq!((sent[0].0.sequence, sent[0].0.timestamp), (next + 2, 1280));
}

#[test]
fn clocks_of_another_rate_are_followed_over_their_end() {
    let wide = Codec::L16(Rate::Hz16000);
    let mut way = Translator::new(spoken(Codec::Pcmu, 0), spoken(wide, 96));
    let mut back = Translator::new(spoken(wide, 96), spoken(Codec::Pcmu, 0));
    let start = u32::MAX - 500;
    let mut last: Option<u32> = None;
    for n in 0..100u16 {
        let theirs = start.wrapping_add(u32::from(n) * 160);
        let sent = feed(&mut way, header(0, n, theirs), &[0xff; 160]).unwrap();
        let [(out, payload)] = &sent[..] else { panic!("{sent:?}") };
        assert!(last.is_none_or(|last| out.timestamp.wrapping_sub(last) == 320), "{n}");
        last = Some(out.timestamp);
        assert_eq!(payload.len(), 640);
        let again = feed(&mut back, *out, payload).unwrap();
        assert_eq!(again[0].1.len(), 160);
        assert_eq!(again[0].0.timestamp.wrapping_sub(start), u32::from(n) * 160);
    }
    // Hours later.
    let mut theirs = start;
    for n in 100..140u16 {
        theirs = theirs.wrapping_add(FAR as u32 - 7);
        let sent = feed(&mut way, header(0, n, theirs), &[0xff; 160]).unwrap();
        let ours = sent[0].0.timestamp;
        let again = feed(&mut back, sent[0].0, &[0; 640]).unwrap();
        assert_eq!(again[0].0.timestamp, theirs, "{n} {ours}");
    }
}

#[test]
fn another_source_begins_anew() {
    let mut way = Translator::new(spoken(Codec::Pcmu, 0), spoken(Codec::G722, 9));
    feed(&mut way, header(0, 1000, 5000), &[0xff; 160]).unwrap();
    let other = Header { ssrc: 9, ..header(0, 990, 42) };
    let sent = feed(&mut way, other, &[0xff; 160]).unwrap();
    assert_eq!((sent[0].0.ssrc, sent[0].0.sequence, sent[0].0.timestamp), (9, 990, 42));
}

#[test]
fn noise_fills_what_g729_does_not_send_and_speech_goes_on_behind_it() {
    // RFC 3551 §4.5.6, G.729 Annex B: speech, a description of silence, 5 packets of nothing, speech.
    let mut encoder = media::codec::Encoder::new(Codec::G729, true);
    let mut way = Translator::new(spoken(Codec::G729, 18), spoken(Codec::Pcma, 8));
    let (mut seed, mut sequence, mut silent, mut sent) = (1u32, 0u16, 0, Vec::new());
    for n in 0..200u32 {
        let mut samples = [0i16; 160];
        for (k, sample) in samples.iter_mut().enumerate() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let tone = ((160 * n + k as u32) as f64 * 0.3).sin() * 8000.0;
            *sample = if !(60..120).contains(&n) { tone as i16 } else { ((seed >> 16) as i16) >> 9 };
        }
        let mut payload = [0; 20];
        let encoded = encoder.encode(&samples, &mut payload);
        if encoded.octets == 0 {
            silent += 1;
            assert!(way.is_quiet());
            way.fill(|header, payload| sent.push((header, payload.to_vec())));
            continue;
        }
        sequence += 1;
        let timestamp = 160 * n + encoded.skipped as u32;
        sent.extend(feed(&mut way, header(18, sequence, timestamp), &payload[..encoded.octets]).unwrap());
    }
    assert!(silent > 20, "{silent} packets not sent");
    assert!(!way.is_quiet());
    for pair in sent.windows(2) {
        assert_eq!(pair[1].0.sequence.wrapping_sub(pair[0].0.sequence), 1);
        let step = pair[1].0.timestamp.wrapping_sub(pair[0].0.timestamp);
        assert!((80..=320).contains(&step), "{step}");
    }
    // It is as loud as what it stands for, which is some 60 of 32 768.
    let level = |from: u32, to: u32| {
        let within = sent.iter().filter(|it| (160 * from..160 * to).contains(&it.0.timestamp));
        let samples: Vec<f64> =
            within.flat_map(|it| &it.1).map(|octet| f64::from(g711::alaw_decode(*octet))).collect();
        (samples.iter().map(|it| it * it).sum::<f64>() / samples.len() as f64).sqrt()
    };
    let quiet = level(80, 118);
    assert!((5.0..300.0).contains(&quiet), "{quiet}");
    assert!(level(10, 50) > 1000.0);
}

#[test]
fn nothing_is_filled_where_both_say_silence_or_nobody_does() {
    for (from, to) in [(Codec::G729, Codec::G729), (Codec::Pcma, Codec::G722)] {
        let mut way = Translator::new(spoken(from, 18), spoken(to, 9));
        feed(&mut way, header(18, 1, 0), &[0x55; 12]).unwrap();
        assert!(!way.is_quiet());
        way.fill(|_, _| panic!("nothing to be filled"));
    }
}

#[test]
fn rfc_7587_section_4_1_opus_has_a_clock_of_48_khz_and_events_have_it_too() {
    // RFC 4733 §2.1.
    let opus = Codec::of("opus", 48_000, 2).unwrap().at(Rate::Hz8000);
    let mut way = Translator::new(spoken(Codec::Pcma, 8), spoken(opus, 111));
    let mut back = Translator::new(spoken(opus, 111), spoken(Codec::Pcma, 8));
    for n in 0..20u16 {
        let sent = feed(&mut way, header(8, n, 1000 + u32::from(n) * 160), &[0x55; 160]).unwrap();
        let [(out, payload)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((out.payload_type, out.sequence, out.timestamp), (111, n, 1000 + u32::from(n) * 960));
        let again = feed(&mut back, *out, payload).unwrap();
        assert_eq!((again[0].0.timestamp, again[0].1.len()), (1000 + u32::from(n) * 160, 160));
    }
    let digit = |duration: u16| [&[5, 0x8a][..], &duration.to_be_bytes()].concat();
    let sent = feed(&mut way, header(101, 20, 4200), &digit(800)).unwrap();
    assert_eq!((sent[0].0.timestamp, &sent[0].1), (1000 + 20 * 960, &digit(4800)));
    let again = feed(&mut back, sent[0].0, &sent[0].1).unwrap();
    assert_eq!((again[0].0.timestamp, &again[0].1), (4200, &digit(800)));
    // RFC 4733 §2.5.1.3: two seconds do not fit.
    let sent = feed(&mut way, header(101, 21, 4200), &digit(16_000)).unwrap();
    assert_eq!(
        (sent[0].0.timestamp, &sent[0].1),
        (1000 + 20 * 960 + 65_535, &digit((96_000 - 65_535u32) as u16))
    );
}

#[test]
fn a_packet_that_was_lost_is_sent_after_all_if_the_next_one_repeats_it() {
    let opus = Codec::of("opus", 48_000, 2).unwrap().asked(b"useinbandfec=1; maxaveragebitrate=24000");
    let opus = opus.at(Rate::Hz8000);
    let mut way = Translator::new(spoken(Codec::Pcma, 8), spoken(opus, 111));
    let mut back = Translator::new(spoken(opus, 111), spoken(Codec::Pcma, 8));
    let voice = |n: u16| -> Vec<u8> {
        let wave = |k: u32| f64::from(u32::from(n) * 160 + k) * 500.0 * std::f64::consts::TAU / 8000.0;
        (0..160).map(|k| g711::alaw_encode((wave(k).sin() * 8000.0) as i16)).collect()
    };
    let mut numbers = Vec::new();
    for n in 0..40u16 {
        let sent = feed(&mut way, header(8, n, u32::from(n) * 160), &voice(n)).unwrap();
        if n % 4 == 3 {
            continue;
        }
        for (out, payload) in feed(&mut back, sent[0].0, &sent[0].1).unwrap() {
            assert_eq!(payload.len(), 160);
            numbers.push((out.sequence, out.timestamp));
        }
    }
    // What stays the same for long is not always repeated.
    assert!(numbers.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(numbers.iter().all(|(number, time)| *time == u32::from(*number) * 160));
    assert_eq!(numbers.iter().filter(|(number, _)| number % 4 != 3).count(), 30);
    assert!(numbers.len() >= 35, "{numbers:?}");
}

#[test]
fn silence_that_is_not_sent_leaves_no_gap_in_the_numbers_and_speech_after_it_is_marked() {
    // RFC 7587 §3.1.3: usedtx.
    let opus = Codec::of("opus", 48_000, 2).unwrap().asked(b"usedtx=1").at(Rate::Hz8000);
    let mut way = Translator::new(spoken(Codec::Pcma, 8), spoken(opus, 111));
    let (mut seed, mut heard) = (1u32, Vec::new());
    for n in 0..200u16 {
        let quiet = (50..150).contains(&n);
        let mut octets = [0xd5; 160];
        for (k, octet) in octets.iter_mut().enumerate().filter(|_| !quiet) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let wave = f64::from(u32::from(n) * 160 + k as u32) * 300.0 * std::f64::consts::TAU / 8000.0;
            *octet = g711::alaw_encode((wave.sin() * 9000.0) as i16 + (seed >> 22) as i16);
        }
        heard.extend(feed(&mut way, header(8, n, u32::from(n) * 160), &octets).unwrap());
    }
    assert!(heard.len() < 160, "{} of 200 packets were sent", heard.len());
    assert!(heard.windows(2).all(|pair| pair[1].0.sequence.wrapping_sub(pair[0].0.sequence) == 1));
    let gaps = heard.windows(2).filter(|pair| pair[1].0.timestamp - pair[0].0.timestamp != 960);
    assert!(gaps.clone().count() > 0 && gaps.clone().all(|pair| pair[1].0.marker));
}
