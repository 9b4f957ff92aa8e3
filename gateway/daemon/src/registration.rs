//! How a trunk registers with its carrier, checked and completed: registrar, address of record, contact, times.

use crate::config::{Register, Trunk};
use crate::settings::peer_address;
use sip::Transport;
use sip::message::{Uri, trim};
use std::time::Duration;
use switch::trunk::{PeerConfig, RegistrationConfig};

/// The shortest time that may be asked for: a refresh has to fit into it.
const EXPIRES_MIN: Duration = Duration::from_secs(10);
/// The longest; what is longer is of no use, and RFC 3261 §20.19 ends at 2³² seconds.
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Checks a trunk's `register`. An error names the key.
pub(crate) fn resolve(
    trunk: &Trunk,
    peers: &[PeerConfig],
) -> Result<Option<RegistrationConfig>, (&'static str, String)> {
    let Some(it) = &trunk.register else { return Ok(None) };
    let Some(first) = peers.first() else {
        let error =
            "registration needs a peer that is an address; put ADDR:PORT before or instead of the name";
        return Err(("register", error.into()));
    };
    let registrar = registrar(it, first)?;
    let host = registrar.trim_start_matches("sip:").split(';').next().unwrap_or_default().to_owned();
    let aor = aor(it, trunk, &host)?;
    let user = aor.trim_start_matches("sip:").split('@').next().unwrap_or_default().to_owned();
    let contact_user = it.contact_user.clone().unwrap_or(user);
    let is_user = Uri::parse(format!("sip:{contact_user}@h").as_bytes())
        .is_some_and(|uri| uri.user == Some(contact_user.as_bytes()));
    if !is_user {
        let error = format!("\"{contact_user}\" cannot stand before the @ of an address");
        return Err(("register.contact_user", error));
    }
    let (expires, base, max) = (it.expires.0, it.retry_base.0, it.retry_max.0);
    if !(EXPIRES_MIN..=EXPIRES_MAX).contains(&expires) || expires.subsec_nanos() > 0 {
        return Err(("register.expires", "give whole seconds, 10s to 168h; 1h suits most carriers".into()));
    }
    if base.is_zero() || max < base {
        return Err(("register.retry_base", "give more than 0, and retry_max no less".into()));
    }
    let called_in_to = match it.called_in.as_str() {
        "request-uri" => false,
        "to" => true,
        other => return Err(("register.called_in", format!("\"{other}\" is not known; request-uri or to"))),
    };
    let (to, is_proxy) = match &it.outbound_proxy {
        Some(text) => (peer_address(text).map_err(|error| ("register.outbound_proxy", error))?, true),
        None => (address(&registrar, first).unwrap_or_else(|| first.clone()), false),
    };
    if to.transport.is_websocket() {
        return Err(("register.registrar", "carriers are reached over udp, tcp or tls".into()));
    }
    let required = trunk.needs_registration;
    Ok(Some(RegistrationConfig {
        registrar,
        aor,
        contact_user,
        expires,
        to,
        is_proxy,
        required,
        called_in_to,
        retry_base: base,
        retry_max: max,
    }))
}

/// The registrar's URI: a host, with port or parameters as they may be, and no user (RFC 3261 §10.2).
fn registrar(it: &Register, first: &PeerConfig) -> Result<String, (&'static str, String)> {
    let Some(text) = &it.registrar else {
        return Ok(format!("sip:{}{}", first.address, first.transport.uri_parameter()));
    };
    let written = if text.starts_with("sip:") { text.clone() } else { format!("sip:{text}") };
    let fits = trim(written.as_bytes()).len() == written.len()
        && Uri::parse(written.as_bytes()).is_some_and(|uri| {
            uri.is_sip() && uri.user.is_none() && uri.headers.is_none() && uri.host_port.is_some()
        });
    if !fits {
        let error =
            format!("\"{text}\" is no registrar; write sip:DOMAIN, sip:ADDR:PORT or the domain alone");
        return Err(("register.registrar", error));
    }
    Ok(written)
}

/// The address of record: as written, or the account's name at the registrar.
fn aor(it: &Register, trunk: &Trunk, host: &str) -> Result<String, (&'static str, String)> {
    let written = match (&it.aor, &trunk.username) {
        (Some(aor), _) if aor.starts_with("sip:") => aor.clone(),
        (Some(aor), _) if aor.contains('@') => format!("sip:{aor}"),
        (Some(user), _) => format!("sip:{user}@{host}"),
        (None, Some(user)) => format!("sip:{user}@{host}"),
        (None, None) => {
            let error = "give it, or username and password: whom shall the carrier know us as?";
            return Err(("register.aor", error.into()));
        }
    };
    let fits = Uri::parse(written.as_bytes()).is_some_and(|uri| {
        uri.is_sip() && uri.user.is_some() && uri.password.is_none() && uri.headers.is_none()
    });
    if !fits {
        return Err(("register.aor", format!("\"{written}\" is no address; write sip:USER@DOMAIN")));
    }
    Ok(written)
}

