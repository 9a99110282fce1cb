//! Bytes to and from a receiver, with TLS or without.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::observer::ConnectionError;
use super::socket::Socket;
use super::tls;

/// A connected stream. Nothing done with it waits: `None` is what can't be done at once.
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<tls::Stream>),
}

impl Stream {
    /// Whether it still has to be secured, by reading and flushing.
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.is_handshaking(),
        }
    }

    /// Reads what has come; 0 bytes when the peer sends no more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, ConnectionError> {
        match self {
            Stream::Plain(socket) => at_once(socket.read(buffer)),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }

    /// Takes a part of the bytes, of which some may wait for [`Stream::flush`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, ConnectionError> {
        match self {
            Stream::Plain(socket) => at_once(socket.write(bytes)),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    /// Writes what the socket takes of what was left to write.
    pub(super) fn flush(&mut self) -> Result<(), ConnectionError> {
        match self {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.flush(),
        }
    }

    /// Whether nothing is left to write.
    pub(super) fn is_flushed(&self) -> bool {
        match self {
            Stream::Plain(_) => true,
            Stream::Tls(stream) => stream.is_flushed(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Plain(socket) => socket.as_fd(),
            Stream::Tls(stream) => stream.as_fd(),
        }
    }
}

fn at_once(result: io::Result<usize>) -> Result<Option<usize>, ConnectionError> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}
