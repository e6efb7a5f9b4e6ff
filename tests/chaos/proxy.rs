//! Stands between an agent and the server, and does to their calls what [`Faults`] says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::fault::{Fault, Faults, Hurt};
use crate::harness::eventually;
use crate::message;

/// Longer than the longest poll.
const LONGEST_CALL: Duration = Duration::from_secs(60);
/// How long a call that nobody waits for any more may stay open at the server.
const UNHEARD: Duration = Duration::from_secs(2);
/// Parts into which a trickling message is cut.
const TRICKLE: usize = 20;

/// One node's way to the server. Dropping it closes the door; what is under way ends by itself.
pub(crate) struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
}

/// What the threads of a proxy share.
struct Line {
    name: String,
    faults: Arc<Faults>,
    door: Mutex<Door>,
}

struct Door {
    /// Where the server is now.
    server: String,
    closed_until: Option<Instant>,
    over: bool,
}

impl Line {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// `server` is its address, as `127.0.0.1:4000`.
    pub(crate) fn start(name: &str, server: &str, faults: &Arc<Faults>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let line = Arc::new(Line {
            name: name.to_owned(),
            faults: Arc::clone(faults),
            door: Mutex::new(Door {
                server: server.to_owned(),
                closed_until: None,
                over: false,
            }),
        });
        let shared = Arc::clone(&line);
        std::thread::spawn(move || take_connections(listener, address, &shared));
        Self { address, line }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The server is elsewhere now.
    pub(crate) fn lead_to(&self, server: &str) {
        server.clone_into(&mut self.line.door().server);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.door().over = true;
        // Wakes the thread that waits for connections; an error says that it waits for none.
        let _woken = TcpStream::connect(self.address);
    }
}

fn take_connections(listener: TcpListener, address: SocketAddr, line: &Arc<Line>) {
    let mut listener = Some(listener);
    loop {
        let (over, closed_until) = {
            let door = line.door();
            (door.over, door.closed_until)
        };
        if over {
            return;
        }
        if let Some(until) = closed_until {
            // Without a listener the kernel itself refuses.
            drop(listener.take());
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            line.door().closed_until = None;
            listener = Some(eventually("the port", || TcpListener::bind(address).ok()));
            continue;
        }
        let open = listener.as_ref().expect("the door is open");
        if let Ok((client, _)) = open.accept() {
            let line = Arc::clone(line);
            if line.door().closed_until.is_none() {
                std::thread::spawn(move || serve(client, address, &line));
            }
        }
    }
}

/// One connection of the agent, call by call, until one of the two breaks it.
fn serve(mut client: TcpStream, address: SocketAddr, line: &Arc<Line>) {
    let _best_effort = client.set_nodelay(true);
    while let Some(request) = message::read(&mut client) {
        let hurt = line.faults.next(&line.name, &message::kind(&request));
        let goes_on = match hurt {
            None => pass(&mut client, &request, line, 1),
            Some(hurt) => do_harm(&mut client, &request, hurt, address, line),
        };
        if goes_on.is_none() {
            return;
        }
    }
}

/// Takes the request to the server and the answer back, both in that many parts.
fn pass(client: &mut TcpStream, request: &[u8], line: &Line, parts: usize) -> Option<()> {
    let answer = ask(line, request, parts, Some(client), LONGEST_CALL)?;
    trickle(client, &answer, parts)
}

/// `None` where the connection is broken thereby.
fn do_harm(
    client: &mut TcpStream,
    request: &[u8],
    hurt: Hurt,
    address: SocketAddr,
    line: &Arc<Line>,
) -> Option<()> {
    let part = |bytes: &[u8]| bytes[..bytes.len() * hurt.percent / 100].to_vec();
    match hurt.fault {
        Fault::RequestCut => {
            let mut server = connect(line)?;
            // Either side may be gone by now, which is what this is about.
            let _cut = server.write_all(&part(request));
            None
        }
        Fault::AnswerLost => {
            ask(line, request, 1, Some(client), LONGEST_CALL)?;
            None
        }
        Fault::AnswerCut => {
            let answer = ask(line, request, 1, Some(client), LONGEST_CALL)?;
            let _cut = client.write_all(&part(&answer));
            None
        }
        Fault::Twice => {
            ask(line, request, 1, Some(client), LONGEST_CALL)?;
            pass(client, request, line, 1)
        }
        Fault::AgainLater => {
            let (line, request) = (Arc::clone(line), request.to_vec());
            let again = Arc::clone(&line);
            let copy = request.clone();
            let goes_on = pass(client, &request, &line, 1);
            std::thread::spawn(move || {
                std::thread::sleep(hurt.time);
                if !again.door().over {
                    ask(&again, &copy, 1, None, UNHEARD);
                }
            });
            goes_on
        }
        Fault::Delayed => {
            std::thread::sleep(hurt.time);
            pass(client, request, line, 1)
        }
        Fault::Throttled => pass(client, request, line, TRICKLE),
        Fault::Refused => {
            line.door().closed_until = Some(Instant::now() + hurt.time);
            // The listener looks at the door when somebody knocks.
            let _knock = TcpStream::connect(address);
            None
        }
    }
}

fn connect(line: &Line) -> Option<TcpStream> {
    let address = line.door().server.parse().expect("an address");
    let server = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    let _best_effort = server.set_nodelay(true);
    Some(server)
}

/// One call to the server; `None` where it is away or goes away, where nothing comes in time, or
/// where `client` hangs up: then the server sees the same.
fn ask(
    line: &Line,
    request: &[u8],
    parts: usize,
    client: Option<&TcpStream>,
    time: Duration,
) -> Option<Vec<u8>> {
    let deadline = Instant::now() + time;
    let mut server = connect(line)?;
    trickle(&mut server, request, parts)?;
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

fn trickle(to: &mut TcpStream, bytes: &[u8], parts: usize) -> Option<()> {
    for part in bytes.chunks(bytes.len().div_ceil(parts).max(1)) {
        to.write_all(part).ok()?;
        if parts > 1 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Some(())
}
