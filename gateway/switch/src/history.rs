//! How a call came to be for whom it is for: History-Info (RFC 7044) and Diversion (RFC 5806), read, continued by what the
//! gateway did itself, and written as a trunk wants to be told (RFC 7544).

use crate::session::{text, user_of};
use sip::message::{Message, Name, NameAddr};
use std::borrow::Cow;

/// Most entries that are told.
const ENTRIES_MAX: usize = 20;

/// What an entry says instead of its URI where its privacy is asked for (RFC 7044 §10.1.2, RFC 3323 §4.1.1.3).
const HIDDEN: &str = "sip:anonymous@anonymous.invalid";

/// How a trunk is told of diversions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// What passes passes; nothing is added.
    #[default]
    AsIs,
    /// By History-Info, the gateway's own steps included.
    HistoryInfo,
    /// By Diversion.
    Diversion,
    /// By both.
    Both,
    /// Not at all.
    None,
}

impl Telling {
    /// The way of that name.
    pub fn named(text: &str) -> Option<Self> {
        let all = [
            ("as-is", Self::AsIs),
            ("history-info", Self::HistoryInfo),
            ("diversion", Self::Diversion),
            ("both", Self::Both),
            ("none", Self::None),
        ];
        all.into_iter().find(|(name, _)| *name == text).map(|(_, way)| way)
    }
}

/// One target that the gateway has tried, or tries now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The number it was asked for.
    pub(crate) number: String,
    /// Why it failed, as a SIP status; 0 while it has not.
    pub(crate) status: u16,
    /// Whether the target before it sent the call on to it (3xx).
    pub(crate) sent_on: bool,
}

/// What the gateway knows of a call's way.
pub(crate) struct Known<'a> {
    /// The number that the call came for.
    pub(crate) dialled: &'a str,
    /// The gateway's own host: carriers are not told of each other.
    pub(crate) host: &'a str,
    /// Its own steps in order, the present one last.
    pub(crate) steps: &'a [Step],
    /// Whether the trunk is in our trust domain.
    pub(crate) trusted: bool,
}

/// An entry of History-Info.
#[derive(Clone, Debug)]
struct Entry {
    /// The URI targeted, without its headers.
    uri: String,
    /// Its headers, behind the question mark.
    headers: String,
    index: String,
    /// `rc`, `mp` or `np` with its value, and whatever else there is.
    params: Vec<String>,
}

