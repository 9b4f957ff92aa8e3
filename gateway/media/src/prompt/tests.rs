//! Tests of prompts: files of each kind become the same sound in each codec.

use super::*;
use crate::codec::Decoder;
use crate::resample::Rate;
use crate::{Tone, g711};
use std::sync::Arc;

/// A WAV file with a chunk before its data that nobody knows.
fn wave(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let frame = channels * bits / 8;
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    for word in [tag, channels] {
        file.extend(word.to_le_bytes());
    }
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(frame)).to_le_bytes());
    for word in [frame, bits] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"LIST\x03\0\0\0abc\0data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn linear(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|it| it.to_le_bytes()).collect()
}

fn sine(hertz: f64, rate: u32, seconds: f64) -> Vec<i16> {
    let mut samples = vec![0; (f64::from(rate) * seconds) as usize];
    Tone::sine(hertz, 8000, rate).fill(&mut samples);
    samples
}

/// Peak and share of a frequency in what a clip decodes to, its first tenth left out.
fn heard(clip: &Clip, hertz: f64) -> (f64, f64) {
    let mut decoder = Decoder::new(clip.codec());
    let mut samples = Vec::new();
    for n in 0..clip.packets() {
        let mut room = [0; 3000];
        let count = decoder.decode(clip.packet(n).unwrap(), &mut room);
        samples.extend_from_slice(&room[..count]);
    }
    let rate = f64::from(clip.codec().rate().hertz());
    let part = &samples[samples.len() / 10..samples.len() * 9 / 10];
    let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
    for (n, &sample) in part.iter().enumerate() {
        let angle = core::f64::consts::TAU * hertz * n as f64 / rate;
        re += f64::from(sample) * angle.cos();
        im += f64::from(sample) * angle.sin();
        all += f64::from(sample).powi(2);
    }
    let count = part.len() as f64;
    (2.0 * (re * re + im * im).sqrt() / count, 2.0 * (re * re + im * im) / count / all)
}

#[test]
fn every_rate_and_every_encoding_is_the_same_sound_in_every_codec() {
    let mut sounds = Vec::new();
    for rate in RATES {
        sounds.push(Sound::parse(&wave(1, 1, rate, 16, &linear(&sine(700.0, rate, 0.5)))).unwrap());
    }
    let stereo: Vec<i16> = sine(700.0, 44_100, 0.5).into_iter().flat_map(|it| [it, it]).collect();
    sounds.push(Sound::parse(&wave(1, 2, 44_100, 16, &linear(&stereo))).unwrap());
    let law = |encode: fn(i16) -> u8| sine(700.0, 8000, 0.5).into_iter().map(encode).collect::<Vec<u8>>();
    sounds.push(Sound::parse(&wave(6, 1, 8000, 8, &law(g711::alaw_encode))).unwrap());
    sounds.push(Sound::parse(&wave(7, 1, 8000, 8, &law(g711::ulaw_encode))).unwrap());
    for sound in &sounds {
        for codec in [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::L16(Rate::Hz48000)] {
            let clip = Clip::new(sound, codec, 20, false);
            assert_eq!(clip.span(), Duration::from_millis(500), "{} Hz, {codec:?}", sound.rate());
            let packets = 500 / clip.ptime() as usize;
            assert_eq!((clip.packets(), clip.packet(packets)), (packets, None));
            assert!(clip.packet(0).unwrap().len() <= 1400, "it fits into a datagram");
            let (peak, share) = heard(&clip, 700.0);
            assert!((peak / 8000.0 - 1.0).abs() < 0.03, "{} Hz, {codec:?}: peak {peak}", sound.rate());
            assert!(share > 0.995, "{} Hz, {codec:?}: {share}", sound.rate());
        }
        // A codec for speech, in packets of another length.
        let clip = Clip::new(sound, Codec::G729, 30, false);
        assert_eq!((clip.packets(), clip.ticks(), clip.packet(0).unwrap().len()), (17, 240, 30));
    }
}

