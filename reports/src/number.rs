//! Figures as readers want them: grouped, three significant digits, and never rounded into a nicer statement.

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `value` with `decimals` digits after the point, grouped before it.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let text = format!("{:.*}", decimals, value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), grouped);
    let sign = if value < 0.0 && text.bytes().any(|b| matches!(b, b'1'..=b'9')) { "−" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// `value` with three significant digits: `0.0421`, `4.21`, `421`, `4,210`.
pub(crate) fn significant(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    let decimals = match size {
        s if s >= 99.95 => 0,
        s if s >= 9.995 => 1,
        s if s >= 0.9995 => 2,
        s if s >= 0.09995 => 3,
        s if s >= 0.009_995 => 4,
        _ => 5,
    };
    let text = fixed(value, decimals);
    if decimals > 0 && !text.bytes().any(|b| matches!(b, b'1'..=b'9')) {
        return format!("< {}", fixed(10f64.powi(-5), 5));
    }
    text
}

/// Percent (`value` is already x 100). What is not exactly 0 or 100 never prints as 0 or 100.
pub(crate) fn percent(value: f64) -> String {
    if value == 0.0 || value == 100.0 {
        return fixed(value, 0);
    }
    let distance = value.abs().min((100.0 - value).abs());
    let decimals = match distance {
        d if d >= 10.0 => 1,
        d if d >= 0.1 => 2,
        d if d >= 0.01 => 3,
        d if d >= 0.001 => 4,
        _ => 5,
    };
    let text = fixed(value, decimals);
    match text.trim_matches(|c| c == '0' || c == '.') {
        "" => "< 0.00001".to_owned(),
        "1" if value < 100.0 && text.starts_with("100") => "> 99.99999".to_owned(),
        _ => text,
    }
}

/// Nanoseconds in the unit that reads best.
pub(crate) fn duration_ns(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{}\u{a0}s", significant(ns / 1e9)),
        ns if ns >= 1e5 => format!("{}\u{a0}ms", significant(ns / 1e6)),
        ns if ns >= 1e3 => format!("{}\u{a0}µs", significant(ns / 1e3)),
        ns => format!("{}\u{a0}ns", fixed(ns, 0)),
    }
}

/// Nanoseconds as a number of milliseconds, without unit.
pub(crate) fn ms(ns: u64) -> String {
    significant(ns as f64 / 1e6)
}

/// Seconds in the unit that reads best.
pub(crate) fn seconds(s: f64) -> String {
    match s {
        s if s < 600.0 && s.fract() == 0.0 => format!("{}\u{a0}s", fixed(s, 0)),
        s if s >= 86_400.0 => format!("{}\u{a0}h", fixed(s / 3600.0, 1)),
        s if s >= 3600.0 => {
            format!("{}\u{a0}h {}\u{a0}min", fixed((s / 3600.0).floor(), 0), fixed((s % 3600.0) / 60.0, 0))
        }
        s if s >= 600.0 => format!("{}\u{a0}min {}\u{a0}s", fixed((s / 60.0).floor(), 0), fixed(s % 60.0, 0)),
        s => duration_ns(s * 1e9),
    }
}

/// Bytes in binary units.
pub(crate) fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{}\u{a0}B", fixed(scaled, 0))
    } else {
        format!("{}\u{a0}{}", significant(scaled), UNITS[unit])
    }
}

/// A MOS with two digits, rounded down so that 4.299 never reads as 4.30.
pub(crate) fn mos(value: f64) -> String {
    fixed((value * 100.0 + 1e-6).floor() / 100.0, 2)
}

/// A limit's value in its own unit, without the unit.
pub(crate) fn in_unit(value: f64, unit: &str) -> String {
    match unit {
        "%" => percent(value),
        "MOS" => mos(value),
        "B" => bytes(value),
        _ if value.fract() == 0.0 => fixed(value, 0),
        _ => significant(value),
    }
}

/// A limit as it was set: the shortest form, since nobody measured it.
pub(crate) fn bound(value: f64, unit: &str) -> String {
    if unit == "B" {
        return bytes(value);
    }
    let text = format!("{value}");
    fixed(value, text.split_once('.').map_or(0, |(_, fraction)| fraction.len()))
}

/// `measured` so that it cannot be read as equal to `limit` when it is not.
pub(crate) fn against(measured: f64, limit: f64, unit: &str) -> String {
    let text = in_unit(measured, unit);
    let differs = (measured - limit).abs() > f64::EPSILON * limit.abs().max(1.0);
    if differs && text.replace(',', "").parse() == Ok(limit) {
        return format!("{measured}");
    }
    text
}

/// `2026-11-21 07:33:05 UTC` from seconds since 1970.
pub(crate) fn utc(unix: f64) -> String {
    let total = unix.max(0.0).floor() as i64;
    let (day, second) = (total.div_euclid(86_400), total.rem_euclid(86_400));
    // Days to a civil date in the proleptic Gregorian calendar, counted from 1 March of year 0.
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day_of_month:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(fixed(-1234.5, 1), "−1,234.5");
        assert_eq!(fixed(-0.001, 1), "0.0");
        assert_eq!(significant(0.04213), "0.0421");
        assert_eq!(significant(4.2134), "4.21");
        assert_eq!(significant(99.97), "100");
        assert_eq!(significant(4213.0), "4,213");
        assert_eq!(significant(1e-9), "< 0.00001");
        assert_eq!(duration_ns(420_000.0), "0.420\u{a0}ms");
        assert_eq!(duration_ns(42_000.0), "42.0\u{a0}µs");
        assert_eq!(duration_ns(31_500_000_000.0), "31.5\u{a0}s");
        assert_eq!(bytes(16.0 * 1024.0 * 1024.0), "16.0\u{a0}MiB");
        assert_eq!(seconds(3725.0), "1\u{a0}h 2\u{a0}min");
    }

    #[test]
    fn nothing_is_rounded_into_perfection() {
        assert_eq!(percent(100.0), "100");
        assert_eq!(percent(99.9996), "99.99960");
        assert_eq!(percent(99.999_999_9), "> 99.99999");
        assert_eq!(percent(0.000_000_1), "< 0.00001");
        assert_eq!(percent(0.0023), "0.0023");
        assert_eq!(percent(75.0), "75.0");
        assert_eq!(percent(98.36), "98.36");
        assert_eq!(mos(4.2999), "4.29");
        assert_eq!(mos(4.3), "4.30");
        assert_eq!(against(5.000_1, 5.0, "ms"), "5.0001");
        assert_eq!(against(5.0, 5.0, "ms"), "5");
    }

    #[test]
    fn limits_stand_as_they_were_set() {
        assert_eq!(bound(0.01, "%"), "0.01");
        assert_eq!(bound(1000.0, "calls"), "1,000");
        assert_eq!(bound(4.3, "MOS"), "4.3");
        assert_eq!(seconds(93.0), "93\u{a0}s");
    }

    #[test]
    fn dates_are_civil() {
        assert_eq!(utc(0.0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400.0), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_246_385.9), "2026-11-21 07:33:05 UTC");
    }
}
