//! What callers can make the server hold in memory: its peak against its own idle figure, under a
//! limit of its address space, while others are served. One file, because all tests share the
//! clients that hold memory.

use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Raw, Server, Setup, chunk, eventually, with_node};
use crate::output::gzip;

const MIB: u64 = 1024 * 1024;

/// A figure of the server's `/proc/PID/status`, in bytes.
fn figure(server: &Server, name: &str) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let words = line.expect("the figure").trim_start_matches(':').trim();
    let number = words.split(' ').next().expect("a number");
    number.parse::<u64>().expect("a number") * 1024
}

/// The server's idle figure, with a limit of its address space from here on.
struct Idle {
    peak: u64,
    now: u64,
}

impl Idle {
    fn of(server: &Server) -> Self {
        let limit = figure(server, "VmSize") + 384 * MIB;
        let set = Command::new("prlimit")
            .args(["--pid", &server.pid().to_string()])
            .arg(format!("--as={limit}"))
            .status()
            .expect("prlimit runs");
        assert!(set.success(), "{set}");
        // The peak is reset: what the start and a sign-in took is not what is measured.
        std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("Linux");
        Self {
            peak: Self::peak(server),
            now: figure(server, "RssAnon"),
        }
    }

    /// The peak without the pages of files: the server releases those of its program when it has
    /// started, and reads them again as it runs.
    fn peak(server: &Server) -> u64 {
        figure(server, "VmHWM").saturating_sub(figure(server, "RssFile"))
    }

    /// The peak has grown by no more than that.
    #[track_caller]
    fn has_grown_by_at_most(&self, server: &Server, bytes: u64) {
        let grown = Self::peak(server).saturating_sub(self.peak);
        // For `--nocapture`: the figure itself.
        eprintln!("grown by {} KiB of {} KiB", grown / 1024, bytes / 1024);
        assert!(grown <= bytes, "grown by {} KiB", grown / 1024);
    }

    /// What was taken comes back.
    #[track_caller]
    fn comes_back(&self, server: &Server) {
        eventually("memory to come back", || {
            (figure(server, "RssAnon") <= self.now + 16 * MIB).then_some(())
        });
    }
}

/// A server whose ADMIN has signed in, which is where most of a start's memory goes.
fn idle_server() -> (Server, Person, Idle) {
    let mut server = Server::start();
    let admin = server.admin();
    admin.get("/api/auth/me").ok();
    let idle = Idle::of(&server);
    (server, admin, idle)
}

const OPEN_TO_STRANGERS: [(&str, &str); 5] = [
    ("/login", "application/x-www-form-urlencoded"),
    ("/setup", "application/x-www-form-urlencoded"),
    ("/api/auth/login", "application/json"),
    ("/api/auth/register", "application/json"),
    ("/api/enrol", "application/json"),
];

#[test]
fn strangers_send_little_and_nothing_compressed() {
    let (server, admin, idle) = idle_server();
    let bomb = gzip(&b"a&".repeat(4 * 1024 * 1024));
    assert!(bomb.len() < 16 * 1024, "{}", bomb.len());
    for _ in 0..8 {
        thread::scope(|scope| {
            for (path, kind) in OPEN_TO_STRANGERS {
                let call = server.call("POST", path).body(kind, bomb.clone());
                scope.spawn(move || {
                    let packed = call.header("content-encoding", "gzip");
                    packed.gives(415);
                });
            }
        });
    }
    for (path, kind) in OPEN_TO_STRANGERS {
        let large = server
            .call("POST", path)
            .body(kind, vec![b'a'; 64 * 1024 + 1]);
        large.gives(413);
        for encoding in ["deflate", "br", "gzip, gzip"] {
            let call = server.call("POST", path).body(kind, "x");
            call.header("content-encoding", encoding).gives(415);
        }
    }
    let json = server.call("POST", "/api/auth/login");
    let json = json.body("application/json", bomb);
    json.header("content-encoding", "gzip")
        .refused(415, "unsupported_encoding");
    admin.get("/api/auth/me").ok();
    idle.has_grown_by_at_most(&server, 8 * MIB);
}

