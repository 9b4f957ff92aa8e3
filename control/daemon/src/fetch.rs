//! Fetching certificates over HTTPS, from addresses that strangers name: little is allowed, and everything is bounded. Lists of
//! revoked certificates, which are signed and which trusted authorities name, may come by plain HTTP as well (RFC 5280 §8).

use control::{Fetch, Fetched};
use core::time::Duration;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::http::{HeaderMap, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Largest file, in bytes: a chain of three has about 3000; a list of revoked certificates about 40 for each.
const fn bytes_max(what: Fetch) -> usize {
    match what {
        Fetch::Certificate => 64 * 1024,
        Fetch::Revocations => 1024 * 1024,
    }
}

/// How long a fetch may take. Calls do not wait that long, but the next one has the file then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fetches at the same time; others wait their turn within their time.
const AT_ONCE: usize = 32;
/// Names looked up at the same time: each takes a thread.
const LOOKUPS: usize = 4;
/// How long a file may be kept whose server does not say.
const FRESH: Duration = Duration::from_secs(3600);

/// What may be fetched, and whom servers have to be known to.
#[derive(Clone, Debug)]
pub struct Fetching {
    /// Ports that may be asked; 443 and 8443 as ATIS-1000074 has it.
    pub ports: Vec<u16>,
    /// Ports that lists of revoked certificates may be asked for on without TLS; 80 as ever.
    pub plain_ports: Vec<u16>,
    /// Hosts that may be asked, `.example.com` for all below that name; empty: all.
    pub hosts: Vec<String>,
    /// Whether loopback, private and link-local addresses may be asked.
    pub private: bool,
    tls: Arc<ClientConfig>,
}

impl Fetching {
    /// Fetches from servers whose certificate leads to one of those in a PEM file; without one, to one that this host trusts.
    ///
    /// # Errors
    /// In words: there is no certificate in the file, or one is no good.
    pub fn new(ca: Option<&[u8]>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|_| "is no proper PEM file")?;
                    roots.add(certificate).map_err(|_| "holds a certificate that is no good")?;
                }
                if roots.is_empty() {
                    return Err("holds no certificate in PEM form".into());
                }
            }
            None => {
                // Those that cannot be used are left out, as everybody does who reads a host's store.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            ports: vec![443, 8443],
            plain_ports: vec![80],
            hosts: Vec::new(),
            private: false,
            tls: Arc::new(tls),
        })
    }

    /// Host and port of an address, if it may be asked.
    fn place<'a>(&self, what: Fetch, uri: &'a Uri) -> Result<(&'a str, u16), String> {
        let is_plain = what == Fetch::Revocations && uri.scheme_str() == Some("http");
        let authority = uri.authority().filter(|_| is_plain || uri.scheme_str() == Some("https"));
        let authority = authority.ok_or("it is no https address")?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err("it has more than a host, a port and a path".into());
        }
        let (usual, allowed) = if is_plain { (80, &self.plain_ports) } else { (443, &self.ports) };
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(usual));
        if !allowed.contains(&port) {
            return Err(format!("port {port} is not allowed"));
        }
        let is = |allowed: &String| match allowed.strip_prefix('.') {
            Some(_) => host.to_ascii_lowercase().ends_with(&allowed.to_ascii_lowercase()),
            None => host.eq_ignore_ascii_case(allowed),
        };
        if !self.hosts.is_empty() && !self.hosts.iter().any(is) {
            return Err(format!("host {host} is not allowed"));
        }
        Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
    }
}

/// Fetches on behalf of the engine.
pub(crate) struct Fetcher {
    fetching: Option<Arc<Fetching>>,
    done: mpsc::UnboundedSender<Fetched>,
    turns: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
}

