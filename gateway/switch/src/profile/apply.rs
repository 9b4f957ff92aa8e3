//! A profile applied: the header fields of one INVITE to a trunk, from the caller's INVITE and the profile's rules.

use super::template::Variable;
use super::{Profile, Template};
use core::net::{IpAddr, SocketAddr};
use sip::message::{Message, Name, unfold};
use std::borrow::Cow;

/// Most fields that pass from one INVITE to the next.
const PASSED_MAX: usize = 32;

/// Fields that hold within a trust domain only: from an untrusted caller they are worth nothing (RFC 3325 §5), and
/// an untrusted trunk does not get them (RFC 7315 §4.4, §4.6).
const CONFIDENTIAL: [&str; 6] = [
    "P-Access-Network-Info",
    "P-Charging-Vector",
    "P-Charging-Function-Addresses",
    "P-Visited-Network-ID",
    "P-Served-User",
    "P-Asserted-Service",
];

/// Fields that say who calls: believed from trusted callers only (RFC 3325 §5).
const IDENTITY: [&str; 2] = ["P-Asserted-Identity", "Remote-Party-ID"];

/// An INVITE that is being written.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The caller's.
    pub invite: &'a Message<'a>,
    /// Whether the caller is in our trust domain.
    pub caller_trusted: bool,
    /// The trunk's name.
    pub trunk: &'a str,
    /// The number called, as it is sent.
    pub called: &'a str,
    /// The calling number, as it is sent; empty if there is none.
    pub calling: &'a str,
    /// The number the caller dialled.
    pub dialled: &'a str,
    /// Where the call comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub peer: SocketAddr,
    /// The address the gateway names on this leg.
    pub local: IpAddr,
}

/// The fields of an INVITE beyond those that the endpoint writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Name and value, in order.
    pub fields: Vec<(String, String)>,
    /// Fields that would have passed and were left out because there were too many.
    pub dropped: u64,
}

impl Profile {
    /// Writes the fields of an INVITE.
    pub fn write(&self, call: &Outgoing<'_>) -> Written {
        let mut written = Written::default();
        for field in call.invite.fields() {
            let spelling = match field.name {
                Name::Other => String::from_utf8_lossy(field.spelling),
                known => Cow::Borrowed(known.as_str()),
            };
            let confided = is_one_of(&spelling, &CONFIDENTIAL) || is_one_of(&spelling, &IDENTITY);
            if !self.passes(&spelling) || confided && !call.caller_trusted {
                continue;
            }
            let value = String::from_utf8_lossy(&unfold(field.value)).into_owned();
            let rewrite = self.rewrite.iter().find(|(name, _)| name.as_str().eq_ignore_ascii_case(&spelling));
            let value = match rewrite {
                Some((_, template)) => match call.fill(template, &value) {
                    Some(value) => value,
                    None => continue,
                },
                None => value,
            };
            if written.fields.len() >= PASSED_MAX {
                written.dropped += 1;
                continue;
            }
            written.fields.push((spelling.into_owned(), value));
        }
        for (name, template) in &self.add {
            if let Some(value) = call.fill(template, "") {
                written.fields.push((name.as_str().to_owned(), value));
            }
        }
        if !self.trusted {
            let hides = hides_identity(call.invite);
            written.fields.retain(|(name, _)| {
                // RFC 3325 §7: towards an untrusted hop the identity of who asked for privacy is taken out.
                !(is_one_of(name, &CONFIDENTIAL) || hides && is_one_of(name, &IDENTITY))
            });
        }
        written
    }
}

impl Outgoing<'_> {
    fn fill(&self, template: &Template, value: &str) -> Option<String> {
        template.fill(|variable| match variable {
            Variable::Trunk => self.trunk.chars().filter(|c| !c.is_control()).collect(),
            Variable::Called => plain(self.called),
            Variable::Calling => plain(self.calling),
            Variable::Dialled => plain(self.dialled),
            Variable::Source => crate::session::host(self.source),
            Variable::Peer => self.peer.to_string(),
            Variable::Local => crate::session::host(self.local),
            Variable::Value => value.to_owned(),
        })
    }
}

