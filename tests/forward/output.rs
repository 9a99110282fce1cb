//! The whole output, from the host's chunks to frames: what a receiver reads,
//! parsed by an independent decoder.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use flate2::bufread::GzDecoder;
use kube_audit_plugin::{Flushed, HostSettings, Log, LogLevel, Metrics, Output};
use rmpv::Value;
use rmpv::decode::read_value;

use crate::host::{until, wait};
use crate::peer::ack;

/// What an output has said.
#[derive(Default)]
pub struct Lines(Mutex<Vec<(LogLevel, String)>>);

impl Log for Lines {
    fn log(&self, level: LogLevel, message: &str) {
        self.0.lock().unwrap().push((level, message.to_owned()));
    }
}

impl Lines {
    fn said(&self, level: LogLevel, words: &str) -> bool {
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .any(|(at, line)| *at == level && line.contains(words))
    }
}

/// An output with these options.
pub fn output(endpoint: &str, options: &[(&str, &str)]) -> (Output, Arc<Lines>) {
    let mut properties = vec![("endpoint".to_owned(), endpoint.to_owned())];
    properties.extend(
        options
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into())),
    );
    let log = Arc::new(Lines::default());
    let output = Output::new(&properties, &HostSettings::default(), None, log.clone()).unwrap();
    (output, log)
}

/// Hands a chunk over until it is delivered.
pub fn deliver(output: &Output, tag: &str, chunk: &[u8]) {
    until("it is delivered", || {
        let tag = tag.as_bytes();
        let mut flushed = output.flush(tag, chunk);
        while let Flushed::Waits(call) = flushed {
            wait(output.signal());
            if output.ready().contains(&call) {
                flushed = output.resume(call, tag, chunk);
            }
        }
        flushed == Flushed::Delivered
    });
}

/// Reads every frame as msgpack, keeps it, and acknowledges it.
struct Receiver {
    address: SocketAddr,
    frames: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let frames = Arc::new(Mutex::new(Vec::new()));
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            frames: Arc::clone(&frames),
        };
        spawn(move || {
            for stream in listener.incoming() {
                let frames = Arc::clone(&frames);
                spawn(move || serve(stream.unwrap(), &frames));
            }
        });
        receiver
    }

    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    fn frames(&self) -> Vec<Value> {
        self.frames.lock().unwrap().clone()
    }

    /// Tags of all frames.
    fn tags(&self) -> Vec<String> {
        let tag = |frame: &Value| frame[0].as_str().unwrap().to_owned();
        self.frames().iter().map(tag).collect()
    }

    /// The entries of all frames.
    fn entries(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        for frame in self.frames() {
            let bytes = plain(&frame);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                entries.push(read_value(&mut rest).unwrap());
            }
        }
        entries
    }
}

fn serve(stream: TcpStream, frames: &Mutex<Vec<Value>>) {
    let mut stream = stream;
    while let Ok(frame) = read_value(&mut stream) {
        let id = option(&frame, "chunk").as_str().unwrap().to_owned();
        frames.lock().unwrap().push(frame);
        let _ = std::io::Write::write_all(&mut stream, &ack(id.as_bytes()));
    }
}

/// An option of a frame.
fn option<'a>(frame: &'a Value, key: &str) -> &'a Value {
    &frame[2][key]
}

/// Bytes of a frame's entries.
fn plain(frame: &Value) -> Vec<u8> {
    let bytes = frame[1].as_slice().unwrap();
    match option(frame, "compressed").as_str() {
        None => bytes.to_vec(),
        Some("gzip") => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut GzDecoder::new(bytes), &mut plain).unwrap();
            plain
        }
        Some(other) => panic!("compressed as {other}"),
    }
}

/// `[EventTime, {"n": number}]` as receivers have it.
fn entry(seconds: u32, nanoseconds: u32, number: u64) -> Value {
    let time = [seconds.to_be_bytes(), nanoseconds.to_be_bytes()].concat();
    let body = Value::Map(vec![("n".into(), number.into())]);
    Value::Array(vec![Value::Ext(0, time), body])
}

const TIME: &[u8] = b"\xd7\x00\x65\x00\x00\x00\x00\x00\x00\x07";
/// The time in it.
const SECONDS: u32 = 0x6500_0000;

