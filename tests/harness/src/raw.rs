//! A bare connection, for what no client library lets one send.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{PATIENCE, Patience, Server, pass};

/// Between two bytes of a slow client.
const NOW_AND_THEN: Duration = Duration::from_millis(200);

/// An open connection.
pub struct Raw(TcpStream);

impl Raw {
    pub fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a deadline");
        stream.set_nodelay(true).expect("no delay");
        Self(stream)
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("writes");
    }

    /// Writes; false where the server has closed already, as it may for what it refuses.
    pub fn may_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// Writes a byte now and then, until there is an answer.
    pub fn dribble(&mut self, byte: &[u8; 1]) {
        let patience = Patience::of(3 * PATIENCE);
        self.0
            .set_read_timeout(Some(NOW_AND_THEN))
            .expect("a deadline");
        while self.0.peek(&mut [0]).is_err() {
            patience.must_last(|| "no answer in time".to_owned());
            // An error says that the answer is there.
            let _written = self.0.write_all(byte);
        }
        self.0.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    }

    /// Reads a byte now and then, until the other side has closed.
    pub fn sip_until_closed(&mut self) {
        let patience = Patience::of(3 * PATIENCE);
        while self.is_open_on_the_other_side() {
            patience.must_last(|| "not closed in time".to_owned());
            self.0.read_exact(&mut [0]).expect("more of the answer");
            pass(NOW_AND_THEN, "the client is slow");
        }
    }

    /// Whether the other end of this connection, on this machine, is established.
    fn is_open_on_the_other_side(&self) -> bool {
        const ESTABLISHED: &str = "01";
        let port = |address: SocketAddr| format!(":{:04X}", address.port());
        let ours = port(self.0.local_addr().expect("an address"));
        let Ok(theirs) = self.0.peer_addr().map(port) else {
            // The other side has reset the connection.
            return false;
        };
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        table.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words[..], [_, local, remote, state, ..]
                if local.ends_with(&theirs) && remote.ends_with(&ours) && state == ESTABLISHED)
        })
    }

    pub fn no_more(&self) {
        // An error says that the other side was quicker.
        let _closed = self.0.shutdown(Shutdown::Write);
    }

    /// Everything up to the end of the connection, which must come in time.
    pub fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        // Other errors are a reset after the answer, which also ends the connection.
        if let Err(e) = self.0.read_to_end(&mut bytes) {
            assert_ne!(e.kind(), ErrorKind::WouldBlock, "not closed in time");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The head of the answer: its status line and headers.
    pub fn head(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut one = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            let read = self.0.read(&mut one).expect("an answer in time");
            assert_ne!(
                read,
                0,
                "closed after {:?}",
                String::from_utf8_lossy(&bytes)
            );
            bytes.push(one[0]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The status of the answer.
    pub fn status(&mut self) -> u16 {
        let head = self.head();
        let word = head.split(' ').nth(1).expect("a status line");
        word.parse().expect("a status")
    }

    /// The body of the answer; the connection goes on.
    pub fn body(&mut self) -> String {
        self.answer().1
    }

    /// The head of the answer, which tells the body's length, and the body.
    pub fn answer(&mut self) -> (String, String) {
        let head = self.head();
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().expect("a number");
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).expect("a body in time");
        (head, String::from_utf8_lossy(&bytes).into_owned())
    }
}
