//! A receiver that does what a script says, connection by connection.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use rmpv::Value;
use rustix::net::{Shutdown, shutdown, sockopt};
use sha2::{Digest, Sha512};

use crate::host::entries;

/// What to do with one connection; it is closed afterwards.
pub type Script = Box<dyn FnOnce(&mut Connection) + Send>;

/// A script of a closure.
pub fn script(script: impl FnOnce(&mut Connection) + Send + 'static) -> Script {
    Box::new(script)
}

/// One whole frame that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which connection it came on, from 0.
    pub connection: usize,
    pub tag: Vec<u8>,
    pub id: Vec<u8>,
    /// Bytes of entries as they came.
    pub bytes: usize,
    /// How they were compressed.
    pub compressed: Option<String>,
    /// Options that the protocol does not know.
    pub extra: Vec<(Vec<u8>, Vec<u8>)>,
    /// Numbers of the records.
    pub numbers: Vec<u32>,
}

/// Every connection that was accepted, and every frame that arrived, acknowledged or not.
#[derive(Default)]
struct Log {
    received: Mutex<Vec<Received>>,
    acked: Mutex<HashSet<Vec<u8>>>,
    streams: Mutex<Vec<OwnedFd>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

pub struct Peer {
    pub address: SocketAddr,
    log: Arc<Log>,
    accepting: Option<JoinHandle<()>>,
}

pub trait Stream: Read + Write + AsFd + Send {}

impl<T: Read + Write + AsFd + Send> Stream for T {}

impl Peer {
    /// Runs the scripts on the first connections, and acknowledges everything on later ones.
    pub fn start(scripts: Vec<Script>) -> Peer {
        Peer::start_at("127.0.0.1:0".parse().unwrap(), scripts)
    }

    /// The same on a given port.
    pub fn start_at(address: SocketAddr, scripts: Vec<Script>) -> Peer {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        Peer::run(address, scripts, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        })
    }

