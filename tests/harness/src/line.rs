//! A line to the database, or to the server, that can be cut, as when it restarts or a cable is
//! pulled.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A port of its own that leads to another one.
pub struct Line {
    port: u16,
    state: Arc<State>,
}

struct State {
    to: Mutex<String>,
    is_cut: AtomicBool,
    /// How often it was hushed: what was joined before the last time passes nothing on.
    hushed: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    /// A line to `to`, an address and port.
    pub fn to(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            to: Mutex::new(to.to_owned()),
            is_cut: AtomicBool::new(false),
            hushed: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                of_thread.join(near);
            }
        });
        Self { port, state }
    }

    /// The same line for HTTP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A line to a database, and the URL that leads over it.
    pub fn to_database(url: &str) -> (Self, String) {
        let (before, rest) = url.split_once('@').expect("a user");
        let (address, name) = rest.split_once('/').expect("a database");
        let line = Self::to(address);
        let through = format!("{before}@127.0.0.1:{}/{name}", line.port);
        (line, through)
    }

    /// What is joined from now on leads elsewhere.
    pub fn lead_to(&self, to: &str) {
        *self.state.to.lock().unwrap_or_else(PoisonError::into_inner) = to.to_owned();
    }

    /// Breaks what is open off, and lets nothing new through.
    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        let mut open = self
            .state
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            // An error says that it was closed already.
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on nothing passes over what is open, in either direction, for ever; nobody is told.
    /// What is joined later works.
    pub fn hush(&self) {
        self.state.hushed.fetch_add(1, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }
}

impl State {
    fn join(self: &Arc<Self>, near: TcpStream) {
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let to = self
            .to
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Ok(far) = TcpStream::connect(&to) else {
            return;
        };
        let twice = |stream: &TcpStream| stream.try_clone().expect("a second handle");
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.extend([twice(&near), twice(&far)]);
        }
        let joined = self.hushed.load(Ordering::SeqCst);
        for (from, to) in [(twice(&near), twice(&far)), (far, near)] {
            let state = Arc::clone(self);
            std::thread::spawn(move || state.pass_on(from, to, joined));
        }
    }

    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream, joined: usize) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length) = from.read(&mut buffer) {
            if self.hushed.load(Ordering::SeqCst) != joined {
                // It is taken, and goes nowhere, the end too.
                if length == 0 {
                    return;
                }
            } else if length == 0 || to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _closed = to.shutdown(Shutdown::Both);
    }
}