impl Entry {
    fn parse(value: &[u8]) -> Option<Self> {
        let address = NameAddr::parse(value)?;
        let uri = text(address.uri);
        let (uri, headers) = uri.split_once('?').unwrap_or((&uri, ""));
        let mut index = None;
        let mut params = Vec::new();
        for (name, value) in address.params.iter() {
            let (name, value) = (text(name), value.map(text));
            if name.eq_ignore_ascii_case("index") {
                index = value.filter(|it| it.split('.').all(|n| !n.is_empty() && n.parse::<u16>().is_ok()));
            } else {
                params.push(value.map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            }
        }
        Some(Self { uri: uri.to_owned(), headers: headers.to_owned(), index: index?, params })
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find_map(|param| {
            let (key, value) = param.split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The cause for which a call was sent here (RFC 4458 §2).
    fn cause(&self) -> Option<u16> {
        let mut params = self.uri.split(';').skip(1);
        params.find_map(|param| {
            let (name, value) = param.split_once('=')?;
            name.eq_ignore_ascii_case("cause").then(|| value.parse().ok())?
        })
    }

    /// Whether it asks not to be shown (RFC 7044 §10.1.1).
    fn is_private(&self) -> bool {
        self.headers.split('&').any(|header| {
            header.split_once('=').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("Privacy") && value.to_ascii_lowercase().contains("history")
            })
        })
    }

    fn write(&self, trusted: bool) -> String {
        let hidden = !trusted && self.is_private();
        let uri = if hidden { HIDDEN } else { &self.uri };
        let headers =
            if self.headers.is_empty() || hidden { String::new() } else { format!("?{}", self.headers) };
        let params: String = self.params.iter().map(|param| format!(";{param}")).collect();
        format!("<{uri}{headers}>;index={}{params}", self.index)
    }
}

/// Writes into the fields of an INVITE how the call came, as the trunk is to be told. Gives the number of entries left out
/// since there were too many.
pub(crate) fn tell(
    fields: &mut Vec<(String, String)>,
    invite: &Message<'_>,
    telling: Telling,
    known: &Known<'_>,
) -> u64 {
    if telling == Telling::AsIs {
        return 0;
    }
    let is = |name: &str, of: Name| name.eq_ignore_ascii_case(of.as_str());
    fields.retain(|(name, _)| !is(name, Name::HistoryInfo) && !is(name, Name::Diversion));
    let diverted: Vec<Diverted> = invite.values(Name::Diversion).filter_map(Diverted::parse).collect();
    let mut entries: Vec<Entry> = invite.values(Name::HistoryInfo).filter_map(Entry::parse).collect();
    if entries.is_empty() {
        entries = from_diversions(&diverted, known);
    }
    let mut dropped = 0;
    let mut all = entries.clone();
    continue_by(&mut all, known);
    let sent_on = from_history(&all[entries.len()..]);
    if matches!(telling, Telling::HistoryInfo | Telling::Both) {
        // The oldest say least of where the call goes.
        dropped += all.len().saturating_sub(ENTRIES_MAX) as u64;
        let first = all.len().saturating_sub(ENTRIES_MAX);
        let values: Vec<String> = all[first..].iter().map(|entry| entry.write(known.trusted)).collect();
        fields.push((Name::HistoryInfo.as_str().to_owned(), values.join(", ")));
    }
    if matches!(telling, Telling::Diversion | Telling::Both) {
        let before = if diverted.is_empty() { from_history(&entries) } else { diverted };
        let all = [sent_on, before].concat();
        dropped += all.len().saturating_sub(ENTRIES_MAX) as u64;
        for diversion in all.iter().take(ENTRIES_MAX) {
            fields.push((Name::Diversion.as_str().to_owned(), diversion.write(known.trusted)));
        }
    }
    dropped
}

/// Adds the gateway's own steps: the target that the call came with, if nobody has told of it, and below it each target
/// tried, with why it failed (RFC 7044 §9.1, §10.3).
fn continue_by(entries: &mut Vec<Entry>, known: &Known<'_>) {
    let own = |number: &str| {
        let at = if number.is_empty() { "" } else { "@" };
        format!("sip:{number}{at}{}", known.host)
    };
    let parent = match entries.last() {
        Some(last) if same_number(&user_of(last.uri.as_bytes()), known.dialled) => last.index.clone(),
        last => {
            // RFC 7044 §10.3 rule 6: a 0 says that somebody before us has told nothing.
            let index = last.map_or_else(|| "1".to_owned(), |last| format!("{}.0.1", last.index));
            let uri = own(known.dialled);
            entries.push(Entry { uri, headers: String::new(), index: index.clone(), params: Vec::new() });
            index
        }
    };
    let mut number_from = parent.clone();
    for (number, step) in known.steps.iter().enumerate() {
        let headers = match step.status {
            0 => String::new(),
            status => format!("Reason=SIP%3Bcause%3D{status}"),
        };
        let index = format!("{parent}.{}", number + 1);
        // Somebody else, by a redirection: mp, with its cause (RFC 7044 §10.4, RFC 4458 §2); the same user by another
        // address: rc.
        let (uri, param) = if step.sent_on {
            let before = format!("{parent}.{number}");
            number_from.clone_from(&index);
            (format!("{};cause=302", own(&step.number)), format!("mp={before}"))
        } else {
            (own(&step.number), format!("rc={number_from}"))
        };
        entries.push(Entry { uri, headers, index, params: vec![param] });
    }
}

fn same_number(one: &str, other: &str) -> bool {
    let digits = |text: &str| text.trim_start_matches('+').to_owned();
    !other.is_empty() && digits(one) == digits(other)
}

/// One diversion of RFC 5806.
#[derive(Clone, Debug)]
struct Diverted {
    uri: String,
    reason: Cow<'static, str>,
    counter: u32,
    /// `privacy` and the like, as they came.
    params: Vec<String>,
}

impl Diverted {
    fn parse(value: &[u8]) -> Option<Self> {
        let address = NameAddr::parse(value)?;
        let (mut reason, mut counter) = (Cow::Borrowed("unknown"), 1);
        let mut params = Vec::new();
        for (name, value) in address.params.iter() {
            let (name, value) = (text(name), value.map(text));
            match (name.to_ascii_lowercase().as_str(), &value) {
                ("reason", Some(value)) => reason = Cow::Owned(value.trim_matches('"').to_owned()),
                ("counter", Some(value)) => counter = value.parse().unwrap_or(1).max(1),
                _ => params.push(value.map_or_else(|| name.clone(), |value| format!("{name}={value}"))),
            }
        }
        Some(Self { uri: text(address.uri), reason, counter, params })
    }

    fn is_private(&self) -> bool {
        let is = |param: &String| {
            let (name, value) = param.split_once('=')?;
            Some(name.eq_ignore_ascii_case("privacy") && !value.trim_matches('"').eq_ignore_ascii_case("off"))
        };
        self.params.iter().filter_map(is).any(|it| it)
    }

    fn write(&self, trusted: bool) -> String {
        let uri = if !trusted && self.is_private() { HIDDEN } else { &self.uri };
        let params: String = self.params.iter().map(|param| format!(";{param}")).collect();
        let counter = if self.counter > 1 { format!(";counter={}", self.counter) } else { String::new() };
        format!("<{uri}>;reason={}{counter}{params}", self.reason)
    }
}

/// Reasons of Diversion and causes of History-Info (RFC 7544 §3.2).
const CAUSES: [(&str, u16); 6] = [
    ("unconditional", 302),
    ("user-busy", 486),
    ("no-answer", 408),
    ("deflection", 480),
    ("unavailable", 503),
    ("unknown", 404),
];

fn cause_of(reason: &str) -> u16 {
    let known = CAUSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(reason));
    known.map_or(404, |(_, cause)| *cause)
}

fn reason_of(cause: u16) -> &'static str {
    // 487 is deflection while the phone rings (RFC 7544 §3.1).
    let cause = if cause == 487 { 480 } else { cause };
    CAUSES.iter().find(|(_, known)| *known == cause).map_or("unknown", |(reason, _)| reason)
}

