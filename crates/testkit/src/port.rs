//! Ports for programs that bind by themselves.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// Reserves a free port of the loopback until this process ends.
///
/// A socket that is bound with `SO_REUSEADDR` and does not listen holds the port: the
/// kernel gives it to nobody who asks for any port, connections to it are refused, and a
/// program that names it, with `SO_REUSEADDR` as servers do, can listen there, stop, and
/// listen again.
pub fn reserve() -> u16 {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a socket");
    set_socket_reuseaddr(&socket, true).expect("an option of any socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = getsockname(&socket).expect("a bound socket has an address");
    // Nobody can know when the last program that was told the port is done with it.
    std::mem::forget(socket);
    match SocketAddr::try_from(address) {
        Ok(address) => address.port(),
        Err(error) => panic!("the address of a TCP socket: {error}"),
    }
}

/// The turn of a test at a port that a shipped file names; the next one begins when it
/// is dropped, in this process or in another.
pub struct Turn {
    _lock: File,
}

/// Waits for the turn to use that port.
pub fn wait_for_turn(port: u16) -> Turn {
    let path = std::env::temp_dir().join(format!("kube-audit-tests-port-{port}"));
    let lock = File::create(&path).expect("a file for the lock");
    lock.lock().expect("a lock");
    Turn { _lock: lock }
}