/// `[[TIME, {"m": 1}], {"n": number}]`.
fn with_metadata(number: u8) -> Vec<u8> {
    [b"\x92\x92", TIME, b"\x81\xa1m\x01\x81\xa1n", &[number]].concat()
}

/// The start and the end of a group with an attribute.
fn group_markers() -> [Vec<u8>; 2] {
    [0xff, 0xfe].map(|last| {
        let time = [0xff, 0xff, 0xff, last, 0, 0, 0, 0];
        [&b"\x92\x92\xd7\x00"[..], &time, b"\x80\x81\xa1g\x01"].concat()
    })
}

#[test]
fn case_03_frames_are_arrays_of_three_with_options_whose_keys_are_text() {
    for options in [
        &[][..],
        &[("compress", "gzip")],
        &[("add_option", "cluster c-1"), ("compress", "gzip")],
        &[("max_frame", "1000")],
        &[("time_as_integer", "on")],
    ] {
        let receiver = Receiver::start();
        let (output, _) = output(&receiver.endpoint(), options);
        let chunk: Vec<u8> = (0..100).flat_map(with_metadata).collect();
        deliver(&output, "t", &chunk);
        deliver(&output, "t", &with_metadata(100));
        let frames = receiver.frames();
        assert!(frames.len() >= 2);
        for frame in &frames {
            assert_eq!(frame.as_array().unwrap().len(), 3, "{options:?}");
            assert!(frame[0].is_str() && frame[1].is_bin(), "{options:?}");
            let keys = frame[2].as_map().unwrap();
            assert!(keys.iter().all(|(key, _)| key.is_str()), "{options:?}");
            assert!(option(frame, "size").is_u64() && option(frame, "chunk").is_str());
        }
        assert_eq!(receiver.entries().len(), 101);
        let sizes = frames
            .iter()
            .map(|frame| option(frame, "size").as_u64().unwrap());
        assert_eq!(sizes.sum::<u64>(), 101);
        output.close();
    }
}

#[test]
fn case_04_the_hosts_tag_or_one_for_all() {
    for (options, expected) in [(&[][..], ["a", "ä.b"]), (&[("tag", "audit")], ["audit"; 2])] {
        let receiver = Receiver::start();
        let (output, _) = output(&receiver.endpoint(), options);
        for tag in ["a", "ä.b"] {
            deliver(&output, tag, &with_metadata(1));
        }
        assert_eq!(receiver.tags(), expected);
        output.close();
    }
}

#[test]
fn case_05_group_markers_alone_are_delivered_without_a_frame() {
    let receiver = Receiver::start();
    let (output, _) = output(&receiver.endpoint(), &[]);
    deliver(&output, "t", &group_markers().concat());
    deliver(&output, "t", b"");
    assert_eq!(receiver.frames(), []);
    output.close();
}

/// Every framing that hosts have had, group markers between.
#[test]
fn case_06_entries_are_v1_whatever_the_chunk_is() {
    let [begin, end] = group_markers();
    let chunk = [
        &[b"\x92", TIME, b"\x81\xa1n\x00"].concat(),
        &[b"\x92\x92", TIME, b"\x80\x81\xa1n\x01"].concat(),
        &begin,
        &with_metadata(2),
        &end,
        &b"\x92\xce\x65\x00\x00\x00\x81\xa1n\x03".to_vec(),
        // 0x65000000 and a half.
        &b"\x92\xcb\x41\xd9\x40\x00\x00\x20\x00\x00\x81\xa1n\x04".to_vec(),
        // Headers of any width, as Fluent Bit 2.2 and 4.0 write them.
        &[
            b"\xdd\0\0\0\x02\xdc\0\x02\xc7\x08",
            &TIME[1..],
            b"\xde\0\0\xdf\0\0\0\x01\xa1n\x05",
        ]
        .concat(),
    ];
    let chunk: Vec<u8> = chunk.into_iter().flatten().copied().collect();
    let receiver = Receiver::start();
    let (output, _) = output(&receiver.endpoint(), &[]);
    deliver(&output, "t", &chunk);
    let expected = [
        entry(SECONDS, 7, 0),
        entry(SECONDS, 7, 1),
        entry(SECONDS, 7, 2),
        entry(SECONDS, 0, 3),
        entry(SECONDS, 500_000_000, 4),
        entry(SECONDS, 7, 5),
    ];
    assert_eq!(receiver.entries(), expected);
    output.close();
}

