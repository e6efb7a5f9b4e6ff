//! A PostgreSQL server of a test's own, whose line must be encrypted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User, chown};

use super::{Authority, eventually, write_file};

/// Where the programs of PostgreSQL are; `tests/with-postgres` sets it.
const PROGRAMS: &str = "HYPRBOX_TEST_POSTGRES_BIN";

/// Stopped, and gone, when it is dropped.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
}

impl Cluster {
    /// One that takes encrypted lines alone, and shows the authority's certificate; `None` where the tests run on another
    /// database.
    pub(crate) fn encrypted(authority: &Authority) -> Option<Self> {
        let programs = PathBuf::from(std::env::var_os(PROGRAMS)?);
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Self {
            folder,
            programs,
            port: super::free_port(),
        };
        cluster.give(cluster.folder.path());
        let password = cluster.folder.path().join("password");
        cluster.put(&password, "right");
        let mut initdb = cluster.program("initdb");
        initdb
            .args(["--no-sync", "-A", "scram-sha-256", "-U", "hyprbox"])
            .args(["-E", "UTF8", "--locale=C.UTF-8"]);
        run(initdb.arg("--pwfile").arg(&password));
        cluster.put(
            &cluster.data().join("pg_hba.conf"),
            "hostssl all all 127.0.0.1/32 scram-sha-256\n",
        );
        cluster.show(&authority.cert(), &authority.key());
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c ssl=on -c fsync=off",
            cluster.port,
            cluster.folder.path().display()
        );
        let log = cluster.folder.path().join("log");
        let mut start = cluster.program("pg_ctl");
        run(start.args(["start", "-w", "-o", &options, "-l"]).arg(log));
        Some(cluster)
    }

    /// Shows another certificate from now on.
    pub(crate) fn show(&self, cert: &Path, key: &Path) {
        for (from, name) in [(cert, "server.crt"), (key, "server.key")] {
            let text = std::fs::read_to_string(from).expect("reads");
            self.put(&self.data().join(name), &text);
        }
        if self.data().join("postmaster.pid").exists() {
            run(self.program("pg_ctl").arg("reload"));
        }
    }

    /// A URL with that host and those parameters: `sslmode=require`.
    pub(crate) fn url(&self, host: &str, parameters: &str) -> String {
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
