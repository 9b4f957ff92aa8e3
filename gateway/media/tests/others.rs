//! Held against implementations that share no code with this one, each in a process of its own: ffmpeg, and bcg729 behind a few lines
//! of C that are compiled here. A missing program fails the test and says which package brings it; tests/run installs them.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use media::noise::{Analyser, PAYLOAD_MAX};
use media::{g722, g729};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

/// A file of this test's.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs a program to its end, which has to be good.
fn run(command: &mut Command, package: &str) {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => {
            panic!("{program} is missing: install the package {package}, or run tests/run")
        }
        _ => panic!("{program}: {error}"),
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What ffmpeg makes of octets: input and output are told by arguments.
fn ffmpeg(name: &str, input: &[&str], octets: &[u8], output: &[&str]) -> Vec<u8> {
    let (from, to) = (file(&format!("{name}.in")), file(&format!("{name}.out")));
    fs::write(&from, octets).unwrap();
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    command.args(input).arg("-i").arg(&from).args(output).arg(&to);
    run(&mut command, "ffmpeg");
    fs::read(&to).unwrap()
}

/// The frames of a stream with the length of each before it, through bcg729; `arguments` are those of the C program below.
fn bcg729(name: &str, arguments: &[&str], octets: &[u8]) -> Vec<u8> {
    const SOURCE: &str = r#"
#include <stdint.h>
#include <stdio.h>
void *initBcg729DecoderChannel(void);
void bcg729Decoder(void *, const uint8_t *, uint8_t, uint8_t, uint8_t, uint8_t, int16_t *);
void *initBcg729EncoderChannel(uint8_t);
void bcg729Encoder(void *, const int16_t *, uint8_t *, uint8_t *);
int main(int count, char **argument) {
  FILE *in = fopen(argument[2], "rb"), *out = fopen(argument[3], "wb");
  int16_t samples[80];
  uint8_t size, octets[16] = {0};
  if (!in || !out) return 2;
  if (argument[1][0] == 'd') {
    void *decoder = initBcg729DecoderChannel();
    while (fread(&size, 1, 1, in) == 1) {
      if (fread(octets, 1, size, in) != size) return 3;
      bcg729Decoder(decoder, size ? octets : NULL, size, size == 0, size == 2, 0, samples);
      fwrite(samples, 2, 80, out);
    }
  } else {
    void *encoder = initBcg729EncoderChannel(argument[1][0] == 'v');
    while (fread(samples, 2, 80, in) == 80) {
      size = 0;
      bcg729Encoder(encoder, samples, octets, &size);
      fwrite(&size, 1, 1, out);
      fwrite(octets, 1, size, out);
    }
  }
  return fclose(out) ? 4 : 0;
}
"#;
    let found = fs::read_dir("/usr/lib")
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("libbcg729.so.0"))
        .chain([PathBuf::from("/usr/lib/libbcg729.so.0")])
        .find(|path| path.exists());
    let Some(library) = found else {
        panic!("libbcg729.so.0 is missing: install the package libbcg729-0, or run tests/run")
    };
    let (source, program) = (file(&format!("{name}.c")), file(name));
    fs::write(&source, SOURCE).unwrap();
    run(Command::new("cc").arg("-O1").arg("-o").arg(&program).arg(&source).arg(&library), "gcc");
    let (from, to) = (file(&format!("{name}.in")), file(&format!("{name}.out")));
    fs::write(&from, octets).unwrap();
    run(Command::new(&program).args(arguments).arg(&from).arg(&to), "libbcg729-0");
    fs::read(&to).unwrap()
}

fn octets(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|s| s.to_le_bytes()).collect()
}

fn samples(octets: &[u8]) -> Vec<i16> {
    octets.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

/// Something like a voice, with pauses and background noise: pulses of a gliding pitch through three resonances.
fn voice(rate: u32, seconds: usize) -> Vec<i16> {
    let rate = f64::from(rate);
    let (mut phase, mut seed) = (0.0, 1u32);
    let mut resonances = [[0.0f64; 2]; 3];
    (0..rate as usize * seconds)
        .map(|n| {
            let t = n as f64 / rate;
            phase += (110.0 + 50.0 * (1.7 * t).sin()) / rate;
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(seed.cast_signed()) / 2_147_483_648.0;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase -= pulse;
            let mut x = if t % 1.3 < 0.8 { pulse + 0.02 * noise } else { 0.004 * noise };
            let first = 450.0 + 250.0 * (3.0 * t).sin();
            let second = 1400.0 + 400.0 * (2.3 * t).sin();
            for (memory, (hertz, width)) in
                resonances.iter_mut().zip([(first, 80.0), (second, 120.0), (2700.0, 200.0)])
            {
                let r = (-std::f64::consts::PI * width / rate).exp();
                let y = x + 2.0 * r * (std::f64::consts::TAU * hertz / rate).cos() * memory[0]
                    - r * r * memory[1];
                *memory = [y, memory[0]];
                x = y;
            }
            (1500.0 * x) as i16
        })
        .collect()
}

/// Samples at full scale without sense.
fn noise(count: usize) -> Vec<i16> {
    let mut seed = 5u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as i16
    };
    (0..count).map(|_| next()).collect()
}