#[test]
fn pairs_of_a_form_before_sign_in_are_bounded() {
    let (server, _admin, idle) = idle_server();
    let form = |pairs: usize| {
        let body = vec!["a"; pairs].join("&");
        server
            .call("POST", "/login")
            .body("application/x-www-form-urlencoded", body)
    };
    form(1_000).gives(401);
    for _ in 0..20 {
        form(32_000).gives(400);
    }
    idle.has_grown_by_at_most(&server, 24 * MIB);
}

#[test]
fn who_is_not_signed_in_is_refused_before_the_body_is_read() {
    let (server, _admin, idle) = idle_server();
    let calls = [
        ("POST", "/api/jobs"),
        ("POST", "/api/nodes"),
        ("POST", "/api/users"),
        ("PATCH", "/api/auth/me"),
        ("POST", "/api/auth/tokens"),
        ("POST", "/api/presets/note/render"),
        ("POST", "/api/nodes/n1/heartbeat"),
        ("POST", "/api/jobs/0/output"),
        ("POST", "/api/jobs/0/complete"),
    ];
    for (method, path) in calls {
        let mut raw = Raw::open(&server);
        raw.write(format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
             Authorization: Bearer hbs_wrong\r\nContent-Length: 8000000\r\n\r\n"
        ));
        assert_eq!(raw.status(), 401, "{method} {path}");
    }
    idle.has_grown_by_at_most(&server, 4 * MIB);
}

/// A request whose body is `sent` bytes of `length`, and then stands still.
fn half_sent(server: &Server, person: &Person, length: usize, sent: usize) -> Raw {
    let mut raw = Raw::open(server);
    raw.write(format!(
        "POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {length}\r\n\r\n",
        person.token
    ));
    raw.may_write(vec![b' '; sent]);
    raw
}

#[test]
fn one_caller_gets_a_part_of_the_memory_for_bodies_and_returns_it() {
    let mut server = Server::start();
    let (admin, ann) = (server.admin(), server.person("ann", "OPERATOR"));
    admin.add_node("n1");
    let idle = Idle::of(&server);
    let size = 7 * 1024 * 1024;
    let bodies: Vec<Raw> = (0..3)
        .map(|_| half_sent(&server, &ann, size + 1, size))
        .collect();
    // Three such bodies are her part. As they are read in the background, the next ones are refused
    // from some moment on.
    eventually("a refusal", || {
        let mut next = half_sent(&server, &ann, size, size);
        let (head, body) = next.answer();
        let refused = head.starts_with("HTTP/1.1 429 ");
        assert!(refused || head.starts_with("HTTP/1.1 400 "), "{head}");
        if refused {
            assert!(head.to_lowercase().contains("retry-after: 1\r\n"), "{head}");
            assert!(body.contains("\"too_many_requests\""), "{body}");
        }
        refused.then_some(())
    });
    // Others are served meanwhile.
    admin.queue("n1");
    let large =
        json!({"preset": "note", "nodeId": "n1", "params": {"text": "x".repeat(4 * 1024 * 1024)}});
    admin.post("/api/jobs", &large).gives(400);
    idle.has_grown_by_at_most(&server, 72 * MIB);
    drop(bodies);
    idle.comes_back(&server);
    ann.queue("n1");
}

#[test]
fn decompressed_bodies_are_counted() {
    let (server, admin, idle) = idle_server();
    let bomb = gzip(&b"a&".repeat(4 * 1024 * 1024 - 8));
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let call = admin
                    .browser("POST", "/users")
                    .header("sec-fetch-site", "same-origin");
                let call = call.body("application/x-www-form-urlencoded", bomb.clone());
                let answer = call.header("content-encoding", "gzip").send();
                assert!([400, 429].contains(&answer.status), "{}", answer.text());
            });
        }
    });
    idle.has_grown_by_at_most(&server, 64 * MIB);
    idle.comes_back(&server);
}

