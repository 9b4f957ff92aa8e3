//! What recorded messages may hold and nobody else shall read: blotted out in place, so that lengths stay true.

/// What is blotted out of messages before they leave the shard as a trace or over HEP; keys to media in SDP always are (RFC 4568,
/// RFC 4567), and ICE passwords (RFC 8839).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// Digest responses (RFC 3261 §22.4), and other credentials.
    pub credentials: bool,
    /// Digits in INFO (`application/dtmf-relay`, `application/dtmf`) and KPML reports (RFC 4730): card numbers and PINs.
    pub dtmf: bool,
}

/// Stands for each byte that is not to be read.
const BLOT: u8 = b'x';

impl Masks {
    /// These, and digits if the call hides them.
    pub(crate) fn hiding_keys(self, hides: bool) -> Self {
        Self { dtmf: self.dtmf || hides, ..self }
    }

    /// Blots out what these masks cover; the length stays.
    pub fn apply(self, message: &mut [u8]) {
        let body = body_start(message);
        secrets(&mut message[body..]);
        let digits = self.dtmf && holds_digits(&message[..body]);
        if self.credentials {
            fields(&mut message[..body]);
        }
        if digits {
            blot_digits(&mut message[body..]);
        }
    }
}

/// Where the body begins; the message's length if it has none.
fn body_start(message: &[u8]) -> usize {
    message.windows(4).position(|four| four == b"\r\n\r\n").map_or(message.len(), |at| at + 4)
}

/// The lines of some bytes, as ranges without their ends.
fn lines(bytes: &[u8]) -> Vec<core::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' {
            let end = if at > start && bytes[at - 1] == b'\r' { at - 1 } else { at };
            found.push(start..end);
            start = at + 1;
        }
    }
    found.push(start..bytes.len());
    found
}

fn starts_with(bytes: &[u8], word: &str) -> bool {
    bytes.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
}

