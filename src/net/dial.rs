//! One round of connecting: every address of every endpoint, in order.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, Host};
use super::lookup::Lookups;
use super::node::Node;
use super::socket::{Address, Socket};

/// A round under way.
pub(super) struct Dial {
    /// What is still to be tried.
    targets: VecDeque<Target>,
    attempt: Option<Attempt>,
    timeout: Duration,
}

/// Something to connect to, and the words for it.
struct Target {
    /// Which of the nodes it belongs to.
    node: usize,
    to: String,
    place: Place,
}

enum Place {
    Name(String, u16),
    Address(Address),
}

struct Attempt {
    node: usize,
    to: String,
    deadline: Instant,
    stage: Stage,
}

enum Stage {
    LookingUp(String, u16),
    Connecting(Socket),
}

/// How far a round has come.
pub(super) enum Progress {
    /// It waits for a socket, a look-up or the deadline.
    Pending,
    /// An attempt failed; the next one can begin.
    Failed { to: String, error: io::Error },
    /// A connection is made.
    Connected {
        node: usize,
        to: String,
        socket: Socket,
    },
    /// Every attempt has failed.
    Exhausted,
}

impl Dial {
    /// A round that gives every look-up and every address this much time.
    pub(super) fn new(nodes: &[Node], timeout: Duration) -> Dial {
        let targets = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| Target::new(number, &node.endpoint))
            .collect();
        Dial {
            targets,
            attempt: None,
            timeout,
        }
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn advance(&mut self, lookups: &mut Lookups, now: Instant) -> Progress {
        loop {
            let Some(Attempt {
                node,
                to,
                deadline,
                stage,
            }) = self.attempt.take()
            else {
                let Some(target) = self.targets.pop_front() else {
                    return Progress::Exhausted;
                };
                let stage = match target.place {
                    Place::Name(name, port) => Ok(Stage::LookingUp(name, port)),
                    Place::Address(address) => Socket::connect(&address).map(Stage::Connecting),
                };
                let Target { node, to, .. } = target;
                match stage {
                    Ok(stage) => {
                        self.attempt = Some(Attempt {
                            node,
                            to,
                            deadline: now + self.timeout,
                            stage,
                        });
                        continue;
                    }
                    Err(error) => return Progress::Failed { to, error },
                }
            };
            let stage = match stage {
                Stage::LookingUp(name, port) => match lookups.poll(&name, port) {
                    Some(Ok(addresses)) => {
                        self.insert(node, &to, addresses);
                        continue;
                    }
                    Some(Err(error)) => return Progress::Failed { to, error },
                    None => Stage::LookingUp(name, port),
                },
                Stage::Connecting(socket) => match socket.is_connected() {
                    Ok(true) => return Progress::Connected { node, to, socket },
                    Ok(false) => Stage::Connecting(socket),
                    Err(error) => return Progress::Failed { to, error },
                },
            };
            if now >= deadline {
                let what = match stage {
                    Stage::LookingUp(..) => "the name was not resolved in time",
                    Stage::Connecting(_) => "no answer in time",
                };
                return Progress::Failed {
                    to,
                    error: io::Error::new(io::ErrorKind::TimedOut, what),
                };
            }
            self.attempt = Some(Attempt {
                node,
                to,
                deadline,
                stage,
            });
            return Progress::Pending;
        }
    }

    /// When [`Dial::advance`] gives the attempt up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.attempt.as_ref().map(|attempt| attempt.deadline)
    }

    /// The socket that becomes writable when it is connected.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.attempt.as_ref()?.stage {
            Stage::Connecting(socket) => Some(socket.as_fd()),
            Stage::LookingUp(..) => None,
        }
    }

    /// The addresses of a name are tried before anything else.
    fn insert(&mut self, node: usize, name: &str, addresses: Vec<SocketAddr>) {
        for address in addresses.into_iter().rev() {
            let to = format!("{name} ({})", address.ip());
            self.targets.push_front(Target {
                node,
                to,
                place: Place::Address(Address::Tcp(address)),
            });
        }
    }
}

impl Target {
    fn new(node: usize, endpoint: &Endpoint) -> Target {
        let place = match endpoint {
            Endpoint::Tcp {
                host: Host::Name(name),
                port,
            } => Place::Name(name.clone(), *port),
            Endpoint::Tcp {
                host: Host::Ip(ip),
                port,
            } => Place::Address(Address::Tcp(SocketAddr::new(*ip, *port))),
            Endpoint::Unix(path) => Place::Address(Address::Unix(path.clone())),
        };
        Target {
            node,
            to: endpoint.to_string(),
            place,
        }
    }
}
