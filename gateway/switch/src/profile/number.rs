//! How a number is written on the way out: E.164 with a plus, national, or as it is.
//!
//! What cannot be told to be a whole number stays as it is: short codes and emergency numbers, service codes with `*` or
//! `#`, names.

use core::fmt;

/// Fewer digits are a short code; more than 15 are no E.164 number (ITU-T E.164 §6).
const DIGITS: core::ops::RangeInclusive<usize> = 7..=15;

/// How a number is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumberFormat {
    /// As it is.
    #[default]
    AsIs,
    /// `+` and country code in front.
    E164,
    /// Trunk prefix in front of numbers of the own country, international prefix in front of all others.
    National,
}

impl NumberFormat {
    /// The format of that name: `as-is`, `e164` or `national`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "as-is" => Some(Self::AsIs),
            "e164" => Some(Self::E164),
            "national" => Some(Self::National),
            _ => None,
        }
    }
}

/// How numbers are dialled in a country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberPlan {
    country: String,
    trunk_prefix: String,
    international_prefix: String,
}

impl Default for NumberPlan {
    fn default() -> Self {
        Self { country: String::new(), trunk_prefix: "0".into(), international_prefix: "00".into() }
    }
}

/// What a plan cannot be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The country code is not 1 to 3 digits, the first no 0 (ITU-T E.164 §6.2.1).
    Country(String),
    /// A prefix is longer than 8 digits, or holds something else.
    Prefix(String),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country(text) => {
                write!(f, "\"{text}\" is no country code; write 1 to 3 digits without plus, such as 86")
            }
            Self::Prefix(text) => {
                write!(f, "\"{text}\" is no dialling prefix; write up to 8 digits, such as 00")
            }
        }
    }
}

impl core::error::Error for PlanError {}

impl NumberPlan {
    /// A plan; an empty `country` is none, an empty prefix means that none is dialled.
    ///
    /// # Errors
    /// [`PlanError`] names the part that is no number.
    pub fn new(country: &str, trunk_prefix: &str, international_prefix: &str) -> Result<Self, PlanError> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if country.len() > 3 || !digits(country) || country.starts_with('0') {
            return Err(PlanError::Country(country.to_owned()));
        }
        for prefix in [trunk_prefix, international_prefix] {
            if prefix.len() > 8 || !digits(prefix) {
                return Err(PlanError::Prefix(prefix.to_owned()));
            }
        }
        Ok(Self {
            country: country.to_owned(),
            trunk_prefix: trunk_prefix.to_owned(),
            international_prefix: international_prefix.to_owned(),
        })
    }

    /// Whether a country is named.
    pub const fn has_country(&self) -> bool {
        !self.country.is_empty()
    }

    /// Country code, trunk prefix and international prefix.
    pub fn parts(&self) -> (&str, &str, &str) {
        (&self.country, &self.trunk_prefix, &self.international_prefix)
    }

    /// Writes a number in a format.
    pub fn write(&self, number: &str, format: NumberFormat) -> String {
        let digits = match format {
            NumberFormat::AsIs => None,
            NumberFormat::E164 | NumberFormat::National => self.international(number),
        };
        let Some(digits) = digits else { return number.to_owned() };
        if format == NumberFormat::E164 {
            return format!("+{digits}");
        }
        match digits.strip_prefix(&self.country).filter(|_| self.has_country()) {
            Some(rest) => format!("{}{rest}", self.trunk_prefix),
            None => format!("{}{digits}", self.international_prefix),
        }
    }

    /// The digits from the country code on, of a number that is whole: behind a plus, behind the international prefix,
    /// behind the trunk prefix of a known country, or bare.
    fn international(&self, number: &str) -> Option<String> {
        let after = |prefix: &str| number.strip_prefix(prefix).filter(|_| !prefix.is_empty());
        let digits =
            if let Some(rest) = number.strip_prefix('+').or_else(|| after(&self.international_prefix)) {
                rest.to_owned()
            } else if let Some(rest) = after(&self.trunk_prefix) {
                if !self.has_country() {
                    return None;
                }
                format!("{}{rest}", self.country)
            } else {
                number.to_owned()
            };
        let whole = DIGITS.contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        whole.then_some(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn china() -> NumberPlan {
        NumberPlan::new("86", "0", "00").unwrap()
    }

    #[test]
    fn numbers_of_every_spelling_become_e164() {
        for number in ["+862155550123", "862155550123", "00862155550123", "02155550123"] {
            assert_eq!(china().write(number, NumberFormat::E164), "+862155550123", "{number}");
        }
        assert_eq!(china().write("0044201234567", NumberFormat::E164), "+44201234567");
        let america = NumberPlan::new("1", "1", "011").unwrap();
        assert_eq!(america.write("12015550123", NumberFormat::E164), "+12015550123");
        assert_eq!(america.write("0114420123456", NumberFormat::E164), "+4420123456");
        let nowhere = NumberPlan::default();
        assert_eq!(nowhere.write("02155550123", NumberFormat::E164), "02155550123", "of which country?");
        assert_eq!(nowhere.write("00862155550123", NumberFormat::E164), "+862155550123");
    }

    #[test]
    fn numbers_become_national() {
        for number in ["+862155550123", "862155550123", "00862155550123", "02155550123"] {
            assert_eq!(china().write(number, NumberFormat::National), "02155550123", "{number}");
        }
        assert_eq!(china().write("+44201234567", NumberFormat::National), "0044201234567");
        let spain = NumberPlan::new("34", "", "00").unwrap();
        assert_eq!(spain.write("+34912345678", NumberFormat::National), "912345678");
    }

    #[test]
    fn short_codes_names_and_the_rest_stay() {
        for number in [
            "110",
            "112",
            "95588",
            "*21#",
            "#31#862155550123",
            "alice",
            "anonymous",
            "",
            "+",
            "+1234567890123456",
        ] {
            for format in [NumberFormat::E164, NumberFormat::National, NumberFormat::AsIs] {
                assert_eq!(china().write(number, format), number);
            }
        }
        assert_eq!(china().write("02155550123", NumberFormat::AsIs), "02155550123");
    }

    proptest::proptest! {
        #[test]
        fn writing_twice_changes_nothing_more(number in "[+0-9*#a-z]{0,20}", country in "[1-9][0-9]{0,2}") {
            let plan = NumberPlan::new(&country, "0", "00").unwrap();
            for format in [NumberFormat::E164, NumberFormat::National, NumberFormat::AsIs] {
                let once = plan.write(&number, format);
                proptest::prop_assert_eq!(plan.write(&once, format), once);
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(NumberPlan::new("+86", "0", "00"), Err(PlanError::Country("+86".into())));
        assert!(NumberPlan::new("1234", "0", "00").is_err() && NumberPlan::new("0", "0", "00").is_err());
        assert_eq!(NumberPlan::new("86", "x", "00"), Err(PlanError::Prefix("x".into())));
        assert!(NumberPlan::new("86", "0", "000000000").unwrap_err().to_string().contains("up to 8 digits"));
    }
}
