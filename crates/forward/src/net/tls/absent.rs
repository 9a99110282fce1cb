//! Replacement for `client` without the feature `tls`: types without a value.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Refresh, TlsSetupError};
use crate::net::endpoint::Endpoint;
use crate::net::node::Tls;
use crate::net::observer::ConnectionError;
use crate::net::socket::Socket;

pub(in crate::net) enum Connector {}

impl Connector {
    pub(in crate::net) fn new(_: &Tls, _: &Endpoint) -> Result<Connector, TlsSetupError> {
        Err(TlsSetupError::Absent)
    }

    pub(in crate::net) fn refresh(&mut self) -> Refresh {
        match *self {}
    }

    pub(in crate::net) fn connect(&self, _: Socket) -> Result<Stream, ConnectionError> {
        match *self {}
    }
}

pub(in crate::net) enum Stream {}

impl Stream {
    pub(in crate::net) fn is_handshaking(&self) -> bool {
        match *self {}
    }

    pub(in crate::net) fn read(&mut self, _: &mut [u8]) -> Result<Option<usize>, ConnectionError> {
        match *self {}
    }

    pub(in crate::net) fn write(&mut self, _: &[u8]) -> Result<Option<usize>, ConnectionError> {
        match *self {}
    }

    pub(in crate::net) fn flush(&mut self) -> Result<(), ConnectionError> {
        match *self {}
    }

    pub(in crate::net) fn close(&mut self) {
        match *self {}
    }

    pub(in crate::net) fn is_flushed(&self) -> bool {
        match *self {}
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}
