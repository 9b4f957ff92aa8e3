//! Times as people and programs write them: RFC 3339, always in UTC on the way out.

use link::UnixMicros;
use std::fmt;

const DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can name.
const LAST: u64 = 253_402_300_799;

/// A time that displays as `2026-11-21T07:47:46.123456Z`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp(pub(crate) UnixMicros);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.0 / 1_000_000, self.0.0 % 1_000_000);
        let seconds = seconds.min(LAST);
        let (year, month, day) = date(seconds / DAY);
        let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl serde::Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads `2026-11-21T07:47:46[.123456](Z|+01:00)`, `2026-11-21` (its midnight in UTC) or unix seconds.
pub(crate) fn read(text: &str) -> Option<UnixMicros> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1_000_000).map(UnixMicros);
    }
    let (day, rest) = text.split_at_checked(10)?;
    let days = day_number(day)?;
    if rest.is_empty() {
        return Some(UnixMicros(days * DAY * 1_000_000));
    }
    // A blank for T is common, and + in a query is a blank.
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset) = zone(clock)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let (hour, minute) = (field(parts.next()?, 2, 23)?, field(parts.next()?, 2, 59)?);
    let second = field(parts.next()?, 2, 60)?;
    if parts.next().is_some() || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros: u64 = format!("{fraction:0<6.6}").parse().ok()?;
    let seconds = (days * DAY + hour * 3600 + minute * 60 + second).checked_add_signed(-offset)?;
    Some(UnixMicros(seconds * 1_000_000 + micros))
}

/// Splits the zone off; gives its offset from UTC in seconds.
fn zone(clock: &str) -> Option<(&str, i64)> {
    if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = clock.rfind(['+', '-', ' '])?;
    let (clock, zone) = clock.split_at(at);
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let offset = (field(hours, 2, 23)? * 3600 + field(minutes, 2, 59)? * 60).cast_signed();
    Some((clock, if zone.starts_with('-') { -offset } else { offset }))
}

fn field(text: &str, digits: usize, most: u64) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&value| plain && value <= most)
}

/// The number of a day since 1970-01-01, by counting days of the years and months before it.
fn day_number(day: &str) -> Option<u64> {
    let mut parts = day.split('-');
    let year = field(parts.next()?, 4, 9999).filter(|&year| year >= 1970)?;
    let month = field(parts.next()?, 2, 12).filter(|&month| month >= 1)?;
    let day = field(parts.next()?, 2, month_length(year, month)).filter(|&day| day >= 1)?;
    if parts.next().is_some() {
        return None;
    }
    let before: u64 = (1..month).map(|month| month_length(year, month)).sum();
    Some(days_before(year) + before + day - 1)
}

/// Year, month and day of a day's number.
fn date(days: u64) -> (u64, u64, u64) {
    // An estimate that is never too early, then at most two steps back.
    let mut year = 1970 + days / 365;
    while days_before(year) > days {
        year -= 1;
    }
    let mut left = days - days_before(year);
    let mut month = 1;
    while left >= month_length(year, month) {
        left -= month_length(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

/// Days from 1970-01-01 to the first of January of `year`.
const fn days_before(year: u64) -> u64 {
    let past = year - 1;
    let leaps = past / 4 - past / 100 + past / 400;
    // 477 leap years came before 1970.
    (year - 1970) * 365 + leaps - 477
}

const fn month_length(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        let known = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_000_001, "2000-02-28T23:59:59.000001Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_795_247_266_123_456, "2026-11-21T07:47:46.123456Z"),
            (4_107_542_399_000_000, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (LAST * 1_000_000, "9999-12-31T23:59:59.000000Z"),
        ];
        for (micros, text) in known {
            assert_eq!(Stamp(UnixMicros(micros)).to_string(), text);
            assert_eq!(read(text), Some(UnixMicros(micros)), "{text}");
        }
        for day in (0..2_932_896).step_by(97) {
            let at = UnixMicros(day * DAY * 1_000_000);
            assert_eq!(read(&Stamp(at).to_string()), Some(at));
        }
    }

    #[test]
    fn zones_dates_and_seconds_are_understood() {
        let noon = Some(UnixMicros(1_795_262_400_000_000));
        for text in [
            "2026-11-21T12:00:00Z",
            "2026-11-21T13:00:00+01:00",
            "2026-11-21 06:30:00.000-05:30",
            "1795262400",
        ] {
            assert_eq!(read(text), noon, "{text}");
        }
        assert_eq!(read("2026-11-21"), Some(UnixMicros((1_795_262_400 - DAY / 2) * 1_000_000)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-11-21T",
            "2026-11-21T25:00:00Z",
            "2026-11-21T12:00Z",
            "2026-11-21T12:00:00",
            "2026-11-21T12:00:00.Z",
            "1969-01-01",
            "+026-01-01",
            "-5",
            "2026-11-2é",
            "99999999999999999999",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