/// Off unless it is asked for: Fluentd 1.19 acknowledges such entries and loses them.
#[test]
fn case_07_metadata_travels_only_when_it_is_asked_for() {
    let option = "retain_metadata_in_forward_mode";
    for (options, keeps) in [
        (&[][..], false),
        (&[(option, "off")], false),
        (&[(option, "on")], true),
    ] {
        let receiver = Receiver::start();
        let (output, _) = output(&receiver.endpoint(), options);
        deliver(&output, "t", &with_metadata(9));
        let plain = entry(SECONDS, 7, 9);
        let expected = match keeps {
            false => plain,
            true => {
                let metadata = Value::Map(vec![("m".into(), 1.into())]);
                let head = Value::Array(vec![plain[0].clone(), metadata]);
                Value::Array(vec![head, plain[1].clone()])
            }
        };
        assert_eq!(receiver.entries(), [expected], "{options:?}");
        output.close();
    }
}

#[test]
fn case_12_a_record_that_no_receiver_takes_is_named() {
    let receiver = Receiver::start();
    let (output, log) = output(&receiver.endpoint(), &[]);
    let text = format!(
        r#"{{"auditID":"a-1","stage":"Panic","level":"Request","x":"{}"}}"#,
        "x".repeat(6_000_000)
    );
    let mut large = [b"\x92", TIME, b"\x81\xa3log\xdb"].concat();
    large.extend((text.len() as u32).to_be_bytes());
    large.extend(text.bytes());
    deliver(
        &output,
        "t",
        &[with_metadata(1), large, with_metadata(2)].concat(),
    );
    assert_eq!(
        receiver.entries(),
        [1, 2].map(|number| entry(SECONDS, 7, number))
    );
    assert!(log.said(
        LogLevel::Error,
        "lost a record: record 2 of the chunk has 6000"
    ));
    assert!(log.said(LogLevel::Error, "auditID `a-1`"));
    output.close();
}

/// The good beginning is delivered once, and the loss is said each time.
#[test]
fn case_61_a_chunk_that_is_broken_at_its_end() {
    let good = [with_metadata(1), with_metadata(2)].concat();
    const NO_RECORD: &str = "no record";
    let ends: [(&str, &[u8]); 4] = [
        ("a byte that msgpack never uses", b"\xc1"),
        ("half a record", &with_metadata(3)[..9]),
        (NO_RECORD, b"\xa3abc"),
        ("more than there is", b"\xdd\xff\xff\xff\xff"),
    ];
    for (what, end) in ends {
        let receiver = Receiver::start();
        let (output, log) = output(&receiver.endpoint(), &[("Redact", "off")]);
        let start = Instant::now();
        deliver(&output, "t", &[&good, end].concat());
        assert!(start.elapsed() < Duration::from_secs(5), "{what}");
        sleep(Duration::from_millis(20));
        assert_eq!(
            receiver.entries(),
            [1, 2].map(|number| entry(SECONDS, 7, number)),
            "{what}"
        );
        let words = match what {
            NO_RECORD => "lost 1 records of a chunk: they are not a pair".to_owned(),
            _ => format!("lost the last {} bytes of a chunk", end.len()),
        };
        assert!(
            log.said(LogLevel::Error, &words),
            "{what}: {:?}",
            log.0.lock().unwrap()
        );
        let mut lost = None;
        output.metrics(&mut |metric| {
            if metric.name == "records_lost_total" {
                lost = Some(metric.value);
            }
        });
        assert_eq!(lost, Some(1), "{what}");
        deliver(&output, "t", &with_metadata(4));
        assert_eq!(
            receiver.entries().last(),
            Some(&entry(SECONDS, 7, 4)),
            "{what}"
        );
        output.close();
    }
}

/// Receivers read no further than to a record that is none.
#[test]
fn case_61_a_body_that_is_no_map_does_not_travel() {
    let receiver = Receiver::start();
    let (output, log) = output(&receiver.endpoint(), &[("Redact", "off")]);
    let none = [&b"\x92"[..], TIME, b"\x02"].concat();
    deliver(
        &output,
        "t",
        &[with_metadata(1), none, with_metadata(2)].concat(),
    );
    assert_eq!(
        receiver.entries(),
        [1, 2].map(|number| entry(SECONDS, 7, number))
    );
    assert!(log.said(LogLevel::Error, "lost 1 records of a chunk"));
    output.close();
}
