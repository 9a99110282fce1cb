//! Certificates as the commands of OpenSSL make them: which ones the output accepts,
//! beside the host's own `forward`.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use kube_audit_forward::net::{Client, Config, Flushed, Identity, StartError, Tls, Versions};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tempfile::TempDir;

use crate::fluent_bit::{self, binaries};
use crate::host::{Host, Notes, config, entry, until};
use crate::peer::{Peer, script};
use crate::process::{Process, free_port, skip};

/// Keys as `-newkey` makes them.
const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

/// A directory in which `openssl` works.
struct Workshop(TempDir);

impl Workshop {
    /// `None` if there is no `openssl`.
    fn new() -> Option<Workshop> {
        let found = Command::new("openssl").arg("version").output().is_ok();
        if !found {
            skip("certificates: no `openssl`");
            return None;
        }
        let workshop = Workshop(tempfile::tempdir().unwrap());
        workshop.authority("ca", "/CN=authority");
        Some(workshop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, words: &str) {
        let output = Command::new("openssl")
            .args(words.split_whitespace())
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words}: {error}");
    }

    /// Certificate `NAME.pem` that signs itself, with the flag of an authority, and its key.
    fn authority(&self, name: &str, subject: &str) {
        self.openssl(&format!(
            "req -x509 -newkey {P256} -nodes -keyout {name}.key -out {name}.pem -subj {subject}"
        ));
    }

    fn request(&self, name: &str, subject: &str, kind: &str) {
        self.openssl(&format!(
            "req -new -newkey {kind} -nodes -keyout {name}.key -out {name}.csr -subj {subject}"
        ));
    }

    /// Certificate from an authority, with these lines of extensions.
    fn leaf(&self, name: &str, subject: &str, issuer: &str, extensions: &str) {
        self.request(name, subject, P256);
        self.sign(name, issuer, extensions, "-sha256");
    }

    fn sign(&self, name: &str, issuer: &str, extensions: &str, digest: &str) {
        fs::write(self.path("extensions"), extensions).unwrap();
        let extensions = match extensions {
            "" => "",
            _ => "-extfile extensions",
        };
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial \
             -out {name}.pem -days 30 {digest} {extensions}"
        ));
    }

    /// Certificate with a period of validity; of version 1 without extensions.
    fn dated(&self, name: &str, from: &str, to: &str, extensions: &str) {
        self.request(name, "/CN=localhost", P256);
        let serial = fs::read_dir(&self.0).unwrap().count();
        fs::write(self.path("index"), "").unwrap();
        fs::write(self.path("serial"), format!("{serial:04}")).unwrap();
        let section = match extensions {
            "" => String::new(),
            _ => format!("x509_extensions=e\n[e]\n{extensions}\n"),
        };
        let text = format!(
            "[ca]\ndefault_ca=d\n[p]\ncommonName=supplied\n[d]\ndatabase=index\nserial=serial\n\
             new_certs_dir=.\ndefault_md=sha256\npolicy=p\n{section}"
        );
        fs::write(self.path("ca.conf"), text).unwrap();
        self.openssl(&format!(
            "ca -batch -notext -config ca.conf -cert ca.pem -keyfile ca.key -in {name}.csr \
             -out {name}.pem -startdate {from} -enddate {to}"
        ));
    }

    /// Writes several certificates into one file.
    fn join(&self, name: &str, parts: &[&str]) {
        let read = |part: &&str| fs::read_to_string(self.path(part)).unwrap();
        fs::write(self.path(name), parts.iter().map(read).collect::<String>()).unwrap();
    }
}

/// A receiver's certificate, and what is to come of it.
struct Kind {
    /// `NAME.pem` has the certificates that the receiver sends.
    name: &'static str,
    ca_file: &'static str,
    /// Name to verify.
    vhost: &'static str,
    /// Words of the refusal; none if it is accepted.
    ours: &'static str,
    /// Whether `forward` with OpenSSL 3 accepts it, with `tls.verify_hostname on`.
    forward: bool,
}

const fn kind(
    name: &'static str,
    ca_file: &'static str,
    vhost: &'static str,
    ours: &'static str,
    forward: bool,
) -> Kind {
    Kind {
        name,
        ca_file,
        vhost,
        ours,
        forward,
    }
}

