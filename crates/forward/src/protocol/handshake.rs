//! Shared-key handshake before the first frame: the receiver sends HELO, the
//! client PING, the receiver PONG.
//!
//! ```text
//! ← ["HELO", {"nonce": N, "auth": A, "keepalive": bool}]
//! → ["PING", hostname, salt, sha512(salt ‖ hostname ‖ N ‖ key), user, sha512(A ‖ user ‖ password)]
//! ← ["PONG", accepted, reason, hostname, sha512(salt ‖ hostname ‖ N ‖ key)]
//! ```
//!
//! Digests are lower-case hexadecimal. PING is written in the one form that every
//! known receiver accepts; Fluent Bit reads it with a single call of at most 1023
//! bytes. HELO and PONG are accepted in any msgpack encoding and fragmentation.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use kube_audit_core::doc::Doc;
use kube_audit_core::doc::msgpack::Msgpack;
use sha2::{Digest, Sha512};

use super::session::Reuse;
use super::wire::{Cursor, Stop, TLS_ALERT, TLS_HANDSHAKE, WireError, parse};
use crate::time::after;

/// Longest name in a PING, in bytes: with two of them it stays well below 1023.
const MAX_NAME: usize = 255;

/// Longest reason of a refusal that is kept, in characters.
const MAX_REASON: usize = 200;

/// Bytes that must never reach a log; `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps secret bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }

    /// Returns the bytes, to be hashed.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Credentials of the client in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    shared_key: Secret,
    self_hostname: String,
    user: Option<(String, Secret)>,
}

/// A name that is too long for the handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {name} has {length} bytes, at most {MAX_NAME} fit into the handshake")]
pub struct AuthError {
    name: &'static str,
    length: usize,
}

impl Auth {
    /// Checks the length of the names. An empty shared key is a valid key; `user`
    /// is a user name and a password, for receivers that ask for them.
    pub fn new(
        shared_key: Secret,
        self_hostname: String,
        user: Option<(String, Secret)>,
    ) -> Result<Auth, AuthError> {
        let fits = |name: &'static str, text: &str| match text.len() {
            0..=MAX_NAME => Ok(()),
            length => Err(AuthError { name, length }),
        };
        fits("client's host name", &self_hostname)?;
        if let Some((username, _)) = &user {
            fits("user name", username)?;
        }
        Ok(Auth {
            shared_key,
            self_hostname,
            user,
        })
    }
}

/// Time limits of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// For HELO, counted from the moment that the connection is made. Default 5 s.
    pub helo: Duration,
    /// For PONG, counted from HELO. Default 5 s.
    pub pong: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            helo: Duration::from_secs(5),
            pong: Duration::from_secs(5),
        }
    }
}

/// Reason why a handshake did not complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// No HELO in time.
    #[error(
        "no HELO from the receiver within {0:?}; is a shared key set there? (a receiver that expects TLS stays silent too)"
    )]
    NoHelo(Duration),
    /// The receiver closed the connection before HELO.
    #[error("the receiver closed the connection before HELO; is a shared key set there?")]
    ClosedBeforeHelo,
    /// No PONG in time.
    #[error("no PONG from the receiver within {0:?}")]
    NoPong(Duration),
    /// The receiver closed the connection after PING, as Fluent Bit does when the
    /// key is wrong.
    #[error("the receiver closed the connection after PING: the shared key is probably wrong")]
    ClosedAfterPing,
    /// PONG says false; the receiver's reason.
    #[error("the receiver refused PING: {0}")]
    Refused(String),
    /// The receiver did not prove that it knows the key.
    #[error(
        "the digest in PONG is wrong: the receiver has a different shared key, or is an impostor; nothing is sent to it"
    )]
    WrongDigest,
    /// Bytes after a message that the receiver has to wait after.
    #[error("the receiver sent unexpected bytes after {0}")]
    Unasked(&'static str),
    /// A message that is not part of the protocol.
    #[error("the handshake failed: {0}")]
    Wire(#[from] WireError),
}

impl HandshakeError {
    /// Returns true if an operator has to change a key before another attempt can
    /// succeed. A closed connection does not count: the receiver may be stopping.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            HandshakeError::Refused(_) | HandshakeError::WrongDigest
        )
    }
}

