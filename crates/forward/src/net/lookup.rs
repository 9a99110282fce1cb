//! Host name look-ups that neither block nor flood the name server.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::socket::Waker;
use crate::time::after;

/// Time for which an answer is used.
const FRESH: Duration = Duration::from_secs(30);

/// Delays after failed look-ups: 1 s, 2 s, … up to 30 s.
const RETRY_START: Duration = Duration::from_secs(1);
const RETRY_END: Duration = Duration::from_secs(30);

/// Socket addresses of a name, or the error of its look-up.
pub type Addresses = io::Result<Vec<SocketAddr>>;

/// Function that resolves names. It may block; each call runs on its own thread.
#[derive(Clone)]
pub struct Resolver(Arc<Resolve>);

type Resolve = dyn Fn(&str, u16) -> Addresses + Send + Sync;

impl Resolver {
    /// Wraps a function from name and port to addresses.
    pub fn new(resolve: impl Fn(&str, u16) -> Addresses + Send + Sync + 'static) -> Resolver {
        Resolver(Arc::new(resolve))
    }
}

impl Default for Resolver {
    /// Returns the system's resolver.
    fn default() -> Resolver {
        Resolver::new(|name, port| Ok((name, port).to_socket_addrs()?.collect()))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver(…)")
    }
}

/// Cache of look-ups. The system's resolver blocks and cannot be interrupted, so
/// each look-up runs on a thread of its own. That thread owns only the name and a
/// waker, so that a shutdown does not have to wait for it.
///
/// At most one look-up per name is running. An answer is used for [`FRESH`] unless
/// none of its addresses can be connected to. If a look-up fails, the previous
/// addresses stay in use.
pub(super) struct Lookups {
    resolver: Resolver,
    waker: Arc<Waker>,
    names: Vec<Name>,
}

struct Name {
    name: String,
    port: u16,
    /// Addresses of the last successful look-up.
    addresses: Vec<SocketAddr>,
    /// Error of the last look-up, if it failed.
    failure: Option<(io::ErrorKind, String)>,
    /// Number of failed look-ups in a row.
    failures: u32,
    pending: Option<Receiver<Addresses>>,
    /// Time of the last look-up.
    asked: Instant,
    /// Time of the next look-up.
    until: Instant,
}

impl Lookups {
    /// Creates a cache that calls `waker` when an answer has come.
    pub(super) fn new(resolver: Resolver, waker: Arc<Waker>) -> Lookups {
        Lookups {
            resolver,
            waker,
            names: Vec::new(),
        }
    }

    /// Returns the addresses of a name; `None` while a look-up is running.
    pub(super) fn poll(&mut self, name: &str, port: u16, now: Instant) -> Option<Addresses> {
        let wanted = |known: &Name| known.name == name && known.port == port;
        let place = self.names.iter().position(wanted).unwrap_or_else(|| {
            self.names.push(Name::new(name.to_owned(), port, now));
            self.names.len().saturating_sub(1)
        });
        let name = self.names.get_mut(place)?;
        if name.pending.is_none() && now >= name.until {
            name.ask(&self.resolver, &self.waker, now);
        }
        name.receive(now)
    }

    /// Records that none of a name's addresses could be connected to. They may have
    /// changed, so the next look-up is due at once, or 1 s after the last one.
    pub(super) fn distrust(&mut self, name: &str, port: u16) {
        for known in &mut self.names {
            if known.name == name && known.port == port && known.failure.is_none() {
                known.until = known.until.min(after(known.asked, RETRY_START));
            }
        }
    }
}

impl Name {
    fn new(name: String, port: u16, now: Instant) -> Name {
        Name {
            name,
            port,
            addresses: Vec::new(),
            failure: None,
            failures: 0,
            pending: None,
            asked: now,
            until: now,
        }
    }

    fn ask(&mut self, resolver: &Resolver, waker: &Arc<Waker>, now: Instant) {
        let (sender, answer) = sync_channel(1);
        let (Resolver(resolve), waker) = (resolver.clone(), Arc::clone(waker));
        let (name, port) = (self.name.clone(), self.port);
        self.asked = now;
        let begun = thread::Builder::new()
            .name("kube-audit-dns".into())
            .spawn(move || {
                // The client may have been shut down in the meantime.
                let _ = sender.send(resolve(&name, port));
                waker.wake();
            });
        match begun {
            Ok(_) => self.pending = Some(answer),
            Err(error) => self.learn(Err(error), now),
        }
    }