/// Signal to noise in dB where there is voice.
fn fidelity(a: &[i16], b: &[i16]) -> f64 {
    let (mut signal, mut error) = (1.0, 1.0);
    for (&a, &b) in a.iter().zip(b) {
        signal += f64::from(a).powi(2);
        error += (f64::from(a) - f64::from(b)).powi(2);
    }
    10.0 * f64::log10(signal / error)
}

#[test]
fn g722_agrees_with_ffmpeg_bit_by_bit_both_ways() {
    const LINEAR: &[&str] = &["-f", "s16le", "-ar", "16000", "-ac", "1"];
    for (name, sent) in [("g722-voice", voice(16_000, 4)), ("g722-noise", noise(32_000))] {
        let mut ours = vec![0; sent.len() / 2];
        g722::Encoder::new().encode(&sent, &mut ours);
        let theirs = ffmpeg(name, LINEAR, &octets(&sent), &["-c:a", "g722", "-f", "g722"]);
        assert!(ours == theirs[..ours.len()], "{name}: octets differ");
        let heard = samples(&ffmpeg(name, &["-f", "g722"], &ours, &["-f", "s16le"]));
        let mut decoded = vec![0; sent.len()];
        g722::Decoder::new().decode(&ours, &mut decoded);
        assert_eq!(decoded.len(), heard.len());
        assert!(decoded == heard, "{name}: samples differ");
    }
    // Octets that no encoder writes.
    let random: Vec<u8> = noise(20_000).iter().map(|&s| s as u8).collect();
    let heard = samples(&ffmpeg("g722-random", &["-f", "g722"], &random, &["-f", "s16le"]));
    let mut decoded = vec![0; 40_000];
    g722::Decoder::new().decode(&random, &mut decoded);
    assert!(decoded == heard, "random octets decode differently");
}

#[test]
fn noise_is_described_as_ffmpeg_does() {
    // RFC 3389: its payloads are 11 octets for each 80 ms; they come bare through a format that takes any octets.
    let mut previous = 0;
    let coloured: Vec<i16> = noise(16_000)
        .iter()
        .map(|&white| {
            previous = previous * 9 / 10 + i32::from(white / 40);
            previous as i16
        })
        .collect();
    const LINEAR: &[&str] = &["-f", "s16le", "-ar", "8000", "-ac", "1"];
    let theirs = ffmpeg("noise", LINEAR, &octets(&coloured), &["-c:a", "comfortnoise", "-f", "mulaw"]);
    let mut count = 0;
    for (samples, theirs) in coloured.as_chunks::<640>().0.iter().zip(theirs.as_chunks::<11>().0) {
        let mut analyser = Analyser::new();
        analyser.hear(samples);
        let mut ours = [0; PAYLOAD_MAX];
        assert_eq!(analyser.describe().write(&mut ours), 11);
        assert!(ours[0].abs_diff(theirs[0]) <= 2, "{ours:?}, {theirs:?}");
        // Low frequencies prevail: far below 127, the sign that both have.
        assert!(ours[1] < 30 && ours[1].abs_diff(theirs[1]) < 12, "{ours:?}, {theirs:?}");
        count += 1;
    }
    assert!(count > 20);
}

/// A stream as bcg729's program takes it: sizes before frames, of any kind.
fn encode_g729(sent: &[i16], compress: bool) -> Vec<u8> {
    let mut encoder = g729::Encoder::new(compress);
    let mut stream = Vec::new();
    for frame in sent.as_chunks::<{ g729::FRAME }>().0 {
        let mut octets = [0; g729::SPEECH_OCTETS];
        let size = encoder.encode(frame, &mut octets);
        stream.push(size as u8);
        stream.extend_from_slice(&octets[..size]);
    }
    stream
}

fn frames(stream: &[u8]) -> Vec<&[u8]> {
    let (mut frames, mut rest) = (Vec::new(), stream);
    while let Some((&size, tail)) = rest.split_first() {
        let (frame, tail) = tail.split_at(usize::from(size));
        frames.push(frame);
        rest = tail;
    }
    frames
}

fn decode_g729(stream: &[u8]) -> Vec<i16> {
    let mut decoder = g729::Decoder::new();
    let mut heard = Vec::new();
    for frame in frames(stream) {
        let mut out = [0; g729::FRAME];
        if frame.is_empty() {
            decoder.missing(&mut out)
        } else {
            decoder.decode(frame, &mut out)
        };
        heard.extend_from_slice(&out);
    }
    heard
}

