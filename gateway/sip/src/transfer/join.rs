//! The Join header field (RFC 3911 §7.1): which dialog an INVITE shall become part of, so that three talk.

use super::{Replaces, escape};
use crate::message::{Message, Method, Name, Reject, unfold};

/// The field's name.
const NAME: &str = "Join";

/// A dialog to be joined, as its Join header field names it: from the view of whoever receives the INVITE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of whoever receives the INVITE.
    pub to_tag: String,
    /// The tag of the other side; `0` where that is none (RFC 2543).
    pub from_tag: String,
}

impl Join {
    /// Reads a field's value; `None` if Call-ID or a tag is missing, or a tag stands twice (RFC 3911 §7.1).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let Replaces { call_id, to_tag, from_tag, .. } = Replaces::parse(value)?;
        Some(Self { call_id, to_tag, from_tag })
    }

    /// The dialog that a request shall join, if it shall.
    ///
    /// # Errors
    /// 400 if the field stands twice, beside Replaces, in another request than INVITE, or is malformed (RFC 3911 §4).
    pub fn of(request: &Message<'_>) -> Result<Option<Self>, Reject> {
        let bad = |reason| Err(Reject { status: 400, reason });
        let mut fields =
            request.fields().filter(|field| field.spelling.eq_ignore_ascii_case(NAME.as_bytes()));
        let Some(field) = fields.next() else { return Ok(None) };
        if request.method() != Method::Invite {
            return bad("Join In Another Request Than INVITE");
        }
        if fields.next().is_some() || field.value.contains(&b',') {
            return bad("Multiple Join");
        }
        if request.header(Name::Replaces).is_some() {
            return bad("Replaces And Join");
        }
        Self::parse(&unfold(field.value)).map_or_else(|| bad("Malformed Join"), |it| Ok(Some(it)))
    }

    /// The dialog by the name that Replaces would give it.
    pub fn dialog(&self) -> Replaces {
        let Self { call_id, to_tag, from_tag } = self.clone();
        Replaces { call_id, to_tag, from_tag, early_only: false }
    }

    /// The value as it stands in a URI's header part.
    pub fn escaped(&self) -> String {
        escape(&self.to_string())
    }
}

impl From<Replaces> for Join {
    fn from(dialog: Replaces) -> Self {
        let Replaces { call_id, to_tag, from_tag, .. } = dialog;
        Self { call_id, to_tag, from_tag }
    }
}

impl core::fmt::Display for Join {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_named_by_call_id_and_both_tags() {
        let named = Join::parse(b"12adf2f34456gs5;to-tag=12345;from-tag=54321;x=y").unwrap();
        assert_eq!(named.to_string(), "12adf2f34456gs5;to-tag=12345;from-tag=54321");
        assert_eq!(named.escaped(), "12adf2f34456gs5%3Bto-tag%3D12345%3Bfrom-tag%3D54321");
        assert_eq!(Join::parse(named.to_string().as_bytes()), Some(named.clone()));
        assert_eq!(Join::from(named.dialog()), named);
        for bad in ["", "a;to-tag=1", "a;from-tag=1", "a;to-tag=1;to-tag=2;from-tag=3"] {
            assert_eq!(Join::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn rfc_3911_section_4_refuses_what_cannot_be_meant() {
        let of = |method: &str, lines: &str| {
            let text = format!(
                "{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
                 To: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{lines}\r\n"
            );
            Join::of(&Message::parse(text.as_bytes()).unwrap()).map_err(|reject| reject.status)
        };
        let one = "join: c;to-tag=1;from-tag=2\r\n";
        assert_eq!(of("INVITE", ""), Ok(None));
        assert_eq!(of("INVITE", one).unwrap().unwrap().from_tag, "2");
        assert_eq!(of("INVITE", &one.repeat(2)), Err(400));
        assert_eq!(of("INVITE", "Join: c;to-tag=1;from-tag=2, d;to-tag=1;from-tag=2\r\n"), Err(400));
        assert_eq!(of("INVITE", "Join: c;to-tag=1\r\n"), Err(400));
        assert_eq!(of("INVITE", &format!("{one}Replaces: c;to-tag=1;from-tag=2\r\n")), Err(400));
        assert_eq!(of("REFER", one), Err(400));
    }
}
