//! How speech sounds after each pair of codecs and each loss, scored by a judge that shares nothing with this code: PESQ (ITU-T P.862, P.862.2).
//!
//! A synthesizer speaks; a phone encodes it, the gateway's transcoder makes the other codec of it, a network loses packets and delays them unevenly,
//! a jitter buffer and the playout make sound of the rest. Both are compared: MOS-LQO, narrow band, or wide band where both codecs are.
//! What each pair scored stands in reports/results/audio/scores.json; none may fall more than [`ROOM`] below that.
//!
//! `cargo test -p media --test score` scores a few pairs, `-- --ignored` all of them; with `TRUNKLINE_WRITE_DOCS=1` the results and
//! docs/audio.md are written anew. tests/run installs espeak-ng, ffmpeg and the judge.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, missing_docs)]

use media::codec::{Codec, Encoder, Rate};
use media::opus::Settings;
use media::playout::{Order, Playout, Source};
use media::transcode::Transcoder;
use rtp::Header;
use rtp::jitter::{Adjust, Buffer, Config, Content, Step};
use sansio::{Random, Time};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MS: i64 = 1_000_000;
/// How far a score may fall before it is a defect: what another version of the synthesizer makes of the text is less.
const ROOM: f64 = 0.25;
const TEXT: &str = "The ship left the harbour before the storm came up. Nine old bricks lay beside the garden wall. \
    She asked him to carry both boxes up the stairs. Please call again when the line is free.";

/// Packets lost of a hundred, and how many in a row on the average.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Loss(f64, f64);

const LOSSES: [Loss; 6] =
    [Loss(0.0, 1.0), Loss(1.0, 1.0), Loss(3.0, 1.0), Loss(10.0, 1.0), Loss(3.0, 3.0), Loss(10.0, 3.0)];

impl Loss {
    fn name(self) -> String {
        if self.1 > 1.0 { format!("{} % in bursts", self.0) } else { format!("{} %", self.0) }
    }

    /// Which packets are lost: a chain of two states (Gilbert).
    fn pattern(self, seed: u64, count: usize) -> Vec<bool> {
        let (mut random, mut lost) = (Random::new(seed), false);
        let share = self.0 / 100.0;
        let stay = if self.1 > 1.0 { 1.0 - 1.0 / self.1 } else { share };
        let begin = if share < 1.0 { share * (1.0 - stay) / (1.0 - share) } else { 1.0 };
        let mut next = || {
            lost = random.chance(if lost { stay } else { begin });
            lost
        };
        (0..count).map(|_| next()).collect()
    }
}

fn codecs() -> Vec<Codec> {
    let opus = Codec::Opus(Settings::of(Rate::Hz48000));
    vec![Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::G729, Codec::L16(Rate::Hz16000), opus]
}

fn is_wide(codec: Codec) -> bool {
    codec.rate() != Rate::Hz8000
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{:?}: {error}; run tests/run", command.get_program()));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn samples(octets: &[u8]) -> Vec<i16> {
    octets.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

fn octets(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// What ffmpeg makes of samples at another rate.
fn resampled(samples: &[i16], from: Rate, to: Rate, name: &str) -> Vec<i16> {
    if from == to {
        return samples.to_vec();
    }
    let path = file(name);
    fs::write(&path, octets(samples)).unwrap();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-f", "s16le", "-ac", "1", "-ar"]);
    ffmpeg.arg(from.hertz().to_string()).arg("-i").arg(&path).args([
        "-ar",
        &to.hertz().to_string(),
        "-f",
        "s16le",
        "-",
    ]);
    self::samples(&run(&mut ffmpeg))
}

/// A man's and a woman's voice, 16 kHz.
fn spoken(name: &str) -> Vec<i16> {
    let mut all = Vec::new();
    for voice in ["en+m3", "en+f2"] {
        let path = file(&format!("{name}-{voice}.wav"));
        run(Command::new("espeak-ng").args(["-v", voice, "-a", "60", "-w"]).arg(&path).arg(TEXT));
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"]).arg(&path);
        all.extend(samples(&run(ffmpeg.args(["-ar", "16000", "-ac", "1", "-f", "s16le", "-"]))));
    }
    all
}

/// A buffer and the present moment.
struct Joined<'a>(&'a mut Buffer, Time);

impl Source for Joined<'_> {
    fn next(&mut self, queued: u32, need: u32) -> Order<'_> {
        match self.0.take(self.1, queued, need) {
            Step::Silence(ticks) | Step::Noise(ticks) | Step::Conceal(ticks) => Order::Nothing(ticks),
            Step::Describe(payload) => Order::Describe(payload),
            Step::Play { payload, adjust, seam, .. } => {
                let shorter = match adjust {
                    Adjust::Keep => 0,
                    Adjust::Shrink(most) => most.cast_signed(),
                    Adjust::Stretch(most) => -most.cast_signed(),
                };
                Order::Play { payload, shorter, seam }
            }
        }
    }
}

