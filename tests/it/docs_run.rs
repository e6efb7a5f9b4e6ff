//! The commands in the pages for people, run as they stand: those of `hyprbox` and the calls of the
//! API against a server, SQL on its database. What needs a machine of its own is run by a script in
//! tests/, which is held to having it. One file, because all pages share one server.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::docs::{root, shell_lines};
use crate::harness::{FakeAgent, Field, PASSWORD, Person, Server, Setup, eventually, id_of};

/// The pages' names for things.
const URL: &str = "https://jobs.example.org";
const JOB: &str = "01a20d62-726e-7102-8126-1f36b94ce913";
const RUN: &str = "01a20d64-5c1e-7b3f-8e02-7d2f9b6a4c11";
const OTHER_JOB: &str = "01a20d63-0a11-7c3e-9a52-6f1d2c3b4a5e";
const BACKUP: &str = "/var/backups/hyprbox.db";
const NODE: &str = "prod-eu-1";

/// Commands of a page's line that a script runs, by their first words: the script, and what it has.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "sudo apt install ./hyprbox-agent_",
        "tests/with-packages",
        "apt install /root/hyprbox.deb /root/hyprbox-agent.deb",
    ),
    (
        "hyprbox schedules sign",
        "tests/it/cli/sign_schedule.rs",
        r#"&["schedules", "sign", &id, "--key", &key]"#,
    ),
    (
        "hyprbox jobs sign",
        "tests/it/cli/sign.rs",
        r#"cli.run(&["jobs", "sign", &id, "--key", &key])"#,
    ),
    // It needs a job that waits.
    (
        "hyprbox jobs confirm",
        "tests/it/cli/confirm.rs",
        r#"cli.run(&["jobs", "confirm", &id])"#,
    ),
    // It needs a message.
    (
        "hyprbox channels resend",
        "tests/it/cli/channels.rs",
        r#"cli.run(&["channels", "resend", &channel, last])"#,
    ),
    // Its exit code says whether a step would run.
    (
        "hyprbox plan",
        "tests/it/cli/plan.rs",
        r#"["plan", "site", "--node""#,
    ),
    // It needs a receiver.
    (
        "hyprbox channels test",
        "tests/it/cli/channels.rs",
        r#"cli.run(&["channels", "test", "ops"])"#,
    ),
    (
        "hyprbox rules remove",
        "tests/it/cli/channels.rs",
        r#"cli.run(&["rules", "remove""#,
    ),
    // The server must be stopped.
    (
        "hyprbox admin rotate-secret-key",
        "tests/it/cli/rotate_secret_key.rs",
        "fn everything_sealed_stays_readable",
    ),
    (
        "sudo apt install ./hyprbox_",
        "tests/with-packages",
        "apt install /root/hyprbox-next.deb",
    ),
    (
        "sudo apt purge hyprbox hyprbox-agent",
        "tests/with-packages",
        "apt purge hyprbox hyprbox-agent",
    ),
    (
        "sudo journalctl -u hyprbox",
        "tests/with-packages",
        "journalctl -u hyprbox",
    ),
    (
        "sudo systemctl restart hyprbox",
        "tests/with-packages",
        "systemctl restart hyprbox",
    ),
    (
        "sudo hyprbox-agent enroll",
        "tests/with-packages",
        "hyprbox-agent enroll \"$url\" \"$code\"",
    ),
    (
        "sudo hyprbox-agent check",
        "tests/with-packages",
        "hyprbox-agent check",
    ),
    (
        "sudo hyprbox-agent upgrade",
        "tests/with-packages",
        "hyprbox-agent upgrade",
    ),
    (
        "sudo hyprbox-agent stop-jobs",
        "tests/with-systemd",
        "hyprbox-agent stop-jobs",
    ),
    (
        "sudo systemctl disable --now hyprbox-agent",
        "tests/with-systemd",
        "systemctl disable --now hyprbox-agent",
    ),
    (
        "sudo rm -rf /usr/local/bin/hyprbox-agent",
        "tests/with-systemd",
        "hyprbox-agent stop-jobs",
    ),
    // The settings of its own TLS are lines of a file there: tests/it/tls.rs serves with them.
    (
        "HYPRBOX_LISTEN=",
        "tests/harness/src/server.rs",
        "HYPRBOX_LISTEN",
    ),
    (
        "HYPRBOX_PUBLIC_URL=",
        "tests/it/auth.rs",
        "HYPRBOX_PUBLIC_URL",
    ),
    (
        "HYPRBOX_TLS_CERT=",
        "tests/harness/src/server.rs",
        "HYPRBOX_TLS_CERT",
    ),
    (
        "HYPRBOX_TLS_KEY=",
        "tests/harness/src/server.rs",
        "HYPRBOX_TLS_KEY",
    ),
    // Another machine's agent is cross-built by hand alone.
    ("rustup target add", "packaging/build", "rustup target add"),
    (
        "HYPRBOX_AGENT_TARGET=",
        "packaging/build",
        "HYPRBOX_AGENT_TARGET",
    ),
    (
        "HYPRBOX_SERVER_TARGET=",
        "tests/slow",
        "HYPRBOX_SERVER_TARGET=aarch64-unknown-linux-gnu packaging/build",
    ),
    (
        "HYPRBOX_INSECURE_HTTP=1 hyprbox login",
        "tests/it/docs_start.rs",
        "The LAN without TLS in five lines",
    ),
    // It asks on a terminal, which that test has.
    (
        "hyprbox login https://jobs.example.org$",
        "tests/it/cli/login.rs",
        "Tty::start",
    ),
];