/// A handshake in progress. Every event consumes it, so that a failed or complete
/// handshake cannot be used again.
///
/// [`poll_transmit`](Handshake::poll_transmit) returns the bytes to write next,
/// [`transmitted`](Handshake::transmitted) takes how many of them were written.
#[derive(Debug)]
pub struct Handshake {
    auth: Auth,
    salt: [u8; 32],
    timers: Timers,
    deadline: Instant,
    received: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waiting for HELO.
    Greeting,
    /// Waiting for PONG.
    Checking {
        nonce: Vec<u8>,
        reuse: Reuse,
        ping: Vec<u8>,
        written: usize,
    },
}

/// Result of a step of the handshake.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each connection, and taken apart at once"
)]
pub enum Progress {
    /// More input is needed.
    Pending(Handshake),
    /// Both sides proved that they know the key; frames may be sent.
    Complete(Reuse),
}

impl Handshake {
    /// Starts on a new connection. `random` must differ between connections.
    pub fn new(auth: Auth, random: [u8; 16], timers: Timers, now: Instant) -> Handshake {
        Handshake {
            auth,
            salt: hex(random),
            timers,
            deadline: after(now, timers.helo),
            received: Vec::new(),
            state: State::Greeting,
        }
    }

    /// Processes received bytes.
    pub fn handle_input(mut self, bytes: &[u8], now: Instant) -> Result<Progress, HandshakeError> {
        self.received.extend_from_slice(bytes);
        match self.state {
            State::Greeting => {
                let Some((helo, length)) = parse(&self.received, Cursor::helo)? else {
                    return Ok(Progress::Pending(self));
                };
                if length < self.received.len() {
                    return Err(HandshakeError::Unasked("HELO"));
                }
                let state = State::Checking {
                    nonce: helo.nonce.to_vec(),
                    reuse: helo.reuse,
                    ping: self.ping(&helo),
                    written: 0,
                };
                Ok(Progress::Pending(Handshake {
                    state,
                    received: Vec::new(),
                    deadline: after(now, self.timers.pong),
                    ..self
                }))
            }
            State::Checking { written: 0, .. } => Err(HandshakeError::Unasked("HELO")),
            State::Checking {
                ref nonce, reuse, ..
            } => {
                let Some((pong, length)) = parse(&self.received, Cursor::pong)? else {
                    return Ok(Progress::Pending(self));
                };
                match pong {
                    Pong::Refused(reason) => Err(HandshakeError::Refused(printable(reason))),
                    Pong::Accepted { hostname, digest } => {
                        if !same(digest, &self.digest(hostname, nonce)) {
                            return Err(HandshakeError::WrongDigest);
                        }
                        if length < self.received.len() {
                            return Err(HandshakeError::Unasked("PONG"));
                        }
                        Ok(Progress::Complete(reuse))
                    }
                }
            }
        }
    }

    /// Processes the end of the stream.
    pub fn handle_end(self) -> HandshakeError {
        match self.state {
            State::Greeting => HandshakeError::ClosedBeforeHelo,
            State::Checking { .. } => HandshakeError::ClosedAfterPing,
        }
    }

    /// Returns the time at which [`Handshake::handle_timeout`] has to be called.
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// Fails if the receiver has taken too long.
    pub fn handle_timeout(self, now: Instant) -> Result<Handshake, HandshakeError> {
        if now < self.deadline {
            return Ok(self);
        }
        Err(match self.state {
            State::Greeting => HandshakeError::NoHelo(self.timers.helo),
            State::Checking { .. } => HandshakeError::NoPong(self.timers.pong),
        })
    }

    /// Returns the bytes to write next, in one call if possible.
    pub fn poll_transmit(&self) -> &[u8] {
        match &self.state {
            State::Greeting => &[],
            State::Checking { ping, written, .. } => ping.get(*written..).unwrap_or_default(),
        }
    }

    /// Records that the first `length` bytes of [`Handshake::poll_transmit`] were
    /// written.
    pub fn transmitted(&mut self, length: usize) {
        if let State::Checking { written, .. } = &mut self.state {
            *written = written.saturating_add(length);
        }
    }