    /// The same on a Unix socket.
    pub fn start_unix(path: &Path, scripts: Vec<Script>) -> Peer {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Peer::run("0.0.0.0:0".parse().unwrap(), scripts, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(false)?;
            Ok(Box::new(stream))
        })
    }

    fn run(
        address: SocketAddr,
        scripts: Vec<Script>,
        accept: impl Fn() -> io::Result<Box<dyn Stream>> + Send + 'static,
    ) -> Peer {
        let log = Arc::new(Log::default());
        let shared = Arc::clone(&log);
        let accepting = spawn(move || {
            let mut scripts = scripts.into_iter();
            while !shared.stopped.load(Ordering::Relaxed) {
                let Ok(stream) = accept() else {
                    sleep(Duration::from_millis(1));
                    continue;
                };
                let log = Arc::clone(&shared);
                let number = log.connections.fetch_add(1, Ordering::Relaxed);
                log.streams
                    .lock()
                    .unwrap()
                    .push(stream.as_fd().try_clone_to_owned().unwrap());
                let script = scripts.next().unwrap_or_else(|| script(Connection::serve));
                spawn(move || {
                    let mut connection = Connection {
                        stream,
                        number,
                        log,
                        buffer: Vec::new(),
                    };
                    script(&mut connection);
                    // The clone in the log keeps the stream open otherwise.
                    let _ = shutdown(&connection.stream, Shutdown::Both);
                });
            }
        });
        Peer {
            address,
            log,
            accepting: Some(accepting),
        }
    }

    /// The endpoint to configure.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub fn received(&self) -> Vec<Received> {
        self.log.received.lock().unwrap().clone()
    }

    /// Numbers of all records that arrived, in order.
    pub fn numbers(&self) -> Vec<u32> {
        self.received()
            .into_iter()
            .flat_map(|frame| frame.numbers)
            .collect()
    }

    /// Numbers of the records that were acknowledged.
    pub fn acked(&self) -> HashSet<u32> {
        let acked = self.log.acked.lock().unwrap().clone();
        let received = self.received().into_iter();
        received
            .filter(|frame| acked.contains(&frame.id))
            .flat_map(|frame| frame.numbers)
            .collect()
    }

    /// How often each record was acknowledged.
    pub fn acked_times(&self) -> HashMap<u32, usize> {
        let acked = self.log.acked.lock().unwrap().clone();
        let mut times = HashMap::new();
        for frame in self.received() {
            for number in frame.numbers.iter().filter(|_| acked.contains(&frame.id)) {
                *times.entry(*number).or_default() += 1;
            }
        }
        times
    }

    pub fn connections(&self) -> usize {
        self.log.connections.load(Ordering::Relaxed)
    }

    /// Stops to listen and ends all connections.
    pub fn stop(&mut self) {
        self.log.stopped.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        for stream in self.log.streams.lock().unwrap().drain(..) {
            let _ = shutdown(stream, Shutdown::Both);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One accepted connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    number: usize,
    log: Arc<Log>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Acknowledges every frame until the client goes.
    pub fn serve(&mut self) {
        while let Some(frame) = self.frame() {
            self.ack(&frame.id);
        }
    }

    /// The next whole frame; `None` when the client is gone.
    pub fn frame(&mut self) -> Option<Received> {
        loop {
            if let Some(frame) = self.whole_frame() {
                return Some(frame);
            }
            self.read(1 << 16)?;
        }
    }

    /// A frame that is here already.
    pub fn whole_frame(&mut self) -> Option<Received> {
        let (mut frame, length) = parse_frame(&self.buffer)?;
        self.buffer.drain(..length);
        frame.connection = self.number;
        self.log.received.lock().unwrap().push(frame.clone());
        Some(frame)
    }

    /// Takes at most so many bytes from the socket.
    pub fn read(&mut self, at_most: usize) -> Option<usize> {
        let start = self.buffer.len();
        self.buffer.resize(start + at_most, 0);
        let read = self.stream.read(&mut self.buffer[start..]);
        self.buffer
            .truncate(start + read.as_ref().copied().unwrap_or(0));
        read.ok().filter(|&length| length > 0)
    }

    /// Reads at the end of the stream: `Ok(0)` if the client has closed it as TLS wants.
    #[cfg(feature = "tls")]
    pub fn read_end(&mut self) -> io::Result<usize> {
        self.stream.read(&mut [0; 16])
    }

    /// Speaks TLS from now on.
    #[cfg(feature = "tls")]
    pub fn secure(&mut self, config: Arc<rustls::ServerConfig>) {
        let (placeholder, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = std::mem::replace(&mut self.stream, Box::new(placeholder));
        let tls = rustls::ServerConnection::new(config).unwrap();
        self.stream = Box::new(Secured { tls, socket });
    }

    /// Reads PING as Fluent Bit does, with one call: its six fields.
    pub fn ping(&mut self) -> Option<[Vec<u8>; 6]> {
        let length = self.read(1 << 16)?;
        assert!(length < 1024, "a PING of {length} bytes");
        let mut rest = self.buffer.as_slice();
        let Value::Array(fields) = rmpv::decode::read_value(&mut rest).unwrap() else {
            panic!("PING is no array");
        };
        assert!(rest.is_empty(), "something behind PING");
        self.buffer.clear();
        let strings = fields.into_iter().map(|field| match field {
            Value::String(text) => text.into_bytes(),
            other => panic!("{other} in PING"),
        });
        let fields: [Vec<u8>; 6] = strings.collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(fields[0], b"PING");
        Some(fields)
    }

    /// Goes through a handshake and serves; whether PING shows the right key and
    /// password is a matter of the test.
    pub fn serve_with(&mut self, lock: &Lock) {
        self.send(&lock.helo);
        let Some(ping) = self.ping() else { return };
        lock.check(&ping);
        self.send(&lock.pong(&ping));
        self.serve();
    }

    pub fn ack(&mut self, id: &[u8]) {
        self.log.acked.lock().unwrap().insert(id.to_vec());
        self.send(&ack(id));
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // The client may be gone.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends with Nagle's algorithm from now on.
    pub fn use_nagle(&mut self) {
        sockopt::set_tcp_nodelay(&self.stream, false).unwrap();
    }

    /// Waits until the client has closed the connection.
    pub fn wait_for_end(&mut self) {
        while self.read(1 << 16).is_some() {}
    }

    /// Ends the connection.
    pub fn close(&mut self) {
        let _ = shutdown(&self.stream, Shutdown::Both);
    }

    /// Ends the connection with RST.
    pub fn reset(&mut self) {
        self.log.streams.lock().unwrap().clear();
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
        let (client, _) = std::os::unix::net::UnixStream::pair().unwrap();
        self.stream = Box::new(client);
    }
}

/// What a receiver wants in a handshake.
#[derive(Clone)]
pub struct Lock {
    pub key: Vec<u8>,
    /// The whole message.
    pub helo: Vec<u8>,
    pub nonce: Vec<u8>,
    /// Salt, user and password.
    pub user: Option<(Vec<u8>, String, String)>,
}

pub const NONCE: &[u8] = b"\x00\xffnonce of 16 b\xc1";

impl Lock {
    /// Wants the key `key` and nothing else.
    pub fn plain() -> Lock {
        let nonce = [b"\xa5nonce\xb0", NONCE].concat();
        Lock {
            key: b"key".to_vec(),
            helo: [b"\x92\xa4HELO\x81", &nonce[..]].concat(),
            nonce: NONCE.to_vec(),
            user: None,
        }
    }

    /// Takes a PING that shows key and password, and no other.
    pub fn check(&self, [_, hostname, salt, digest, user, password]: &[Vec<u8>; 6]) {
        assert!(salt.len() == 32 && salt.iter().all(u8::is_ascii_hexdigit));
        let expected = sha512(&[salt, hostname, &self.nonce, &self.key]);
        assert_eq!(*digest, expected, "the digest of the key");
        match &self.user {
            None => assert!(user.is_empty() && password.is_empty()),
            Some((auth, name, word)) => {
                let expected = sha512(&[auth, name.as_bytes(), word.as_bytes()]);
                assert_eq!((user, password), (&name.clone().into_bytes(), &expected));
            }
        }
    }

    pub fn pong(&self, [_, _, salt, ..]: &[Vec<u8>; 6]) -> Vec<u8> {
        let digest = sha512(&[salt, b"server", &self.nonce, &self.key]);
        [b"\x95\xa4PONG\xc3\xa0\xa6server\xd9\x80", &digest[..]].concat()
    }
}

fn sha512(parts: &[&[u8]]) -> Vec<u8> {
    let digits = Sha512::digest(parts.concat());
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.into_bytes()
}

/// A stream on which TLS is spoken, as the server.
#[cfg(feature = "tls")]
struct Secured {
    tls: rustls::ServerConnection,
    socket: Box<dyn Stream>,
}

#[cfg(feature = "tls")]
impl Read for Secured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).read(buffer)
    }
}