/// What the commands run against.
struct World {
    server: Server,
    admin: Person,
    folder: TempDir,
    agent: Arc<Mutex<FakeAgent>>,
    is_over: Arc<AtomicBool>,
    /// A job that has ended, and a later one.
    jobs: [String; 2],
}

impl World {
    fn new() -> Self {
        let mut server = Server::start();
        let admin = server.admin();
        let agent = Arc::new(Mutex::new(admin.add_node(NODE)));
        admin.add_node("idle");
        admin.add_node("prod-eu-2");
        let labels = json!({"labels": {"role": "web"}});
        let path = format!("/api/nodes/{NODE}");
        admin.call("PATCH", &path).json(&labels).ok();
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&agent), Arc::clone(&is_over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let agent = shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                // Errors say that the node is just gone, or the server.
                if let Ok(answer) = agent.poll("wait=1").try_send()
                    && answer.status == 200
                    && let Some(id) = answer.json()["job"]["id"].as_str()
                {
                    agent.say(id, 0, "hello\n");
                    agent.succeed(id);
                }
            }
        });
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("bin")).expect("a folder");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hyprbox"), at("bin/hyprbox"))
            .expect("links");
        std::fs::create_dir(at("my-presets")).expect("a folder");
        std::fs::copy(
            root().join("presets/system-report.yaml"),
            at("my-presets/system-report.yaml"),
        )
        .expect("copies");
        std::fs::write(at("params.json"), "{}").expect("writes");
        for script in ["backup.sh", "fix.sh"] {
            std::fs::write(at(script), "#!/bin/bash\necho done\n").expect("writes");
        }
        std::fs::write(at("password.txt"), PASSWORD).expect("writes");
        let mut world = Self {
            jobs: Default::default(),
            server,
            admin,
            folder,
            agent,
            is_over,
        };
        world.jobs = [(), ()].map(|()| {
            let id = world.admin.queue_with(NODE, "system-report", json!({}));
            eventually("the job's end", || {
                (world.admin.job(&id)["status"] == "SUCCEEDED").then_some(())
            });
            id
        });
        let token = world
            .admin
            .post("/api/auth/tokens", &json!({"name": "docs"}))
            .gives(201)
            .json();
        std::fs::write(world.at("token.txt"), token.field("token")).expect("writes");
        let ci = json!({"email": "ci@example.org", "password": PASSWORD, "name": "ci", "role": "OPERATOR"});
        world.admin.post("/api/users", &ci).gives(201);
        let ci = world.server.login("ci@example.org", PASSWORD);
        let deploy = json!({"name": "deploy"});
        ci.post("/api/auth/tokens", &deploy).gives(201);
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the page's words mean here, for this line.
    fn said_here(&self, line: &str) -> String {
        let job = if line.contains("jobs cancel") {
            self.admin.queue("idle")
        } else if line.contains("jobs fail") {
            let agent = self.admin.add_node("failing");
            let id = self.admin.queue("failing");
            agent.claim();
            id
        } else {
            self.jobs[0].clone()
        };
        if line.contains("--failed") {
            let agent = self.admin.add_node("broken");
            let id = self.admin.queue("broken");
            agent.claim();
            agent.complete(&id, &json!({"exitCode": 1})).ok();
        }
        let prefix = || {
            self.admin.agent_of(NODE);
            let tokens = self
                .admin
                .get(&format!("/api/nodes/{NODE}/tokens"))
                .ok()
                .list("tokens");
            tokens.last().expect("a token").field("prefix")
        };
        let mut here = line
            .replace(RUN, &self.run_for(line))
            .replace(URL, self.server.url())
            .replace(JOB, &job)
            .replace(OTHER_JOB, &self.jobs[1])
            .replace(BACKUP, self.at("backup.db").to_str().expect("UTF-8"))
            .replace("curl ", "curl -sS --fail-with-body --max-time 20 ");
        if here.contains("hbn_XK4d") {
            here = here.replace("hbn_XK4d", &prefix());
        }
        here
    }

    /// A run in the state that the line needs; empty if the line names none.
    fn run_for(&self, line: &str) -> String {
        if !line.contains(RUN) {
            return String::new();
        }
        let says = |words: &str| line.contains(words);
        // Nobody polls for the one, and the other's agent ends every job.
        let is_open = says("runs pause") || says("runs resume") || says("runs cancel");
        let node = if is_open { "idle" } else { NODE };
        let pause = |paused: bool| {
            let change = self.admin.call("PATCH", &format!("/api/nodes/{NODE}"));
            change.json(&json!({"paused": paused})).ok();
        };
        let is_retry = says("runs retry") || says("/retry");
        pause(is_retry);
        let body = json!({"preset": "system-report", "nodes": [node]});
        let id = id_of(&self.admin.post("/api/runs", &body).gives(201).json());
        let path = format!("/api/runs/{id}");
        if says("runs resume") {
            self.admin.call("POST", &format!("{path}/pause")).ok();
        }
        if is_retry {
            self.admin.call("POST", &format!("{path}/cancel")).ok();
            pause(false);
        }
        if node == NODE {
            eventually("the run's end", || {
                let run = self.admin.get(&path).ok();
                run["finishedAt"].is_string().then_some(())
            });
        }
        id
    }

    fn has(&self, agent: FakeAgent) {
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = agent;
    }

    /// Runs a line in bash; it ends with 0, or the test with what it said.
    #[track_caller]
    fn run(&self, page: &str, line: &str) {
        if line.contains("nodes add") {
            self.admin.delete(&format!("/api/nodes/{NODE}")).gives(204);
        }
        let mut here = self.said_here(line);
        // The reader closes this stream. Its first event comes at once.
        let is_endless = line.contains("/api/events?");
        if is_endless {
            here = format!("{{ {here} || [ $? = 28 ]; }} | grep '^event: run$'")
                .replace("--max-time 20", "--max-time 3");
        }
        // It ends with Ctrl-C, and then with 130.
        if line.contains("jobs watch") {
            here = format!("timeout --preserve-status -s INT 1 {here} || [ $? = 130 ]");
        }
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", &here])
            .current_dir(self.folder.path())
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.at("bin").display()),
            )
            .env("HOME", self.folder.path())
            .env("HYPRBOX_DATA_DIR", self.server.setup().data_dir())
            .env("HYPRBOX_LISTEN", self.server.address());
        if line.starts_with("hyprbox restore") {
            command.env("HYPRBOX_DATA_DIR", self.at("restored"));
        }
        let has_login = ["login", "logout", "context"]
            .iter()
            .any(|word| line.contains(word));
        if !has_login {
            command
                .env("HYPRBOX_URL", self.server.url())
                .env("HYPRBOX_TOKEN", &self.admin.token);
        }
        let output = command.stdin(self.input()).output().expect("bash runs");
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{page}: {line}\n{}\n{}{}",
            output.status,
            words(&output.stdout),
            words(&output.stderr)
        );
        if line.contains("nodes add") {
            self.has(self.admin.agent_of(NODE));
        }
        if line.contains("nodes remove") {
            self.has(self.admin.add_node(NODE));
        }
    }

    /// A password, for the commands that read one.
    fn input(&self) -> Stdio {
        std::fs::File::open(self.at("password.txt"))
            .expect("opens")
            .into()
    }

    /// Runs SQL on the database beside the server; the rows that it gave or changed.
    fn sql(&self, sql: &str) -> usize {
        let path = self.server.database().sqlite().expect("SQLite").to_owned();
        let connection = rusqlite::Connection::open(path).expect("opens");
        connection
            .busy_timeout(std::time::Duration::from_secs(10))
            .expect("waits");
        let mut statement = connection
            .prepare(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        if statement.column_count() == 0 {
            return statement.execute([]).expect("runs");
        }
        let mut rows = statement.query([]).expect("runs");
        let mut count = 0;
        while rows.next().expect("a row").is_some() {
            count += 1;
        }
        count
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).expect(name)
}

