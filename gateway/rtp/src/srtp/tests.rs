//! SRTP against the vectors of its RFCs, against another implementation, and against whoever changes or repeats packets.

use super::cipher::{Aes, Authenticated};
use super::derive::session_key;
use super::*;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(core::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn keying(suite: Suite, fill: u8) -> Keying {
    let secret: Vec<u8> = (0..suite.secret_len() as u8).map(|at| at.wrapping_mul(7) ^ fill).collect();
    Keying::new(suite, &secret).unwrap()
}

fn pair(suite: Suite, mki: Mki) -> (Sealer, Opener) {
    (Sealer::new(&keying(suite, 3), mki), Opener::new(&keying(suite, 3), mki))
}

fn rtp(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn sealed(sealer: &mut Sealer, plain: &[u8]) -> Result<Vec<u8>, Refusal> {
    let header = *crate::Packet::parse(plain).unwrap().header();
    let index = sealer.admit(header.sequence, header.ssrc)?;
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + sealer.rtp_overhead(), 0);
    assert!(sealer.seal_rtp(index, &mut packet));
    Ok(packet)
}

fn sealed_rtcp(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + sealer.rtcp_overhead(), 0);
    sealer.seal_rtcp(&mut packet).unwrap();
    packet
}

fn opened(opener: &mut Opener, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut packet = packet.to_vec();
    let len = opener.open_rtp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

fn opened_rtcp(opener: &mut Opener, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut packet = packet.to_vec();
    let len = opener.open_rtcp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

const REPORT: &[u8] =
    &[0x80, 201, 0, 1, 0xde, 0xad, 0xbe, 0xef, 0x81, 202, 0, 2, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0];

/// RFC 3711 Appendix B.2.
#[test]
fn the_key_stream_of_aes_in_counter_mode() {
    let aes = Aes::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C"));
    let mut iv = [0; 16];
    iv.copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000"));
    let mut stream = vec![0; 16 * 0xff02];
    aes.xor_keystream(iv, &mut stream);
    let blocks = [
        (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ];
    for (at, expected) in blocks {
        assert_eq!(stream[16 * at..16 * (at + 1)], hex(expected), "block {at:#x}");
    }
}

/// RFC 3711 Appendix B.3, RFC 6188 §7.3 and §7.4.
#[test]
fn session_keys_are_derived() {
    let cases = [
        (
            Suite::AesCm128Sha1_80,
            "E1F97A0D3E018BE0D64FA32C06DE4139",
            "0EC675AD498AFEEBB6960B3AABE6",
            "C61E7A93744F39EE10734AFE3FF7A087",
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
            "30CBBC08863D8C85D49DB34A9AE1",
        ),
        (
            Suite::AesCm192Sha1_80,
            "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1",
            "c8522f3acd4ce86d5add78edbb11",
            "31874736a8f1143870c26e4857d8a5b2c4a354407faadabb",
            "355b10973cd95b9eacf4061c7e1a7151e7cfbfcb",
            "2372b82d639b6d8503a47adc0a6c",
        ),
        (
            Suite::AesCm256Sha1_80,
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
            "3b04803de51ee7c96423ab5b78d2",
            "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
            "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
            "fa31791685ca444a9e07c6c64e93",
        ),
    ];
    for (suite, key, salt, cipher, auth, session_salt) in cases {
        let keying = Keying::new(suite, &[hex(key), hex(salt)].concat()).unwrap();
        for (label, expected) in [(0, cipher), (1, auth), (2, session_salt)] {
            let expected = hex(expected);
            let mut found = vec![0; expected.len()];
            session_key(&keying, label, &mut found);
            assert_eq!(found, expected, "{} label {label}", suite.name());
        }
    }
}

/// RFC 7714 §16.1.1, §16.2.1 and §17.1, whose keys are session keys.
#[test]
fn gcm_seals_as_its_rfc_shows() {
    let salt: [u8; 12] = hex("51756964 2070726f 2071756f").try_into().unwrap();
    let header = hex("8040f17b 8041f8d3 5501a0b2");
    let plain = hex("47616c6c69612065 7374206f6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573");
    let cases = [
        (
            16,
            "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833",
            "899d7f27 beb16a91 52cf765e e4390cce",
        ),
        (
            32,
            "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b",
            "7aa3db36 dfffd6b0 f9bb7878 d7a76c13",
        ),
    ];
    for (len, cipher, expected) in cases {
        let key: Vec<u8> = (0..len).collect();
        let gcm = Authenticated::new(&key, salt);
        let mut data = plain.clone();
        let tag = gcm.seal(0x5501_a0b2, 0xf17b, &header, &mut data).unwrap();
        assert_eq!((data.clone(), tag.to_vec()), (hex(cipher), hex(expected)), "{len} octets");
        data.extend(tag);
        assert!(gcm.open(0x5501_a0b2, 0xf17b, &header, &mut data));
        assert_eq!(data[..plain.len()], plain);
    }
    let key: Vec<u8> = (0..16).collect();
    let gcm = Authenticated::new(&key, salt);
    let associated = hex("81c8000d 4d617273 800005d4");
    let mut data = hex(
        "4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    let tag = gcm.seal(0x4d61_7273, 0x5d4, &associated, &mut data).unwrap();
    let expected = hex(
        "63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b",
    );
    assert_eq!((data, tag.to_vec()), (expected, hex("c84aa458 96cf4d2f c5abf872 45d9eade")));
}

/// As webrtc-srtp 0.17.2 seals the same: after the sequence numbers have come round, and RTCP with its index at two.
#[test]
fn another_implementation_seals_alike() {
    let cm = "81516b07b44d7ed9a2c1dff2fb0090f6bdeb20f7854a972779b384caf2b3";
    let report = "05d3499a1ba64bb61949968380000002223a451eadaad9cd8a5f";
    let cases = [
        (Suite::AesCm128Sha1_80, format!("{cm}0be0b50c69856786dee6"), report),
        (Suite::AesCm128Sha1_32, format!("{cm}0be0b50c"), report),
        (
            Suite::AeadAes128Gcm,
            "e3c8827f8946be21b072e254b342428e6943102a8e4059bd3837e730a4829869524e2d17574c64f8c35728235db6"
                .into(),
            "057374447c24a7c311bfe145b2e5d321830aacddd0a77e8aa05b54fe80000002",
        ),
        (
            Suite::AeadAes256Gcm,
            "ac6b00bb9c5e83db560a6ee54560a559428efd746554448c5e36e739b02edbc58f9a8849d35c4c9723f3faa9da8a"
                .into(),
            "6f8234701ae691160d393d87def7dac5768a1785111a644c82caa91580000002",
        ),
    ];
    for (suite, rtp_expected, rtcp_expected) in cases {
        let (mut sealer, mut opener) = pair(suite, Mki::default());
        let mut last = Vec::new();
        for sequence in [65_534u16, 65_535, 0, 1] {
            let plain = rtp(sequence, 0xcafe_babe, b"what is heard is what was said");
            last = sealed(&mut sealer, &plain).unwrap();
            assert_eq!(opened(&mut opener, &last), Ok(plain));
        }
        assert_eq!(last[12..], hex(&rtp_expected), "{}", suite.name());
        let reports = [0, 1, 2].map(|_| sealed_rtcp(&mut sealer, REPORT));
        assert_eq!(reports[2][8..], hex(rtcp_expected), "{}", suite.name());
    }
}

#[test]
fn suites_have_names_and_lengths() {
    for suite in Suite::ALL {
        assert_eq!(Suite::named(suite.name()), Some(suite));
        assert_eq!(Suite::named(&suite.name().to_ascii_lowercase()), Some(suite));
    }
    assert_eq!(Suite::named("AES_CM_256_HMAC_SHA1_80"), Some(Suite::AesCm256Sha1_80));
    assert_eq!(Suite::named("AES_CM_192_hmac_sha1_32"), Some(Suite::AesCm192Sha1_32));
    for unknown in
        ["", "F8_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1", "AES_CM_256_HMAC_SHA1_800", "AES_CM_256_é"]
    {
        assert_eq!(Suite::named(unknown), None, "{unknown}");
    }
    let lengths = Suite::ALL.map(Suite::secret_len);
    assert_eq!(lengths, [44, 28, 46, 38, 30, 46, 38, 30]);
    assert!(Keying::new(Suite::AesCm128Sha1_80, &[0; 29]).is_none());
    assert_eq!(
        format!("{:?}", keying(Suite::AeadAes128Gcm, 1)),
        "Keying(AEAD_AES_128_GCM)",
        "no key is printed"
    );
}

#[test]
fn what_is_sealed_is_hidden_and_opens_once() {
    let identifier = Mki::new(0x1234, 4).unwrap();
    for (suite, mki) in Suite::ALL.into_iter().flat_map(|it| [(it, Mki::default()), (it, identifier)]) {
        let (mut sealer, mut opener) = pair(suite, mki);
        let plain = rtp(
            1,
            7,
            b"a payload that nobody else shall hear, longer than eight blocks of sixteen octets: \
                                there is a second lot of them to be encrypted, and what is left of a block",
        );
        let packet = sealed(&mut sealer, &plain).unwrap();
        assert_eq!(packet.len(), plain.len() + suite.rtp_tag_len() + mki.bytes().len());
        assert_eq!(packet[..12], plain[..12], "the header stays");
        assert!(!packet.windows(8).any(|part| plain.windows(8).skip(12).any(|other| part == other)));
        assert_eq!(opened(&mut opener, &packet), Ok(plain.clone()), "{}", suite.name());
        assert_eq!(opened(&mut opener, &packet), Err(Refusal::Replayed));
        assert_eq!(sealed(&mut sealer, &plain), Err(Refusal::Replayed), "no key stream is used twice");
        let report = sealed_rtcp(&mut sealer, REPORT);
        assert_eq!(report[..8], REPORT[..8]);
        assert_eq!(report.len(), REPORT.len() + suite.rtcp_tag_len() + 4 + mki.bytes().len());
        assert_eq!(opened_rtcp(&mut opener, &report), Ok(REPORT.to_vec()), "{}", suite.name());
        assert_eq!(opened_rtcp(&mut opener, &report), Err(Refusal::Replayed));
    }
}

#[test]
fn the_header_stays_readable_with_sources_and_extension() {
    for suite in [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm] {
        let (mut sealer, mut opener) = pair(suite, Mki::default());
        let mut plain = rtp(9, 7, &[]);
        plain[0] |= 0x10 | 2;
        plain.extend([1, 2, 3, 4, 5, 6, 7, 8, 0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
        let header = plain.len();
        plain.extend([0x55; 20]);
        let packet = sealed(&mut sealer, &plain).unwrap();
        assert_eq!(packet[..header], plain[..header]);
        assert_ne!(packet[header..header + 20], plain[header..]);
        assert_eq!(opened(&mut opener, &packet), Ok(plain));
    }
}

#[test]
fn the_rollover_counter_is_kept_on_both_sides() {
    for suite in [Suite::AesCm128Sha1_32, Suite::AeadAes256Gcm] {
        let (mut sealer, mut opener) = pair(suite, Mki::default());
        // Twice round; what comes late belongs to the round before, as long as it is within the window.
        for sequence in [65_530u16, 65_535, 1, 65_534, 0, 2, 30_000, 60_000, 59_990, 10, 65_535, 11] {
            let plain = rtp(sequence, 7, b"payload");
            let packet = sealed(&mut sealer, &plain).unwrap();
            assert_eq!(opened(&mut opener, &packet), Ok(plain), "{} {sequence}", suite.name());
        }
        assert_eq!(sealed(&mut sealer, &rtp(65_000, 7, b"x")), Err(Refusal::Replayed), "too old to tell");
    }
}

#[test]
fn a_new_key_may_go_on_with_the_rollover_counter_or_begin_anew() {
    for suite in [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm] {
        let (mut sealer, mut opener) = pair(suite, Mki::default());
        for sequence in [65_000u16, 10] {
            let packet = sealed(&mut sealer, &rtp(sequence, 7, b"payload")).unwrap();
            opened(&mut opener, &packet).unwrap();
        }
        // One goes on: its contexts have seen all of the stream; the other begins.
        let mut going_on = Sealer::new(&keying(suite, 9), Mki::default());
        let mut begun = Sealer::new(&keying(suite, 9), Mki::default());
        going_on.admit(65_000, 7).unwrap();
        going_on.admit(10, 7).unwrap();
        for sender in [&mut going_on, &mut begun] {
            let mut next = Opener::new(&keying(suite, 9), Mki::default());
            next.succeed(&opener);
            let heard = (11..20).filter(|sequence| {
                let packet = sealed(sender, &rtp(*sequence, 7, b"payload")).unwrap();
                opened(&mut next, &packet).is_ok()
            });
            assert!(heard.count() >= 8, "{}", suite.name());
        }
    }
}

#[test]
fn rtcp_sent_in_the_clear_is_authenticated() {
    for suite in [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm] {
        let (mut sealer, mut opener) = pair(suite, Mki::default());
        // Made by hand: sealed with nothing behind the header, the E-flag not set.
        let report = REPORT[..8].to_vec();
        let packet = sealed_rtcp(&mut sealer, &report);
        let at = if suite.is_aead() { packet.len() - 4 } else { 8 };
        let mut changed = packet.clone();
        changed[at] ^= 0x80;
        assert_eq!(opened_rtcp(&mut opener, &changed), Err(Refusal::Forged));
        assert_eq!(opened_rtcp(&mut opener, &packet), Ok(report));
    }
}

#[test]
fn sources_are_bounded_and_known_by_authentic_packets_only() {
    let (mut sealer, mut opener) = pair(Suite::AesCm128Sha1_80, Mki::default());
    for ssrc in 0..1000 {
        let forged = [rtp(1, ssrc, b"x"), vec![0; 10]].concat();
        assert_eq!(opened(&mut opener, &forged), Err(Refusal::Forged));
    }
    for ssrc in 0..SOURCES_MAX as u32 {
        let packet = sealed(&mut sealer, &rtp(1, ssrc, b"x")).unwrap();
        assert!(opened(&mut opener, &packet).is_ok());
    }
    assert_eq!(sealed(&mut sealer, &rtp(1, 5000, b"x")), Err(Refusal::Sources));
    let mut other = Sealer::new(&keying(Suite::AesCm128Sha1_80, 3), Mki::default());
    let packet = sealed(&mut other, &rtp(1, 5000, b"x")).unwrap();
    assert_eq!(opened(&mut opener, &packet), Err(Refusal::Sources));
    let packet = sealed(&mut sealer, &rtp(2, 3, b"x")).unwrap();
    assert!(opened(&mut opener, &packet).is_ok(), "those known go on");
}

#[test]
fn secrets_differ_and_follow_their_seed() {
    let (mut one, mut same, mut other) =
        (Secrets::new([1; 32]), Secrets::new([1; 32]), Secrets::new([2; 32]));
    let draw = |secrets: &mut Secrets| Keying::draw(Suite::AesCm256Sha1_80, secrets).secret().to_vec();
    let first = draw(&mut one);
    assert_eq!(first, draw(&mut same));
    assert_ne!(first, draw(&mut other));
    assert_ne!(first, draw(&mut one));
    assert_ne!(draw(&mut one.fork()), draw(&mut one));
    assert!(first.iter().filter(|byte| **byte == 0).count() < 6);
}

#[test]
fn identifiers_fit_or_are_none() {
    assert_eq!(Mki::new(1, 4).unwrap().bytes(), [0, 0, 0, 1]);
    assert_eq!(Mki::new(0x0102_0304_0506_0708, 8).unwrap().bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((Mki::new(256, 1), Mki::new(1, 0), Mki::new(1, 9)), (None, None, None));
    let suite = Suite::AesCm128Sha1_80;
    let (mut sealer, _) = pair(suite, Mki::new(1, 4).unwrap());
    let mut opener = Opener::new(&keying(suite, 3), Mki::new(2, 4).unwrap());
    let packet = sealed(&mut sealer, &rtp(1, 1, b"x")).unwrap();
    assert_eq!(opened(&mut opener, &packet), Err(Refusal::Forged), "of another key");
}

proptest! {
    #[test]
    fn nothing_changed_is_taken_for_authentic(
        suite in 0..Suite::ALL.len(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        at: proptest::sample::Index,
        flip in 1..=255u8,
        is_rtcp: bool,
    ) {
        let (mut sealer, mut opener) = pair(Suite::ALL[suite], Mki::default());
        if is_rtcp {
            let mut packet = sealed_rtcp(&mut sealer, &[REPORT, &payload].concat());
            let at = at.index(packet.len());
            packet[at] ^= flip;
            prop_assert!(opened_rtcp(&mut opener, &packet).is_err());
        } else {
            let mut packet = sealed(&mut sealer, &rtp(5, 7, &payload)).unwrap();
            let at = at.index(packet.len());
            packet[at] ^= flip;
            prop_assert!(opened(&mut opener, &packet).is_err());
        }
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), suite in 0..Suite::ALL.len()) {
        let mki = Mki::new(1, 1 + bytes.len() % 8).unwrap();
        let (mut sealer, mut opener) = pair(Suite::ALL[suite], mki);
        let _ = opener.open_rtp(&mut bytes.clone());
        let _ = opener.open_rtcp(&mut bytes.clone());
        let _ = sealer.seal_rtp(1, &mut bytes.clone());
        let _ = sealer.seal_rtcp(&mut { bytes });
    }

    /// Whatever is lost, doubled and out of order: each packet comes through once, as long as it is not older than the
    /// window, and as it was sent.
    #[test]
    fn a_stream_comes_through_whatever_the_network_does(
        start: u16,
        suite in 0..Suite::ALL.len(),
        fates in proptest::collection::vec((0..4u8, 0..60usize), 1..300),
    ) {
        let (mut sealer, mut opener) = pair(Suite::ALL[suite], Mki::default());
        let mut arrivals: Vec<(usize, Vec<u8>, Vec<u8>)> = Vec::new();
        let mut lost = 0;
        for (n, (fate, delay)) in fates.iter().enumerate() {
            let plain = rtp(start.wrapping_add(n as u16), 7, &n.to_be_bytes());
            let packet = sealed(&mut sealer, &plain).unwrap();
            // The first one has to come for the counter to be known (RFC 3711 §3.3.1).
            match fate {
                0 if n > 0 => lost += 1,
                1 => {
                    arrivals.push((n, plain.clone(), packet.clone()));
                    arrivals.push((n + 1, plain, packet));
                }
                2 if n > 60 => arrivals.push((n + delay, plain, packet)),
                _ => arrivals.push((n, plain, packet)),
            }
        }
        arrivals.sort_by_key(|(at, ..)| *at);
        let mut came = 0;
        let doubled = arrivals.len() + lost - fates.len();
        let mut refused = 0;
        for (_, plain, packet) in &arrivals {
            match opened(&mut opener, packet) {
                Ok(found) => {
                    prop_assert_eq!(&found, plain);
                    came += 1;
                }
                Err(error) => {
                    prop_assert_eq!(error, Refusal::Replayed);
                    refused += 1;
                }
            }
        }
        prop_assert_eq!((came, refused), (fates.len() - lost, doubled));
    }
}
