//! A small server with the agent's part of the API over real HTTP, which can misbehave on demand.
//! One file, because every call reads and changes the same small world.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyprbox_protocol::{
    ClaimedJob, CompleteRequest, ConfirmWait, HeartbeatRequest, OutputAnswer, OutputRequest,
    PendingAnswer, Stream,
};

/// How long a test waits for an event that must happen.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// The server of one test. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    pub addr: SocketAddr,
}

struct Shared {
    world: Mutex<World>,
    changed: Condvar,
}

/// How the next calls of a kind go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is handled, and the connection is closed without a response.
    LoseAnswer,
    /// The connection is closed before the request is handled.
    LoseRequest,
    /// The request is handled twice, and the second response is sent.
    Twice,
    /// The server responds with this status.
    Status(u16),
    /// Something on the path responds instead, with a page of its own.
    Foreign(u16),
    /// A response with this status that never ends.
    Endless(u16),
}

/// A firewall on the path: returns the status of its own response, or `None` to let the call
/// through.
pub type Firewall = Box<dyn Fn(&str, &[u8]) -> Option<u16> + Send>;

#[derive(Default)]
pub struct World {
    pub jobs: BTreeMap<String, Job>,
    pub queue: VecDeque<String>,
    pub heartbeats: Vec<HeartbeatRequest>,
    pub polls: Vec<Poll>,
    /// Calls in the order of their arrival: `output <id>`, `complete <id>`.
    pub calls: Vec<String>,
    /// Faults of the next calls, by kind of call: `pending`, `output`, `complete`, `heartbeat`.
    pub faults: HashMap<&'static str, VecDeque<Fault>>,
    /// The seed of random faults, which hit a quarter of the calls about jobs.
    pub chaos: Option<u64>,
    /// How many random faults there were.
    pub hurt: u64,
    /// While true every connection is closed at once.
    pub down: bool,
    pub lease_seconds: u64,
    pub flush_ms: u64,
    /// Ignores an end in an `output` call, like an older server.
    pub old: bool,
    /// Responds to every poll at once, like a server that does not support `wait`.
    pub never_wait: bool,
    /// The heads of all requests.
    pub heads: Vec<String>,
    /// Sees every call's kind and body.
    pub firewall: Option<Firewall>,
    /// Calls that the firewall answered.
    pub refused: u64,
    /// Connections that were closed while the server was down.
    pub closed: u64,
    /// After this time something on the path ends a poll: with this status, or by closing the
    /// connection.
    pub cut_polls: Option<(Duration, Option<u16>)>,
    pub answers_complete_with: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Poll {
    pub at: Instant,
    pub wait: u64,
    pub capacity: u32,
    pub instance: Option<String>,
    pub running: Vec<String>,
}

pub struct Job {
    pub claim: ClaimedJob,
    pub claimed_by: Option<String>,
    /// How often the job was claimed.
    pub claims: u32,
    pub cancel: bool,
    pub confirm: bool,
    /// The wait for a confirmation that the agent has reported.
    pub confirm_wait: Option<ConfirmWait>,
    pub streams: [Vec<u8>; 2],
    /// Bytes that never arrived, by stream.
    pub dropped: [u64; 2],
    /// The chunks in the order of their arrival.
    pub arrivals: Vec<(Stream, Vec<u8>)>,
    /// The stamps of steps: the end of the line, and the time in milliseconds.
    pub stamps: BTreeMap<u64, u64>,
    pub end: Option<CompleteRequest>,
    /// The status of every response about this job, instead of the usual one.
    pub answer: Option<u16>,
}

impl World {
    fn chaos(&mut self, kind: &str) -> Option<Fault> {
        let state = self.chaos.as_mut().filter(|_| kind != "heartbeat")?;
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let fault = match (*state >> 33) % 16 {
            0 => Fault::LoseAnswer,
            1 => Fault::LoseRequest,
            2 => Fault::Twice,
            3 => Fault::Status(503),
            _ => return None,
        };
        self.hurt += 1;
        Some(fault)
    }
}

impl Job {
    fn next(&self) -> [u64; 2] {
        [0, 1].map(|s| self.dropped[s] + self.streams[s].len() as u64)
    }

