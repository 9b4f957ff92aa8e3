//! Which addresses of certificates are followed at all.

/// Longest address, in bytes.
const LENGTH_MAX: usize = 1024;

/// Whether an address may be fetched from: `https`, a host, at most a port and a path; neither user nor query nor
/// fragment (ATIS-1000074 §5.3.1, ATIS-1000080). Which hosts and ports is for whoever fetches.
pub fn is_fetchable(url: &str) -> bool {
    is_plain(url, "https://")
}

/// The same for a list of revoked certificates, which is signed and may come by plain HTTP (RFC 5280 §8).
pub(crate) fn is_list_fetchable(url: &str) -> bool {
    is_plain(url, "https://") || is_plain(url, "http://")
}

fn is_plain(url: &str, scheme: &str) -> bool {
    let Some((start, rest)) = url.split_at_checked(scheme.len()) else { return false };
    if !start.eq_ignore_ascii_case(scheme) {
        return false;
    }
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match place.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, after)) if after.is_empty() || after.starts_with(':') => (host, after.get(1..)),
            _ => return false,
        },
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    let of_path = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    url.len() <= LENGTH_MAX
        && !host.is_empty()
        && host.bytes().all(of_host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0) && !port.starts_with('+'))
        && path.bytes().all(of_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_addresses_are_followed() {
        for good in [
            "https://cert.example.org/passport.cer",
            "HTTPS://cert.example.org",
            "https://cert.example.org:8443/a/b%20c.pem",
            "https://[2001:db8::1]:443/a",
            "https://192.0.2.1/a;b",
        ] {
            assert!(is_fetchable(good), "{good}");
        }
        for bad in [
            "",
            "https://",
            "https:///a",
            "http://cert.example.org/a",
            "ftp://cert.example.org/a",
            "cid:abc",
            "https://user@cert.example.org/a",
            "https://cert.example.org/a?b",
            "https://cert.example.org/a#b",
            "https://cert.example.org:/a",
            "https://cert.example.org:0/a",
            "https://cert.example.org:99999/a",
            "https://cert.example.org:+443/a",
            "https://cert.example.org/a b",
            "https://[2001:db8::1/a",
            "https://[2001:db8::1]x/a",
            "https://c\u{e9}rt.example.org/a",
            "httpsé://x",
        ] {
            assert!(!is_fetchable(bad), "{bad}");
        }
        assert!(is_list_fetchable("http://crl.example.org:8080/a.crl") && is_list_fetchable("https://a/b"));
        assert!(!is_list_fetchable("ldap://crl.example.org/cn=a") && !is_list_fetchable("http://a@b/c"));
        assert!(!is_fetchable(&format!("https://a/{}", "a".repeat(2000))));
    }
}