#[cfg(feature = "tls")]
impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).flush()
    }
}

#[cfg(feature = "tls")]
impl AsFd for Secured {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `{"ack": id}`.
pub fn ack(id: &[u8]) -> Vec<u8> {
    [b"\x81\xa3ack", [0xa0 | id.len() as u8].as_slice(), id].concat()
}

/// A frame with its entries as they came.
pub struct RawFrame<'a> {
    pub tag: &'a [u8],
    pub id: &'a [u8],
    pub entries: &'a [u8],
    pub compressed: Option<&'a str>,
    /// Options that the protocol does not know.
    pub extra: Vec<(&'a [u8], &'a [u8])>,
    /// Number of entries, as the sender says.
    pub size: u64,
    /// Bytes of the whole frame.
    pub length: usize,
}

/// Reads a frame as strictly as the strictest receiver does: anything but the
/// one form that all of them take is a failed test. `None` while it is incomplete.
pub fn raw_frame(bytes: &[u8]) -> Option<RawFrame<'_>> {
    let mut reader = Reader { bytes, at: 0 };
    assert_eq!(reader.take(1)?, b"\x93", "three elements");
    let tag = reader.string(0xa0, [0xd9, 0xda, 0xdb])?;
    let entries = reader.string(0, [0xc4, 0xc5, 0xc6])?;
    let options = match reader.take(1)?[0] {
        options @ 0x82..=0x8f => options - 0x80,
        other => panic!("options begin with {other:#x}"),
    };
    assert_eq!(reader.take(5)?, b"\xa4size");
    let size = match reader.take(1)?[0] {
        small @ 0..0x80 => u64::from(small),
        marker @ 0xcc..=0xce => reader.number(1 << (marker - 0xcc))?,
        other => panic!("size begins with {other:#x}"),
    };
    assert_eq!(reader.take(6)?, b"\xa5chunk");
    let id = reader.string(0xa0, [0xd9, 0xda, 0xdb])?;
    let mut compressed = None;
    let mut extra = Vec::new();
    for _ in 2..options {
        let key = reader.string(0xa0, [0xd9, 0xda, 0xdb])?;
        let value = reader.string(0xa0, [0xd9, 0xda, 0xdb])?;
        match key {
            b"compressed" => compressed = Some(std::str::from_utf8(value).unwrap()),
            _ => extra.push((key, value)),
        }
    }
    Some(RawFrame {
        tag,
        id,
        entries,
        compressed,
        extra,
        size,
        length: reader.at,
    })
}

/// The same with the records of these tests.
fn parse_frame(bytes: &[u8]) -> Option<(Received, usize)> {
    let frame = raw_frame(bytes)?;
    let plain = match frame.compressed {
        None => frame.entries.to_vec(),
        Some("gzip") => {
            let mut plain = Vec::new();
            let mut decoder = flate2::bufread::GzDecoder::new(frame.entries);
            decoder.read_to_end(&mut plain).unwrap();
            assert!(decoder.into_inner().is_empty(), "one member");
            plain
        }
        #[cfg(feature = "zstd")]
        Some("zstd") => zstd::bulk::decompress(frame.entries, 1_000_000).unwrap(),
        Some(other) => panic!("compressed as {other}"),
    };
    let entries = entries(&plain);
    assert_eq!(entries.len() as u64, frame.size);
    let pairs = frame.extra.iter();
    let pairs = pairs.map(|(key, value)| (key.to_vec(), value.to_vec()));
    let received = Received {
        connection: 0,
        tag: frame.tag.to_vec(),
        id: frame.id.to_vec(),
        bytes: frame.entries.len(),
        compressed: frame.compressed.map(str::to_owned),
        extra: pairs.collect(),
        numbers: entries.iter().map(|(number, _)| *number).collect(),
    };
    Some((received, frame.length))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        Some(bytes)
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        Some(
            self.take(width)?
                .iter()
                .fold(0, |number, &byte| number << 8 | u64::from(byte)),
        )
    }

    fn string(&mut self, short: u8, markers: [u8; 3]) -> Option<&'a [u8]> {
        let marker = self.take(1)?[0];
        let length = match markers.iter().position(|&known| known == marker) {
            Some(place) => self.number(1 << place)?,
            None if short != 0 && marker & 0xe0 == short => u64::from(marker & 0x1f),
            None => panic!("a string begins with {marker:#x}"),
        };
        self.take(length as usize)
    }
}