/// The lines of shell examples; one that ends with a backslash goes on in the next.
fn lines(text: &str) -> Vec<String> {
    let joined = shell_lines(text).join("\n").replace("\\\n", " ");
    joined
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn what_the_pages_tell_one_to_type_does_what_it_should() {
    if Setup::new().database().sqlite().is_none() {
        return;
    }
    let world = World::new();
    let mut ran = 0;
    for name in [
        "api.md",
        "install.md",
        "operations.md",
        "nodes.md",
        "cli.md",
        // Last, as it ends the ADMIN's sessions.
        "troubleshooting.md",
    ] {
        for line in lines(&page(name)) {
            let whole = format!("{line}$");
            if let Some((_, script, has)) = ELSEWHERE
                .iter()
                .find(|(start, _, _)| whole.starts_with(start))
            {
                let text = std::fs::read_to_string(root().join(script)).expect(script);
                assert!(text.contains(has), "{name}: {line}: {script} has no {has}");
                continue;
            }
            if line == "hyprbox logout" {
                // There must be a login to go out of.
                world.run(name, &format!("hyprbox login {URL} --token < token.txt"));
            }
            if let Some(sql) = line.strip_prefix("sqlite3 hyprbox.db ") {
                let sql = sql.trim_matches('"').replace('…', &world.jobs[0]);
                assert_ne!(world.sql(&sql), 0, "{name}: {sql}");
            } else {
                world.run(name, &line);
            }
            ran += 1;
        }
    }
    assert!(ran > 45, "{ran}");
}

#[test]
fn what_the_pages_tell_one_to_change_in_the_database_is_heard() {
    if Setup::new().database().sqlite().is_none() {
        return;
    }
    let world = World::new();
    let text = page("troubleshooting.md");
    let from = text.find("```sql").expect("a statement") + 6;
    let sql = text[from..].split("```").next().expect("its end");
    let agent = world.admin.add_node("stuck");
    let id = world.admin.queue("stuck");
    agent.claim();
    assert_eq!(
        world.sql(&sql.trim().trim_end_matches(';').replace("<id>", &id)),
        1
    );
    let job: Value = world.admin.job(&id);
    assert_eq!(
        (job.field("status"), job.field("errorMsg")),
        ("FAILED".to_owned(), "agent disappeared".to_owned())
    );
}
