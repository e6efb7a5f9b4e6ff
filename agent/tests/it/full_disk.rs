//! A disk that is full, or fills up: jobs wait for room, and ends are reported.

use crate::agent::Node;
use crate::server::Server;
use crate::state::{assert_reported_and_recovered, node};

/// A small file system of its own for a node's state.
pub struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Returns `None` if this user may not mount one.
    pub fn mount(node: &Node, size: &str) -> Option<Self> {
        let dir = node.state();
        std::fs::create_dir(&dir).expect("made");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={size},mode=0700"))
            .arg("tmpfs")
            .arg(&dir)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: this user may not mount a tmpfs");
        }
        mounted.then_some(Self(dir))
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("fill")).expect("made");
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("fill")).expect("was there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let lazily = ["-l".as_ref(), self.0.as_os_str()];
        let _ = std::process::Command::new("umount").args(lazily).status();
    }
}

fn with_small_disk() -> Option<(Server, Node, SmallDisk)> {
    let server = Server::start();
    let node = node(&server);
    let disk = SmallDisk::mount(&node, "3m")?;
    Some((server, node, disk))
}

#[test]
fn a_full_disk() {
    let Some((server, node, disk)) = with_small_disk() else {
        return;
    };
    disk.fill();
    assert_reported_and_recovered(&node, &server, |_| disk.clear());
}

#[test]
fn a_disk_that_fills_up_between_two_jobs() {
    let Some((server, node, disk)) = with_small_disk() else {
        return;
    };
    let agent = node.start();
    server.wait_for("a poll", |world| world.polls.first().map(drop));
    disk.fill();
    // The job waits: whether the agent has claimed it or not depends on when it noticed.
    let id = server.queue("echo ran");
    agent.wait_log("no jobs are taken until this is fixed");
    let next = server.queue("exit 0");
    disk.clear();
    for id in [&id, &next] {
        let end = server.wait_end(id);
        assert_eq!((end.exit_code, end.error_msg), (Some(0), None));
    }
    assert_eq!(server.stdout(&id), "ran\n");
}

/// A script of this size does not fit on a [`SmallDisk`] next to [`almost_fill`]'s file, though the
/// agent sees room for a usual job.
const LARGE_SCRIPT: usize = 2 << 20;

fn almost_fill(disk: &SmallDisk) {
    std::fs::write(disk.0.join("fill"), vec![0; 2 << 20]).expect("fits");
}

fn large_script() -> String {
    format!("echo ran\n# {}\n", "x".repeat(LARGE_SCRIPT))
}

#[test]
fn a_claimed_job_that_does_not_fit_on_the_disk_waits_for_room() {
    let Some((server, node, disk)) = with_small_disk() else {
        return;
    };
    almost_fill(&disk);
    let agent = node.start();
    let id = server.queue(&large_script());
    agent.wait_log(&format!("job {id} waits: state folder: "));
    server.wait_for("the problem", |world| {
        let beat = world.heartbeats.last()?;
        let problem = beat.problem.as_deref()?;
        problem.contains("No space left on device").then_some(())
    });
    assert!(server.world().jobs[&id].end.is_none());
    disk.clear();
    assert_eq!(server.wait_end(&id).exit_code, Some(0));
    assert_eq!(server.stdout(&id), "ran\n");
}

#[test]
fn a_job_that_waits_for_room_can_be_cancelled() {
    let Some((server, node, disk)) = with_small_disk() else {
        return;
    };
    almost_fill(&disk);
    let agent = node.start();
    let id = server.queue(&large_script());
    agent.wait_log(&format!("job {id} waits: state folder: "));
    server.cancel(&id);
    let end = server.wait_end(&id);
    assert_eq!((end.cancelled, end.exit_code), (Some(true), None));
    disk.clear();
    let next = server.queue("exit 0");
    assert_eq!(server.wait_end(&next).exit_code, Some(0));
    assert_eq!(server.stdout(&id), "");
}

#[test]
fn the_end_of_a_job_that_fills_the_disk_is_reported() {
    let Some((server, node, disk)) = with_small_disk() else {
        return;
    };
    let _agent = node.start();
    let fill = disk.0.join("fill").display().to_string();
    let id = server.queue(&format!(
        "cat /dev/zero > {fill} 2> /dev/null; seq 1 500000; exit 5"
    ));
    let end = server.wait_end(&id);
    assert_eq!(end.exit_code, Some(5));
    let written: u64 = (1..=500_000)
        .map(|n: u64| n.to_string().len() as u64 + 1)
        .sum();
    assert_eq!(end.stdout_bytes, Some(written));
    disk.clear();
    // If a job's output is larger than the disk, its newest part is kept.
    let id = server.queue("seq 1 2000000; exit 6");
    assert_eq!(server.wait_end(&id).exit_code, Some(6));
    assert!(server.stdout(&id).ends_with("\n1999999\n2000000\n"));
}
