//! The Target-Dialog header field (RFC 4538 §7): a request outside of a dialog that is about one.

use super::Replaces;
use super::replaces::named;
use crate::message::{Message, Reject, unfold};

/// The dialog that a request names in Target-Dialog, as whoever receives it sees it: its own tag is the local one.
///
/// # Errors
/// 400 if the field stands twice or is malformed (RFC 4538 §7).
pub fn target_dialog(request: &Message<'_>) -> Result<Option<Replaces>, Reject> {
    let bad = |reason| Err(Reject { status: 400, reason });
    let mut fields = request.fields().filter(|field| field.spelling.eq_ignore_ascii_case(b"Target-Dialog"));
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return bad("Multiple Target-Dialog");
    }
    match named(&unfold(field.value), "local-tag", "remote-tag") {
        Some((call_id, to_tag, from_tag)) => {
            Ok(Some(Replaces { call_id, to_tag, from_tag, early_only: false }))
        }
        None => bad("Malformed Target-Dialog"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4538_section_7() {
        let of = |lines: &str| {
            let text = format!(
                "REFER sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
                 To: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 REFER\r\n{lines}\r\n"
            );
            target_dialog(&Message::parse(text.as_bytes()).unwrap()).map_err(|reject| reject.status)
        };
        assert_eq!(of(""), Ok(None));
        let named =
            of("Target-Dialog: fa77as7dad8-sd98ajzz@host.example.com ;local-tag=kkaz-;remote-tag=6544\r\n");
        let named = named.unwrap().unwrap();
        assert_eq!((named.to_tag.as_str(), named.from_tag.as_str()), ("kkaz-", "6544"));
        assert_eq!(named.call_id, "fa77as7dad8-sd98ajzz@host.example.com");
        let one = "Target-Dialog: a;local-tag=1;remote-tag=2\r\n";
        assert_eq!(of(&one.repeat(2)), Err(400));
        assert_eq!(of("Target-Dialog: a;local-tag=1\r\n"), Err(400));
    }
}
