//! TLS, and everything that can be wrong with it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kube_audit_forward::net::{Client, Config, Flushed, Identity, Node, StartError, Tls, Versions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;

use crate::handshake::auth;
use crate::host::{ENTRY, Host, Notes, chunk, config, entry, until};
use crate::peer::{Connection, Lock, Peer, Script, script};

/// An authority, and files of what it vouches for.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub directory: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Certificate and key for a name in PEM.
    fn issue(&self, name: &str, change: fn(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes both into files of the directory.
    pub fn identity(&self, name: &str) -> Identity {
        let (crt_file, key_file) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        let (certificate, key) = self.issue(name, |_| {});
        fs::write(&crt_file, certificate).unwrap();
        fs::write(&key_file, key).unwrap();
        Identity { crt_file, key_file }
    }

    /// A server for a name.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        server(&self.issue(name, |_| {}), rustls::ALL_VERSIONS, None)
    }

    /// A server for 127.0.0.1 that wants certificates of this authority.
    fn strict_server(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        server(&self.issue("127.0.0.1", |_| {}), versions, Some(self))
    }

    /// What a client sets that trusts this authority alone.
    pub fn client(&self) -> Tls {
        Tls {
            ca_file: Some(self.path("ca.pem")),
            ..Tls::default()
        }
    }
}