    fn receive(&mut self, now: Instant) -> Option<Addresses> {
        if let Some(pending) = &self.pending {
            let answer = match pending.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    Err(io::Error::other("the look-up ended without an answer"))
                }
                Ok(answer) => answer,
            };
            self.pending = None;
            self.learn(answer, now);
        }
        Some(match &self.failure {
            Some((kind, text)) if self.addresses.is_empty() => {
                Err(io::Error::new(*kind, text.clone()))
            }
            _ => Ok(self.addresses.clone()),
        })
    }

    fn learn(&mut self, answer: Addresses, now: Instant) {
        let answer = answer.and_then(|addresses| match addresses.is_empty() {
            true => Err(io::Error::other("the name has no address")),
            false => Ok(addresses),
        });
        match answer {
            Ok(addresses) => {
                self.addresses = addresses;
                self.failure = None;
                self.failures = 0;
                self.until = after(now, FRESH);
            }
            Err(error) => {
                self.failure = Some((error.kind(), error.to_string()));
                let delay = RETRY_START.saturating_mul(2u32.saturating_pow(self.failures));
                self.until = after(now, delay.min(RETRY_END));
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Look-ups with an answer that can be changed and a count of queries.
    struct Bench {
        lookups: Lookups,
        answer: Arc<Mutex<Option<&'static str>>>,
        queries: Arc<AtomicUsize>,
        now: Instant,
    }

    impl Bench {
        fn new(answer: Option<&'static str>) -> Bench {
            let answer = Arc::new(Mutex::new(answer));
            let queries = Arc::new(AtomicUsize::new(0));
            let (known, count) = (Arc::clone(&answer), Arc::clone(&queries));
            let resolver = Resolver::new(move |_, port| {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = *known.lock().unwrap();
                let ip = answer.ok_or_else(|| io::Error::other("no such name"))?;
                Ok(vec![SocketAddr::new(ip.parse().unwrap(), port)])
            });
            Bench {
                lookups: Lookups::new(resolver, Arc::new(Waker::new().unwrap())),
                answer,
                queries,
                now: Instant::now(),
            }
        }

        /// The address now, once a look-up that is under way has its answer.
        fn ask(&mut self) -> Result<String, String> {
            let answer = wait(&mut self.lookups, "logs.example", self.now);
            answer
                .map(|addresses| addresses[0].to_string())
                .map_err(|error| error.to_string())
        }

        fn change(&mut self, answer: Option<&'static str>) {
            *self.answer.lock().unwrap() = answer;
        }

        fn queries(&self) -> usize {
            self.queries.load(Ordering::Relaxed)
        }
    }

    fn wait(lookups: &mut Lookups, name: &str, now: Instant) -> Addresses {
        let start = Instant::now();
        loop {
            if let Some(answer) = lookups.poll(name, 24224, now) {
                return answer;
            }
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn system() -> Lookups {
        Lookups::new(Resolver::default(), Arc::new(Waker::new().unwrap()))
    }

    #[test]
    fn finds_localhost() {
        let addresses = wait(&mut system(), "localhost", Instant::now()).unwrap();
        assert!(
            addresses
                .iter()
                .any(|address| address.ip().is_loopback() && address.port() == 24224)
        );
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert!(wait(&mut system(), "no-such-name.invalid", Instant::now()).is_err());
    }

    #[test]
    fn case_48_answers_are_used_for_a_while() {
        let mut bench = Bench::new(Some("10.0.0.1"));
        assert_eq!(bench.ask(), Ok("10.0.0.1:24224".into()));
        bench.change(Some("10.0.0.2"));
        bench.now += FRESH - Duration::from_secs(1);
        assert_eq!(bench.ask(), Ok("10.0.0.1:24224".into()));
        assert_eq!(bench.queries(), 1);
        bench.now += Duration::from_secs(1);
        assert_eq!(bench.ask(), Ok("10.0.0.2:24224".into()));
        bench.change(Some("10.0.0.3"));
        bench.now += Duration::from_secs(2);
        bench.lookups.distrust("logs.example", 24224);
        assert_eq!(bench.ask(), Ok("10.0.0.3:24224".into()), "none answered");
        bench.lookups.distrust("logs.example", 24224);
        assert_eq!(bench.ask(), Ok("10.0.0.3:24224".into()));
        assert_eq!(bench.queries(), 3, "but not at once again");
    }

    #[test]
    fn case_48_a_missing_name_is_asked_for_ever_more_rarely() {
        let mut bench = Bench::new(None);
        let mut asked = Vec::new();
        for second in 0..100 {
            assert_eq!(bench.ask(), Err("no such name".into()));
            bench.lookups.distrust("logs.example", 24224);
            if bench.queries() > asked.len() {
                asked.push(second);
            }
            bench.now += Duration::from_secs(1);
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 61, 91]);
    }

    #[test]
    fn addresses_outlive_a_failing_name_server() {
        let mut bench = Bench::new(Some("10.0.0.1"));
        assert!(bench.ask().is_ok());
        bench.change(None);
        bench.now += FRESH;
        assert_eq!(bench.ask(), Ok("10.0.0.1:24224".into()));
        bench.change(Some("10.0.0.2"));
        bench.now += RETRY_START;
        assert_eq!(bench.ask(), Ok("10.0.0.2:24224".into()));
    }
}