fn find(bytes: &[u8], word: &str) -> Option<usize> {
    bytes.windows(word.len()).position(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// Credentials in header fields; a folded field's lines all belong to it (RFC 3261 §7.3.1).
fn fields(header: &mut [u8]) {
    let mut within = false;
    for line in lines(header) {
        let text = &header[line.clone()];
        let folded = matches!(text.first(), Some(b' ' | b'\t'));
        let colon = text.iter().position(|byte| *byte == b':');
        let mut from = line.start;
        if !folded {
            let name = colon.map_or(&[][..], |at| text[..at].trim_ascii());
            within = ["Authorization", "Proxy-Authorization"]
                .iter()
                .any(|secret| name.eq_ignore_ascii_case(secret.as_bytes()));
            let Some(colon) = colon.filter(|_| within) else { continue };
            from += colon + 1;
            let value = header[from..line.end].trim_ascii_start();
            if !starts_with(value, "Digest") && !value.is_empty() {
                // A scheme whose credentials are the secret itself: all behind its name goes.
                let scheme = value.iter().position(|byte| *byte == b' ').unwrap_or(0);
                let start = line.end - value.len() + scheme;
                blot(&mut header[start..line.end], |byte| byte != b' ');
                continue;
            }
        }
        if within {
            response(&mut header[from..line.end]);
        }
    }
}

/// The value of each `response` parameter.
fn response(value: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = find(&value[at..], "response") {
        let name = at + found;
        at = name + "response".len();
        let before = name.checked_sub(1).map(|before| value[before]);
        if before.is_some_and(|byte| !matches!(byte, b' ' | b'\t' | b',')) {
            continue;
        }
        let mut start = at;
        while start < value.len() && matches!(value[start], b' ' | b'\t') {
            start += 1;
        }
        if value.get(start) != Some(&b'=') {
            continue;
        }
        let end = value[start..].iter().position(|byte| *byte == b',').map_or(value.len(), |at| start + at);
        blot(&mut value[start + 1..end], |byte| !matches!(byte, b'"' | b' ' | b'\t'));
        at = end;
    }
}

/// Keys and passwords in SDP.
fn secrets(body: &mut [u8]) {
    for line in lines(body) {
        let text = &body[line.clone()];
        let from = if starts_with(text, "a=crypto:") {
            find(text, "inline:").map(|at| at + "inline:".len())
        } else if starts_with(text, "a=ice-pwd:") {
            Some("a=ice-pwd:".len())
        } else if starts_with(text, "a=key-mgmt:") {
            Some("a=key-mgmt:".len())
        } else if starts_with(text, "k=") {
            Some("k=".len())
        } else {
            None
        };
        if let Some(from) = from {
            blot(&mut body[line.start + from..line.end], |byte| !matches!(byte, b' ' | b'|' | b';'));
        }
    }
}

/// Whether the body of a message with this header is one that carries digits.
fn holds_digits(header: &[u8]) -> bool {
    lines(header).into_iter().any(|line| {
        let text = &header[line];
        let Some(colon) = text.iter().position(|byte| *byte == b':') else { return false };
        let name = text[..colon].trim_ascii();
        (name.eq_ignore_ascii_case(b"Content-Type") || name.eq_ignore_ascii_case(b"c"))
            && (find(&text[colon..], "dtmf").is_some() || find(&text[colon..], "kpml").is_some())
    })
}

fn blot_digits(body: &mut [u8]) {
    let is_digit =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'*' | b'#' | b'A'..=b'D' | b'a'..=b'd');
    let is_xml = find(body, "<").is_some();
    let mut named = false;
    for line in lines(body) {
        let text = &body[line.clone()];
        if is_xml {
            let Some(at) = find(text, "digits=") else { continue };
            let start = line.start + at + "digits=".len();
            let mut quotes = 0;
            for byte in &mut body[start..line.end] {
                quotes += u8::from(*byte == b'"');
                if quotes == 1 && is_digit(*byte) {
                    *byte = BLOT;
                }
            }
            named = true;
        } else if starts_with(text, "Signal") {
            let start = line.start + "Signal".len();
            blot(&mut body[start..line.end], is_digit);
            named = true;
        }
    }
    if !named {
        // application/dtmf: nothing but the digit.
        blot(body, is_digit);
    }
}

fn blot(bytes: &mut [u8], hidden: impl Fn(u8) -> bool) {
    for byte in bytes.iter_mut().filter(|byte| hidden(**byte)) {
        *byte = BLOT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Masks = Masks { credentials: true, dtmf: true };

    fn masked(masks: Masks, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        masks.apply(&mut bytes);
        assert_eq!(bytes.len(), text.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_digest_response_is_hidden_and_the_rest_is_not() {
        let text = "REGISTER sip:h SIP/2.0\r\nauthorization: Digest username=\"response\", uri=\"sip:h\",\r\n \
                    nonce=\"n1\", response=\"0123abcd\", qop=auth\r\nTo: response=\"stays\"\r\n\r\n";
        let shown = masked(ALL, text);
        assert_eq!(shown, text.replace("0123abcd", "xxxxxxxx"));
        assert_eq!(masked(Masks { dtmf: true, ..Masks::default() }, text), text);
        let basic = "INVITE sip:h SIP/2.0\r\nProxy-Authorization: Bearer aGVsbG8=\r\n\r\n";
        assert_eq!(masked(ALL, basic), basic.replace("aGVsbG8=", "xxxxxxxx"));
    }

    #[test]
    fn keys_in_sdp_are_hidden() {
        let text = "INVITE sip:h SIP/2.0\r\nc: application/sdp\r\n\r\nv=0\r\n\
                    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmV|2^20\r\na=ice-pwd:asd88f\r\na=sendrecv\r\n";
        for masks in [ALL, Masks::default()] {
            let shown = masked(masks, text);
            assert_eq!(shown, text.replace("d0RmdmcmV|2^20", "xxxxxxxxx|xxxx").replace("asd88f", "xxxxxx"));
        }
        let other = "INVITE sip:h SIP/2.0\r\n\r\nv=0\r\nk=clear:abc\r\na=key-mgmt:mikey AQAF\r\n";
        assert_eq!(
            masked(ALL, other),
            other.replace("clear:abc", "xxxxxxxxx").replace("mikey AQAF", "xxxxx xxxx")
        );
    }

    #[test]
    fn digits_are_hidden_wherever_they_are_carried() {
        let relay =
            "INFO sip:h SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=5\r\nDuration=160\r\n";
        assert_eq!(masked(ALL, relay), relay.replace("Signal=5", "Signal=x"));
        assert_eq!(masked(Masks { credentials: true, ..Masks::default() }, relay), relay);
        let plain = "INFO sip:h SIP/2.0\r\nc:application/dtmf\r\n\r\n#";
        assert!(masked(ALL, plain).ends_with("\r\nx"));
        let kpml = "NOTIFY sip:h SIP/2.0\r\nContent-Type: application/kpml-response+xml\r\n\r\n\
                    <kpml-response code=\"200\" digits=\"4711\" tag=\"1\"/>";
        assert_eq!(masked(ALL, kpml), kpml.replace("4711", "xxxx"));
        let other = "INFO sip:h SIP/2.0\r\nContent-Type: text/plain\r\n\r\nSignal=5";
        assert_eq!(masked(ALL, other), other);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_length_changes(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let length = bytes.len();
            ALL.apply(&mut bytes);
            prop_assert_eq!(bytes.len(), length);
            let mut text = b"INFO a SIP/2.0\r\nc:dtmf\r\nAuthorization: Digest ".to_vec();
            text.extend_from_slice(&bytes);
            ALL.apply(&mut text);
        }
    }
}