/// The table of `docs/receivers.md`.
const KINDS: &[Kind] = &[
    kind("san", "ca.pem", "localhost", "", true),
    kind("self", "self.pem", "localhost", "", true),
    kind("self-v1", "self-v1.pem", "localhost", "", true),
    kind("self", "both.pem", "localhost", "", true),
    kind("cn", "ca.pem", "localhost", "", true),
    kind("v1", "ca.pem", "localhost", "", true),
    kind("ca-flag", "ca.pem", "localhost", "", true),
    kind("cn-ip", "ca.pem", "127.0.0.1", "", true),
    kind("ip-as-dns", "ca.pem", "127.0.0.1", "", true),
    kind("ip", "ca.pem", "127.0.0.1", "", false),
    kind("wildcard", "ca.pem", "a.logs.example", "", true),
    kind("usage", "ca.pem", "localhost", "", false),
    kind("chain", "ca.pem", "localhost", "", true),
    kind("chain-with-root", "ca.pem", "localhost", "", true),
    kind("under", "both-levels.pem", "localhost", "", true),
    kind("under", "middle.pem", "localhost", "", false),
    kind("san", "san.pem", "localhost", "", false),
    kind(
        "wildcard",
        "ca.pem",
        "a.b.logs.example",
        "is not for `a.b.logs.example`, only for *.logs.example; set `tls.vhost`",
        false,
    ),
    kind(
        "cn",
        "ca.pem",
        "other.example",
        "is not for `other.example`, only for localhost",
        false,
    ),
    kind(
        "v1",
        "ca.pem",
        "other.example",
        "is not for `other.example`, only for localhost",
        false,
    ),
    kind(
        "cn-beside-san",
        "ca.pem",
        "localhost",
        "is not for `localhost`, only for other.example",
        false,
    ),
    kind(
        "self",
        "self.pem",
        "other.example",
        "is not for `other.example`, only for localhost",
        false,
    ),
    kind(
        "client",
        "ca.pem",
        "localhost",
        "its `extendedKeyUsage` lacks `serverAuth`",
        false,
    ),
    kind(
        "under",
        "ca.pem",
        "localhost",
        "unknown authority (`middle`); name that authority's certificate in `tls.ca_file`, and \
         let the receiver send intermediate ones",
        false,
    ),
    kind(
        "san",
        "stranger.pem",
        "localhost",
        "unknown authority (`authority`)",
        false,
    ),
    kind(
        "v1",
        "stranger.pem",
        "localhost",
        "unknown authority (`authority`)",
        false,
    ),
    kind(
        "self",
        "ca.pem",
        "localhost",
        "unknown authority (`localhost`)",
        false,
    ),
    kind("expired", "ca.pem", "localhost", "has expired", false),
    kind("expired-v1", "ca.pem", "localhost", "has expired", false),
    kind("early", "ca.pem", "localhost", "is not valid yet", false),
    kind("early-v1", "ca.pem", "localhost", "is not valid yet", false),
    kind(
        "sha1",
        "ca.pem",
        "localhost",
        "has a signature that is not supported, such as SHA-1",
        false,
    ),
    kind(
        "constrained",
        "constraints.pem",
        "localhost",
        "is not for `localhost`",
        true,
    ),
];

