//! Nonblocking sockets, and the descriptor that wakes a polling thread.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, getpeername,
    recv, send, socket_with, sockopt,
};

/// Address that needs no look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Nonblocking stream socket. Operations that would block return
/// [`io::ErrorKind::WouldBlock`]; writing to a closed socket raises no signal.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

/// TCP keepalive: an idle connection whose peer vanished ends after 30 + 3 × 10 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;

impl Socket {
    /// Starts to connect; [`Socket::is_connected`] returns the result.
    pub(super) fn connect(address: &Address) -> io::Result<Socket> {
        let family = match address {
            Address::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Address::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Address::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        let begun = match address {
            Address::Tcp(address) => {
                sockopt::set_tcp_nodelay(&fd, true)?;
                sockopt::set_socket_keepalive(&fd, true)?;
                sockopt::set_tcp_keepidle(&fd, KEEPALIVE_IDLE)?;
                sockopt::set_tcp_keepintvl(&fd, KEEPALIVE_INTERVAL)?;
                sockopt::set_tcp_keepcnt(&fd, KEEPALIVE_COUNT)?;
                rustix::net::connect(&fd, address)
            }
            Address::Unix(path) => rustix::net::connect(&fd, &SocketAddrUnix::new(path)?),
        };
        match begun {
            // connect(2) continues in the background after a signal.
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Socket(fd)),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns true if the connection is made, or the error that prevented it.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        sockopt::socket_error(&self.0)??;
        match getpeername(&self.0) {
            Ok(_) => Ok(true),
            Err(Errno::NOTCONN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, _) = retry_on_intr(|| recv(&self.0, &mut *buffer, RecvFlags::empty()))?;
        // A peer that sends with Nagle's algorithm holds the next acknowledgement
        // back until the system has confirmed this one, which it puts off by
        // 40 ms unless asked. It has to be asked each time; Unix sockets refuse.
        let _ = sockopt::set_tcp_quickack(&self.0, true);
        Ok(length)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| send(&self.0, bytes, SendFlags::NOSIGNAL))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Eventfd with which one thread wakes another one that polls.
#[derive(Debug)]
pub(super) struct Waker(OwnedFd);

impl Waker {
    pub(super) fn new() -> io::Result<Waker> {
        Ok(Waker(eventfd(
            0,
            EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC,
        )?))
    }

    /// Makes the descriptor readable.
    pub(super) fn wake(&self) {
        // Fails only if the counter is full; the descriptor is readable then.
        let _ = retry_on_intr(|| rustix::io::write(&self.0, &1u64.to_ne_bytes()));
    }

    /// Makes the descriptor unreadable again.
    pub(super) fn rest(&self) {
        let _ = retry_on_intr(|| rustix::io::read(&self.0, &mut [0; 8]));
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread::sleep;

    use super::*;

    fn connected(address: &Address) -> io::Result<Socket> {
        let socket = Socket::connect(address)?;
        while !socket.is_connected()? {
            sleep(Duration::from_millis(1));
        }
        Ok(socket)
    }

    #[test]
    fn connects_over_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let mut socket = connected(&address).unwrap();
        let error = socket.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        drop(listener);
        let error = connected(&address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn writing_to_a_closed_unix_socket_is_an_error_and_no_signal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut socket = connected(&Address::Unix(path.clone())).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(
            socket.write(b"x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        drop(listener);
        assert!(connected(&Address::Unix(path)).is_err());
    }
}
