//! Byte stream to a receiver, with or without TLS.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::observer::ConnectionError;
use super::socket::Socket;
use super::tls;

/// Connected nonblocking stream. Operations that would block return `None`.
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<tls::Stream>),
}

impl Stream {
    /// Returns true during the TLS handshake, which reads and flushes drive.
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.is_handshaking(),
        }
    }

    /// Reads received bytes; 0 at the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, ConnectionError> {
        match self {
            Stream::Plain(socket) => at_once(socket.read(buffer)),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }

    /// Takes a part of the bytes; some may stay buffered until [`Stream::flush`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, ConnectionError> {
        match self {
            Stream::Plain(socket) => at_once(socket.write(bytes)),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    /// Writes buffered bytes as far as the socket takes them.
    pub(super) fn flush(&mut self) -> Result<(), ConnectionError> {
        match self {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.flush(),
        }
    }

    /// Tells the peer that nothing more will be written, as far as the socket takes it.
    pub(super) fn close(&mut self) {
        match self {
            // Closing the socket says the same.
            Stream::Plain(_) => {}
            Stream::Tls(stream) => stream.close(),
        }
    }

    /// Returns true if no byte is buffered.
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
