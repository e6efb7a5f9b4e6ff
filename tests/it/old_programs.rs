//! Programs from before jobs were signed, together with those of today, and upgrades in the middle
//! of a job. The tests need an old server and an old agent, so they run only on request:
//!
//! ```text
//! git worktree add ../old 6b6060d^
//! (cd ../old && CARGO_TARGET_DIR=target cargo build --locked)
//! HYPRBOX_OLD_PROGRAMS=../old/target/debug \
//!     cargo test --locked -p hyprbox --test it old_programs -- --ignored
//! ```

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Person, RealAgent, Server, Setup, built, eventually, free_port};

fn old(name: &str) -> PathBuf {
    let folder = std::env::var_os("HYPRBOX_OLD_PROGRAMS").expect("HYPRBOX_OLD_PROGRAMS is set");
    std::path::absolute(folder).expect("a path").join(name)
}

fn new(name: &str) -> PathBuf {
    built(name)
}

/// A job whose script waits until the test opens its gate, and marks each start.
struct Gated {
    id: String,
    folder: tempfile::TempDir,
}

impl Gated {
    fn queue(admin: &Person) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let code = format!(
            "cd {}; echo x >>starts; until [ -e gate ]; do sleep 0.1; done; echo through the gate",
            folder.path().display()
        );
        let id = admin.queue_with("n1", "shell", json!({"code": code}));
        Self { id, folder }
    }

    fn has_started(&self) {
        let starts = self.folder.path().join("starts");
        eventually("the script", || starts.exists().then_some(()));
    }

    /// Opens the gate, and checks that the job succeeds after one start.
    fn finish(&self, admin: &Person) {
        std::fs::write(self.folder.path().join("gate"), "").expect("writes");
        succeeds(admin, &self.id);
        let starts = std::fs::read_to_string(self.folder.path().join("starts"));
        assert_eq!(starts.expect("reads"), "x\n");
        let log = String::from_utf8(admin.log(&self.id, "stdout")).expect("UTF-8");
        assert!(log.ends_with("through the gate\n"), "{log}");
    }
}

#[track_caller]
fn succeeds(admin: &Person, id: &str) {
    let job = eventually("the job's end", || {
        let job = admin.job(id);
        (job["status"] != "QUEUED" && job["status"] != "RUNNING").then_some(job)
    });
    assert_eq!(job["status"], "SUCCEEDED", "{job}");
}

fn is_signed(server: &Server, id: &str) -> bool {
    let sql = format!("SELECT count(*) FROM jobs WHERE id = '{id}' AND envelope IS NOT NULL");
    server.database().number(&sql) == 1
}

#[test]
#[ignore = "needs programs from before jobs were signed"]
fn an_old_agent_works_with_a_new_server_and_is_upgraded_and_back_in_the_middle_of_a_job() {
    let mut server = Server::start();
    let admin = server.admin();
    let node = admin.add_node("n1");
    let mut agent = RealAgent::of_build(&old("hyprbox-agent"), &server, &node);
    for program in [new("hyprbox-agent"), old("hyprbox-agent")] {
        let job = Gated::queue(&admin);
        job.has_started();
        agent.terminate();
        agent.start_again_as(&program);
        let next = Gated::queue(&admin);
        job.finish(&admin);
        next.has_started();
        next.finish(&admin);
        assert!(is_signed(&server, &next.id));
    }
}

#[test]
#[ignore = "needs programs from before jobs were signed"]
fn a_new_agent_works_with_an_old_server_which_is_upgraded_in_the_middle_of_a_job() {
    let listen = format!("127.0.0.1:{}", free_port());
    let setup = Setup::new().with("HYPRBOX_LISTEN", &listen);
    let mut server = setup.with_program(&old("hyprbox")).start();
    let admin = server.admin();
    let node = admin.add_node("n1");
    let agent = RealAgent::start(&server, &node);
    let job = Gated::queue(&admin);
    job.has_started();
    eventually("the warning", || {
        agent
            .logged("is not signed and runs nevertheless")
            .then_some(())
    });
    job.finish(&admin);
    let running = Gated::queue(&admin);
    running.has_started();
    let waiting = Gated::queue(&admin);
    let server = server.into_setup().with_program(&new("hyprbox")).start();
    let admin = admin.at_url(server.url());
    assert!(is_signed(&server, &waiting.id));
    running.finish(&admin);
    waiting.has_started();
    waiting.finish(&admin);
    let later = Gated::queue(&admin);
    later.has_started();
    later.finish(&admin);
    // It has learned the key at the first signed claim.
    eventually("the key", || {
        let shown: Value = admin.get("/api/nodes/n1").ok();
        let keys = shown["trustedKeys"].as_array().map(Vec::len);
        (keys == Some(1)).then_some(())
    });
}
