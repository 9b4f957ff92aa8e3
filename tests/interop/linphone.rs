//! Linphone as a phone: its command line, given orders on standard input, sending a tone from a file.

use crate::place::{PATIENCE, Running, Scene};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

pub(crate) struct Linphone {
    _process: Running,
    orders: ChildStdin,
    lines: Receiver<String>,
    heard: String,
    name: String,
}

impl Linphone {
    /// A phone on ports that it chooses itself.
    pub(crate) fn start(scene: &Scene, name: &str) -> Self {
        let dir = scene.dir.join(name);
        // Without a place for its database it does not start, and does not say so.
        std::fs::create_dir_all(dir.join(".local/share/linphone")).unwrap();
        let config = "[sip]\nsip_port=-1\nsip_tcp_port=-1\nsip_tls_port=0\nguess_hostname=1\nmedia_encryption=none\n\
             [rtp]\naudio_rtp_port=-1\nvideo_rtp_port=-1\ntext_rtp_port=-1\n";
        std::fs::write(dir.join("linphonerc"), config).unwrap();
        std::fs::write(dir.join("tone.wav"), tone()).unwrap();
        // Into a pipe it would speak when its buffer is full, not when it has something to say.
        let mut command = Command::new("stdbuf");
        command
            .args(["-oL", "linphonec", "-c", "linphonerc", "-d", "6", "-l", "debug"])
            .current_dir(&dir)
            .env("HOME", &dir)
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Running::spawn(&mut command, "linphone-cli");
        let orders = process.child().stdin.take().unwrap();
        let said = BufReader::new(process.child().stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut phone =
            Self { _process: process, orders, lines, heard: String::new(), name: name.to_owned() };
        phone.order("soundcard use files");
        phone.order("play tone.wav");
        phone
    }

    /// Gives a command such as `call sip:...` or `terminate`.
    pub(crate) fn order(&mut self, command: &str) {
        writeln!(self.orders, "{command}").unwrap();
    }

    /// Waits for a line that holds this; it and those before it are gone then.
    pub(crate) fn wait_for(&mut self, what: &str) {
        let begun = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(begun.elapsed())
            && let Ok(line) = self.lines.recv_timeout(left)
        {
            let found = line.contains(what);
            self.heard.push_str(&line);
            self.heard.push('\n');
            if found {
                return;
            }
        }
        panic!("{}: {what} awaited; {}", self.name, self.heard);
    }
}

/// Ten seconds of a tone: a WAV file of 16 bits at 8 kHz.
fn tone() -> Vec<u8> {
    let samples: Vec<u8> =
        (0..80_000_u32).flat_map(|n| (if n % 18 < 9 { 6000_i16 } else { -6000 }).to_le_bytes()).collect();
    let length = samples.len() as u32;
    let mut file = Vec::from(*b"RIFF");
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(8000_u32.to_le_bytes());
    file.extend(16_000_u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(length.to_le_bytes());
    file.extend(samples);
    file
}