#[test]
fn what_would_alias_is_gone_and_what_is_heard_stays() {
    for rate in [44_100, 48_000, 16_000] {
        let level = |hertz: f64| {
            let out = convert::convert(&sine(hertz, rate, 0.5), rate, 8000);
            let part = &out[1000..3000];
            (part.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>() / 2000.0 / 3.2e7).log10() * 10.0
        };
        assert!(level(4300.0) < -50.0, "{rate}: {:.1} dB", level(4300.0));
        for hertz in [200.0, 1000.0, 3000.0, 3300.0] {
            assert!(level(hertz).abs() < 0.2, "{rate}, {hertz} Hz: {:.2} dB", level(hertz));
        }
    }
}

#[test]
fn what_cannot_be_played_is_told_with_the_cure() {
    let samples = linear(&sine(700.0, 8000, 0.1));
    for (file, error) in [
        (b"MP3 or whatever".to_vec(), SoundError::NotWave),
        (b"RIFF\0\0\0\0AVI ".to_vec(), SoundError::NotWave),
        (Vec::new(), SoundError::NotWave),
        (b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab".to_vec(), SoundError::NoFormat),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01".to_vec(), SoundError::NoFormat),
        (wave(1, 1, 8000, 24, &samples), SoundError::Encoding(1, 24)),
        (wave(3, 1, 8000, 32, &samples), SoundError::Encoding(3, 32)),
        (wave(1, 1, 12_345, 16, &samples), SoundError::Rate(12_345)),
        (wave(1, 6, 8000, 16, &samples), SoundError::Channels(6)),
        (wave(1, 1, 8000, 16, &[]), SoundError::Empty),
        (wave(7, 1, 8000, 8, &vec![0; 8000 * 601]), SoundError::TooLong(601)),
    ] {
        assert_eq!(Sound::parse(&file), Err(error));
        assert!(error.to_string().contains(';') || error.to_string().contains(','), "{error}");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_read_or_refused() {
    let file = wave(1, 2, 16_000, 16, &linear(&sine(700.0, 16_000, 0.05)));
    for length in 0..file.len() {
        let mut cut = file[..length].to_vec();
        let _ = Sound::parse(&cut);
        if let Some(last) = cut.last_mut() {
            *last ^= 0xff;
            let _ = Sound::parse(&cut);
        }
    }
    // Any octet may say anything.
    for at in 0..48 {
        for value in [0, 1, 2, 6, 7, 0x7f, 0x80, 0xfe, 0xff] {
            let mut other = file.clone();
            other[at] = value;
            if let Ok(sound) = Sound::parse(&other) {
                assert!(Clip::new(&sound, Codec::Pcma, 20, true).packets() > 0);
            }
        }
    }
    let cut = Sound::parse(&file[..file.len() - 100]).unwrap();
    assert_eq!(cut.samples().len(), 400 - 25, "what is there is played");
}

#[test]
fn a_shelf_keeps_what_is_wanted_and_makes_room() {
    let clip = |seconds: f64| {
        let sound = Sound::new(8000, sine(700.0, 8000, seconds));
        Arc::new(Clip::new(&sound, Codec::Pcma, 20, false))
    };
    let wanted = |file: &str| Wanted::new(file, Codec::Pcma, 20, false);
    let mut shelf = Shelf::new(30_000);
    assert!(shelf.get(&wanted("a"), 1).is_none());
    for name in ["a", "b", "c"] {
        shelf.put(wanted(name), 1, &clip(1.0));
    }
    assert!(shelf.get(&wanted("a"), 1).is_some());
    assert!(shelf.get(&wanted("a"), 2).is_none(), "the file has changed");
    assert!(shelf.get(&Wanted::new("a", Codec::Pcmu, 20, false), 1).is_none());
    shelf.put(wanted("d"), 1, &clip(1.0));
    assert!(shelf.get(&wanted("b"), 1).is_none(), "wanted longest ago");
    assert!(shelf.get(&wanted("a"), 1).is_some() && shelf.get(&wanted("d"), 1).is_some());
    shelf.put(wanted("large"), 1, &clip(4.0));
    assert!(shelf.get(&wanted("large"), 1).is_none(), "larger than all the room");
    let stats = shelf.stats();
    assert_eq!((stats.made, stats.evicted, stats.hits), (5, 1, 3));
    assert!((24_000..30_000).contains(&stats.octets), "{stats:?}");
}
