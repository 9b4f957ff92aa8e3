//! The Replaces header field (RFC 3891 §6.1): which dialog an INVITE shall take the place of.

use super::escape;
use crate::message::{Message, Method, Name, Params, Reject, unfold};

/// A dialog to be replaced, as its Replaces header field names it: from the view of whoever receives the INVITE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of whoever receives the INVITE.
    pub to_tag: String,
    /// The tag of the other side; `0` where that is none (RFC 2543).
    pub from_tag: String,
    /// Only if the dialog is an early one (RFC 3891 §3).
    pub early_only: bool,
}

impl Replaces {
    /// Reads a field's value; `None` if Call-ID or a tag is missing, or a tag stands twice (RFC 3891 §6.1).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (call_id, to_tag, from_tag) = named(value, "to-tag", "from-tag")?;
        let early_only =
            memchr::memchr(b';', value).is_some_and(|end| Params::new(&value[end..]).has("early-only"));
        Some(Self { call_id, to_tag, from_tag, early_only })
    }

    /// The dialog that a request shall replace, if it shall.
    ///
    /// # Errors
    /// 400 if the field stands twice, beside Join (RFC 3911 §4), in another request than INVITE, or is malformed
    /// (RFC 3891 §3).
    pub fn of(request: &Message<'_>) -> Result<Option<Self>, Reject> {
        let bad = |reason| Err(Reject { status: 400, reason });
        let mut fields = request.headers(Name::Replaces);
        let Some(field) = fields.next() else { return Ok(None) };
        if request.method() != Method::Invite {
            return bad("Replaces In Another Request Than INVITE");
        }
        if fields.next().is_some() || request.values(Name::Replaces).count() != 1 {
            return bad("Multiple Replaces");
        }
        if request.header_by_name("Join").is_some() {
            return bad("Replaces And Join");
        }
        Self::parse(&unfold(field)).map_or_else(|| bad("Malformed Replaces"), |it| Ok(Some(it)))
    }

    /// The value as it stands in a URI's header part.
    pub fn escaped(&self) -> String {
        escape(&self.to_string())
    }
}

/// Call-ID and both tags of a dialog, the tags by the names of their parameters; `None` if one is missing or stands twice.
pub(super) fn named(value: &[u8], ours: &str, theirs: &str) -> Option<(String, String, String)> {
    let end = memchr::memchr(b';', value)?;
    let (call_id, params) = (value[..end].trim_ascii(), Params::new(&value[end..]));
    let text = |bytes: &[u8]| {
        let graphic = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
        graphic.then(|| String::from_utf8_lossy(bytes).into_owned())
    };
    let once = |name: &str| {
        let mut found = params.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()));
        let (_, value) = found.next()?;
        if found.next().is_some() { None } else { text(value?) }
    };
    Some((text(call_id)?, once(ours)?, once(theirs)?))
}

impl core::fmt::Display for Replaces {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { call_id, to_tag, from_tag, early_only } = self;
        let early = if *early_only { ";early-only" } else { "" };
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}{early}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_named_by_call_id_and_both_tags() {
        let named =
            Replaces::parse(b" 98732@sip.example.com ;from-tag=r33th4x0r; To-Tag = ff87ff ;early-only")
                .unwrap();
        assert_eq!(named.to_string(), "98732@sip.example.com;to-tag=ff87ff;from-tag=r33th4x0r;early-only");
        assert_eq!(Replaces::parse(named.to_string().as_bytes()), Some(named.clone()));
        assert_eq!(
            named.escaped(),
            "98732%40sip.example.com%3Bto-tag%3Dff87ff%3Bfrom-tag%3Dr33th4x0r%3Bearly-only"
        );
        for bad in [
            "",
            "abc",
            ";to-tag=1;from-tag=2",
            "abc;to-tag=1",
            "abc;from-tag=1",
            "abc;to-tag=1;from-tag",
            "abc;to-tag=1;from-tag=",
            "abc;to-tag=1;to-tag=1;from-tag=2",
            "a b;to-tag=1;from-tag=2",
        ] {
            assert_eq!(Replaces::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn rfc_3891_section_3_refuses_what_cannot_be_meant() {
        let of = |method: &str, lines: &str| {
            let text = format!(
                "{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
                 To: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{lines}\r\n"
            );
            Replaces::of(&Message::parse(text.as_bytes()).unwrap()).map_err(|reject| reject.status)
        };
        let one = "Replaces: c;to-tag=1;from-tag=2\r\n";
        assert_eq!(of("INVITE", ""), Ok(None));
        assert_eq!(of("INVITE", one).unwrap().unwrap().from_tag, "2");
        assert_eq!(of("INVITE", &one.repeat(2)), Err(400));
        assert_eq!(of("INVITE", "Replaces: c;to-tag=1;from-tag=2, d;to-tag=1;from-tag=2\r\n"), Err(400));
        assert_eq!(of("INVITE", "Replaces: c;to-tag=1\r\n"), Err(400));
        assert_eq!(of("INVITE", &format!("{one}Join: c;to-tag=1;from-tag=2\r\n")), Err(400));
        assert_eq!(of("OPTIONS", one), Err(400));
    }
}