impl Fetcher {
    /// What is fetched comes out of the other end; as many at a time as the engine asks for, which bounds them.
    pub(crate) fn new(fetching: Option<Fetching>) -> (Self, mpsc::UnboundedReceiver<Fetched>) {
        let (done, fetched) = mpsc::unbounded_channel();
        let (turns, lookups) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(LOOKUPS)));
        (Self { fetching: fetching.map(Arc::new), done, turns, lookups }, fetched)
    }

    pub(crate) fn set(&mut self, fetching: Option<Fetching>) {
        self.fetching = fetching.map(Arc::new);
    }

    /// Begins a fetch.
    pub(crate) fn begin(&self, what: Fetch, url: String) {
        let done = self.done.clone();
        let (turns, lookups) = (Arc::clone(&self.turns), Arc::clone(&self.lookups));
        let Some(fetching) = self.fetching.clone() else {
            let _ = done.send(Fetched { what, url, file: Err("no certificates are fetched".into()) });
            return;
        };
        tokio::spawn(async move {
            let fetch = async {
                let _turn = turns.acquire().await;
                fetch(what, &url, &fetching, &lookups).await
            };
            let file = match tokio::time::timeout(PATIENCE, fetch).await {
                Ok(file) => file,
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            // Nobody listens any more once the process ends.
            let _ = done.send(Fetched { what, url, file });
        });
    }
}

async fn fetch(
    what: Fetch,
    url: &str,
    fetching: &Fetching,
    lookups: &Semaphore,
) -> Result<(Vec<u8>, Duration), String> {
    let uri: Uri = url.parse().map_err(|_| "it is no address")?;
    let (host, port) = fetching.place(what, &uri)?;
    let stream = connect(host, port, fetching, lookups).await?;
    if uri.scheme_str() == Some("http") {
        return ask(what, &uri, stream).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "its host is no name")?;
    let stream = TlsConnector::from(Arc::clone(&fetching.tls))
        .connect(name, stream)
        .await
        .map_err(|error| format!("TLS failed: {error}"))?;
    ask(what, &uri, stream).await
}

async fn ask(
    what: Fetch,
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(Vec<u8>, Duration), String> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(64)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| format!("HTTP failed: {error}"))?;
    let running = tokio::spawn(connection);
    let answer = async {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let wanted = match what {
            Fetch::Certificate => "application/pem-certificate-chain, application/pkix-cert, */*;q=0.1",
            Fetch::Revocations => "application/pkix-crl, */*;q=0.1",
        };
        let request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("trunkline/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, wanted)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| format!("HTTP failed: {error}"))?;
        take(response, bytes_max(what)).await
    };
    let answer = answer.await;
    running.abort();
    answer
}

/// Connects to one of a host's addresses. It is looked up once, so that what was checked is what is connected to.
async fn connect(
    host: &str,
    port: u16,
    fetching: &Fetching,
    lookups: &Semaphore,
) -> Result<TcpStream, String> {
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let _turn = lookups.acquire().await;
            tokio::net::lookup_host((host, port))
                .await
                .map_err(|error| format!("{host} cannot be found: {error}"))?
                .collect()
        }
    };
    let mut last = format!("{host} has no address");
    for address in found.into_iter().take(4) {
        if !fetching.private && is_private(address.ip()) {
            last = format!("{} is a private address", address.ip());
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("{address} cannot be connected: {error}"),
        }
    }
    Err(last)
}

async fn take(response: Response<Incoming>, most: usize) -> Result<(Vec<u8>, Duration), String> {
    // Whoever redirects could send us anywhere (ATIS-1000074 has the certificate at the address itself).
    if response.status() != 200 {
        return Err(format!("the server answers {}", response.status()));
    }
    let fresh = freshness(response.headers());
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("HTTP failed: {error}"))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > most {
                return Err(format!("the file has more than {most} bytes"));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok((bytes, fresh))
}

