//! Just enough HTTP/1.1: a server that keeps what it is sent, and a client's request.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// With the query.
    pub path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    /// What follows the headers.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// Status and JSON body.
pub type Answer = (u16, &'static str);

/// A server on a free port of the loopback; it ends with the test program.
pub struct StandIn {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl StandIn {
    /// Starts a server that answers each request in the same way.
    pub fn start((status, text): Answer) -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let address = listener.local_addr().expect("address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().expect("stream"));
                    let mut stream = stream;
                    while let Some((path, headers, body)) = read_message(&mut reader) {
                        let path = path.split(' ').nth(1).unwrap_or_default().to_owned();
                        kept.lock().expect("lock").push(Request {
                            path,
                            headers,
                            body,
                        });
                        let answer = format!(
                            "HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n\
                             Content-Length: {}\r\n\r\n{text}",
                            text.len()
                        );
                        if stream.write_all(answer.as_bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        StandIn { address, requests }
    }

    /// The port of its address, as text.
    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("lock").clone()
    }
}

type Headers = Vec<(String, String)>;

/// First line, headers and body of the next message; `None` at the end.
fn read_message(reader: &mut impl BufRead) -> Option<(String, Headers, Vec<u8>)> {
    let mut first = String::new();
    if reader.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let mut headers = Headers::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        assert_ne!(name, "transfer-encoding", "bodies have a length here");
        if name == "content-length" {
            length = value.parse().ok()?;
        }
        headers.push((name, value));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.trim_end().to_owned(), headers, body))
}

/// A connection that sends requests, one after the other, as an API server's webhook
/// does.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to a server.
    pub fn connect(address: &str) -> std::io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Client {
            stream: BufReader::new(stream),
        })
    }

    /// Posts JSON; the result is the status, `None` when the server hangs up.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Option<u16> {
        // Headers as client-go writes them.
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: kube-audit.audit-forward.svc:9880\r\n\
             User-Agent: kube-apiserver/v1.34.1 (linux/amd64) kubernetes/93248f9\r\n\
             Content-Length: {}\r\nAccept: application/json, */*\r\n\
             Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let (first, _, _) = read_message(&mut self.stream)?;
        first.split(' ').nth(1)?.parse().ok()
    }
}
