//! Who calls, as far as it may be told: the identity that a phone prefers (RFC 3325), the privacy that a caller asks for
//! (RFC 3323), and how often a call was diverted (RFC 5806, RFC 7044).

use crate::session::user_of;
use sip::message::{Message, Name, NameAddr};

/// What From says of a caller who hides (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// Fields that tell of the user, taken out for `user` (RFC 3323 §4.1, §5.3).
const OF_USER: [&str; 5] = ["Subject", "Call-Info", "Organization", "Reply-To", "In-Reply-To"];
/// Fields that tell who calls, in the network's word (RFC 3325 §9.3).
const IDENTITIES: [&str; 2] = ["P-Asserted-Identity", "Remote-Party-ID"];
/// Fields that tell the way a call came, taken out for `header` and `history` (RFC 3323 §5.1, RFC 7044 §10.1.1).
const OF_WAY: [&str; 2] = ["History-Info", "Diversion"];

/// The privacy that an INVITE asks for (RFC 3323 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Privacy {
    id: bool,
    user: bool,
    /// `header`, or `history` of RFC 7044.
    way: bool,
    critical: bool,
    unknown: bool,
}

impl Privacy {
    /// What a message asks for. `session` needs nothing more: media is anchored in any case.
    pub(crate) fn of(message: &Message<'_>) -> Self {
        let mut it = Self::default();
        for word in words(message) {
            match word.to_ascii_lowercase().as_slice() {
                // RFC 3323 §4.2: nothing is to be done, whatever else stands there.
                b"none" => return Self::default(),
                b"id" => it.id = true,
                b"user" => it.user = true,
                b"header" | b"history" => it.way = true,
                b"critical" => it.critical = true,
                b"session" => {}
                _ => it.unknown = true,
            }
        }
        it
    }

    /// Whether the call must fail rather than go without a privacy that is not known here (RFC 3323 §5).
    pub(crate) const fn is_beyond_us(self) -> bool {
        self.critical && self.unknown
    }

    /// Does for a trunk outside of our trust domain what was asked for: what From is to say instead, if anything; and
    /// fields are taken out.
    pub(crate) fn hide(self, fields: &mut Vec<(String, String)>) -> Option<String> {
        let is = |name: &str, of: &[&str]| of.iter().any(|other| other.eq_ignore_ascii_case(name));
        fields.retain(|(name, value)| {
            !(self.user && is(name, &OF_USER)
                || (self.user || self.id) && is(name, &IDENTITIES)
                || (self.user || self.way) && is(name, &OF_WAY)
                || name.eq_ignore_ascii_case("Remote-Party-ID") && is_private(value))
        });
        for (_, value) in fields.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("Privacy")) {
            // RFC 3323 §5: what was done is asked for no more.
            let done =
                |word: &&str| !matches!(word.to_ascii_lowercase().as_str(), "user" | "header" | "session");
            let left: Vec<&str> = value.split([';', ',']).map(str::trim).filter(done).collect();
            *value = if left.iter().all(|word| word.eq_ignore_ascii_case("critical")) {
                String::new()
            } else {
                left.join(";")
            };
        }
        fields.retain(|(name, value)| !(name.eq_ignore_ascii_case("Privacy") && value.is_empty()));
        self.user.then(|| ANONYMOUS.to_owned())
    }
}

/// The words of all Privacy fields; blanks and empty ones left out.
fn words<'a>(message: &Message<'a>) -> impl Iterator<Item = &'a [u8]> {
    let fields: Vec<&[u8]> = message.headers(Name::Privacy).collect();
    fields
        .into_iter()
        .flat_map(|value| value.split(|byte| matches!(byte, b';' | b',')))
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}

/// Whether a Remote-Party-ID says that it is not for everybody.
fn is_private(value: &str) -> bool {
    let params = NameAddr::parse(value.as_bytes()).map(|it| it.params);
    params.and_then(|params| params.value("privacy")).is_some_and(|word| !word.eq_ignore_ascii_case(b"off"))
}

/// The number that a user of ours is asserted with: the one preferred if it is his own, else the one in From if that is,
/// else the first of his own (RFC 3325 §5, §9.2).
pub(crate) fn asserted(message: &Message<'_>, name: &str, numbers: &[String]) -> String {
    let own = |number: &String| number == name || numbers.contains(number);
    let preferred = message.values(Name::PPreferredIdentity).filter_map(NameAddr::parse);
    let from = message.from().map(|from| user_of(from.uri));
    let mut wanted = preferred.map(|it| user_of(it.uri)).chain(from);
    wanted.find(own).unwrap_or_else(|| numbers.first().cloned().unwrap_or_else(|| name.to_owned()))
}

