//! The keys of `[calls]` that need more than a look: hosts of redirections, and how large a datagram may be.

use crate::config::{ConfigError, File};
use sip::message::Host;

/// The smallest limit that makes sense: a request without a body is larger.
const DATAGRAM_LEAST: u32 = 500;
/// No UDP datagram holds more.
const DATAGRAM_MOST: u32 = 65_000;

/// Hosts that stand for the gateway in contacts of redirections.
pub(crate) fn redirect_hosts(file: &File, at: &dyn Fn(&str) -> String) -> Result<Vec<String>, ConfigError> {
    for text in &file.calls.redirect_hosts {
        if Host::parse(text.as_bytes()).is_none() {
            let error = format!("\"{text}\" is no host; write a name or an address without port");
            return Err(ConfigError::new(at("calls.redirect_hosts"), error));
        }
    }
    Ok(file.calls.redirect_hosts.clone())
}

/// The size from which on a request goes over TCP.
pub(crate) fn datagram_max(file: &File, at: &dyn Fn(&str) -> String) -> Result<u32, ConfigError> {
    let most = file.calls.datagram_max;
    if most != 0 && !(DATAGRAM_LEAST..=DATAGRAM_MOST).contains(&most) {
        let error = format!(
            "{most} bytes; {DATAGRAM_LEAST} to {DATAGRAM_MOST}, or 0 if size is no reason to use TCP"
        );
        return Err(ConfigError::new(at("calls.datagram_max"), error));
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use crate::config::File;
    use crate::settings::Settings;

    #[test]
    fn mistakes_name_key_and_cure() {
        for (line, words) in [
            ("redirect_hosts = [\"sip:a\"]", "calls.redirect_hosts: \"sip:a\" is no host"),
            ("redirect_hosts = [\"192.0.2.1:5060\"]", "write a name or an address without port"),
            ("datagram_max = 100", "calls.datagram_max: 100 bytes; 500 to 65000, or 0"),
        ] {
            let file = File::parse(&format!("[calls]\n{line}\n")).unwrap();
            let said = Settings::resolve(&file, "gateway.toml").unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
        let text = "[calls]\nredirect_hosts = [\"example.com\", \"192.0.2.1\", \"[2001:db8::1]\"]\ndatagram_max = 0\n";
        let settings = Settings::resolve(&File::parse(text).unwrap(), "gateway.toml").unwrap();
        assert_eq!((settings.shard.redirect_hosts.len(), settings.shard.datagram_max), (3, 0));
    }
}