fn server(
    (certificate, key): &(String, String),
    versions: &[&'static rustls::SupportedProtocolVersion],
    clients: Option<&Authority>,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

fn secured(config: &Arc<ServerConfig>) -> Script {
    let config = Arc::clone(config);
    script(move |connection| {
        connection.secure(config);
        connection.serve();
    })
}

fn peer(config: &Arc<ServerConfig>) -> Peer {
    Peer::start((0..1000).map(|_| secured(config)).collect())
}

fn config_with(peer: &Peer, tls: Tls) -> Config {
    let mut config = config(&peer.endpoint());
    config.nodes[0].tls = Some(tls);
    config
}

#[test]
fn case_21_versions_authorities_and_names() {
    let authority = Authority::new();
    let ca_path = Tls {
        ca_path: Some(authority.directory.path().to_owned()),
        ..Tls::default()
    };
    let vhost = Tls {
        vhost: Some("logs.example".into()),
        ..authority.client()
    };
    let only = |versions| Tls {
        versions,
        ..authority.client()
    };
    let cases = [
        ("127.0.0.1", authority.client()),
        ("127.0.0.1", ca_path),
        ("logs.example", vhost),
        ("127.0.0.1", only(Versions::Tls12)),
        ("127.0.0.1", only(Versions::Tls13)),
    ];
    for (name, tls) in cases {
        let peer = peer(&authority.server(name));
        let host = Host::start(config_with(&peer, tls));
        host.deliver(&chunk(0..1000, 1000));
        assert_eq!(host.flush(&entry(1000, 0)), Flushed::Delivered);
        assert_eq!(peer.numbers(), (0..=1000).collect::<Vec<_>>());
        assert_eq!(peer.connections(), 1, "{:?}", host.events());
    }
}

#[test]
fn case_21_mutual_with_shared_key_and_compression() {
    let authority = Authority::new();
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let config = authority.strict_server(versions);
        let peer = Peer::start(vec![script(move |connection| {
            connection.secure(config);
            connection.serve_with(&Lock::plain());
        })]);
        let mut config = config_with(
            &peer,
            Tls {
                identity: Some(authority.identity("client")),
                ..authority.client()
            },
        );
        config.nodes[0].auth = auth("key", None);
        config.nodes[0].compression = kube_audit_forward::protocol::compression::Compression::Gzip;
        let host = Host::start(config);
        host.deliver(&chunk(0..3000, 1000));
        assert_eq!(peer.numbers(), (0..3000).collect::<Vec<_>>());
        assert_eq!(peer.connections(), 1, "{:?}", host.events());
    }
}

/// More than all buffers hold, to a peer that reads in fits and starts.
#[test]
fn case_31_and_62_a_slow_peer_behind_tls() {
    let authority = Authority::new();
    let config = authority.server("127.0.0.1");
    let slow = script(move |connection: &mut Connection| {
        connection.secure(config);
        let mut taken = 0usize;
        while let Some(length) = connection.read(1 << 16) {
            taken += length;
            if taken > 1_000_000 {
                taken = 0;
                sleep(Duration::from_millis(50));
            }
            while let Some(frame) = connection.whole_frame() {
                connection.ack(&frame.id);
            }
        }
    });
    let peer = Peer::start(vec![slow]);
    let mut config = config_with(&peer, authority.client());
    config.memory = 64 << 20;
    config.limits.ack_timeout = Duration::from_secs(10);
    let host = Host::start(config);
    let count = 20_000_000 / (ENTRY as u32 + 3000);
    host.deliver(&chunk(0..count, 3000));
    assert_eq!(peer.numbers(), (0..count).collect::<Vec<_>>());
    assert_eq!(peer.connections(), 1, "{:?}", host.events());
}

/// What is said of a peer to which nothing can be delivered.
fn fails(peer: &Peer, tls: Option<Tls>, words: &str) {
    let mut config = config(&peer.endpoint());
    config.nodes[0].tls = tls;
    let host = Host::start(config);
    assert!(matches!(host.flush(&entry(0, 0)), Flushed::Retry(_)));
    let wanted = format!("it says `{words}`");
    until(&wanted, || host.said(words));
    assert!(peer.received().is_empty());
}

#[test]
fn case_49_certificates_that_are_no_good() {
    let authority = Authority::new();
    let expired = authority.issue("127.0.0.1", |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let early = authority.issue("127.0.0.1", |params| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    let all = rustls::ALL_VERSIONS;
    let cases = [
        (server(&expired, all, None), "certificate has expired"),
        (server(&early, all, None), "not valid yet"),
        (authority.server("other.example"), "is not for `127.0.0.1`"),
        (Authority::new().server("127.0.0.1"), "unknown authority"),
        (
            server(
                &authority.issue("127.0.0.1", |_| {}),
                &[&rustls::version::TLS12],
                None,
            ),
            "no TLS version, cipher",
        ),
    ];
    for (server, words) in cases {
        let tls = Tls {
            versions: Versions::Tls13,
            ..authority.client()
        };
        let tls = if words.starts_with("no TLS version") {
            tls
        } else {
            authority.client()
        };
        fails(&peer(&server), Some(tls), words);
    }
}

#[test]
fn case_49_one_side_speaks_no_tls() {
    let authority = Authority::new();
    // TLS server, client without.
    fails(
        &peer(&authority.server("127.0.0.1")),
        None,
        "the receiver speaks TLS",
    );
    // Servers without TLS: one that says HELO, one that closes, one that is silent.
    type Behaviour = fn(&mut Connection);
    let scripts: [(Behaviour, &str); 3] = [
        (|peer| peer.send(&Lock::plain().helo), "does not speak TLS"),
        (
            Connection::close,
            "closed the connection during the TLS handshake",
        ),
        (
            |peer| while peer.read(1 << 16).is_some() {},
            "TLS handshake did not complete within 1s",
        ),
    ];
    for (behave, words) in scripts {
        let scripts = (0..1000).map(|_| {
            script(move |connection: &mut Connection| {
                behave(connection);
                connection.wait_for_end();
            })
        });
        let peer = Peer::start(scripts.collect());
        fails(&peer, Some(authority.client()), words);
    }
}

#[test]
fn unverified_is_said_and_works() {
    let peer = peer(&Authority::new().server("other.example"));
    let tls = Tls {
        verify: false,
        ..Tls::default()
    };
    let host = Host::start(config_with(&peer, tls));
    assert!(host.said("is not verified: anyone on the way"));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
}

#[test]
fn case_51_refused_after_the_handshake() {
    let authority = Authority::new();
    let stranger = Authority::new();
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let server = authority.strict_server(versions);
        // Without a certificate, and with one of somebody else.
        fails(
            &peer(&server),
            Some(authority.client()),
            "the receiver wants a client certificate and none is configured",
        );
        let tls = Tls {
            identity: Some(stranger.identity("client")),
            ..authority.client()
        };
        fails(
            &peer(&server),
            Some(tls),
            "refused this client's certificate",
        );
    }
}

/// Without close_notify an end may be an attack, and Fluentd logs an error for each.
#[test]
fn the_receiver_is_told_before_a_connection_is_closed() {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1");
    let ends: Arc<Mutex<Vec<Option<usize>>>> = Arc::default();
    let scripts = (0..2).map(|_| {
        let (server, ends) = (Arc::clone(&server), Arc::clone(&ends));
        script(move |connection: &mut Connection| {
            connection.secure(server);
            let frame = connection.frame().unwrap();
            connection.ack(&frame.id);
            let end = connection.read_end().ok();
            ends.lock().unwrap().push(end);
        })
    });
    let peer = Peer::start(scripts.collect());
    let mut config = config(&peer.endpoint());
    config.nodes[0].tls = Some(authority.client());
    config.idle_timeout = Duration::from_millis(50);
    let host = Host::start(config);
    host.deliver(&entry(0, 0));
    until("the idle connection is closed", || {
        ends.lock().unwrap().len() == 1
    });
    host.deliver(&entry(1, 0));
    host.client.shutdown();
    until("the last one is closed", || ends.lock().unwrap().len() == 2);
    assert_eq!(*ends.lock().unwrap(), [Some(0), Some(0)]);
}

/// Files as Kubernetes mounts them: `tls.crt` → `..data/tls.crt`, `..data` → a
/// directory that is exchanged as a whole.
fn mount(directory: &Path, number: u32, files: [(&str, &str); 3]) {
    let data = directory.join(format!("..{number}"));
    fs::create_dir(&data).unwrap();
    for (name, text) in files {
        fs::write(data.join(name), text).unwrap();
        let _ = symlink(Path::new("..data").join(name), directory.join(name));
    }
    let link = directory.join("..data_tmp");
    symlink(format!("..{number}"), &link).unwrap();
    fs::rename(link, directory.join("..data")).unwrap();
}

#[test]
fn case_50_files_are_exchanged() {
    let (first, second) = (Authority::new(), Authority::new());
    let old = first.strict_server(rustls::ALL_VERSIONS);
    let new = second.strict_server(rustls::ALL_VERSIONS);
    // Each connection ends when a frame was acknowledged.
    let once = |config: &Arc<ServerConfig>| {
        let config = Arc::clone(config);
        script(move |connection: &mut Connection| {
            connection.secure(config);
            if let Some(frame) = connection.frame() {
                connection.ack(&frame.id);
            }
        })
    };
    let peer = Peer::start(vec![once(&old), once(&old), once(&new), once(&new)]);
    let mount_all = |directory: &Path, number, authority: &Authority, key: Option<&str>| {
        let (certificate, own) = authority.issue("client", |_| {});
        let files = [
            ("ca.crt", &*authority.issuer.pem()),
            ("tls.crt", &*certificate),
            ("tls.key", key.unwrap_or(&own)),
        ];
        mount(directory, number, files);
    };
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    mount_all(directory, 1, &first, None);
    let tls = Tls {
        ca_file: Some(directory.join("ca.crt")),
        identity: Some(Identity {
            crt_file: directory.join("tls.crt"),
            key_file: directory.join("tls.key"),
        }),
        ..Tls::default()
    };
    let host = Host::start(config_with(&peer, tls));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    // A key of another certificate: what was read before stays in use.
    let (_, other_key) = second.issue("client", |_| {});
    mount_all(directory, 2, &second, Some(&other_key));
    host.deliver(&entry(1, 0));
    assert!(
        host.said("keeping the previous ones"),
        "{:?}",
        host.events()
    );
    mount_all(directory, 3, &second, None);
    host.deliver(&entry(2, 0));
    assert!(host.said("reloaded the TLS files"), "{:?}", host.events());
    // In place, with no link.
    let (certificate, key) = second.issue("client", |_| {});
    fs::write(directory.join("..data/tls.crt"), certificate).unwrap();
    fs::write(directory.join("..data/tls.key"), key).unwrap();
    host.deliver(&entry(3, 0));
    assert_eq!((peer.numbers(), peer.connections()), (vec![0, 1, 2, 3], 4));
}

#[test]
fn what_cannot_work_stops_the_start() {
    let authority = Authority::new();
    let identity = authority.identity("client");
    let other = authority.identity("other");
    let encrypted = authority.path("encrypted.key");
    let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&encrypted, pem).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let with = |crt_file: &PathBuf, key_file: &PathBuf| Tls {
        identity: Some(Identity {
            crt_file: crt_file.clone(),
            key_file: key_file.clone(),
        }),
        ..authority.client()
    };
    let cases = [
        (
            Tls {
                ca_file: Some(authority.path("none.pem")),
                ..Tls::default()
            },
            "none.pem`: No such file",
        ),
        (
            Tls {
                ca_file: Some(identity.key_file.clone()),
                ..Tls::default()
            },
            "has no certificate in PEM",
        ),
        (
            Tls {
                ca_path: Some(empty.path().to_owned()),
                ..Tls::default()
            },
            "has no file with a certificate",
        ),
        (
            with(&identity.crt_file, &encrypted),
            "has a key with a password",
        ),
        (
            with(&identity.crt_file, &identity.crt_file),
            "has no private key",
        ),
        (with(&identity.crt_file, &other.key_file), "can't be used"),
        (
            Tls {
                vhost: Some("no name".into()),
                ..authority.client()
            },
            "a certificate cannot be verified for `no name`",
        ),
    ];
    for (tls, words) in cases {
        let mut node = Node::new("127.0.0.1:9".parse().unwrap());
        node.tls = Some(tls);
        let started = Client::start(
            Config::new(vec![node]),
            |_, _| panic!("nothing to prepare"),
            Arc::new(Notes::default()),
        );
        match started {
            Err(error @ StartError::Tls { .. }) => {
                let text = error.to_string();
                assert!(
                    text.starts_with("127.0.0.1:9: ") && text.contains(words),
                    "{text}"
                );
            }
            _ => panic!("{words}"),
        }
    }
}

/// The authorities of the system are asked where none are set.
#[test]
fn case_49_system_authorities_do_not_know_ours() {
    let peer = peer(&Authority::new().server("127.0.0.1"));
    let mut config = config(&format!("tls://{}", peer.endpoint()));
    config.nodes[0].name = "system".into();
    let notes = Arc::new(Notes::default());
    match Client::start(config, |_, _| panic!(), Arc::clone(&notes) as Arc<_>) {
        Ok(_client) => until("it is said", || {
            let events = notes.events.lock().unwrap();
            events.iter().any(|line| line.contains("unknown authority"))
        }),
        Err(error) => assert!(error.to_string().contains("the system has no"), "{error}"),
    }
}

/// A peer that accepts and is silent holds up nobody for longer than the timer.
#[test]
fn tls_has_a_timer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = Authority::new();
    let good = peer(&authority.server("127.0.0.1"));
    let endpoints = format!(
        "tls://{}, tls://{}",
        silent.local_addr().unwrap(),
        good.endpoint()
    );
    let mut config = config(&endpoints);
    for node in &mut config.nodes {
        node.tls = Some(authority.client());
    }
    let start = Instant::now();
    let host = Host::start(config);
    host.deliver(&entry(0, 0));
    assert!(start.elapsed() < Duration::from_secs(3));
    until("the silent one is named", || {
        host.said("did not complete within 1s")
    });
}