/// What History-Info would say where there is only Diversion, the oldest first (RFC 7544 §4).
fn from_diversions(diverted: &[Diverted], known: &Known<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut cause = None;
    let targets = diverted.iter().rev().map(|it| (it.uri.clone(), Some(it)));
    let last = format!("sip:{}@{}", known.dialled, known.host);
    for (uri, diversion) in targets.chain((!diverted.is_empty()).then_some((last, None))) {
        let before = entries.last().map(|entry| entry.index.clone());
        let bare = uri.split('?').next().unwrap_or_default();
        let uri = cause.map_or_else(|| bare.to_owned(), |cause| format!("{bare};cause={cause}"));
        let headers = if diversion.is_some_and(Diverted::is_private) { "Privacy=history" } else { "" };
        entries.push(Entry {
            uri,
            headers: headers.to_owned(),
            index: before.as_ref().map_or_else(|| "1".to_owned(), |before| format!("{before}.1")),
            params: before.map(|before| format!("mp={before}")).into_iter().collect(),
        });
        cause = diversion.map(|it| cause_of(&it.reason));
    }
    entries
}

/// What Diversion would say where there is only History-Info: of each entry with a cause the one it was diverted from, the
/// latest first (RFC 7544 §3).
fn from_history(entries: &[Entry]) -> Vec<Diverted> {
    let mut all = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Some(cause) = entry.cause() else { continue };
        let named = entry.param("mp").and_then(|index| entries[..at].iter().find(|it| it.index == index));
        let Some(from) = named.or_else(|| entries[..at].last()) else { continue };
        let uri = from.uri.split(';').filter(|part| !part.to_ascii_lowercase().starts_with("cause="));
        let params = if from.is_private() { vec!["privacy=full".to_owned()] } else { Vec::new() };
        all.push(Diverted {
            uri: uri.collect::<Vec<_>>().join(";"),
            reason: Cow::Borrowed(reason_of(cause)),
            counter: 1,
            params,
        });
    }
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: &str, telling: Telling, steps: &[(&str, u16)], trusted: bool) -> Vec<String> {
        let text = format!(
            "INVITE sip:4930@gw SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:4930@h>\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\n{fields}\r\n"
        );
        let steps: Vec<Step> = steps
            .iter()
            .map(|(number, status)| Step { number: (*number).to_owned(), status: *status, sent_on: false })
            .collect();
        let known = Known { dialled: "4930", host: "192.0.2.7", steps: &steps, trusted };
        let mut fields = vec![("Diversion".to_owned(), "passed".to_owned())];
        let dropped = tell(&mut fields, &Message::parse(text.as_bytes()).unwrap(), telling, &known);
        assert_eq!(dropped, 0);
        fields.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn nothing_is_touched_or_nothing_is_told() {
        assert_eq!(told("", Telling::AsIs, &[("1", 0)], true), ["Diversion: passed"]);
        let none: [&str; 0] = [];
        assert_eq!(told("Diversion: <sip:a@b>\r\n", Telling::None, &[("1", 0)], true), none);
        assert_eq!(told("", Telling::Diversion, &[("1", 0)], true), none, "a failover is no diversion");
    }

    /// RFC 7044 §9.1, §10.3 (index), §10.4 (rc).
    #[test]
    fn the_gateways_own_steps_are_told_each_with_why_it_failed() {
        let own = told("", Telling::HistoryInfo, &[("+4930", 503), ("030", 408), ("4930", 0)], false);
        let expected = "History-Info: <sip:4930@192.0.2.7>;index=1, \
            <sip:+4930@192.0.2.7?Reason=SIP%3Bcause%3D503>;index=1.1;rc=1, \
            <sip:030@192.0.2.7?Reason=SIP%3Bcause%3D408>;index=1.2;rc=1, <sip:4930@192.0.2.7>;index=1.3;rc=1";
        assert_eq!(own, [expected]);
        let came = "History-Info: <sip:1@x>;index=1, <sip:+4930@x;cause=486>;index=1.1;mp=1\r\n";
        let more = told(came, Telling::HistoryInfo, &[("4930", 0)], false);
        let expected = "History-Info: <sip:1@x>;index=1, <sip:+4930@x;cause=486>;index=1.1;mp=1, \
            <sip:4930@192.0.2.7>;index=1.1.1;rc=1.1";
        assert_eq!(more, [expected]);
        let gap = told("History-Info: <sip:1@x>;index=1.2\r\n", Telling::HistoryInfo, &[("4930", 0)], false);
        let expected = "History-Info: <sip:1@x>;index=1.2, <sip:4930@192.0.2.7>;index=1.2.0.1, \
            <sip:4930@192.0.2.7>;index=1.2.0.1.1;rc=1.2.0.1";
        assert_eq!(gap, [expected]);
    }

    /// RFC 7544 §3 and §4.
    #[test]
    fn each_form_is_made_of_the_other() {
        let diversion = "Diversion: <sip:2@x>;reason=user-busy, <sip:1@x>;reason=no-answer;privacy=full\r\n";
        let history = told(diversion, Telling::HistoryInfo, &[("4930", 0)], true);
        let expected = "History-Info: <sip:1@x?Privacy=history>;index=1, <sip:2@x;cause=408>;index=1.1;mp=1, \
            <sip:4930@192.0.2.7;cause=486>;index=1.1.1;mp=1.1, <sip:4930@192.0.2.7>;index=1.1.1.1;rc=1.1.1";
        assert_eq!(history, [expected]);
        let came = format!("{}\r\n", history[0]);
        let back = told(&came, Telling::Diversion, &[("4930", 0)], true);
        let expected =
            ["Diversion: <sip:2@x>;reason=user-busy", "Diversion: <sip:1@x>;reason=no-answer;privacy=full"];
        assert_eq!(back, expected);
        let both = told(diversion, Telling::Both, &[("4930", 0)], true);
        assert_eq!(both.len(), 3);
        assert!(
            told("Diversion: <sip:1@x>;counter=3\r\n", Telling::Diversion, &[], true)[0]
                .ends_with("counter=3")
        );
    }

    /// RFC 7044 §10.1.1 and §10.1.2.
    #[test]
    fn what_is_private_is_hidden_outside_of_our_trust_domain() {
        let came = "History-Info: <sip:1@x?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1, <sip:4930@x;cause=302>;index=1.1;mp=1\r\n";
        let shown = |trusted, telling| told(came, telling, &[], trusted).join("\n");
        assert!(
            shown(true, Telling::HistoryInfo)
                .contains("<sip:1@x?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1,")
        );
        assert!(
            shown(false, Telling::HistoryInfo)
                .starts_with("History-Info: <sip:anonymous@anonymous.invalid>;index=1,")
        );
        assert!(
            shown(false, Telling::Diversion)
                .starts_with("Diversion: <sip:anonymous@anonymous.invalid>;reason=unconditional")
        );
        assert!(shown(true, Telling::Diversion).contains("<sip:1@x>;reason=unconditional;privacy=full"));
    }

    #[test]
    fn nonsense_is_passed_over_and_too_much_is_bounded() {
        let came = "History-Info: <sip:1@x>;index=x, <sip:2@x>, nonsense\r\nDiversion: ;;;\r\n";
        assert_eq!(
            told(came, Telling::Both, &[("4930", 0)], true),
            ["History-Info: <sip:4930@192.0.2.7>;index=1, <sip:4930@192.0.2.7>;index=1.1;rc=1"]
        );
        let steps = vec![Step { number: "1".to_owned(), status: 503, sent_on: false }; 40];
        let known = Known { dialled: "1", host: "h", steps: &steps, trusted: true };
        let mut fields = Vec::new();
        let invite = b"INVITE sip:1@h SIP/2.0\r\n\r\n";
        let dropped = tell(&mut fields, &Message::parse(invite).unwrap(), Telling::HistoryInfo, &known);
        assert_eq!((fields[0].1.split(", ").count(), dropped), (ENTRIES_MAX, 41 - ENTRIES_MAX as u64));
    }

    #[test]
    fn a_redirection_that_was_followed_is_told() {
        let step = |number: &str, status, sent_on| Step { number: number.to_owned(), status, sent_on };
        let steps = [step("4930", 302, false), step("555", 503, true), step("555", 0, false)];
        let known = Known { dialled: "4930", host: "192.0.2.7", steps: &steps, trusted: true };
        let text = "INVITE sip:4930@gw SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@h>;tag=1\r\n\
                    To: <sip:4930@h>\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\nDiversion: <sip:1@h>;reason=user-busy\r\n\r\n";
        let mut fields = Vec::new();
        tell(&mut fields, &Message::parse(text.as_bytes()).unwrap(), Telling::Both, &known);
        let fields: Vec<String> =
            fields.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            fields,
            [
                "History-Info: <sip:1@h>;index=1, <sip:4930@192.0.2.7;cause=486>;index=1.1;mp=1, \
                 <sip:4930@192.0.2.7?Reason=SIP%3Bcause%3D302>;index=1.1.1;rc=1.1, \
                 <sip:555@192.0.2.7;cause=302?Reason=SIP%3Bcause%3D503>;index=1.1.2;mp=1.1.1, \
                 <sip:555@192.0.2.7>;index=1.1.3;rc=1.1.2",
                "Diversion: <sip:4930@192.0.2.7>;reason=unconditional",
                "Diversion: <sip:1@h>;reason=user-busy",
            ]
        );
    }
}
