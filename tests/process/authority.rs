//! What STIR needs of others: an authority and its certificates, made by OpenSSL, tokens signed with them, and the HTTPS server
//! where they are found.

use crate::gateway::folder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let command = command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let output = command.output().expect("these tests need the program openssl");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// An authority, whose certificates OpenSSL makes.
pub(crate) struct Authority(pub(crate) PathBuf);

impl Authority {
    pub(crate) fn new() -> Self {
        let it = Self(folder("stir"));
        it.key("root");
        let arguments = "req -x509 -new -key root.key -subj /CN=root -days 30 -out root.pem";
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        arguments.extend(["-addext", "basicConstraints=critical,CA:TRUE"]);
        openssl(&it.0, &arguments);
        it
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn key(&self, name: &str) {
        openssl(
            &self.0,
            &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &format!("{name}.key")],
        );
    }

    /// A key, and a certificate to it with these extensions.
    pub(crate) fn sign(&self, name: &str, days: &str, extensions: &str) {
        self.key(name);
        let file = |kind: &str| format!("{name}.{kind}");
        let (key, request, certificate) = (file("key"), file("csr"), file("pem"));
        let subject = format!("/CN={name}");
        openssl(&self.0, &["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]);
        std::fs::write(self.0.join("ext"), extensions).unwrap();
        openssl(
            &self.0,
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "root.pem",
                "-CAkey",
                "root.key",
                "-CAcreateserial",
                "-days",
                days,
                "-extfile",
                "ext",
                "-out",
                &certificate,
            ],
        );
    }

    /// A signer as SHAKEN has it, with a provider's code.
    pub(crate) fn signer(&self, name: &str) {
        self.sign(
            name,
            "30",
            "1.3.6.1.5.5.7.1.26=DER:30:08:a0:06:16:04:37:30:39:4a\nkeyUsage=critical,digitalSignature\n",
        );
    }
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            out.push(char::from(LETTERS[(word >> (18 - 6 * n) & 63) as usize]));
        }
    }
    out
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// What a token says.
#[derive(Clone)]
pub(crate) struct Token<'a> {
    pub(crate) key: &'a str,
    pub(crate) url: &'a str,
    pub(crate) iat: u64,
    pub(crate) orig: &'a str,
    pub(crate) dest: &'a str,
    /// Where the field says the certificate is.
    pub(crate) info: &'a str,
}

impl<'a> Token<'a> {
    /// From the phone of these tests to a number.
    pub(crate) fn new(url: &'a str, dest: &'a str) -> Self {
        Self { key: "signer", url, iat: now(), orig: "4711", dest, info: url }
    }

    /// The Identity field, signed by OpenSSL with a key of the authority's folder.
    pub(crate) fn field(&self, authority: &Authority) -> String {
        let claims = format!(
            r#"{{"attest":"B","dest":{{"tn":["{}"]}},"iat":{},"orig":{{"tn":"{}"}},"origid":"0d6d2e8a-1"}}"#,
            self.dest, self.iat, self.orig
        );
        signed(authority, self.key, "shaken", (self.url, self.info), &claims)
    }
}

/// An Identity field with any claims, of that type, its certificate at an address and said to be at another.
pub(crate) fn signed(
    authority: &Authority,
    key: &str,
    ppt: &str,
    (url, info): (&str, &str),
    claims: &str,
) -> String {
    let header = format!(r#"{{"alg":"ES256","ppt":"{ppt}","typ":"passport","x5u":"{url}"}}"#);
    let input = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    std::fs::write(authority.0.join("input"), &input).unwrap();
    let der = openssl(&authority.0, &["dgst", "-sha256", "-sign", &format!("{key}.key"), "input"]);
    // SEQUENCE { r INTEGER, s INTEGER }, each to 32 bytes.
    let mut signature = Vec::new();
    let mut rest = &der[2..];
    while let [2, length, ..] = *rest {
        let (number, after) = rest[2..].split_at(length.into());
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        signature.extend(vec![0; 32 - number.len()]);
        signature.extend_from_slice(number);
        rest = after;
    }
    assert_eq!(signature.len(), 64);
    format!("Identity: {input}.{};info=<{info}>;alg=ES256;ppt={ppt}\r\n", base64url(&signature))
}

/// Files by their path, how long each answer takes, and how often each was asked for.
#[derive(Default)]
struct Shelf {
    files: BTreeMap<String, (Vec<u8>, Duration)>,
    asked: BTreeMap<String, usize>,
}

/// The HTTPS server where certificates are.
pub(crate) struct Repository {
    pub(crate) address: SocketAddr,
    /// The same files without TLS.
    pub(crate) plain: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

impl Repository {
    pub(crate) fn new(authority: &Authority) -> Self {
        authority.sign("https", "30", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n");
        let chain = vec![CertificateDer::from_pem_file(authority.file("https.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(authority.file("https.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (config, shelf) = (Arc::new(config), Arc::<Mutex<Shelf>>::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shelf) = (Arc::clone(&config), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    serve(stream, &shelf);
                });
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plain = listener.local_addr().unwrap();
        let shared = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shelf));
            }
        });
        Self { address, plain, shelf }
    }

    /// Puts a file there; gives its address.
    pub(crate) fn put(&self, authority: &Authority, name: &str, delay: Duration) -> String {
        let bytes = std::fs::read(authority.file(name)).unwrap();
        self.shelf.lock().unwrap().files.insert(format!("/{name}"), (bytes, delay));
        format!("https://{}/{name}", self.address)
    }

    pub(crate) fn asked(&self, name: &str) -> usize {
        self.shelf.lock().unwrap().asked.get(&format!("/{name}")).copied().unwrap_or(0)
    }
}

fn serve(mut stream: impl Read + Write, shelf: &Mutex<Shelf>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let file = {
        let mut shelf = shelf.lock().unwrap();
        *shelf.asked.entry(path.clone()).or_default() += 1;
        shelf.files.get(&path).cloned()
    };
    let answer = match file {
        Some((bytes, delay)) => {
            std::thread::sleep(delay);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/pem-certificate-chain\r\nCache-Control: max-age=60\r\n\
                 Content-Length: {}\r\n\r\n",
                bytes.len()
            );
            [head.into_bytes(), bytes].concat()
        }
        None if path == "/moved.pem" => {
            b"HTTP/1.1 302 Found\r\nLocation: /signer.pem\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
        None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    // The gateway may have lost patience.
    let _ = stream.write_all(&answer).and_then(|()| stream.flush());
}