/// Where a registrar is that is named by its address; over the transport it names, or else the first peer's.
fn address(registrar: &str, first: &PeerConfig) -> Option<PeerConfig> {
    let uri = Uri::parse(registrar.as_bytes())?;
    let named = uri.params.value("transport").map(|name| Transport::named(name).unwrap_or(Transport::Udp));
    let transport = named.unwrap_or(first.transport);
    let address = uri.host_port?.socket_address(transport.default_port())?;
    Some(PeerConfig { address, transport })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::File;

    fn resolved(line: &str) -> Result<Option<RegistrationConfig>, (&'static str, String)> {
        let text = format!("[[trunk]]\nname = \"a\"\npeers = [\"192.0.2.1:5062/tcp\"]\n{line}");
        let file = File::parse(&text).unwrap();
        let trunk = &file.trunks[0];
        resolve(trunk, &[peer_address(&trunk.peers[0]).unwrap()])
    }

    const ACCOUNT: &str = "username = \"4711\"\npassword = \"x\"\n";

    #[test]
    fn what_is_left_out_follows_from_the_trunk() {
        let it = resolved(&format!("{ACCOUNT}register = true")).unwrap().unwrap();
        assert_eq!(
            (it.registrar.as_str(), it.aor.as_str()),
            ("sip:192.0.2.1:5062;transport=tcp", "sip:4711@192.0.2.1:5062")
        );
        assert_eq!((it.contact_user.as_str(), it.required, it.is_proxy), ("4711", true, false));
        assert_eq!((it.to.address.port(), it.to.transport), (5062, Transport::Tcp));
        let line = "needs_registration = false\nregister = { registrar = \"carrier.example\", contact_user = \"c\", \
                    called_in = \"to\", outbound_proxy = \"192.0.2.9:5060\" }";
        let it = resolved(&format!("{ACCOUNT}{line}")).unwrap().unwrap();
        assert_eq!(
            (it.registrar.as_str(), it.aor.as_str()),
            ("sip:carrier.example", "sip:4711@carrier.example")
        );
        assert_eq!(
            (it.contact_user.as_str(), it.required, it.is_proxy, it.called_in_to),
            ("c", false, true, true)
        );
        assert_eq!((it.to.address.to_string().as_str(), it.to.transport), ("192.0.2.9:5060", Transport::Udp));
        let it = resolved(
            "register = { registrar = \"sip:[2001:db8::1];transport=udp\", aor = \"me@x.example\" }",
        );
        let it = it.unwrap().unwrap();
        assert_eq!(
            (it.aor.as_str(), it.to.address.to_string().as_str()),
            ("sip:me@x.example", "[2001:db8::1]:5060")
        );
        assert_eq!(resolved(ACCOUNT).unwrap(), None);
    }

    #[test]
    fn mistakes_name_their_key() {
        for (line, key) in [
            ("register = true", "register.aor"),
            ("register = { aor = \"a b@c\" }", "register.aor"),
            ("register = { aor = \"sips:\" }", "register.aor"),
            ("register = { aor = \"a@b\", registrar = \"sip:u@c\" }", "register.registrar"),
            (
                "register = { aor = \"a@b\", registrar = \"sip:192.0.2.1;transport=ws\" }",
                "register.registrar",
            ),
            ("register = { aor = \"a@b\", registrar = \"c\\r\\nEvil: 1\" }", "register.registrar"),
            ("register = { aor = \"a@b\", contact_user = \"x>y\" }", "register.contact_user"),
            ("register = { aor = \"a@b\", expires = \"5s\" }", "register.expires"),
            ("register = { aor = \"a@b\", expires = \"10500ms\" }", "register.expires"),
            ("register = { aor = \"a@b\", retry_base = \"0s\" }", "register.retry_base"),
            ("register = { aor = \"a@b\", retry_max = \"1s\" }", "register.retry_base"),
            ("register = { aor = \"a@b\", called_in = \"from\" }", "register.called_in"),
            ("register = { aor = \"a@b\", outbound_proxy = \"h\" }", "register.outbound_proxy"),
        ] {
            assert_eq!(resolved(line).unwrap_err().0, key, "{line}");
        }
    }
}
