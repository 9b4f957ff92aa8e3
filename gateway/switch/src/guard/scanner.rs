//! Scanners by the names they call themselves: looked for in User-Agent, before anything is parsed.

/// Whether a message is a request rather than a response.
pub(super) fn is_request(message: &[u8]) -> bool {
    message.first().is_some_and(u8::is_ascii_alphabetic) && !message.starts_with(b"SIP/2.0 ")
}

/// The names that User-Agent holds and that are on the list, which is in lower case; the first found.
pub(super) fn scanner<'a>(message: &[u8], names: &'a [String]) -> Option<&'a str> {
    if names.is_empty() || !is_request(message) {
        return None;
    }
    let agent = user_agent(message)?;
    names.iter().map(String::as_str).find(|name| holds(agent, name.as_bytes()))
}

/// The value of User-Agent (RFC 3261 §20.41: it has no compact form), as far as it stands on its own line.
fn user_agent(message: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"user-agent";
    for line in message.split(|&byte| byte == b'\n').skip(1) {
        if line.is_empty() || line == b"\r" {
            return None; // what follows is the body
        }
        let Some((name, rest)) = line.split_at_checked(NAME.len()) else { continue };
        if name.eq_ignore_ascii_case(NAME)
            && let Some(value) = rest.trim_ascii_start().strip_prefix(b":")
        {
            return Some(value);
        }
    }
    None
}

fn holds(text: &[u8], name: &[u8]) -> bool {
    !name.is_empty() && text.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_found_where_they_stand_and_nowhere_else() {
        let names = ["friendly-scanner".to_owned(), "sipcli".to_owned()];
        let found = |text: &str| scanner(text.as_bytes(), &names).map(str::to_owned);
        let start = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n";
        assert_eq!(
            found(&format!("{start}User-Agent: friendly-scanner\r\n\r\n")).as_deref(),
            Some("friendly-scanner")
        );
        assert_eq!(found(&format!("{start}USER-AGENT :\tSipCLI/v1.8\r\n\r\n")).as_deref(), Some("sipcli"));
        assert_eq!(found(&format!("{start}To: <sip:sipcli@h>\r\n\r\n")), None, "another header field");
        assert_eq!(found(&format!("{start}\r\nUser-Agent: sipcli\r\n")), None, "in the body");
        assert_eq!(found("SIP/2.0 200 OK\r\nUser-Agent: sipcli\r\n\r\n"), None, "an answer to us");
        assert_eq!(found(&format!("{start}User-Agent: phone 1.0\r\n\r\n")), None);
        assert_eq!(found("User-Agent: sipcli"), None);
        assert_eq!(scanner(b"OPTIONS sip:h SIP/2.0\r\nUser-Agent: x\r\n\r\n", &[String::new()]), None);
        assert_eq!(found(""), None);
    }
}