/// How often a call was diverted, as far as it says so: by Diversion (RFC 5806 §4, with its counters) or by History-Info
/// (RFC 7044 §5, entries with a cause), whichever says more.
pub(crate) fn diversions(message: &Message<'_>) -> u32 {
    let counter = |it: NameAddr<'_>| {
        let text = it.params.value("counter").and_then(|value| core::str::from_utf8(value).ok());
        text.and_then(|text| text.parse::<u32>().ok()).unwrap_or(1).max(1)
    };
    let diverted = message.values(Name::Diversion).filter_map(NameAddr::parse).map(counter);
    let diverted = diverted.fold(0, u32::saturating_add);
    let has_cause = |it: &NameAddr<'_>| it.uri.windows(6).any(|part| part.eq_ignore_ascii_case(b"cause="));
    let entries = message.values(Name::HistoryInfo).filter_map(NameAddr::parse).filter(has_cause);
    diverted.max(u32::try_from(entries.count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(from: &str, fields: &str, look: impl Fn(&Message<'_>) -> T) -> T {
        let text = format!(
            "INVITE sip:1@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:{from}@h>;tag=1\r\n\
             To: <sip:1@h>\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\n{fields}\r\n"
        );
        look(&Message::parse(text.as_bytes()).unwrap())
    }

    /// RFC 3325 §5: a phone's word counts as far as the number is its own.
    #[test]
    fn a_user_is_asserted_with_its_own_numbers_alone() {
        let numbers = ["+4930111".to_owned(), "+4930222".to_owned()];
        let it = |from: &str, fields: &str| with(from, fields, |message| asserted(message, "bob", &numbers));
        assert_eq!(it("bob", ""), "bob");
        assert_eq!(it("bob", "P-Preferred-Identity: \"B\" <sip:+4930222@h>\r\n"), "+4930222");
        assert_eq!(it("bob", "P-Preferred-Identity: <sip:x@h>, <tel:+49-30-111>\r\n"), "+4930111");
        assert_eq!(it("bob", "P-Preferred-Identity: <sip:+49110@h>\r\n"), "bob");
        assert_eq!(it("stolen", "P-Preferred-Identity: <sip:+49110@h>\r\n"), "+4930111");
        assert_eq!(with("stolen", "", |message| asserted(message, "bob", &[])), "bob");
    }

    fn hidden(privacy: &str) -> (Option<String>, Vec<String>) {
        let fields = [
            ("Subject", "s"),
            ("P-Asserted-Identity", "<sip:a@b>"),
            ("Remote-Party-ID", "<sip:a@b>;privacy=off"),
            ("History-Info", "<sip:a@b>;index=1"),
            ("X-Other", "x"),
            ("Privacy", privacy),
        ];
        let mut fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let it = with("a", &format!("Privacy: {privacy}\r\n"), Privacy::of);
        let from = it.hide(&mut fields);
        let left = fields.into_iter().map(|(name, value)| match name.as_str() {
            "Privacy" => format!("Privacy: {value}"),
            _ => name,
        });
        (from, left.collect())
    }

    /// RFC 3323 §4.2 and §5, RFC 3325 §9.3.
    #[test]
    fn each_kind_of_privacy_hides_what_it_means() {
        let all = ["Subject", "P-Asserted-Identity", "Remote-Party-ID", "History-Info", "X-Other"];
        let left = |privacy: &str| hidden(privacy).1;
        assert_eq!(left("none"), [&all[..], &["Privacy: none"]].concat());
        assert_eq!(left("session"), all);
        assert_eq!(left("id"), ["Subject", "History-Info", "X-Other", "Privacy: id"]);
        assert_eq!(left("header;critical"), ["Subject", "P-Asserted-Identity", "Remote-Party-ID", "X-Other"]);
        assert_eq!(left("USER; id"), ["X-Other", "Privacy: id"]);
        assert_eq!(hidden("user").0.as_deref(), Some(ANONYMOUS));
        assert_eq!((hidden("id").0, hidden("none;user").0), (None, None));
        let mut fields =
            vec![("Remote-Party-ID".to_owned(), "<sip:a@b>;party=calling;privacy=full".to_owned())];
        Privacy::default().hide(&mut fields);
        assert!(fields.is_empty(), "it says itself that it is private");
    }

    #[test]
    fn what_is_critical_and_unknown_cannot_be_done() {
        let beyond = |value: &str| with("a", &format!("Privacy: {value}\r\n"), Privacy::of).is_beyond_us();
        assert!(beyond("stealth;critical") && beyond("critical, x"));
        assert!(!beyond("stealth") && !beyond("user;header;session;id;critical") && !beyond("none;critical"));
    }

    #[test]
    fn diversions_are_counted_by_what_says_more() {
        let count = |fields: &str| with("a", fields, diversions);
        assert_eq!(count(""), 0);
        assert_eq!(count("Diversion: <sip:a@b>;reason=user-busy, <sip:c@d>;counter=4\r\n"), 5);
        assert_eq!(
            count("Diversion: <sip:c@d>;counter=99999999999\r\nDiversion: <sip:c@d>;counter=0\r\n"),
            2
        );
        let history = "History-Info: <sip:a@b>;index=1, <sip:c@d;cause=302>;index=1.1, <sip:e@f;cause=486>;index=1.2\r\n";
        assert_eq!(count(history), 2);
        assert_eq!(count(&format!("{history}Diversion: <sip:a@b>\r\n")), 2);
    }
}