/// What a listener hears of speech at the rate of `from`, in samples at the rate of the codec that is listened to, which is returned with them.
fn heard(speech: &[i16], from: Codec, to: Codec, loss: Loss) -> (Vec<i16>, Codec) {
    let (from, to) = (
        from.at(if is_wide(from) { Rate::Hz16000 } else { to.rate() }),
        to.at(if is_wide(to) { Rate::Hz16000 } else { from.rate() }),
    );
    let mut phone = Encoder::new(from, false);
    let mut gateway = (from != to).then(|| Transcoder::new(from, to));
    let mut buffer = Buffer::new(&Config::telephony(to.clock_rate(), 1500));
    let mut playout = Playout::new(to, 1);
    let (size, ticks) = (from.samples(20), to.ticks(to.samples(20)));
    let pattern = loss.pattern(7, speech.len() / size + 1);
    let mut random = Random::new(11);
    let mut coming = Vec::new();
    for (n, samples) in speech.chunks_exact(size).enumerate() {
        let mut payload = vec![0; 1500];
        let octets = phone.encode(samples, &mut payload).octets;
        payload.truncate(octets);
        if let Some(gateway) = &mut gateway {
            gateway.put(&payload);
            payload = vec![0; 1500];
            let (octets, _) = gateway.take(&mut payload).unwrap();
            payload.truncate(octets);
        }
        let at = n as i64 * 20 * MS + (random.exponential(3.0) * 1e6) as i64 + 1000 * MS;
        if !pattern[n] {
            let header = Header { sequence: n as u16, timestamp: n as u32 * ticks, ..Header::default() };
            coming.push((at, header, payload));
        }
    }
    coming.sort_by_key(|(at, ..)| *at);
    let (mut out, mut frame, mut now) = (Vec::new(), vec![0; to.samples(20)], 1000 * MS);
    let mut coming = coming.into_iter().peekable();
    while coming.peek().is_some() || buffer.waiting() > 0 {
        while let Some((at, header, payload)) = coming.next_if(|(at, ..)| *at <= now) {
            buffer.put(
                Time::from_nanos(at as u64),
                &header,
                Content::Audio { ticks, then_silent: false },
                &payload,
            );
        }
        playout.fill(&mut Joined(&mut buffer, Time::from_nanos(now as u64)), &mut frame);
        out.extend(&frame);
        now += 20 * MS;
    }
    (out, to)
}

/// What the judge makes of pairs of files: each line has a rate, and the paths of what was spoken and of what was heard.
fn judged(lines: &str) -> Vec<f64> {
    const JUDGE: &str = "import sys, numpy, pesq\nfor line in sys.stdin:\n  rate, spoken, heard = line.split()\n  \
        a, b = (numpy.fromfile(path, dtype='<i2') for path in (spoken, heard))\n  \
        print(pesq.pesq(int(rate), a, b, 'wb' if rate == '16000' else 'nb'), flush=True)\n";
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut judge = Command::new(target.join("score/bin/python"))
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("the judge is missing ({error}): run tests/run, which installs pesq"));
    let mut stdin = judge.stdin.take().unwrap();
    let lines = lines.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = judge.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