/// A number without what could end the URI or the quotes that it is put into.
fn plain(number: &str) -> String {
    number.chars().filter(|c| c.is_ascii_graphic() && !"<>\"\\,;@".contains(*c)).collect()
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Whether the caller asks that its asserted identity be kept within the trust domain (RFC 3325 §9.3).
fn hides_identity(invite: &Message<'_>) -> bool {
    invite.headers(Name::Privacy).any(|value| {
        value
            .split(|byte| matches!(byte, b';' | b','))
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"id"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{FieldName, Pattern};
    use super::*;

    fn invite(fields: &str) -> Vec<u8> {
        format!(
            "INVITE sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: <sip:2@x>;tag=1\r\nTo: <sip:1@x>\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\n{fields}Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    fn write(profile: &Profile, caller_trusted: bool, fields: &str) -> Vec<String> {
        let bytes = invite(fields);
        let written = profile.write(&Outgoing {
            invite: &Message::parse(&bytes).unwrap(),
            caller_trusted,
            trunk: "a",
            called: "+8610",
            calling: "+4420",
            dialled: "8610",
            source: "192.0.2.9".parse().unwrap(),
            peer: "192.0.2.1:5060".parse().unwrap(),
            local: "2001:db8::1".parse().unwrap(),
        });
        written.fields.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    fn name(text: &str) -> FieldName {
        FieldName::new(text).unwrap()
    }

    const NONE: [&str; 0] = [];
    const IDENTIFIED: &str = "P-Asserted-Identity: <sip:2@x>\r\nP-Charging-Vector: icid-value=1\r\n";

    #[test]
    fn fields_pass_are_rewritten_removed_and_added() {
        let mut profile = Profile::default();
        profile.let_pass(Pattern::new("X-*").unwrap());
        profile.take_out(Pattern::new("X-Secret").unwrap());
        profile.write_anew(name("X-Colour"), Template::new("{value} on {trunk}", true).unwrap());
        profile.put_in(name("X-Route"), Template::new("{dialled}->{called}@{peer}", false).unwrap());
        let fields = "s: hello\r\n you\r\nX-Colour: red\r\nX-Secret: 1\r\nOrganization: me\r\nX-Other: 2\r\n";
        let expected =
            ["Subject: hello you", "X-Colour: red on a", "X-Other: 2", "X-Route: 8610->+8610@192.0.2.1:5060"];
        assert_eq!(write(&profile, false, fields), expected);
    }

    #[test]
    fn what_the_gateway_writes_never_passes() {
        let mut profile = Profile::default();
        // Not to be made by way of the configuration; the second line of defence.
        profile.pass.push((Pattern::new("X-*").unwrap(), true));
        let fields = "Contact: <sip:x@y>\r\nRecord-Route: <sip:z;lr>\r\nSupported: 100rel\r\nX-A: 1\r\n";
        assert_eq!(write(&profile, true, fields), ["X-A: 1"]);
    }

    #[test]
    fn an_identity_is_believed_from_trusted_callers_only() {
        // RFC 3325 §5
        let ims = Profile::built_in("ims").unwrap();
        assert_eq!(write(&ims, false, IDENTIFIED), NONE);
        let expected = ["P-Asserted-Identity: <sip:2@x>", "P-Charging-Vector: icid-value=1"];
        assert_eq!(write(&ims, true, IDENTIFIED), expected);
    }

    /// RFC 7315 §4.3, §4.4, §4.6: within the trust domain as the profile says, elsewhere never.
    #[test]
    fn what_a_network_says_of_itself_passes_or_is_stripped_by_profile() {
        let fields = "P-Charging-Vector: icid-value=1;orig-ioi=a\r\nP-Access-Network-Info: 3GPP-UTRAN;utran-cell-id-3gpp=2\r\n\
            P-Visited-Network-ID: \"v\"\r\n";
        let mut ims = Profile::built_in("ims").unwrap();
        ims.let_pass(Pattern::new("P-Visited-Network-ID").unwrap());
        let all = fields.trim_end().split("\r\n").map(str::trim).collect::<Vec<_>>();
        assert_eq!(write(&ims, true, fields), all);
        assert_eq!(write(&ims, false, fields), NONE, "from a caller that is not trusted");
        assert_eq!(write(&Profile { trusted: false, ..ims.clone() }, true, fields), NONE);
        ims.take_out(Pattern::new("P-Access-Network-Info").unwrap());
        assert_eq!(write(&ims, true, fields), [all[0], all[2]]);
        assert_eq!(write(&Profile::default(), true, fields), NONE);
    }

    #[test]
    fn an_untrusted_trunk_does_not_see_who_asked_for_privacy() {
        // RFC 3325 §7, §9.3; RFC 7315 §4.4, §4.6
        let untrusted = Profile { trusted: false, ..Profile::built_in("ims").unwrap() };
        assert_eq!(write(&untrusted, true, IDENTIFIED), ["P-Asserted-Identity: <sip:2@x>"]);
        for privacy in ["Privacy: id\r\n", "Privacy: user;ID\r\n", "Privacy: header; id ;critical\r\n"] {
            let seen = write(&untrusted, true, &format!("{IDENTIFIED}{privacy}"));
            assert!(seen.len() == 1 && seen[0].starts_with("Privacy: "), "{seen:?}");
        }
        let shown = write(&untrusted, true, &format!("{IDENTIFIED}Privacy: none\r\n"));
        assert_eq!(shown, ["P-Asserted-Identity: <sip:2@x>", "Privacy: none"]);
        let trusted = Profile::built_in("ims").unwrap();
        assert_eq!(write(&trusted, true, &format!("{IDENTIFIED}Privacy: id\r\n")).len(), 3);
        // An identity that the profile adds is one, too.
        let mut adding = Profile::default();
        adding.put_in(name("P-Asserted-Identity"), Template::new("<sip:{calling}@{local}>", false).unwrap());
        assert_eq!(write(&adding, false, ""), ["P-Asserted-Identity: <sip:+4420@[2001:db8::1]>"]);
        assert_eq!(write(&adding, false, "Privacy: id\r\n"), NONE);
    }

    #[test]
    fn what_passes_is_bounded_and_clean() {
        let mut profile = Profile::default();
        profile.let_pass(Pattern::new("X-*").unwrap());
        let many: String = (0..40).map(|n| format!("X-{n}: 1\r\n")).collect();
        let bytes = invite(&many);
        let call = Outgoing {
            invite: &Message::parse(&bytes).unwrap(),
            caller_trusted: false,
            trunk: "a",
            called: "",
            calling: "",
            dialled: "",
            source: "192.0.2.9".parse().unwrap(),
            peer: "192.0.2.1:5060".parse().unwrap(),
            local: "192.0.2.7".parse().unwrap(),
        };
        let written = profile.write(&call);
        assert_eq!((written.fields.len(), written.dropped), (PASSED_MAX, 40 - PASSED_MAX as u64));
        assert_eq!(plain("+86<\"1\",;@>"), "+861");
    }
}