#[test]
fn ffmpeg_understands_our_g729() {
    // Its decoder is that of the Recommendation's main body, with another post filter: alike, not the same.
    let sent = voice(8000, 5);
    let stream = encode_g729(&sent, false);
    let bare: Vec<u8> = frames(&stream).concat();
    let heard = samples(&ffmpeg("g729-ours", &["-f", "g729"], &bare, &["-f", "s16le"]));
    let ours = decode_g729(&stream);
    assert_eq!(heard.len(), ours.len());
    let found = fidelity(&ours, &heard);
    assert!(found > 15.0, "{found:.1} dB");
}

#[test]
fn bcg729_and_we_understand_each_other_with_silence_too() {
    // It rounds otherwise in places, so that its samples differ by what the Recommendation's arithmetic loses.
    let sent = voice(8000, 6);
    for (name, kind) in [("bcg-e", "e"), ("bcg-v", "v")] {
        let theirs = bcg729(name, &[kind], &octets(&sent));
        assert_eq!(frames(&theirs).len(), sent.len() / g729::FRAME);
        let silent = frames(&theirs).iter().filter(|frame| frame.len() < 10).count();
        assert_eq!(silent > 50, kind == "v", "{silent} silent frames");
        let ours = encode_g729(&sent, kind == "v");
        for stream in [&theirs, &ours] {
            let (here, there) = (decode_g729(stream), samples(&bcg729(name, &["d"], stream)));
            assert_eq!(here.len(), there.len());
            let found = fidelity(&here, &there);
            assert!(found > 18.0, "{name}: {found:.1} dB");
            // Noise is as loud, frame by frame of silence.
            let power = |samples: &[i16]| -> f64 {
                let silent =
                    frames(stream).into_iter().zip(samples.as_chunks::<80>().0).filter(|(f, _)| f.len() < 10);
                silent.flat_map(|(_, samples)| samples).map(|&s| f64::from(s).powi(2)).sum::<f64>() + 1.0
            };
            let louder = 10.0 * (power(&here) / power(&there)).log10();
            assert!(louder.abs() < 1.5, "{name}: noise is {louder:.1} dB louder than theirs");
        }
        // Speech is hardly ever taken for silence, and silence is saved as often as theirs is.
        let saved = |stream: &[u8]| {
            let (mut spoken, mut silent) = (0, 0);
            for (n, frame) in frames(stream).into_iter().enumerate() {
                // 800 ms of voice, 500 ms without; what the encoder looks at is 5 ms late.
                let spoken_at = (n % 130) < 79;
                spoken += u32::from(frame.len() < 10 && spoken_at);
                silent += u32::from(frame.len() < 10 && !spoken_at);
            }
            (spoken, silent)
        };
        if kind == "v" {
            let ((cut, here), (cut_there, there)) = (saved(&ours), saved(&theirs));
            assert!(cut <= 4, "{cut} frames of speech are cut, {cut_there} by them");
            assert!(10 * here >= 9 * there, "{here} frames of silence are saved, {there} by them");
        }
    }
}

#[test]
fn comfort_noise_is_sample_for_sample_bcg729s() {
    // Both draw the same random numbers (ITU-T G.729 §B.4.4), so that only rounding differs.
    let sent: Vec<i16> = noise(32_000).iter().map(|&white| white / 64).collect();
    let stream = bcg729("bcg-noise", &["v"], &octets(&sent));
    let (here, there) = (decode_g729(&stream), samples(&bcg729("bcg-noise", &["d"], &stream)));
    let silent = |samples: &[i16]| -> Vec<i16> {
        let frames = frames(&stream).into_iter().zip(samples.as_chunks::<80>().0);
        frames.filter(|(octets, _)| octets.len() < 10).flat_map(|(_, samples)| *samples).collect()
    };
    let (here, there) = (silent(&here), silent(&there));
    assert!(here.len() > 8000, "{} samples of silence", here.len());
    let found = fidelity(&here, &there);
    assert!(found > 35.0, "{found:.1} dB");
}

#[test]
fn lost_frames_are_concealed_as_bcg729_does() {
    let sent = voice(8000, 4);
    let stream = encode_g729(&sent, false);
    // Every 13th frame, and five in a row now and then.
    let mut damaged = Vec::new();
    for (n, frame) in frames(&stream).into_iter().enumerate() {
        let lost = n % 13 == 7 || n % 97 > 91;
        damaged.push(if lost { 0 } else { frame.len() as u8 });
        damaged.extend_from_slice(if lost { &[] } else { frame });
    }
    let (here, there) = (decode_g729(&damaged), samples(&bcg729("bcg-lost", &["d"], &damaged)));
    let found = fidelity(&here, &there);
    assert!(found > 10.0, "{found:.1} dB");
}
