//! A state folder that can't be written: the agent reports it, takes no jobs, and keeps sending
//! heartbeats. Once the folder is writable again, jobs run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Field, Person, Server, eventually};
use crate::node::Node;
use crate::processes::marked;

/// A small file system of its own, which only root can mount.
struct Mount(PathBuf);

impl Mount {
    /// Returns `None` if this user may not mount.
    fn small(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).expect("a folder");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"])
            .arg(at)
            .status();
        status
            .is_ok_and(|status| status.success())
            .then(|| Self(at.to_owned()))
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.0)
            .status()
            .expect("mount runs");
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because the agent may still have files open there.
        let _result = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

struct World {
    node: Node,
    _server: Server,
    admin: Person,
    mount: Mount,
    _folder: tempfile::TempDir,
}

impl World {
    /// Returns `None` if a file system can't be mounted.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(mount) = Mount::small(&folder.path().join("state")) else {
            eprintln!("SKIPPED: only root can mount a small file system");
            return None;
        };
        let mut server = Server::start();
        let admin = server.admin();
        let mut node = Node::new(server.url(), &admin.add_node("n1"));
        node.set("HYPRBOX_STATE_DIR", mount.0.to_str().expect("UTF-8"));
        Some(Self {
            node,
            _server: server,
            admin,
            mount,
            _folder: folder,
        })
    }

    fn status(&self, id: &str) -> String {
        self.admin.job(id).field("status")
    }

    /// Waits until the agent has logged the problem and sent a heartbeat, and checks that it has
    /// not claimed the job.
    fn assert_takes_no_jobs(&self, id: &str, problem: &str) {
        for text in [problem, "no jobs are taken until this is fixed"] {
            eventually("the problem in the log", || {
                self.node.logged(text).then_some(())
            });
        }
        let read_node = || self.admin.get("/api/nodes/n1").ok();
        let last = read_node()["lastSeenAt"].clone();
        eventually("another heartbeat", || {
            let node = read_node();
            (node["lastSeenAt"] != last && node["status"] == "ONLINE").then_some(())
        });
        assert_eq!(self.status(id), "QUEUED");
    }

    fn wait_for_success(&self, id: &str) {
        eventually("the job", || (self.status(id) == "SUCCEEDED").then_some(()));
    }
}

#[test]
fn a_full_state_folder_takes_no_jobs_until_there_is_room() {
    let Some(mut world) = World::new() else {
        return;
    };
    let ballast = world.mount.0.join("ballast");
    // Larger than the file system, so that the write fills it.
    let full = std::fs::write(&ballast, vec![0; 2 << 20]);
    assert!(full.is_err());
    let id = world.admin.queue("n1");
    world.node.start();
    world.assert_takes_no_jobs(&id, "No space left on device");
    std::fs::remove_file(ballast).expect("removes");
    world.wait_for_success(&id);
}

#[test]
fn a_state_folder_that_becomes_read_only_takes_no_jobs_until_it_is_writable() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.node.start();
    let first = world.admin.queue("n1");
    world.wait_for_success(&first);
    // A file that is open for writing prevents the remount.
    world.node.kill9();
    eventually("the supervisor's end", || {
        let mount = world.mount.0.to_str().expect("UTF-8");
        marked(mount).is_empty().then_some(())
    });
    world.mount.remount("ro");
    world.node.start();
    let id = world.admin.queue("n1");
    world.assert_takes_no_jobs(&id, "Read-only file system");
    world.mount.remount("rw");
    world.wait_for_success(&id);
}

#[test]
fn a_state_folder_that_fills_up_under_an_idle_agent_loses_no_job() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.node.start();
    let first = world.admin.queue("n1");
    world.wait_for_success(&first);
    // The first job's folder is recycled for the next job, which frees space.
    eventually("the next job's folder", || {
        (world.node.job_folders().is_empty() && world.mount.0.join("next").exists()).then_some(())
    });
    let ballast = world.mount.0.join("ballast");
    assert!(std::fs::write(&ballast, vec![0; 2 << 20]).is_err());
    // The agent finds the problem when the job arrives at the latest. Then the job fails with the
    // reason, or it stays queued.
    let id = world.admin.queue("n1");
    let job = eventually("a report of the full disk", || {
        let job = world.admin.job(&id);
        // Its own look at the folder, or a write that failed.
        let is_full = |words| world.node.logged(words);
        let is_logged = is_full("No space left on device") || is_full("on a disk that is full");
        let is_reported = job["status"] == "FAILED" || is_logged;
        is_reported.then_some(job)
    });
    if job["status"] == "FAILED" {
        let error = job.field("errorMsg");
        assert!(error.contains("No space left on device"), "{error}");
    }
    let next = world.admin.queue("n1");
    world.assert_takes_no_jobs(&next, "state folder: ");
    std::fs::remove_file(ballast).expect("removes");
    world.wait_for_success(&next);
}