#[test]
fn twenty_faults_are_named_and_the_rest_counted() {
    let (_server, admin, agent) = with_node();
    let many = |count: usize, first: &str| {
        let pairs: Vec<String> = (0..count).map(|n| format!("\"k{n}\":0")).collect();
        format!("{{{first}{}}}", pairs.join(","))
    };
    let call = |path: &str, body: String| {
        let call = admin
            .call("POST", path)
            .body("application/json", gzip(body.as_bytes()));
        let answer = call
            .header("content-encoding", "gzip")
            .refused(400, "bad_input");
        assert_eq!(answer.fields().len(), 20, "{path}");
        assert!(answer.text().len() < 8 * 1024, "{}", answer.text().len());
        answer.json().field("error")
    };
    let known = r#""preset":"note","nodeId":"n1","#;
    let error = call("/api/jobs", many(600_000, known));
    assert!(error.ends_with(", and 599,980 more"), "{error}");
    let error = call("/api/nodes", many(21, r#""id":"n2","#));
    assert!(error.ends_with(", and 1 more"), "{error}");
    let params = format!(r#"{{{known}"params":{}}}"#, many(600_000, ""));
    let error = call("/api/jobs", params);
    assert!(error.ends_with(", and 599,980 more"), "{error}");
    let error = call(
        "/api/presets/note/render",
        format!(r#"{{"params":{}}}"#, many(100, "")),
    );
    assert!(error.ends_with(", and 80 more"), "{error}");
    // Twenty are all named.
    let answer = admin.post(
        "/api/presets/note/render",
        &serde_json::from_str(&format!(r#"{{"params":{}}}"#, many(20, ""))).expect("JSON"),
    );
    let error: String = answer.refused(400, "bad_input").json().field("error");
    assert!(!error.ends_with(" more"), "{error}");
    // An agent's faults, and a name of a megabyte.
    let id = admin.queue("n1");
    agent.claim();
    let wrong: Vec<Value> = (0..50)
        .map(|_| json!({"stream": "stdout", "offset": 0, "dataBase64": "!"}))
        .collect();
    let answer = agent
        .output_call(&id, &json!({"chunks": wrong}))
        .refused(400, "bad_input");
    assert_eq!(answer.fields().len(), 20);
    assert!(answer.json().field("error").ends_with(", and 30 more"));
    let long = json!({"x".repeat(1024 * 1024): 1, "email": "a", "password": "b", "name": "c", "role": "VIEWER"});
    let answer = admin.post("/api/users", &long).refused(400, "bad_input");
    assert!(answer.text().len() < 4 * 1024);
}

#[test]
fn many_values_take_little_memory() {
    let (server, admin, idle) = idle_server();
    let lists = "[],".repeat(2_600_000);
    let names: Vec<String> = (0..700_000).map(|n| format!("\"{n}\":\"\"")).collect();
    let bodies = [
        (
            "/api/jobs",
            format!(r#"{{"preset":"note","nodeId":"n1","params":{{"text":[{lists}0]}}}}"#),
        ),
        (
            "/api/presets/note/render",
            format!(r#"{{"params":{{"text":[{lists}0]}}}}"#),
        ),
        (
            "/api/nodes",
            format!(r#"{{"id":"n1","labels":{{{}}}}}"#, names.join(",")),
        ),
    ];
    for (path, body) in bodies {
        let call = admin.call("POST", path).body("application/json", body);
        let status = call.header("idempotency-key", "k").send().status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    idle.has_grown_by_at_most(&server, 48 * MIB);
}

#[test]
fn downloads_that_nobody_reads_share_the_file() {
    let setup = Setup::new();
    let agents = setup.folder().join("agents");
    std::fs::create_dir(&agents).expect("a folder");
    let program: Vec<u8> = (0..8 * 1024 * 1024_u32)
        .map(|n| (n >> 8).to_le_bytes()[0])
        .collect();
    for name in ["hyprbox-agent-x86_64", "hyprbox-agent-x86_64.deb"] {
        std::fs::write(agents.join(name), &program).expect("writes");
    }
    let server = setup
        .with("HYPRBOX_AGENT_DIR", agents.to_str().expect("UTF-8"))
        .start();
    let idle = Idle::of(&server);
    let unread: Vec<Raw> = (0..250)
        .map(|number| {
            let end = ["", ".deb"][number % 2];
            let mut raw = Raw::open(&server);
            raw.write(format!(
                "GET /agent/hyprbox-agent-x86_64{end} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            let head = raw.head().to_lowercase();
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            assert!(
                head.contains(&format!("content-length: {}\r\n", program.len())),
                "{head}"
            );
            raw
        })
        .collect();
    let whole = server.get("/agent/hyprbox-agent-x86_64").gives(200);
    assert!(whole.body == program, "another file");
    idle.has_grown_by_at_most(&server, 32 * MIB);
    drop(unread);
}

/// A job with 4 MiB of output, which has ended or still runs.
fn job_with_output(admin: &Person, agent: &FakeAgent, ends: bool) -> String {
    let id = admin.queue("n1");
    agent.claim();
    let line = format!("{}\n", "0123456789abcdef".repeat(4));
    let piece = line.repeat(1024 * 1024 / line.len());
    let mut offset = 0;
    for _ in 0..4 {
        agent.say(&id, offset, &piece);
        offset += piece.len() as u64;
    }
    if ends {
        agent.succeed(&id);
    }
    id
}

fn unread(server: &Server, person: &Person, path: &str) -> Raw {
    let mut raw = Raw::open(server);
    raw.write(format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        person.token
    ));
    raw
}

#[test]
fn answers_that_nobody_reads_are_counted() {
    for (ends, path) in [(true, ""), (false, ""), (true, "/log")] {
        let mut server = Server::start();
        let (admin, ann) = (server.admin(), server.person("ann", "VIEWER"));
        let agent = admin.add_node("n1");
        let id = job_with_output(&admin, &agent, ends);
        let idle = Idle::of(&server);
        let path = format!("/api/jobs/{id}{path}?scope=all");
        let mut statuses = Vec::new();
        let answers: Vec<Raw> = (0..100)
            .map(|_| {
                let mut raw = unread(&server, &ann, &path);
                statuses.push(raw.status());
                raw
            })
            .collect();
        assert!(
            statuses.iter().all(|status| [200, 429].contains(status)),
            "{statuses:?}"
        );
        assert_eq!(statuses[..2], [200, 200]);
        let read = admin.get(&path).gives(200);
        assert!(read.body.len() > 4_000_000, "{}", read.body.len());
        idle.has_grown_by_at_most(&server, 72 * MIB);
        drop(answers);
        idle.comes_back(&server);
        ann.get(&path).gives(200);
    }
}

#[test]
fn event_streams_of_one_person_are_limited() {
    let mut server = Server::start();
    let (admin, ann) = (server.admin(), server.person("ann", "VIEWER"));
    let agent = admin.add_node("n1");
    let id = job_with_output(&admin, &agent, false);
    let idle = Idle::of(&server);
    let path = format!("/api/jobs/{id}/stream?scope=all");
    let board = format!("/api/events?scope=all&job={id}");
    let open = |path: &str| {
        let mut raw = unread(&server, &ann, path);
        assert_eq!(raw.status(), 200);
        raw
    };
    let mut streams: Vec<Raw> = (0..64)
        .map(|number| open([&path, &board][number % 2]))
        .collect();
    for path in [&path, &board] {
        let refused = ann.get(path).refused(429, "too_many_streams");
        assert_eq!(refused.header("retry-after"), "5");
    }
    // Another person, and another call of hers.
    admin.get(&path).open().next();
    ann.get("/api/auth/me").ok();
    streams.pop();
    let again = eventually("a free place", || {
        let mut raw = unread(&server, &ann, &path);
        (raw.status() == 200).then_some(raw)
    });
    ann.get(&path).refused(429, "too_many_streams");
    idle.has_grown_by_at_most(&server, 40 * MIB);
    drop((streams, again));
    idle.comes_back(&server);
}

#[test]
fn event_streams_of_one_address_are_limited() {
    let setup = Setup::new().with("HYPRBOX_TRUSTED_PROXIES", "127.0.0.1");
    let mut server = setup.start();
    let people: Vec<Person> = (0..9)
        .map(|n| server.person(&format!("p{n}"), "VIEWER"))
        .collect();
    let from = |address: &str, person: &Person| {
        let mut raw = Raw::open(&server);
        raw.write(format!(
            "GET /api/events HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\nAuthorization: Bearer {}\r\n\r\n",
            person.token
        ));
        raw
    };
    let mut streams = Vec::new();
    for person in &people[..8] {
        for number in 0..64 {
            let mut raw = from(&format!("2001:db8::{number}"), person);
            assert_eq!(raw.status(), 200);
            streams.push(raw);
        }
    }
    let (head, body) = from("2001:db8::ffff", &people[8]).answer();
    assert!(
        head.starts_with("HTTP/1.1 429 ") && body.contains("too_many_streams"),
        "{head}{body}"
    );
    assert_eq!(from("2001:db8:0:1::1", &people[8]).status(), 200);
}

#[test]
fn a_request_and_an_answer_have_a_deadline_as_a_whole() {
    let (server, admin, agent) = with_node();
    let id = job_with_output(&admin, &agent, true);
    thread::scope(|scope| {
        // A byte now and then never lets the body stand still.
        scope.spawn(|| {
            let mut raw = half_sent(&server, &admin, 1_000_000, 1);
            raw.dribble(b" ");
            let (head, body) = raw.answer();
            assert!(
                head.starts_with("HTTP/1.1 408 ") && body.contains("body_stalled"),
                "{head}{body}"
            );
        });
        // As little of an answer never makes it one that is read.
        for path in [format!("/api/jobs/{id}"), format!("/api/jobs/{id}/log")] {
            let (server, admin) = (&server, &admin);
            scope.spawn(move || {
                // As large as the system's buffers at least: several of them on one connection.
                let mut raw = unread(server, admin, &path);
                for _ in 0..7 {
                    raw.write(format!(
                        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
                        admin.token
                    ));
                }
                raw.sip_until_closed();
            });
        }
    });
}

/// Takes the place of a job's script and output by those that are hard to compare.
fn two_hard_jobs(server: &Server, admin: &Person, agent: &FakeAgent) -> (String, String) {
    let ids: Vec<String> = (0..2_u64)
        .map(|which| {
            let id = admin.queue("n1");
            agent.claim();
            // Lines that occur in both, in another order each, and characters that grow when they
            // are shown.
            let mut number = which + 1;
            let mut text = String::new();
            while text.len() < 3 * 1024 * 1024 {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                text.push_str(&format!("{}\n", (number >> 33) % 1_000));
            }
            let empty = "\n".repeat(1024 * 1024);
            agent.output(
                &id,
                &[chunk("stdout", 0, &text), chunk("stderr", 0, &empty)],
            );
            agent.succeed(&id);
            let script = format!("{which}\n").repeat(1_000_000);
            let set = format!("UPDATE jobs SET script = '{script}' WHERE id = '{id}'");
            assert_eq!(server.database().execute(&set), 1);
            id
        })
        .collect();
    (ids[0].clone(), ids[1].clone())
}

#[test]
fn comparisons_are_bounded_and_a_few_at_a_time() {
    let (server, admin, agent) = with_node();
    let (old, new) = two_hard_jobs(&server, &admin, &agent);
    let idle = Idle::of(&server);
    let page = format!("/jobs/{new}/compare");
    let one = admin.browser("GET", &page).gives(200);
    assert!(
        one.text().contains("differ so much"),
        "{}",
        one.text().len()
    );
    idle.has_grown_by_at_most(&server, 64 * MIB);
    let diff = format!("/api/jobs/{old}/diff/{new}");
    let answers: Vec<(u16, String)> = thread::scope(|scope| {
        let calls: Vec<_> = (0..24)
            .map(|number| {
                let call = if number % 4 == 0 {
                    admin.get(&diff)
                } else {
                    admin.browser("GET", &page)
                };
                scope.spawn(move || {
                    let answer = call.send();
                    let again = if answer.status == 503 {
                        answer.header("retry-after")
                    } else {
                        "2".to_owned()
                    };
                    (answer.status, again)
                })
            })
            .collect();
        // Others are served meanwhile.
        admin.queue("n1");
        calls
            .into_iter()
            .map(|call| call.join().expect("an answer"))
            .collect()
    });
    assert!(
        answers
            .iter()
            .all(|(status, again)| [200, 503].contains(status) && again == "2"),
        "{answers:?}"
    );
    for status in [200, 503] {
        assert!(
            answers.iter().any(|(given, _)| *given == status),
            "{answers:?}"
        );
    }
    idle.has_grown_by_at_most(&server, 128 * MIB);
    idle.comes_back(&server);
    admin.get(&diff).gives(200);
}
