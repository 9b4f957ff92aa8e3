//! The Date header field: seconds since 1970 as SIP writes them (RFC 3261 §20.17), and back.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sat, 13 Nov 2010 23:29:00 GMT`, for a time since 1970 in seconds; years beyond 9999 are cut.
pub fn write(seconds: u64) -> String {
    let seconds = seconds.min(253_402_300_799);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month],
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Seconds since 1970 of a Date field's value; `None` if it is no date of this form. The day of the week is not checked.
pub fn read(text: &str) -> Option<u64> {
    let (_, rest) = text.trim().split_once(',')?;
    let mut words = rest.split_ascii_whitespace();
    let number = |word: &str, digits: usize| -> Option<u64> {
        (word.len() == digits && word.bytes().all(|byte| byte.is_ascii_digit())).then(|| word.parse().ok())?
    };
    let day = number(words.next()?, 2)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
    let year = number(words.next()?, 4)?;
    let mut time = words.next()?.split(':');
    let mut part = || number(time.next()?, 2);
    let (hour, minute, second) = (part()?, part()?, part()?);
    let zone = words.next()?;
    let in_time = hour < 24 && minute < 60 && second < 61 && time.next().is_none();
    if year < 1970 || !in_time || !zone.eq_ignore_ascii_case("GMT") || words.next().is_some() {
        return None;
    }
    let first = days_before_year(year) + (0..month).map(|month| length(year, month)).sum::<u64>();
    if day == 0 || day > length(year, month) {
        return None;
    }
    Some((first + day - 1) * 86_400 + hour * 3600 + minute * 60 + second)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn length(year: u64, month: usize) -> u64 {
    match month {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of January of a year from 1970 on.
const fn days_before_year(year: u64) -> u64 {
    (year - 1970) * 365 + leap_years(year - 1) - leap_years(1969)
}

/// Leap years up to a year, that year included.
const fn leap_years(year: u64) -> u64 {
    year / 4 - year / 100 + year / 400
}

/// Year, month from 0, and day from 1, of a number of days since 1970.
fn civil(days: u64) -> (u64, usize, u64) {
    let mut year = 1970 + days / 366;
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    let mut rest = days - days_before_year(year);
    let mut month = 0;
    while rest >= length(year, month) {
        rest -= length(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3261 §20.17
    #[test]
    fn dates_are_read_as_they_are_written() {
        assert_eq!(read("Sat, 13 Nov 2010 23:29:00 GMT"), Some(1_289_690_940));
        assert_eq!(write(1_289_690_940), "Sat, 13 Nov 2010 23:29:00 GMT");
        assert_eq!(write(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        for seconds in (0..253_402_300_800).step_by(86_400 * 97 + 12_345) {
            assert_eq!(read(&write(seconds)), Some(seconds), "{}", write(seconds));
        }
        assert_eq!(read("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert!(write(u64::MAX).ends_with("9999 23:59:59 GMT"));
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for text in [
            "",
            "Sat",
            "Sat, 13 Nov 2010",
            "Sat, 13 Nov 2010 23:29:00",
            "Sat, 13 Nov 2010 23:29:00 CET",
            "Sat, 32 Nov 2010 23:29:00 GMT",
            "Sat, 00 Nov 2010 23:29:00 GMT",
            "Wed, 29 Feb 2023 00:00:00 GMT",
            "Sat, 13 Nix 2010 23:29:00 GMT",
            "Sat, 13 Nov 1969 23:29:00 GMT",
            "Sat, 13 Nov 2010 24:29:00 GMT",
            "Sat, 13 Nov 2010 23:60:00 GMT",
            "Sat, 13 Nov 2010 23:29:00:00 GMT",
            "Sat, 13 Nov 2010 23:29:00 GMT x",
            "Sat, +1 Nov 2010 23:29:00 GMT",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
