//! A PostgreSQL server of a test's own: one whose line must be encrypted, or one that is stopped,
//! frozen or fails over.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User, chown};

use super::{Authority, eventually, write_file};

/// Where the programs of PostgreSQL are; `tests/with-postgres` sets it.
const PROGRAMS: &str = "HYPRBOX_TEST_POSTGRES_BIN";

/// Stopped, and gone, when it is dropped.
pub struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    settings: Vec<String>,
}

impl Cluster {
    /// One that takes encrypted lines alone, and shows the authority's certificate; `None` where
    /// the tests run on another database.
    pub fn encrypted(authority: &Authority) -> Option<Self> {
        let cluster = Self::made(&["ssl=on", "fsync=off"])?;
        cluster.put(
            &cluster.data().join("pg_hba.conf"),
            "hostssl all all 127.0.0.1/32 scram-sha-256\n",
        );
        cluster.show(&authority.cert(), &authority.key());
        cluster.start();
        Some(cluster)
    }

    /// The same, and it takes users alone who show a certificate of that authority with their name.
    pub fn asking_for_certificates(authority: &Authority) -> Option<Self> {
        let cluster = Self::made(&["ssl=on", "ssl_ca_file=authority.crt", "fsync=off"])?;
        cluster.put(
            &cluster.data().join("pg_hba.conf"),
            "hostssl all all 127.0.0.1/32 cert\n",
        );
        let trusted = std::fs::read_to_string(authority.ca_file()).expect("reads");
        cluster.put(&cluster.data().join("authority.crt"), &trusted);
        cluster.show(&authority.cert(), &authority.key());
        cluster.start();
        Some(cluster)
    }

    fn made(settings: &[&str]) -> Option<Self> {
        let cluster = Self::empty(settings)?;
        let password = cluster.folder.path().join("password");
        cluster.put(&password, "right");
        let mut initdb = cluster.program("initdb");
        initdb
            .args(["--no-sync", "-A", "scram-sha-256", "-U", "hyprbox"])
            .args(["-E", "UTF8", "--locale=C.UTF-8"]);
        run(initdb.arg("--pwfile").arg(&password));
        Some(cluster)
    }

    fn empty(settings: &[&str]) -> Option<Self> {
        let cluster = Self {
            folder: tempfile::tempdir().expect("a folder"),
            programs: PathBuf::from(std::env::var_os(PROGRAMS)?),
            port: super::free_port(),
            settings: settings.iter().map(ToString::to_string).collect(),
        };
        cluster.give(cluster.folder.path());
        Some(cluster)
    }

    pub fn start(&self) {
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|set| format!("-c {set}"))
            .collect();
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} {}",
            self.port,
            self.folder.path().display(),
            settings.join(" ")
        );
        let log = self.folder.path().join("log");
        let mut start = self.program("pg_ctl");
        run(start.args(["start", "-w", "-o", &options, "-l"]).arg(log));
    }

    /// Shows another certificate from now on.
    pub fn show(&self, cert: &Path, key: &Path) {
        for (from, name) in [(cert, "server.crt"), (key, "server.key")] {
            let text = std::fs::read_to_string(from).expect("reads");
            self.put(&self.data().join(name), &text);
        }
        if self.data().join("postmaster.pid").exists() {
            run(self.program("pg_ctl").arg("reload"));
        }
    }

    /// A URL with that host and those parameters: `sslmode=require`.
    pub fn url(&self, host: &str, parameters: &str) -> String {
        let port = self.port;
        format!("postgres://hyprbox:right@{host}:{port}/postgres?{parameters}")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// PostgreSQL refuses to be root.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = if Uid::effective().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command
            .arg("-D")
            .arg(self.data())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn put(&self, path: &Path, text: &str) {
        write_file(path, text, 0o600);
        self.give(path);
    }

    fn give(&self, path: &Path) {
        if Uid::effective().is_root() {
            let postgres = User::from_name("postgres").expect("users are known");
            let postgres = postgres.expect("its package makes the user");
            chown(path, Some(postgres.uid), Some(postgres.gid)).expect("root may");
        }
    }
}

/// What is done to a server under those who use it.
#[cfg(feature = "postgres")]
impl Cluster {
    /// One with those settings (`max_connections=20`), running; `None` where the tests run on
    /// another database.
    pub fn with(settings: &[&str]) -> Option<Self> {
        let cluster = Self::made(settings)?;
        cluster.start();
        Some(cluster)
    }

    /// Another one that takes over all that this one writes, as it is written.
    pub fn standby(&self) -> Self {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let standby = Self::empty(&settings).expect("there is a first one");
        let from = self.url("127.0.0.1", "application_name=standby");
        // Not without its own log of writes: what follows must be there from the copy's beginning
        // on.
        let mut copy = standby.program("pg_basebackup");
        run(copy.args(["-R", "-X", "stream", "-c", "fast", "-d", &from]));
        standby.start();
        standby
    }

    /// The standby takes writes from now on.
    pub fn promote(&self) {
        run(self.program("pg_ctl").args(["promote", "-w"]));
    }

    /// `immediate`: as after a crash; `fast`: it says goodbye to those who are connected.
    pub fn stop(&self, mode: &str) {
        run(self.program("pg_ctl").args(["stop", "-w", "-m", mode]));
    }

    /// Its processes: the first one, and those for each connection and for other work.
    pub fn processes(&self) -> Vec<i32> {
        let first = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        let first = first.lines().next().expect("its process").to_owned();
        let children = format!("/proc/{first}/task/{first}/children");
        let children = std::fs::read_to_string(children).expect("it has children");
        let all = children.split_whitespace().chain([first.as_str()]);
        all.map(|pid| pid.parse().expect("a number")).collect()
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It is a test's own, whatever becomes of its data.
        let _stopped = self
            .program("pg_ctl")
            .args(["stop", "-m", "immediate"])
            .status();
        if !std::thread::panicking() {
            eventually("its end", || {
                (!self.data().join("postmaster.pid").exists()).then_some(())
            });
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let status = command.status().expect("it runs");
    assert!(status.success(), "{command:?}: {status}");
}
