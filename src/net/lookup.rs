//! Host names to addresses, without waiting.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

use super::socket::Waker;

/// Looks names up through the system, which blocks and can't be interrupted:
/// each look-up runs on a thread of its own that ends with the answer. It holds
/// nothing but the name and a waker, so that shutting down need not wait for it.
///
/// Names are looked up anew for every connection. At most one look-up per name
/// is under way; an answer that came too late serves the next one who asks.
pub(super) struct Lookups {
    waker: Arc<Waker>,
    pending: Vec<Pending>,
}

type Addresses = io::Result<Vec<SocketAddr>>;

struct Pending {
    name: String,
    port: u16,
    answer: Receiver<Addresses>,
}

impl Lookups {
    /// Look-ups that wake this waker when they have an answer.
    pub(super) fn new(waker: Arc<Waker>) -> Lookups {
        Lookups {
            waker,
            pending: Vec::new(),
        }
    }

    /// The addresses of a name, or `None` until the answer is there; ask again then.
    pub(super) fn poll(&mut self, name: &str, port: u16) -> Option<Addresses> {
        let wanted = |pending: &Pending| pending.name == name && pending.port == port;
        let Some(place) = self.pending.iter().position(wanted) else {
            return self.begin(name, port).err().map(Err);
        };
        let answer = match self.pending.get(place)?.answer.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(io::Error::other("the look-up broke off")),
            Ok(answer) => answer,
        };
        self.pending.swap_remove(place);
        Some(answer)
    }

    fn begin(&mut self, name: &str, port: u16) -> io::Result<()> {
        let (sender, answer) = sync_channel(1);
        let (name, waker) = (name.to_owned(), Arc::clone(&self.waker));
        let asked = name.clone();
        thread::Builder::new()
            .name("kube-audit-dns".into())
            .spawn(move || {
                let addresses = (asked.as_str(), port)
                    .to_socket_addrs()
                    .map(Iterator::collect);
                // Whoever asked may be gone.
                let _ = sender.send(addresses);
                waker.wake();
            })?;
        self.pending.push(Pending { name, port, answer });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn look_up(name: &str) -> Addresses {
        let mut lookups = Lookups::new(Arc::new(Waker::new().unwrap()));
        let start = Instant::now();
        loop {
            if let Some(answer) = lookups.poll(name, 24224) {
                assert!(lookups.pending.is_empty());
                return answer;
            }
            assert_eq!(
                lookups.pending.len(),
                1,
                "one look-up, however often one asks"
            );
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn finds_localhost() {
        let addresses = look_up("localhost").unwrap();
        assert!(
            addresses
                .iter()
                .any(|address| address.ip().is_loopback() && address.port() == 24224)
        );
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert!(look_up("no-such-name.invalid").is_err());
    }
}
