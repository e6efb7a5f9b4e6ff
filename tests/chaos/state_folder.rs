//! A state folder that takes nothing: the agent says so, takes no jobs, and shows life; mended, it
//! goes on.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Field, Person, Server, eventually};
use crate::node::Node;
use crate::processes::marked;

/// A small file system of its own, which only root may make.
struct Mount(PathBuf);

impl Mount {
    /// `None` where this user may not mount.
    fn small(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).expect("a folder");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
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
        // Lazily, as the agent may still have it open.
        let _best_effort = Command::new("umount").arg("-l").arg(&self.0).status();
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
    /// `None` where it can't be tried.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(mount) = Mount::small(&folder.path().join("state")) else {
            eprintln!("skipped: only root can mount a small file system");
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

    /// The agent has said what is wrong, has shown life after that, and has left the job alone.
    fn takes_nothing(&self, id: &str, words: &str) {
        eventually("a word about it", || self.node.logged(words).then_some(()));
        assert!(self.node.logged("no jobs are taken until this is fixed"));
        let seen = |_: ()| self.admin.get("/api/nodes/n1").ok();
        let last = seen(())["lastSeenAt"].clone();
        eventually("two more signs of life", || {
            let node = seen(());
            (node["lastSeenAt"] != last && node["status"] == "ONLINE").then_some(())
        });
        assert_eq!(self.status(id), "QUEUED");
    }

    fn goes_on(&self, id: &str) {
        eventually("the job", || (self.status(id) == "SUCCEEDED").then_some(()));
    }
}

#[test]
fn a_full_state_folder_takes_no_jobs_until_there_is_room() {
    let Some(mut world) = World::new() else {
        return;
    };
    let ballast = world.mount.0.join("ballast");
    // More than there is room for: the error says that it is full.
    let full = std::fs::write(&ballast, vec![0; 2 << 20]);
    assert!(full.is_err());
    let id = world.admin.queue("n1");
    world.node.start();
    world.takes_nothing(&id, "No space left on device");
    std::fs::remove_file(ballast).expect("removes");
    world.goes_on(&id);
}

#[test]
fn a_state_folder_that_becomes_read_only_takes_no_jobs_until_it_is_writable() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.node.start();
    let first = world.admin.queue("n1");
    world.goes_on(&first);
    // What is open for writing keeps it writable.
    world.node.kill9();
    eventually("the supervisor's end", || {
        let mount = world.mount.0.to_str().expect("UTF-8");
        marked(mount).is_empty().then_some(())
    });
    world.mount.remount("ro");
    world.node.start();
    let id = world.admin.queue("n1");
    world.takes_nothing(&id, "Read-only file system");
    world.mount.remount("rw");
    world.goes_on(&id);
}

#[test]
fn a_state_folder_that_fills_up_under_an_idle_agent_loses_no_job() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.node.start();
    let first = world.admin.queue("n1");
    world.goes_on(&first);
    // Of the first job's folder the next one's is made, and gives room back by that.
    eventually("the next job's folder", || {
        (world.node.journal().is_empty() && world.mount.0.join("next").exists()).then_some(())
    });
    let ballast = world.mount.0.join("ballast");
    assert!(std::fs::write(&ballast, vec![0; 2 << 20]).is_err());
    // It is found out when the job comes at the latest: then the job ends with the reason, or it
    // waits.
    let id = world.admin.queue("n1");
    let job = eventually("a word about it", || {
        let job = world.admin.job(&id);
        let told = job["status"] == "FAILED" || world.node.logged("No space left on device");
        told.then_some(job)
    });
    if job["status"] == "FAILED" {
        let words = job.field("errorMsg");
        assert!(words.contains("No space left on device"), "{words}");
    }
    let next = world.admin.queue("n1");
    world.takes_nothing(&next, "No space left on device");
    std::fs::remove_file(ballast).expect("removes");
    world.goes_on(&next);
}
