//! A proxy between an agent and the server, which injects the faults that [`Faults`] chooses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::fault::{Fault, Faults, Hurt};
use crate::harness::{eventually, pass, until as wait_until};
use crate::message;

/// Longer than the longest poll.
const LONGEST_CALL: Duration = Duration::from_secs(60);
/// Time limit of a repeated call whose response is discarded.
const REPEATED_CALL: Duration = Duration::from_secs(2);
/// How many parts a throttled message has.
const THROTTLED_PARTS: usize = 20;

/// One node's connection to the server. Dropping it closes the listener; open calls end by
/// themselves.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// State that the threads of a proxy share.
struct Shared {
    name: String,
    faults: Arc<Faults>,
    target: Mutex<Target>,
}

struct Target {
    /// The server's current address.
    server: String,
    /// Connections are refused until then.
    closed_until: Option<Instant>,
    /// The proxy was dropped.
    over: bool,
}

impl Shared {
    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Starts a proxy to the address `server`, such as `127.0.0.1:4000`.
    pub(crate) fn start(name: &str, server: &str, faults: &Arc<Faults>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            faults: Arc::clone(faults),
            target: Mutex::new(Target {
                server: server.to_owned(),
                closed_until: None,
                over: false,
            }),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || accept_connections(listener, address, &for_thread));
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the server's address.
    pub(crate) fn set_server(&self, server: &str) {
        server.clone_into(&mut self.shared.target().server);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.target().over = true;
        // Wakes the thread that accepts connections. An error means that it does not listen now.
        let _result = TcpStream::connect(self.address);
    }
}

fn accept_connections(listener: TcpListener, address: SocketAddr, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    loop {
        let (over, closed_until) = {
            let target = shared.target();
            (target.over, target.closed_until)
        };
        if over {
            return;
        }
        if let Some(until) = closed_until {
            // Without a listener the kernel refuses connections.
            drop(listener.take());
            wait_until(until, "the port is closed for a time");
            shared.target().closed_until = None;
            listener = Some(eventually("the port", || TcpListener::bind(address).ok()));
            continue;
        }
        let open = listener.as_ref().expect("connections are not refused");
        if let Ok((client, _)) = open.accept() {
            let shared = Arc::clone(shared);
            if shared.target().closed_until.is_none() {
                std::thread::spawn(move || serve(client, address, &shared));
            }
        }
    }
}

/// Serves one connection of the agent, call by call, until one of the two closes it.
fn serve(mut client: TcpStream, address: SocketAddr, shared: &Arc<Shared>) {
    let _best_effort = client.set_nodelay(true);
    while let Some(request) = message::read(&mut client) {
        let hurt = shared.faults.next(&shared.name, &message::kind(&request));
        let result = match hurt {
            None => forward(&mut client, &request, shared, 1),
            Some(hurt) => inject(&mut client, &request, hurt, address, shared),
        };
        if result.is_none() {
            return;
        }
    }
}

/// Forwards the request to the server and the response back, each in `parts` parts.
fn forward(client: &mut TcpStream, request: &[u8], shared: &Shared, parts: usize) -> Option<()> {
    let answer = call(shared, request, parts, Some(client), LONGEST_CALL)?;
    write_in_parts(client, &answer, parts)
}

/// Handles a call with a fault. Returns `None` if the fault closes the connection.
fn inject(
    client: &mut TcpStream,
    request: &[u8],
    hurt: Hurt,
    address: SocketAddr,
    shared: &Arc<Shared>,
) -> Option<()> {
    let part = |bytes: &[u8]| bytes[..bytes.len() * hurt.percent / 100].to_vec();
    match hurt.fault {
        Fault::RequestCut => {
            let mut server = connect(shared)?;
            // Errors do not matter, because the call fails anyway.
            let _cut = server.write_all(&part(request));
            None
        }
        Fault::AnswerLost => {
            call(shared, request, 1, Some(client), LONGEST_CALL)?;
            None
        }
        Fault::AnswerCut => {
            let answer = call(shared, request, 1, Some(client), LONGEST_CALL)?;
            let _cut = client.write_all(&part(&answer));
            None
        }
        Fault::Twice => {
            call(shared, request, 1, Some(client), LONGEST_CALL)?;
            forward(client, request, shared, 1)
        }
        Fault::AgainLater => {
            let (shared, request) = (Arc::clone(shared), request.to_vec());
            let again = Arc::clone(&shared);
            let copy = request.clone();
            let result = forward(client, &request, &shared, 1);
            std::thread::spawn(move || {
                pass(hurt.time, "the call comes again later");
                if !again.target().over {
                    call(&again, &copy, 1, None, REPEATED_CALL);
                }
            });
            result
        }
        Fault::Delayed => {
            pass(hurt.time, "the call is late");
            forward(client, request, shared, 1)
        }
        Fault::Throttled => forward(client, request, shared, THROTTLED_PARTS),
        Fault::Refused => {
            shared.target().closed_until = Some(Instant::now() + hurt.time);
            // A connection makes the listener check `closed_until`.
            let _result = TcpStream::connect(address);
            None
        }
    }
}

fn connect(shared: &Shared) -> Option<TcpStream> {
    let address = shared.target().server.parse().expect("an address");
    let server = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    let _best_effort = server.set_nodelay(true);
    Some(server)
}

/// Sends one call to the server. Returns `None` if the server fails or does not respond in time, or
/// if `client` closes its connection, which then also closes the one to the server.
fn call(
    shared: &Shared,
    request: &[u8],
    parts: usize,
    client: Option<&TcpStream>,
    time: Duration,
) -> Option<Vec<u8>> {
    let deadline = Instant::now() + time;
    let mut server = connect(shared)?;
    write_in_parts(&mut server, request, parts)?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        let mut fds = vec![PollFd::new(server.as_fd(), PollFlags::POLLIN)];
        fds.extend(client.map(|client| PollFd::new(client.as_fd(), PollFlags::POLLIN)));
        poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        )
        .ok()?;
        let hung_up = fds.get(1).and_then(PollFd::any) == Some(true);
        let has_answer = fds[0].any() == Some(true);
        if has_answer {
            let got = server.read(&mut buffer).ok().filter(|got| *got > 0)?;
            answer.extend_from_slice(&buffer[..got]);
            if message::end_of(&answer).is_some() {
                return Some(answer);
            }
        } else if hung_up {
            return None;
        }
    }
}

fn write_in_parts(to: &mut TcpStream, bytes: &[u8], parts: usize) -> Option<()> {
    for part in bytes.chunks(bytes.len().div_ceil(parts).max(1)) {
        to.write_all(part).ok()?;
        if parts > 1 {
            pass(Duration::from_millis(5), "the line is slow");
        }
    }
    Some(())
}