    pub fn text(&self, stream: usize) -> String {
        String::from_utf8_lossy(&self.streams[stream]).into_owned()
    }
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Self {
            addr: listener.local_addr().expect("an address"),
            shared: Arc::new(Shared {
                world: Mutex::new(World {
                    lease_seconds: 90,
                    flush_ms: 50,
                    ..World::default()
                }),
                changed: Condvar::new(),
            }),
        };
        let this = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                std::thread::spawn(move || this.serve(&stream));
            }
        });
        server
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().expect("no test panics with it")
    }

    /// Changes the world, and wakes everything that waits for a change.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.world());
        self.shared.changed.notify_all();
        result
    }

    /// Waits until `find` returns something.
    pub fn wait_for<T>(&self, what: &str, mut find: impl FnMut(&mut World) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut world = self.world();
        loop {
            if let Some(found) = find(&mut world) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "never came: {what}; calls: {:?}",
                world.calls
            );
            world = self
                .shared
                .changed
                .wait_timeout(world, left)
                .expect("no test panics with it")
                .0;
        }
    }

    /// Waits until the next poll arrives.
    pub fn wait_for_poll(&self) {
        let from = self.world().polls.len();
        self.wait_for("the next poll", |world| {
            (world.polls.len() > from).then_some(())
        });
    }

    pub fn queue(&self, script: &str) -> String {
        self.queue_with(script, |_| {})
    }

    pub fn queue_with(&self, script: &str, edit: impl FnOnce(&mut ClaimedJob)) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let mut claim = ClaimedJob {
            id: id.clone(),
            preset: "test".to_owned(),
            script: script.to_owned(),
            timeout_seconds: 600,
            ..ClaimedJob::default()
        };
        edit(&mut claim);
        let job = Job {
            claim,
            claimed_by: None,
            claims: 0,
            cancel: false,
            confirm: false,
            confirm_wait: None,
            streams: [Vec::new(), Vec::new()],
            dropped: [0; 2],
            arrivals: Vec::new(),
            stamps: BTreeMap::new(),
            end: None,
            answer: None,
        };
        self.change(|world| {
            world.jobs.insert(id.clone(), job);
            world.queue.push_back(id.clone());
        });
        id
    }

    pub fn cancel(&self, id: &str) {
        self.change(|world| world.jobs.get_mut(id).expect("queued").cancel = true);
    }

    pub fn confirm(&self, id: &str) {
        self.change(|world| world.jobs.get_mut(id).expect("queued").confirm = true);
    }

    /// Waits until the agent reports that the job waits for a confirmation.
    pub fn wait_waiting(&self, id: &str) -> ConfirmWait {
        self.wait_for("the wait", |world| world.jobs[id].confirm_wait.clone())
    }

    pub fn wait_end(&self, id: &str) -> CompleteRequest {
        self.wait_for("the job's end", |world| world.jobs[id].end.clone())
    }

    /// Waits until one of the job's streams contains `text`.
    pub fn wait_output(&self, id: &str, text: &str) {
        self.wait_for(text, |world| {
            let job = &world.jobs[id];
            (job.text(0).contains(text) || job.text(1).contains(text)).then_some(())
        });
    }

    pub fn stdout(&self, id: &str) -> String {
        self.world().jobs[id].text(0)
    }

    pub fn stderr(&self, id: &str) -> String {
        self.world().jobs[id].text(1)
    }

    pub fn fault(&self, call: &'static str, fault: Fault) {
        self.change(|world| world.faults.entry(call).or_default().push_back(fault));
    }

    fn serve(&self, stream: &TcpStream) {
        stream.set_nodelay(true).expect("a TCP socket");
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            let fault = {
                let mut world = self.world();
                if world.down {
                    world.closed += 1;
                    drop(world);
                    self.shared.changed.notify_all();
                    return;
                }
                world.heads.push(request.head.clone());
                let firewall = world.firewall.as_ref();
                let status = firewall.and_then(|wall| wall(request.kind(), &request.body));
                if let Some(status) = status {
                    world.refused += 1;
                    drop(world);
                    self.shared.changed.notify_all();
                    if respond_foreign(stream, status).is_err() {
                        return;
                    }
                    continue;
                }
                let faults = world.faults.get_mut(request.kind());
                faults
                    .and_then(VecDeque::pop_front)
                    .or_else(|| world.chaos(request.kind()))
            };
            let answer = match fault {
                Some(Fault::LoseRequest) => return,
                Some(Fault::LoseAnswer) => {
                    self.answer(&request, stream);
                    return;
                }
                Some(Fault::Twice) => {
                    self.answer(&request, stream);
                    self.answer(&request, stream)
                }
                Some(Fault::Status(status)) => (status, refusal(status)),
                Some(Fault::Foreign(status)) => {
                    if respond_foreign(stream, status).is_err() {
                        return;
                    }
                    continue;
                }
                Some(Fault::Endless(status)) => return respond_endlessly(stream, status),
                None if self.cuts(&request) => {
                    let (_, status) = self.world().cut_polls.expect("it cuts");
                    match status {
                        Some(status) if respond_foreign(stream, status).is_ok() => continue,
                        _ => return,
                    }
                }
                None => self.answer(&request, stream),
            };
            if self.world().down || respond(stream, &answer).is_err() {
                return;
            }
        }
    }

    /// Holds a poll for as long as the path lets it stay open. Returns true if the path must cut
    /// the poll: it wants to wait longer, and no job was queued meanwhile.
    fn cuts(&self, request: &Request) -> bool {
        let Some((after, _)) = self.world().cut_polls else {
            return false;
        };
        let wait = request
            .query("wait")
            .map_or(0, |w| w.parse().expect("a number"));
        if request.kind() != "pending" || Duration::from_secs(wait) <= after {
            return false;
        }
        let mut world = self.world();
        world.polls.push(poll_of(request));
        self.shared.changed.notify_all();
        let deadline = Instant::now() + after;
        while world.queue.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.shared.changed.wait_timeout(world, left);
            world = waited.expect("no test panics with it").0;
        }
        world.polls.pop();
        false
    }

    fn answer(&self, request: &Request, stream: &TcpStream) -> (u16, String) {
        let answer = match request.kind() {
            "pending" => self.pending(request, stream),
            "heartbeat" => {
                let beat = serde_json::from_slice(&request.body).expect("a heartbeat");
                self.world().heartbeats.push(beat);
                (200, "{}".to_owned())
            }
            "output" => self.output(request),
            "complete" => self.complete(request),
            "healthz" => (200, "{}".to_owned()),
            "enrol" => (
                200,
                r#"{"nodeId": "node-1", "token": "hbn_enrolled"}"#.to_owned(),
            ),
            other => panic!("no such call: {other}"),
        };
        self.shared.changed.notify_all();
        answer
    }

    fn pending(&self, request: &Request, stream: &TcpStream) -> (u16, String) {
        let poll = poll_of(request);
        let deadline = Instant::now() + Duration::from_secs(poll.wait);
        let mut world = self.world();
        world.polls.push(poll.clone());
        self.shared.changed.notify_all();
        loop {
            let running = |is_one: fn(&Job) -> bool| -> Vec<String> {
                let is_running = |j: &Job| j.end.is_none() && j.claimed_by.is_some();
                let jobs = world.jobs.iter();
                jobs.filter(|(_, j)| is_one(j) && is_running(j))
                    .map(|(id, _)| id.clone())
                    .collect()
            };
            let (cancel, confirm) = (running(|j| j.cancel), running(|j| j.confirm));
            // As in the real server, a poll of an agent that was killed claims nothing.
            let job = (poll.capacity > 0 && !is_closed(stream))
                .then(|| next_job(&mut world, poll.instance.clone(), &poll.running))
                .flatten();
            let left = deadline.saturating_duration_since(Instant::now());
            let over = left.is_zero() || world.never_wait || world.down;
            if job.is_some() || !cancel.is_empty() || !confirm.is_empty() || over {
                let answer = PendingAnswer {
                    unproven: false,
                    job,
                    cancel,
                    confirm,
                    lease_seconds: world.lease_seconds,
                    new_instance: false,
                };
                return (200, serde_json::to_string(&answer).expect("serialises"));
            }
            world = self
                .shared
                .changed
                .wait_timeout(world, left)
                .expect("no test panics with it")
                .0;
        }
    }

    fn output(&self, request: &Request) -> (u16, String) {
        let id = request.job_id();
        let mut world = self.world();
        world.calls.push(format!("output {id}"));
        let (flush_ms, old) = (world.flush_ms, world.old);
        let job = world.jobs.get_mut(id).expect("a job that was queued");
        if let Some(status) = job.answer {
            return (status, refusal(status));
        }
        let mut body: OutputRequest = serde_json::from_slice(&request.body).expect("an output");
        let end = body.end.take().filter(|_| !old);
        let again = job.end.is_some() && job.end == end;
        if job.claimed_by != request.query("agent") || (job.end.is_some() && !again) {
            return (409, refusal(409));
        }
        if let Some(wait) = body.confirm_wait {
            job.confirm_wait = Some(wait);
        }
        for stamp in body.step_times.unwrap_or_default().stamps {
            job.stamps.insert(stamp.line_end, stamp.ms);
        }
        for chunk in body.chunks.expect("chunks") {
            let (stream, offset) = (chunk.stream, chunk.offset);
            let s = usize::from(stream == Stream::Stderr);
            let bytes = chunk.into_bytes().expect("bytes");
            let next = job.next()[s];
            if offset > next {
                job.dropped[s] += offset - next;
            }
            let known = usize::try_from(job.next()[s] - offset).expect("small");
            if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
                job.streams[s].extend_from_slice(new);
                job.arrivals.push((stream, new.to_vec()));
            }
        }
        let [stdout_bytes, stderr_bytes] = job.next();
        let mut answer = OutputAnswer {
            stdout_bytes,
            stderr_bytes,
            flush_ms,
            cancel: job.cancel,
            confirm: job.confirm,
            ended: end.is_some(),
            job: None,
            ledger_head: None,
        };
        if let Some(end) = end {
            job.end = Some(end);
            if body.next {
                answer.job = next_job(&mut world, request.query("agent"), &[]);
                if let Some(next) = &answer.job {
                    world.calls.push(format!("given {}", next.id));
                }
            }
        }
        (200, serde_json::to_string(&answer).expect("serialises"))
    }

    fn complete(&self, request: &Request) -> (u16, String) {
        let id = request.job_id();
        let mut world = self.world();
        world.calls.push(format!("complete {id}"));
        let job = world.jobs.get_mut(id).expect("a job that was queued");
        if let Some(status) = job.answer {
            return (status, refusal(status));
        }
        let end: CompleteRequest = serde_json::from_slice(&request.body).expect("a complete");
        if job.claimed_by != request.query("agent") || job.end.as_ref().is_some_and(|e| *e != end) {
            return (409, refusal(409));
        }
        job.end = Some(end);
        let summary = format!(r#"{{"id": "{id}", "status": "SUCCEEDED"}}"#);
        (
            200,
            world.answers_complete_with.map_or(summary, str::to_owned),
        )
    }
}