    fn ping(&self, helo: &Helo<'_>) -> Vec<u8> {
        let hostname = self.auth.self_hostname.as_bytes();
        let digest = self.digest(hostname, helo.nonce);
        let (user, password) = match (&self.auth.user, helo.auth) {
            (_, b"") => (&b""[..], Vec::new()),
            (None, auth) => (&b""[..], sha512(&[auth]).to_vec()),
            (Some((user, password)), auth) => {
                let user = user.as_bytes();
                (user, sha512(&[auth, user, password.reveal()]).to_vec())
            }
        };
        let mut ping = vec![0x96];
        for field in [b"PING", hostname, &self.salt, &digest, user, &password] {
            Msgpack::write_text(&mut ping, field);
        }
        ping
    }

    fn digest(&self, hostname: &[u8], nonce: &[u8]) -> [u8; 128] {
        sha512(&[&self.salt, hostname, nonce, self.auth.shared_key.reveal()])
    }
}

/// First message of a receiver.
struct Helo<'a> {
    nonce: &'a [u8],
    /// Salt for the password; empty if the receiver wants no user.
    auth: &'a [u8],
    reuse: Reuse,
}

/// Answer of a receiver to PING.
enum Pong<'a> {
    Accepted {
        hostname: &'a [u8],
        digest: &'a [u8],
    },
    Refused(&'a [u8]),
}

impl<'a> Cursor<'a> {
    fn helo(&mut self) -> Result<Helo<'a>, Stop> {
        let flaw = |flaw| Err(misshapen("HELO", flaw));
        match self.array()? {
            Some(2) => {}
            None if matches!(self.byte()?, TLS_ALERT | TLS_HANDSHAKE) => {
                return Err(Stop::Wrong(WireError::Tls));
            }
            _ => return flaw("is not an array of two"),
        }
        if self.text()? != Some(b"HELO") {
            return flaw("does not begin with `HELO`");
        }
        let Some(pairs) = self.map()? else {
            return flaw("has no map of options");
        };
        let (mut nonce, mut auth, mut reuse) = (None, &b""[..], Reuse::Always);
        for _ in 0..pairs {
            match self.text()? {
                Some(b"nonce") => nonce = self.text()?,
                Some(b"auth") => auth = self.text()?.unwrap_or_default(),
                Some(b"keepalive") if self.boolean()? == Some(false) => reuse = Reuse::Never,
                Some(b"keepalive") => {}
                _ => self.skip()?,
            }
        }
        match nonce {
            Some(nonce) => Ok(Helo { nonce, auth, reuse }),
            None => flaw("has no nonce"),
        }
    }

    fn pong(&mut self) -> Result<Pong<'a>, Stop> {
        let flaw = |flaw| Err(misshapen("PONG", flaw));
        let length = match self.array()? {
            Some(length @ 2..) => length,
            _ => return flaw("is not an array of five"),
        };
        if self.text()? != Some(b"PONG") {
            return flaw("does not begin with `PONG`");
        }
        match self.boolean()? {
            Some(true) => {}
            Some(false) if length == 2 => return Ok(Pong::Refused(b"")),
            Some(false) => return Ok(Pong::Refused(self.text()?.unwrap_or_default())),
            None => return flaw("has neither true nor false after `PONG`"),
        }
        if length != 5 {
            return flaw("is not an array of five");
        }
        self.skip()?;
        match (self.text()?, self.text()?) {
            (Some(hostname), Some(digest)) => Ok(Pong::Accepted { hostname, digest }),
            _ => flaw("lacks a host name or a digest"),
        }
    }
}

fn misshapen(message: &'static str, flaw: &'static str) -> Stop {
    Stop::Wrong(WireError::Misshapen { message, flaw })
}

/// Escapes and shortens a reason from a receiver for the log.
fn printable(reason: &[u8]) -> String {
    match String::from_utf8_lossy(reason) {
        reason if reason.is_empty() => "it gives no reason".to_owned(),
        reason => reason
            .chars()
            .take(MAX_REASON)
            .flat_map(char::escape_debug)
            .collect(),
    }
}

/// Compares in constant time. The salt makes each digest valid for a single
/// connection, so that timing reveals next to nothing; a dependency is not worth it.
fn same(given: &[u8], expected: &[u8; 128]) -> bool {
    let difference = given
        .iter()
        .zip(expected)
        .fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    given.len() == expected.len() && difference == 0
}

/// Hashes the concatenated parts, in lower-case hexadecimal.
fn sha512(parts: &[&[u8]]) -> [u8; 128] {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    let digest: [u8; 64] = hash.finalize().into();
    hex(digest)
}