fn make_all(workshop: &Workshop) {
    let w = workshop;
    let san = "subjectAltName=DNS:localhost";
    w.authority("self", "/CN=localhost");
    w.authority("stranger", "/CN=authority");
    w.request("self-v1", "/CN=localhost", P256);
    w.openssl("x509 -req -in self-v1.csr -signkey self-v1.key -out self-v1.pem -days 30");
    w.leaf("san", "/CN=x", "ca", san);
    w.leaf("cn", "/CN=localhost", "ca", "basicConstraints=CA:FALSE");
    w.leaf("v1", "/CN=localhost", "ca", "");
    w.leaf(
        "ca-flag",
        "/CN=localhost",
        "ca",
        "basicConstraints=critical,CA:TRUE",
    );
    w.leaf("cn-ip", "/CN=127.0.0.1", "ca", "basicConstraints=CA:FALSE");
    w.leaf("ip-as-dns", "/CN=x", "ca", "subjectAltName=DNS:127.0.0.1");
    w.leaf("ip", "/CN=x", "ca", "subjectAltName=IP:127.0.0.1");
    w.leaf(
        "wildcard",
        "/CN=x",
        "ca",
        "subjectAltName=DNS:*.logs.example",
    );
    w.leaf(
        "cn-beside-san",
        "/CN=localhost",
        "ca",
        "subjectAltName=DNS:other.example",
    );
    let usage = format!("{san}\nkeyUsage=critical,keyCertSign,cRLSign");
    w.leaf("usage", "/CN=x", "ca", &usage);
    let client = format!("{san}\nextendedKeyUsage=clientAuth");
    w.leaf("client", "/CN=x", "ca", &client);
    w.leaf("middle", "/CN=middle", "ca", "basicConstraints=CA:TRUE");
    w.leaf("under", "/CN=x", "middle", san);
    w.join("chain.pem", &["under.pem", "middle.pem"]);
    w.join(
        "chain-with-root.pem",
        &["under.pem", "middle.pem", "ca.pem"],
    );
    for name in ["chain.key", "chain-with-root.key"] {
        fs::copy(w.path("under.key"), w.path(name)).unwrap();
    }
    w.join("both-levels.pem", &["middle.pem", "ca.pem"]);
    w.join("both.pem", &["self.pem", "ca.pem"]);
    let (past, now) = (
        ["200101000000Z", "210101000000Z"],
        ["900101000000Z", "20910101000000Z"],
    );
    let future = "20900101000000Z";
    w.dated("expired", past[0], past[1], san);
    w.dated("expired-v1", past[0], past[1], "");
    w.dated("early", future, now[1], san);
    w.dated("early-v1", future, now[1], "");
    w.request("sha1", "/CN=x", P256);
    w.sign("sha1", "ca", san, "-sha1");
    w.openssl(&format!(
        "req -x509 -newkey {P256} -nodes -keyout constraints.key -out constraints.pem \
         -subj /CN=constraints -addext nameConstraints=permitted;DNS:logs.example"
    ));
    w.leaf(
        "constrained",
        "/CN=localhost",
        "constraints",
        "basicConstraints=CA:FALSE",
    );
}

/// A receiver with a certificate of any kind.
fn server(workshop: &Workshop, name: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let pem = |extension: &str| fs::read(workshop.path(&format!("{name}.{extension}"))).unwrap();
    let chain = pem("pem");
    let chain = CertificateDer::pem_slice_iter(&chain).map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_slice(&pem("key")).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let key = CertifiedKey::new(chain.collect(), key);
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let resolver = Arc::new(SingleCertAndKey::from(key));
    Arc::new(builder.with_no_client_auth().with_cert_resolver(resolver))
}

fn tls(workshop: &Workshop, kind: &Kind) -> Tls {
    Tls {
        vhost: Some(kind.vhost.into()),
        ca_file: Some(workshop.path(kind.ca_file)),
        ..Tls::default()
    }
}

fn config_with(endpoint: &str, tls: Tls) -> Config {
    let mut config = config(endpoint);
    config.nodes[0].tls = Some(tls);
    config
}

fn secured(config: &Arc<ServerConfig>) -> Peer {
    let serve = |config: &Arc<ServerConfig>| {
        let config = Arc::clone(config);
        script(move |connection| {
            connection.secure(config);
            connection.serve();
        })
    };
    Peer::start((0..100).map(|_| serve(config)).collect())
}

#[test]
fn kinds_of_receivers_certificates() {
    let Some(workshop) = Workshop::new() else {
        return;
    };
    make_all(&workshop);
    for kind in KINDS {
        let receiver = server(&workshop, kind.name);
        for versions in [Versions::Tls12, Versions::Tls13] {
            let peer = secured(&receiver);
            let what = format!("{} with {} {versions:?}", kind.name, kind.ca_file);
            let tls = Tls {
                versions,
                ..tls(&workshop, kind)
            };
            let host = Host::start(config_with(&peer.endpoint(), tls));
            if kind.ours.is_empty() {
                let flushed = host.flush(&entry(0, 0));
                assert_eq!(flushed, Flushed::Delivered, "{what}: {:?}", host.events());
            } else {
                until(&format!("{what}: it says `{}`", kind.ours), || {
                    assert!(!host.said("connected to"), "{what}");
                    host.said(kind.ours)
                });
            }
        }
    }
}

/// Nothing but the key's owner is verified.
#[test]
fn any_kind_is_accepted_unverified() {
    let Some(workshop) = Workshop::new() else {
        return;
    };
    make_all(&workshop);
    for kind in KINDS {
        let peer = secured(&server(&workshop, kind.name));
        let tls = Tls {
            verify: false,
            ..Tls::default()
        };
        let host = Host::start(config_with(&peer.endpoint(), tls));
        let flushed = host.flush(&entry(0, 0));
        assert_eq!(flushed, Flushed::Delivered, "{:?}", host.events());
    }
}