/// The scores of pairs: names, loss, MOS-LQO.
fn scores(name: &str, pairs: &[(Codec, Codec)], losses: &[Loss]) -> Vec<(String, String, f64)> {
    let wide = spoken(name);
    let narrow = resampled(&wide, Rate::Hz16000, Rate::Hz8000, &format!("{name}.raw"));
    for (rate, speech) in [(8000, &narrow), (16_000, &wide)] {
        fs::write(file(&format!("{name}-{rate}.raw")), octets(speech)).unwrap();
    }
    let (mut lines, mut rows) = (String::new(), Vec::new());
    for (from, to) in pairs {
        for loss in losses {
            let speech = if is_wide(*from) { &wide } else { &narrow };
            let (sound, codec) = heard(speech, *from, *to, *loss);
            let judged_at = if is_wide(*from) && is_wide(*to) { Rate::Hz16000 } else { Rate::Hz8000 };
            let label = format!("{name}-{}", rows.len());
            let sound = resampled(&sound, codec.rate(), judged_at, &label);
            let path = file(&format!("{label}-heard.raw"));
            fs::write(&path, octets(&sound)).unwrap();
            let rate = judged_at.hertz();
            writeln!(lines, "{rate} {} {}", file(&format!("{name}-{rate}.raw")).display(), path.display())
                .unwrap();
            rows.push((format!("{} to {}", from.name(), to.name()), loss.name()));
        }
    }
    let scores = judged(&lines);
    assert_eq!(scores.len(), rows.len());
    rows.into_iter().zip(scores).map(|((pair, loss), score)| (pair, loss, score)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The least that each pair may score, from the stored results.
fn check(rows: &[(String, String, f64)]) {
    let text = fs::read_to_string(root().join("reports/results/audio/scores.json")).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut fallen = Vec::new();
    for (pair, loss, score) in rows {
        let least = stored["scores"][pair][loss]["least"]
            .as_f64()
            .unwrap_or_else(|| panic!("{pair}, {loss}: not stored"));
        println!("{pair}, {loss}: {score:.2}, at least {least}");
        if *score < least {
            fallen.push(format!("{pair}, {loss}: {score:.2}, at least {least}"));
        }
    }
    assert!(fallen.is_empty(), "{fallen:#?}");
}

#[test]
fn a_few_pairs_sound_as_good_as_they_did() {
    let opus = Codec::Opus(Settings::of(Rate::Hz48000));
    let pairs = [(Codec::Pcma, opus), (opus, Codec::Pcma), (Codec::Pcmu, Codec::G729), (Codec::G722, opus)];
    check(&scores("few", &pairs, &[LOSSES[0], LOSSES[2]]));
}

#[test]
#[ignore = "minutes: all pairs and losses"]
fn all_pairs_sound_as_good_as_they_did() {
    let all = codecs();
    let pairs: Vec<_> = all.iter().flat_map(|from| all.iter().map(|to| (*from, *to))).collect();
    let rows = scores("all", &pairs, &LOSSES);
    if std::env::var_os("TRUNKLINE_WRITE_DOCS").is_some() {
        write(&rows);
    }
    check(&rows);
}

/// The results as JSON, and as a page.
fn write(rows: &[(String, String, f64)]) {
    let mut stored = serde_json::Map::new();
    for (pair, loss, score) in rows {
        let pair = stored.entry(pair).or_insert_with(|| serde_json::json!({}));
        // Near the end of the scale less makes the difference.
        let room = ROOM.min((score - 1.0) / 2.0);
        let least = ((score - room) * 20.0).floor() / 20.0;
        pair[loss] = serde_json::json!({ "mos": (score * 100.0).round() / 100.0, "least": least });
    }
    let command = "TRUNKLINE_WRITE_DOCS=1 cargo test -p media --test score -- --ignored";
    let result = serde_json::json!({ "judge": "pesq 0.0.4 (ITU-T P.862.1, P.862.2)", "command": command, "scores": stored });
    let folder = root().join("reports/results/audio");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("scores.json"), serde_json::to_string_pretty(&result).unwrap() + "\n").unwrap();
    let mut page = format!(
        "# Audio end to end\n\nWritten by `{command}` (`tests/run` installs what it needs); the scores are stored in `reports/results/audio/scores.json`.\n\n\
         A synthesizer's speech (espeak-ng, a man and a woman) is encoded by a phone in the first codec, translated by the gateway's transcoder, and sent in packets of 20 ms over a network \
         with jitter that loses packets at random or in bursts of three on the average; the listener has the jitter buffer, concealment and playout of this repository. The judge is PESQ, run as a program \
         of its own: MOS-LQO of ITU-T P.862.1 at 8 kHz (at best 4.55), or of P.862.2 at 16 kHz (at best 4.64, and stricter) where both codecs are of wide band, marked `wb`. Each cell has the score and, in brackets, the least \
         that the test accepts. L16 of 16 kHz stands for no codec at all. Opus is sent without redundancy, which the playout does not look for.\n\n| pair | {} |\n|---|{}\n",
        LOSSES.map(Loss::name).join(" | "),
        "---|".repeat(LOSSES.len())
    );
    let wide: Vec<&str> = codecs().into_iter().filter(|codec| is_wide(*codec)).map(Codec::name).collect();
    let mut last = "";
    for (pair, loss, _) in rows {
        if pair != last {
            let both = pair.split(" to ").all(|name| wide.contains(&name));
            write!(
                page,
                "{}| {pair}{} |",
                if last.is_empty() { "" } else { "\n" },
                if both { " `wb`" } else { "" }
            )
            .unwrap();
            last = pair;
        }
        let cell = &stored[pair][loss];
        write!(page, " {} ({}) |", cell["mos"], cell["least"]).unwrap();
    }
    page.push('\n');
    fs::write(root().join("docs/audio.md"), page).unwrap();
}
