//! Three servers behind Caddy, with the very file that the documentation shows. `tests/with-caddy`
//! says where Caddy is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Answer, Person, RealAgent, Server, Setup, Sse, eventually, free_port, id_of};

const JOBS: usize = 8;
const LINES: usize = 12;

struct Caddy {
    child: Child,
    url: String,
    _home: tempfile::TempDir,
}

impl Caddy {
    fn before(servers: &[Server]) -> Option<Self> {
        let program = std::env::var_os("HYPRBOX_TEST_CADDY")?;
        let home = tempfile::tempdir().expect("a folder");
        let url = format!("http://127.0.0.1:{}", free_port());
        let addresses: Vec<&str> = servers.iter().map(Server::address).collect();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/replicas/Caddyfile");
        let child = Command::new(program)
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(file)
            .env_clear()
            .env("HOME", home.path())
            .env("HYPRBOX_SITE", &url)
            .env("HYPRBOX_SERVERS", addresses.join(" "))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Caddy starts");
        Some(Self {
            child,
            url,
            _home: home,
        })
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Three servers over one database, which trust the proxy's word on where a client is.
fn three() -> Option<[Server; 3]> {
    let first = Setup::new().with("HYPRBOX_TRUSTED_PROXIES", "127.0.0.1");
    let database = first.database();
    if database.sqlite().is_some() {
        return None;
    }
    let key = first.folder().join("key");
    let alike = |setup: Setup| {
        setup
            .with("HYPRBOX_DATABASE_URL", &database.url())
            .with("HYPRBOX_SECRET_KEY_FILE", key.to_str().expect("UTF-8"))
            .with("HYPRBOX_TRUSTED_PROXIES", "127.0.0.1")
            .start()
    };
    let first = alike(first);
    Some([first, alike(Setup::new()), alike(Setup::new())])
}

/// A script that writes its lines slowly enough for a kill to be in the middle, and leaves a mark
/// each time it runs.
fn script(marks: &Path, number: usize) -> String {
    format!(
        "echo {number} >>{}; for line in $(seq {LINES}); do echo \"job {number} line $line\"; sleep 0.05; done",
        marks.display()
    )
}

fn wanted(number: usize) -> String {
    let mut text = "==> [1/1] Run it\n".to_owned();
    for line in 1..=LINES {
        writeln!(text, "job {number} line {line}").expect("memory");
    }
    text
}

/// Until a server takes it: the one that is killed may take some calls with it.
fn insist(person: &Person, number: usize, body: &serde_json::Value) -> Answer {
    eventually("a job to be queued", || {
        let call = person
            .post("/api/jobs", body)
            .header("idempotency-key", &format!("job-{number}"));
        let answer = call.try_send().ok()?;
        matches!(answer.status, 200 | 201).then_some(answer)
    })
}

#[test]
fn three_servers_behind_caddy_lose_one_and_nothing_else() {
    let Some(mut servers) = three() else { return };
    let Some(caddy) = Caddy::before(&servers) else {
        eprintln!("left out: run it with tests/with-caddy");
        return;
    };
    let admin = servers[0].admin();
    let person = admin.at_url(&caddy.url);
    eventually("Caddy", || {
        let answer = person.get("/api/auth/me").try_send().ok()?;
        (answer.status == 200).then_some(())
    });
    let agents = ["n1", "n2"].map(|name| RealAgent::at_url(&caddy.url, &admin.add_node(name)));
    let marks = servers[0].setup().folder().join("marks");
    let queue = |number: usize| {
        let node = ["n1", "n2"][number % 2];
        let body =
            json!({"preset": "shell", "nodeId": node, "params": {"code": script(&marks, number)}});
        id_of(&insist(&person, number, &body).json())
    };
    let mut jobs: BTreeMap<usize, String> = (0..JOBS / 2)
        .map(|number| (number, queue(number)))
        .collect();

    // Watched at all three, so at two at least that the agent does not speak to at the moment.
    let tail_at = |server: &Server, number: usize| -> Sse {
        let path = format!("/api/jobs/{}/stream", jobs[&number]);
        admin.at_url(server.url()).get(&path).open()
    };
    let mut tails: Vec<Sse> = servers.iter().map(|server| tail_at(server, 0)).collect();
    let text = wanted(0);
    for tail in &mut tails {
        assert_eq!(tail.output("stdout", text.len() as u64), text);
        tail.until_done();
    }
    // One dies while jobs run, and while it is being watched.
    let mut watched = tail_at(&servers[1], 3);
    watched.output("stdout", 10);
    servers[2].kill9();
    for number in JOBS / 2..JOBS {
        jobs.insert(number, queue(number));
    }
    for (number, id) in &jobs {
        let job = eventually("its end", || {
            let job = person.get(&format!("/api/jobs/{id}")).try_send().ok()?;
            let job = (job.status == 200).then(|| job.json())?;
            (job["finishedAt"].is_string()).then_some(job)
        });
        assert_eq!(job["status"], "SUCCEEDED", "{job}");
        assert_eq!(job["recoveredAt"], serde_json::Value::Null, "{job}");
        assert_eq!(job["stdout"], wanted(*number), "{job}");
    }
    watched.until_done();
    let mut ran: Vec<usize> = std::fs::read_to_string(&marks)
        .expect("the scripts ran")
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..JOBS).collect::<Vec<_>>(), "each once");
    // Two thirds are left, and nobody notices.
    for _ in 0..60 {
        person.get("/api/jobs").gives(200);
    }
    servers[2].start_again();
    drop(agents);
}