/// A signature that was made by another key, and a certificate that was changed.
#[test]
fn the_directly_trusted_are_verified() {
    let Some(workshop) = Workshop::new() else {
        return;
    };
    make_all(&workshop);
    let of = |name, ca_file| kind(name, ca_file, "localhost", "", false);
    for name in ["self", "self-v1", "v1"] {
        // The key of another certificate.
        fs::copy(
            workshop.path("san.key"),
            workshop.path(&format!("{name}.key")),
        )
        .unwrap();
        for versions in [Versions::Tls12, Versions::Tls13] {
            let peer = secured(&server(&workshop, name));
            let ca_file = match name {
                "self" => "self.pem",
                "v1" => "ca.pem",
                _ => "self-v1.pem",
            };
            let tls = Tls {
                versions,
                ..tls(&workshop, &of(name, ca_file))
            };
            let host = Host::start(config_with(&peer.endpoint(), tls));
            until("the signature is refused", || {
                assert!(!host.said("connected to"));
                host.said("does not prove that it owns its certificate's key")
            });
        }
    }
}

/// The host's own `forward` decides about the same certificates.
#[test]
fn kinds_beside_forward() {
    let (Some(workshop), binaries) = (Workshop::new(), binaries()) else {
        return;
    };
    make_all(&workshop);
    // The oldest have no option for names.
    let is_new = |binary: &&PathBuf| fluent_bit::is_at_least(binary, 4);
    for binary in binaries.iter().filter(is_new) {
        let judge = |kind: &Kind| {
            let accepted = is_accepted_by_forward(&workshop, binary, kind);
            let what = format!("{} with {} for {}", kind.name, kind.ca_file, kind.vhost);
            (accepted != kind.forward).then(|| format!("{what}: {accepted}"))
        };
        // 4.0 compares an address with DNS names alone, 5.1 with addresses alone.
        let kinds: Vec<&Kind> = KINDS
            .iter()
            .filter(|kind| kind.vhost != "127.0.0.1")
            .collect();
        let wrong: Vec<String> = kinds
            .chunks(6)
            .flat_map(|kinds| {
                scope(|scope| {
                    let judges: Vec<_> = kinds
                        .iter()
                        .map(|kind| scope.spawn(move || judge(kind)))
                        .collect();
                    judges
                        .into_iter()
                        .filter_map(|judge| judge.join().unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", binary.display());
    }
}

fn is_accepted_by_forward(workshop: &Workshop, binary: &Path, kind: &Kind) -> bool {
    let port = free_port();
    let path = |name: &str| workshop.path(name).display().to_string();
    let receiver = fluent_bit::start(
        binary,
        port,
        &[
            "tls=on",
            "tls.verify=off",
            &format!("tls.crt_file={}", path(&format!("{}.pem", kind.name))),
            &format!("tls.key_file={}", path(&format!("{}.key", kind.name))),
        ],
    );
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        // OpenSSL takes no certificate that is signed with SHA-1, as a server neither.
        if start.elapsed() > Duration::from_secs(8) {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
    let mut sender = Command::new(binary);
    sender.args(["-q", "-f", "0.1", "-i", "dummy", "-o", "forward", "-m", "*"]);
    for option in [
        "host=127.0.0.1".to_owned(),
        format!("port={port}"),
        "tls=on".into(),
        "tls.verify=on".into(),
        "tls.verify_hostname=on".into(),
        format!("tls.vhost={}", kind.vhost),
        format!("tls.ca_file={}", path(kind.ca_file)),
    ] {
        sender.args(["-p", &option]);
    }
    let _sender = Process::start(&mut sender);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        if receiver.lines().iter().any(|line| line.contains("dummy")) {
            return true;
        }
        sleep(Duration::from_millis(20));
    }
    false
}

/// Keys that only OpenSSL has: the handshake ends with words about keys.
#[test]
fn keys_that_are_not_supported() {
    let (Some(workshop), binaries) = (Workshop::new(), binaries()) else {
        return;
    };
    for (name, kind) in [
        ("p521", "ec -pkeyopt ec_paramgen_curve:P-521"),
        ("short", "rsa:1024"),
    ] {
        workshop.request(name, "/CN=localhost", kind);
        workshop.sign(name, "ca", "subjectAltName=DNS:localhost", "-sha256");
    }
    // The input has TLS from 2.0 on.
    let is_new = |binary: &&PathBuf| fluent_bit::is_at_least(binary, 2);
    for binary in binaries.iter().filter(is_new) {
        let port = free_port();
        let path = |name: &str| workshop.path(name).display().to_string();
        let _receiver = fluent_bit::start(
            binary,
            port,
            &[
                "tls=on",
                "tls.verify=off",
                &format!("tls.crt_file={}", path("p521.pem")),
                &format!("tls.key_file={}", path("p521.key")),
            ],
        );
        until("it listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let kind = kind("p521", "ca.pem", "localhost", "", true);
        let endpoint = format!("127.0.0.1:{port}");
        let host = Host::start(config_with(&endpoint, tls(&workshop, &kind)));
        until("it names the keys", || host.said("kind of key in common"));
    }
    let identity = |name: &str| Tls {
        identity: Some(Identity {
            crt_file: workshop.path(&format!("{name}.pem")),
            key_file: workshop.path(&format!("{name}.key")),
        }),
        ca_file: Some(workshop.path("ca.pem")),
        ..Tls::default()
    };
    for name in ["p521", "short"] {
        let config = config_with("127.0.0.1:9", identity(name));
        let prepare = |_: &[u8], _: &[u8]| Vec::new();
        match Client::start(config, prepare, Arc::new(Notes::default())) {
            Err(error @ StartError::Tls { .. }) => {
                let text = error.to_string();
                assert!(text.contains("use RSA of 2048 to 8192 bits"), "{text}");
            }
            _ => panic!("{name}"),
        }
    }
}

/// Certificates of this client, before a receiver of OpenSSL that demands one.
#[test]
fn kinds_of_the_clients_certificates() {
    let Some(workshop) = Workshop::new() else {
        return;
    };
    make_all(&workshop);
    let w = &workshop;
    w.openssl("genrsa -traditional -out rsa.key 2048");
    w.openssl("req -new -key rsa.key -out rsa.csr -subj /CN=client");
    w.sign("rsa", "ca", "", "-sha256");
    w.openssl("ecparam -name prime256v1 -genkey -out sec1.key");
    w.openssl("req -new -key sec1.key -out sec1.csr -subj /CN=client");
    w.sign("sec1", "ca", "", "-sha256");
    w.leaf("server", "/CN=x", "ca", "extendedKeyUsage=serverAuth");
    w.join("one-file.pem", &["v1.pem", "v1.key"]);
    fs::copy(w.path("one-file.pem"), w.path("one-file.key")).unwrap();
    w.join("trusted.pem", &["ca.pem", "self.pem"]);
    // Certificate of the client, and words of the refusal.
    let cases = [
        ("san", ""),
        ("v1", ""),
        ("one-file", ""),
        ("rsa", ""),
        ("sec1", ""),
        ("self", ""),
        ("chain", ""),
        ("client", ""),
        ("under", "refused this client's certificate"),
        ("server", "refused this client's certificate"),
        ("expired", "refused this client's certificate"),
        ("early", "refused this client's certificate"),
    ];
    for (name, words) in cases {
        let port = free_port();
        let mut server = Command::new("openssl");
        server.current_dir(&w.0).args([
            "s_server",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-cert",
            "san.pem",
            "-key",
            "san.key",
            "-CAfile",
            "trusted.pem",
            "-Verify",
            "3",
            "-verify_return_error",
        ]);
        let server = Process::start(&mut server);
        let printed = |words: &str| server.lines().iter().any(|line| line.contains(words));
        until("it listens", || printed("ACCEPT"));
        let tls = Tls {
            vhost: Some("localhost".into()),
            ca_file: Some(w.path("ca.pem")),
            identity: Some(Identity {
                crt_file: w.path(&format!("{name}.pem")),
                key_file: w.path(&format!("{name}.key")),
            }),
            ..Tls::default()
        };
        let host = Host::start(config_with(&format!("127.0.0.1:{port}"), tls));
        // The server prints its session when both sides are done with the handshake.
        match words {
            "" => until(&format!("{name} is accepted"), || printed("CIPHER is")),
            words => {
                until(&format!("{name}: it says `{words}`"), || {
                    let _ = host.flush(&entry(0, 0));
                    host.said(words)
                });
                assert!(!printed("CIPHER is"), "{name}");
            }
        }
    }
}