fn hex<const BYTES: usize, const DIGITS: usize>(bytes: [u8; BYTES]) -> [u8; DIGITS] {
    const { assert!(DIGITS == 2 * BYTES) };
    let digit = |value: u8| match value {
        0..10 => b'0' | value,
        _ => b'a'.saturating_add(value.saturating_sub(10)),
    };
    let mut digits = [0; DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: Timers = Timers {
        helo: Duration::from_secs(5),
        pong: Duration::from_secs(7),
    };
    const NONCE: &[u8] = b"\x00\xff0123456789abcd";

    fn auth() -> Auth {
        let user = ("user".to_owned(), Secret::new("word"));
        Auth::new(Secret::new("key"), "client".to_owned(), Some(user)).unwrap()
    }

    fn start(auth: Auth) -> Handshake {
        Handshake::new(auth, [0xa5; 16], TIMERS, Instant::now())
    }

    fn helo(nonce: &[u8], auth: &[u8]) -> Vec<u8> {
        let mut helo = b"\x92\xa4HELO\x82\xa5nonce".to_vec();
        Msgpack::write_text(&mut helo, nonce);
        helo.extend(b"\xa4auth");
        Msgpack::write_text(&mut helo, auth);
        helo
    }

    fn pong(handshake: &Handshake, hostname: &[u8]) -> Vec<u8> {
        let mut pong = b"\x95\xa4PONG\xc3\xa0".to_vec();
        Msgpack::write_text(&mut pong, hostname);
        Msgpack::write_text(&mut pong, &handshake.digest(hostname, NONCE));
        pong
    }

    fn pending(progress: Result<Progress, HandshakeError>) -> Handshake {
        match progress {
            Ok(Progress::Pending(handshake)) => handshake,
            other => panic!("{other:?}"),
        }
    }

    fn feed(handshake: Handshake, bytes: &[u8]) -> Result<Progress, HandshakeError> {
        handshake.handle_input(bytes, Instant::now())
    }

    /// A handshake whose PING has left.
    fn checking(auth: Auth, helo: &[u8]) -> Handshake {
        let mut handshake = pending(feed(start(auth), helo));
        let length = handshake.poll_transmit().len();
        handshake.transmitted(length);
        assert!(handshake.poll_transmit().is_empty());
        handshake
    }

    fn reuse(progress: Result<Progress, HandshakeError>) -> Reuse {
        match progress {
            Ok(Progress::Complete(reuse)) => reuse,
            other => panic!("{other:?}"),
        }
    }

    /// The first one is the example of FIPS 180-2, the second one that of nothing.
    #[test]
    fn case_14_digests() {
        assert!(sha512(&[b"a", b"b", b"c"]).starts_with(b"ddaf35a193617abacc417349ae204131"));
        assert!(sha512(&[]).starts_with(b"cf83e1357eefb8bdf1542850d66d8007"));
        assert_eq!(&hex::<2, 4>([0x0f, 0xa9]), b"0fa9");
    }

    #[test]
    fn case_15_ping_has_six_strings() {
        let handshake = pending(feed(start(auth()), &helo(NONCE, b"salt")));
        let salt = b"a5".repeat(16);
        let mut ping = b"\x96\xa4PING\xa6client\xd9\x20".to_vec();
        ping.extend(&salt);
        ping.extend(b"\xd9\x80");
        ping.extend(sha512(&[&salt, b"client", NONCE, b"key"]));
        ping.extend(b"\xa4user\xd9\x80");
        ping.extend(sha512(&[b"salt", b"user", b"word"]));
        assert_eq!(handshake.poll_transmit(), ping);
    }

    #[test]
    fn case_15_ping_stays_below_1024_bytes() {
        let long = || "x".repeat(MAX_NAME);
        let user = Some((long(), Secret::new("word")));
        let auth = Auth::new(Secret::new("key"), long(), user).unwrap();
        let handshake = pending(feed(start(auth), &helo(NONCE, b"salt")));
        assert!(handshake.poll_transmit().len() < 1024);
        let longer = Auth::new(Secret::new(""), long() + "x", None);
        assert_eq!(
            longer.unwrap_err().to_string(),
            "the client's host name has 256 bytes, at most 255 fit into the handshake"
        );
    }

    #[test]
    fn case_14_and_17_every_helo() {
        let nonce = [b"\xa5nonce\xb0", NONCE].concat();
        let cases: [(&str, Vec<u8>, Reuse); 6] = [
            (
                "nothing else",
                [b"\x81", &nonce[..]].concat(),
                Reuse::Always,
            ),
            (
                "nonce as bin",
                [b"\x81\xa5nonce\xc4\x10", NONCE].concat(),
                Reuse::Always,
            ),
            (
                "auth nil",
                [b"\x82", &nonce[..], b"\xa4auth\xc0"].concat(),
                Reuse::Always,
            ),
            (
                "auth empty",
                [b"\x82", &nonce[..], b"\xa4auth\xc4\x00"].concat(),
                Reuse::Always,
            ),
            (
                "kept",
                [b"\x82\xa9keepalive\xc3", &nonce[..]].concat(),
                Reuse::Always,
            ),
            (
                "not kept",
                [b"\x83\xa9keepalive\xc2\x91\x01\x80", &nonce[..]].concat(),
                Reuse::Never,
            ),
        ];
        for (name, options, expected) in cases {
            let helo = [b"\x92\xa4HELO", &options[..]].concat();
            let handshake = checking(auth(), &helo);
            let State::Checking { ping, .. } = &handshake.state else {
                panic!("{name}");
            };
            assert!(ping.ends_with(b"\xa0\xa0"), "{name}: no password is shown");
            let pong = pong(&handshake, b"server");
            assert_eq!(reuse(feed(handshake, &pong)), expected, "{name}");
        }
    }

    #[test]
    fn case_18_empty_key_and_no_user() {
        let auth = Auth::new(Secret::new(""), "client".to_owned(), None).unwrap();
        let handshake = checking(auth, &helo(NONCE, b"salt"));
        let pong = pong(&handshake, b"server");
        assert_eq!(reuse(feed(handshake, &pong)), Reuse::Always);
    }

    /// Also byte by byte, and with a PING that leaves in pieces.
    #[test]
    fn case_24_cut_at_every_byte() {
        let helo = helo(NONCE, b"salt");
        for size in 1..200 {
            let mut handshake = start(auth());
            for part in helo.chunks(size) {
                assert!(handshake.poll_transmit().is_empty());
                handshake = pending(feed(handshake, part));
            }
            while !handshake.poll_transmit().is_empty() {
                let length = handshake.poll_transmit().len().min(size);
                handshake.transmitted(length);
            }
            let pong = pong(&handshake, b"server");
            let (last, parts) = pong
                .chunks(size)
                .collect::<Vec<_>>()
                .split_last()
                .map(|(l, p)| (*l, p.to_vec()))
                .unwrap();
            for part in parts {
                handshake = pending(feed(handshake, part));
            }
            assert_eq!(reuse(feed(handshake, last)), Reuse::Always, "{size}");
        }
    }

    #[test]
    fn case_25_no_helo() {
        let bomb = [b"\x92\xa4HELO\x81\xa5nonce".as_slice(), &[0x91; 5000]].concat();
        let long = [
            b"\x92\xa4HELO\x81\xa5nonce\xc5\x20\x00".as_slice(),
            &[7; 8192],
        ]
        .concat();
        let promise = [
            b"\x92\xa4HELO\x81\xa5nonce\xdb\x7f\0\0\0".as_slice(),
            &[7; 8192],
        ]
        .concat();
        let cases: [(&str, &[u8], &str); 12] = [
            ("map", b"\x80", "HELO is not an array of two"),
            (
                "three",
                b"\x93\xa4HELO\x80\xc0",
                "HELO is not an array of two",
            ),
            ("text", b"HTTP/1.1 400", "HELO is not an array of two"),
            ("other", b"\x92\xa4PING\x80", "does not begin with `HELO`"),
            ("no text", b"\x92\x01\x80", "does not begin with `HELO`"),
            ("no map", b"\x92\xa4HELO\xc0", "no map of options"),
            ("no nonce", b"\x92\xa4HELO\x80", "HELO has no nonce"),
            (
                "number",
                b"\x92\xa4HELO\x81\xa5nonce\x07",
                "HELO has no nonce",
            ),
            ("TLS", b"\x15\x03\x01\x00\x02", "the receiver speaks TLS"),
            ("depth bomb", &bomb, "longer than 4096 bytes"),
            ("long nonce", &long, "longer than 4096 bytes"),
            ("promise", &promise, "longer than 4096 bytes"),
        ];
        for (name, bytes, words) in cases {
            let error = feed(start(auth()), bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
        let garbage = [helo(NONCE, b""), b"x".to_vec()].concat();
        let error = feed(start(auth()), &garbage).unwrap_err();
        assert_eq!(error, HandshakeError::Unasked("HELO"));
        let handshake = pending(feed(start(auth()), &helo(NONCE, b"")));
        let error = feed(handshake, b"\x95").unwrap_err();
        assert_eq!(error, HandshakeError::Unasked("HELO"), "before PING left");
    }

    #[test]
    fn case_26_and_27_pong_that_does_not_open() {
        let wrong = [
            b"\x95\xa4PONG\xc3\xa0\xa1s\xd9\x80".as_slice(),
            &[b'0'; 128],
        ]
        .concat();
        let noise = [b"\x95\xa4PONG\xc2\xda\x01\x00".as_slice(), &[0; 256]].concat();
        let refused = |reason: &str| HandshakeError::Refused(reason.into()).to_string();
        let cases: [(&str, &[u8], String); 9] = [
            (
                "refused",
                b"\x95\xa4PONG\xc2\xaamismatch!\n\xa0\xa0",
                refused("mismatch!\\n"),
            ),
            ("short", b"\x92\xa4PONG\xc2", refused("it gives no reason")),
            (
                "nil",
                b"\x95\xa4PONG\xc2\xc0\xa0\xa0",
                refused("it gives no reason"),
            ),
            ("noise", &noise, refused(&"\\0".repeat(MAX_REASON))),
            ("wrong", &wrong, HandshakeError::WrongDigest.to_string()),
            (
                "empty digest",
                b"\x95\xa4PONG\xc3\xa0\xa1s\xa0",
                HandshakeError::WrongDigest.to_string(),
            ),
            (
                "four",
                b"\x94\xa4PONG\xc3\xa0\xa1s",
                "the handshake failed: PONG is not an array of five".into(),
            ),
            (
                "neither",
                b"\x95\xa4PONG\x01\xa0\xa1s\xa0",
                "the handshake failed: PONG has neither true nor false after `PONG`".into(),
            ),
            (
                "HELO again",
                b"\x92\xa4HELO\x80",
                "the handshake failed: PONG does not begin with `PONG`".into(),
            ),
        ];
        for (name, bytes, message) in cases {
            let error = feed(checking(auth(), &helo(NONCE, b"")), bytes).unwrap_err();
            assert_eq!(error.to_string(), message, "{name}");
        }
        let handshake = checking(auth(), &helo(NONCE, b""));
        let more = [pong(&handshake, b"s"), b"\x81".to_vec()].concat();
        assert_eq!(
            feed(handshake, &more).unwrap_err(),
            HandshakeError::Unasked("PONG")
        );
    }

    #[test]
    fn case_20_and_28_silence_and_ends() {
        let now = Instant::now();
        let greeting = || Handshake::new(auth(), [0; 16], TIMERS, now);
        let waiting = greeting()
            .handle_timeout(now + Duration::from_secs(4))
            .unwrap();
        assert_eq!(waiting.poll_timeout(), now + TIMERS.helo);
        assert_eq!(
            waiting.handle_timeout(now + TIMERS.helo).unwrap_err(),
            HandshakeError::NoHelo(TIMERS.helo)
        );
        assert_eq!(greeting().handle_end(), HandshakeError::ClosedBeforeHelo);
        let later = now + Duration::from_secs(3);
        let checking = || pending(greeting().handle_input(&helo(NONCE, b""), later));
        assert_eq!(
            checking().handle_timeout(later + TIMERS.pong).unwrap_err(),
            HandshakeError::NoPong(TIMERS.pong)
        );
        assert_eq!(checking().handle_end(), HandshakeError::ClosedAfterPing);
    }

    #[test]
    fn secrets_are_not_shown() {
        let handshake = checking(auth(), &helo(NONCE, b"salt"));
        let text = format!("{handshake:?}");
        assert!(!text.contains("key\"") && !text.contains("word\""));
        let key = format!("{:?}", b"key");
        assert!(!text.contains(key.trim_matches(['[', ']'])), "{text}");
    }
}