/// Whether the client has closed its connection.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a TCP socket");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a TCP socket");
    match peeked {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn poll_of(request: &Request) -> Poll {
    let number = |name| request.query(name).map(|n| n.parse().expect("a number"));
    Poll {
        at: Instant::now(),
        wait: number("wait").unwrap_or(0),
        capacity: number("capacity").map_or(1, |c| u32::try_from(c).expect("small")),
        instance: request.query("agent"),
        running: request
            .query("running")
            .map(|r| r.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
    }
}

/// Returns the job that a poll claims, or one that it claimed before and does not list as running.
fn next_job(world: &mut World, instance: Option<String>, running: &[String]) -> Option<ClaimedJob> {
    let lost = world.jobs.iter().find(|(id, job)| {
        job.claimed_by.is_some()
            && job.claimed_by == instance
            && job.end.is_none()
            && job.answer.is_none()
            && !running.contains(id)
    });
    let id = lost
        .map(|(id, _)| id.clone())
        .or_else(|| world.queue.pop_front())?;
    let job = world.jobs.get_mut(&id).expect("queued");
    job.claimed_by = instance;
    job.claims += 1;
    Some(job.claim.clone())
}

struct Request {
    head: String,
    target: String,
    body: Vec<u8>,
}

impl Request {
    /// The last segment of the path.
    fn kind(&self) -> &'static str {
        let path = self.target.split('?').next().unwrap_or_default();
        [
            "pending",
            "heartbeat",
            "output",
            "complete",
            "healthz",
            "enrol",
        ]
        .into_iter()
        .find(|kind| path.ends_with(kind))
        .unwrap_or("other")
    }

    fn job_id(&self) -> &str {
        self.target.split('/').nth(3).expect("/api/jobs/:id/…")
    }

    fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    // A proxy gets the whole address.
    let target = head.split(' ').nth(1)?;
    let target = target.split_once("://").map_or(target, |(_, rest)| {
        rest.find('/').map_or("/", |path| &rest[path..])
    });
    let target = target.to_owned();
    Some(Request { head, target, body })
}

fn respond(mut stream: &TcpStream, (status, body): &(u16, String)) -> std::io::Result<()> {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes())
}

fn respond_foreign(mut stream: &TcpStream, status: u16) -> std::io::Result<()> {
    let page = "<html><body>Request blocked\nby policy</body></html>";
    let length = page.len();
    let answer = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{page}"
    );
    stream.write_all(answer.as_bytes())
}

fn respond_endlessly(mut stream: &TcpStream, status: u16) {
    let head = format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\n\r\n");
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    let part = vec![b' '; 256 * 1024];
    // Until the agent closes the connection.
    while stream.write_all(&part).is_ok() {}
}

fn refusal(status: u16) -> String {
    format!(r#"{{"error": "refused with {status}", "code": "test"}}"#)
}