/// For how long an answer may be kept (RFC 9111 §4.2).
fn freshness(headers: &HeaderMap) -> Duration {
    let text = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut fresh = None;
    for directive in text(header::CACHE_CONTROL).flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        match directive.split_once('=').map_or((&*directive, ""), |(name, value)| (name, value)) {
            ("no-store" | "no-cache", _) => return Duration::ZERO,
            ("max-age", seconds) => fresh = seconds.trim_matches('"').parse::<u64>().ok().or(Some(0)),
            _ => {}
        }
    }
    let age = text(header::AGE).next().and_then(|age| age.trim().parse::<u64>().ok()).unwrap_or(0);
    fresh.map_or(FRESH, |seconds| Duration::from_secs(seconds.saturating_sub(age)))
}

/// Whether an address is of this host or of a network behind it: a stranger shall not have us ask there.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => {
            let [a, b, c, _] = it.octets();
            it.is_loopback()
                || it.is_private()
                || it.is_link_local()
                || it.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
                || (a == 192 && b == 0 && c == 0)
        }
        IpAddr::V6(it) => {
            let [a, b, c, d, e, f, g, h] = it.segments();
            // NAT64 and 6to4 lead to an IPv4 address.
            let embedded = match (a, b) {
                (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => Some((g, h)),
                (0x2002, _) => Some((b, c)),
                _ => None,
            };
            let inner = |(high, low): (u16, u16)| {
                is_private(IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))))
            };
            it.is_loopback()
                || it.is_unspecified()
                || it.is_multicast()
                || it.is_unique_local()
                || it.is_unicast_link_local()
                || embedded.is_some_and(inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_those_outside() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(is_private(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["192.0.2.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2001:db8::1", "64:ff9b::808:808"]
        {
            assert!(!is_private(outside.parse().unwrap()), "{outside}");
        }
    }

    /// RFC 9111 §4.2
    #[test]
    fn servers_say_for_how_long() {
        let fresh = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            freshness(&headers).as_secs()
        };
        assert_eq!(fresh(&[]), 3600);
        assert_eq!(fresh(&[("cache-control", "public, Max-Age=60")]), 60);
        assert_eq!(fresh(&[("cache-control", "max-age=60"), ("age", "50")]), 10);
        assert_eq!(fresh(&[("cache-control", "max-age=60"), ("cache-control", "no-store")]), 0);
        assert_eq!(fresh(&[("cache-control", "max-age=x")]), 0);
        assert_eq!(fresh(&[("cache-control", "max-age=10"), ("age", "50")]), 0);
    }

    #[test]
    fn only_what_is_allowed_is_asked() {
        let mut fetching = Fetching::new(None).unwrap();
        fetching.hosts = vec!["a.example".into(), ".b.example".into()];
        let ask = |url: &str| {
            let uri: Uri = url.parse().unwrap();
            fetching.place(Fetch::Certificate, &uri).map(|(host, port)| format!("{host} {port}"))
        };
        assert_eq!(ask("https://A.example/x").as_deref(), Ok("A.example 443"));
        assert_eq!(ask("https://x.b.example:8443/x").as_deref(), Ok("x.b.example 8443"));
        for bad in [
            "http://a.example/x",
            "https://a.example:80/x",
            "https://b.example/x",
            "https://xa.example/x",
            "https://u@a.example/x",
            "https://a.example/x?y",
            "/x",
        ] {
            assert!(ask(bad).is_err(), "{bad}");
        }
        let list = |url: &str| {
            let uri: Uri = url.parse().unwrap();
            fetching.place(Fetch::Revocations, &uri).map(|(host, port)| format!("{host} {port}"))
        };
        assert_eq!(list("http://a.example/x").as_deref(), Ok("a.example 80"));
        assert_eq!(list("https://a.example/x").as_deref(), Ok("a.example 443"));
        for bad in
            ["http://a.example:443/x", "https://a.example:80/x", "http://b.example/x", "ftp://a.example/x"]
        {
            assert!(list(bad).is_err(), "{bad}");
        }
    }
}
