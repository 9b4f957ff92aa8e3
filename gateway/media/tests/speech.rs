//! Talk-off: hours of a voice must not press a key nor send a fax. Spoken by espeak-ng, a formant synthesizer, which is no person but
//! shares no code with this crate; brought to 8 kHz by ffmpeg. A missing program fails the test and says which package brings it; tests/run installs them.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, missing_docs)]

use media::dtmf;
use media::{g711, signal};
use std::path::PathBuf;
use std::process::Command;

fn run(command: &mut Command, package: &str) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{:?}: {error}: install the package {package}, or run tests/run", command.get_program())
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The Apache licence, read aloud; as samples at 8 kHz.
fn spoken(voice: &str, pitch: &str) -> Vec<i16> {
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/../../LICENSE-APACHE");
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("speech-{voice}-{pitch}.wav"));
    run(Command::new("espeak-ng").args(["-v", voice, "-p", pitch, "-f", text, "-w"]).arg(&file), "espeak-ng");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"]).arg(&file);
    let octets = run(ffmpeg.args(["-ar", "8000", "-ac", "1", "-f", "s16le", "-"]), "ffmpeg");
    std::fs::remove_file(&file).unwrap();
    octets.as_chunks::<2>().0.iter().map(|&pair| i16::from_le_bytes(pair)).collect()
}

#[test]
fn speech_presses_no_key_and_is_no_fax() {
    let (mut seconds, mut keys, mut signals) = (0, Vec::new(), Vec::new());
    for (voice, pitch) in
        [("en+m3", "20"), ("en+f2", "50"), ("en+f4", "90"), ("de+m1", "50"), ("fr+f1", "70"), ("it+m7", "35")]
    {
        let samples: Vec<i16> =
            spoken(voice, pitch).into_iter().map(|s| g711::alaw_decode(g711::alaw_encode(s))).collect();
        seconds += samples.len() / 8000;
        dtmf::Detector::new(8000).hear(&samples, |heard| keys.push((voice, heard)));
        signal::Detector::new(8000).hear(&samples, |heard| signals.push((voice, heard)));
    }
    println!("{seconds} seconds of speech: {keys:?}, {signals:?}");
    assert!(seconds > 3000);
    assert!(keys.is_empty(), "{keys:?}");
    assert!(signals.is_empty(), "{signals:?}");
}
