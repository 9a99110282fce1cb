//! Connecting to a node: one attempt for each address of its name.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, Host};
use super::lookup::Lookups;
use super::node::Node;
use super::socket::{Address, Socket};
use crate::time::after;

/// Round of attempts to connect to a node.
pub(super) struct Dial {
    /// Targets that were not tried yet.
    targets: VecDeque<Target>,
    attempt: Option<Attempt>,
    timeout: Duration,
    turn: usize,
}

/// Target of an attempt, and its name in the log.
struct Target {
    to: String,
    place: Place,
}

enum Place {
    Name(String, u16),
    Address(Address),
}

struct Attempt {
    to: String,
    deadline: Instant,
    stage: Stage,
}

enum Stage {
    LookingUp(String, u16),
    Connecting(Socket),
}

/// Result of a step of a round.
pub(super) enum Progress {
    /// Waiting for a socket, a look-up or the deadline.
    Pending,
    /// An attempt failed; the next step begins another one.
    Failed { to: String, error: io::Error },
    /// The connection is made.
    Connected { to: String, socket: Socket },
    /// Every attempt has failed.
    Exhausted,
}

impl Dial {
    /// Creates a round in which the look-up and each address have `timeout`. Begins
    /// with address number `turn` of the name, modulo their count.
    pub(super) fn new(node: &Node, timeout: Duration, turn: usize) -> Dial {
        Dial {
            targets: VecDeque::from([Target::from(node)]),
            attempt: None,
            timeout,
            turn,
        }
    }

    /// Proceeds as far as possible without blocking.
    pub(super) fn advance(&mut self, lookups: &mut Lookups, now: Instant) -> Progress {
        loop {
            let Some(Attempt {
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
                let to = target.to;
                match stage {
                    Ok(stage) => {
                        self.attempt = Some(Attempt {
                            to,
                            deadline: after(now, self.timeout),
                            stage,
                        });
                        continue;
                    }
                    Err(error) => return Progress::Failed { to, error },
                }
            };
            let stage = match stage {
                Stage::LookingUp(name, port) => match lookups.poll(&name, port, now) {
                    Some(Ok(addresses)) => {
                        self.insert(&to, addresses);
                        continue;
                    }
                    Some(Err(error)) => return Progress::Failed { to, error },
                    None => Stage::LookingUp(name, port),
                },
                Stage::Connecting(socket) => match socket.is_connected() {
                    Ok(true) => return Progress::Connected { to, socket },
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
                to,
                deadline,
                stage,
            });
            return Progress::Pending;
        }
    }

    /// Returns when the current attempt times out.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.attempt.as_ref().map(|attempt| attempt.deadline)
    }

    /// Returns the socket to poll for writability.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.attempt.as_ref()?.stage {
            Stage::Connecting(socket) => Some(socket.as_fd()),
            Stage::LookingUp(..) => None,
        }
    }

    fn insert(&mut self, name: &str, mut addresses: Vec<SocketAddr>) {
        let first = self.turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(first);
        let targets = addresses.into_iter().map(|address| Target {
            to: format!("{name} ({})", address.ip()),
            place: Place::Address(Address::Tcp(address)),
        });
        self.targets.extend(targets);
    }
}

impl From<&Node> for Target {
    fn from(node: &Node) -> Target {
        let place = match &node.endpoint {
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
            to: node.to_string(),
            place,
        }
    }
}
