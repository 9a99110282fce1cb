//! A receiver that does what a script says, connection by connection.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown, sockopt};

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
    /// Bytes of entries.
    pub bytes: usize,
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
    pub fn start_unix(path: &Path) -> Peer {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Peer::run("0.0.0.0:0".parse().unwrap(), Vec::new(), move || {
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

    /// Ends the connection with RST.
    pub fn reset(&mut self) {
        self.log.streams.lock().unwrap().clear();
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
        let (client, _) = std::os::unix::net::UnixStream::pair().unwrap();
        self.stream = Box::new(client);
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
    assert_eq!(reader.take(6)?, b"\x82\xa4size");
    let size = match reader.take(1)?[0] {
        small @ 0..0x80 => u64::from(small),
        marker @ 0xcc..=0xce => reader.number(1 << (marker - 0xcc))?,
        other => panic!("size begins with {other:#x}"),
    };
    assert_eq!(reader.take(6)?, b"\xa5chunk");
    let id = reader.string(0xa0, [0xd9, 0xda, 0xdb])?;
    Some(RawFrame {
        tag,
        id,
        entries,
        size,
        length: reader.at,
    })
}

/// The same with the records of these tests.
fn parse_frame(bytes: &[u8]) -> Option<(Received, usize)> {
    let frame = raw_frame(bytes)?;
    let entries = entries(frame.entries);
    assert_eq!(entries.len() as u64, frame.size);
    let received = Received {
        connection: 0,
        tag: frame.tag.to_vec(),
        id: frame.id.to_vec(),
        bytes: frame.entries.len(),
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
