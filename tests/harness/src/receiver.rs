//! A receiver of notifications: an HTTP server that records what it gets and answers as a test
//! says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A request that has arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// What a receiver does with a request.
pub enum Reply {
    /// Answers with these bytes after the status, such as `Retry-After: 1\r\n\r\n`.
    Answer(u16, String),
    /// Keeps the connection open and says nothing.
    Hang,
    /// Answers 200 and then never stops sending.
    Flood,
    /// Closes the connection.
    Close,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Answer(status, "content-length: 0\r\n\r\n".to_owned())
    }

    pub fn words(status: u16, words: &str) -> Self {
        let length = words.len();
        Self::Answer(status, format!("content-length: {length}\r\n\r\n{words}"))
    }
}

type Replies = dyn Fn(usize, &Received) -> Reply + Send + Sync;

pub struct Receiver {
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Answers every request with a 200.
    pub fn start() -> Self {
        Self::with(|_, _| Reply::status(200))
    }

    /// `reply` gets the number of earlier requests, and the request.
    pub fn with(reply: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let (reply, kept): (Arc<Replies>, _) = (Arc::new(reply), Arc::clone(&received));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (reply, kept) = (Arc::clone(&reply), Arc::clone(&kept));
                std::thread::spawn(move || serve(stream, &*reply, &kept));
            }
        });
        Self { url, received }
    }

    /// What has arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic").clone()
    }

    /// Waits for the `count`th request.
    #[track_caller]
    pub fn nth(&self, count: usize) -> Received {
        crate::eventually("a request", || self.received().get(count - 1).cloned())
    }
}

fn serve(stream: TcpStream, reply: &Replies, kept: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    while let Some(request) = read(&mut reader) {
        let number = {
            let mut all = kept.lock().expect("no panic");
            all.push(request.clone());
            all.len() - 1
        };
        let mut stream = &stream;
        match reply(number, &request) {
            Reply::Answer(status, rest) => {
                let head = format!("HTTP/1.1 {status} Words\r\n{rest}");
                if stream.write_all(head.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Hang => {
                // Until the other side closes.
                let mut nothing = [0; 1];
                let _closed = reader.read(&mut nothing);
                return;
            }
            Reply::Flood => {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
                let mut sent = stream.write_all(head.as_bytes());
                let piece = [b'x'; 65_536];
                while sent.is_ok() {
                    sent = stream.write_all(&piece);
                }
                return;
            }
            Reply::Close => return,
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut received = Received {
        method,
        path,
        headers,
        body: String::new(),
        at: Instant::now(),
    };
    let length: u64 = received.header("content-length").parse().unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    received.body = String::from_utf8(body).ok()?;
    Some(received)
}

/// Whether two moments are about this far apart: retries are jittered by a fifth.
pub fn is_about(passed: Duration, seconds: f64, slack: f64) -> bool {
    let passed = passed.as_secs_f64();
    (seconds * 0.79..=seconds * 1.21 + slack).contains(&passed)
}
