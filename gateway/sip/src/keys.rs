//! Keys in the bodies of INFO: `application/dtmf-relay` and `application/dtmf`, which no RFC describes and everybody reads.
//!
//! The first is two lines, `Signal=5` and `Duration=160` in milliseconds; the second is the key alone. Keys are 0 to 9, `*`, `#`, A to D; 10 to 16
//! stand for `*` to flash as telephone events do (RFC 4733 §3.2, RFC 2833 §3.10). What senders vary is taken: letter case, blanks, bare line feeds, a missing duration.

use core::time::Duration;

/// The content types.
pub const RELAY: &str = "application/dtmf-relay";
/// See [`RELAY`].
pub const PLAIN: &str = "application/dtmf";
/// How long a key lasts of which no duration is said; and what one may last.
const CUSTOMARY: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press {
    /// 0 to 9, `*`, `#`, A to D, or `!` for flash.
    pub key: char,
    /// How long; at most a minute.
    pub duration: Duration,
}

impl Press {
    /// Reads a body; parameters after the type do not matter. `None` if it is another type or says no key.
    pub fn parse(content_type: &str, body: &[u8]) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or("").trim();
        let text = core::str::from_utf8(body).ok()?;
        if media.eq_ignore_ascii_case(PLAIN) {
            return Some(Self { key: key(text)?, duration: CUSTOMARY });
        }
        if !media.eq_ignore_ascii_case(RELAY) {
            return None;
        }
        let (mut pressed, mut duration) = (None, CUSTOMARY);
        for line in text.lines() {
            let Some((name, value)) = line.split_once('=') else { continue };
            match name.trim() {
                name if name.eq_ignore_ascii_case("signal") => pressed = Some(key(value)?),
                name if name.eq_ignore_ascii_case("duration") => {
                    let ms: u64 = value.trim().parse().ok()?;
                    duration = Duration::from_millis(ms).min(LONGEST);
                }
                _ => {}
            }
        }
        Some(Self { key: pressed?, duration })
    }

    /// The body of [`RELAY`].
    pub fn relay(&self) -> String {
        let Self { key, duration } = self;
        match key {
            // A flash has no character that all would read.
            '!' => format!("Signal=16\r\nDuration={}\r\n", duration.as_millis()),
            _ => format!("Signal={key}\r\nDuration={}\r\n", duration.as_millis()),
        }
    }

    /// The body of [`PLAIN`].
    pub fn plain(&self) -> String {
        if self.key == '!' { "16".to_owned() } else { self.key.to_string() }
    }
}

fn key(text: &str) -> Option<char> {
    let text = text.trim();
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) => {
            let one = one.to_ascii_uppercase();
            "0123456789*#ABCD!".contains(one).then_some(one)
        }
        _ => "*#ABCD!".chars().nth(text.parse::<usize>().ok()?.checked_sub(10)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        for key in "0123456789*#ABCD!".chars() {
            let press = Press { key, duration: Duration::from_millis(160) };
            assert_eq!(Press::parse(RELAY, press.relay().as_bytes()), Some(press));
            let plain = Press { duration: CUSTOMARY, ..press };
            assert_eq!(Press::parse(PLAIN, press.plain().as_bytes()), Some(plain));
        }
        assert_eq!(
            Press { key: '5', duration: Duration::from_millis(160) }.relay(),
            "Signal=5\r\nDuration=160\r\n"
        );
    }

    #[test]
    fn what_senders_vary_is_taken_and_the_rest_is_not() {
        let relay = |body: &str| Press::parse("Application/DTMF-Relay; charset=utf-8", body.as_bytes());
        let press = |key, ms| Some(Press { key, duration: Duration::from_millis(ms) });
        assert_eq!(relay("Signal= 5\r\nDuration= 160 \r\n"), press('5', 160));
        assert_eq!(relay("signal=d\nX=y\nnothing\n"), press('D', 250));
        assert_eq!(relay("Duration=100\r\nSignal=11"), press('#', 100));
        assert_eq!(relay("Signal=*\r\nDuration=99999999"), press('*', 60_000));
        for bad in [
            "",
            "Signal=",
            "Signal=E",
            "Signal=17",
            "Signal=55",
            "Duration=100",
            "Signal=5\r\nDuration=long",
            "Signal=5\r\nDuration=-1",
        ] {
            assert_eq!(relay(bad), None, "{bad:?}");
        }
        assert_eq!(Press::parse(PLAIN, b" 7\r\n"), press('7', 250));
        assert_eq!(Press::parse(PLAIN, b"\xff"), None);
        assert_eq!(Press::parse("text/plain", b"7"), None);
    }
}
