//! Replaces the agent's program and restarts the agent repeatedly in the middle of a job.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{Person, Server, Setup, eventually};
use crate::node::{Node, program};
use crate::script::{Tally, write_tally};

const UPGRADES: u32 = 10;

/// Installs another build of the program at `path` in one step, as package managers do.
fn install(path: &Path, build: u32) {
    let mut bytes = std::fs::read(program()).expect("reads");
    // The loader ignores bytes after the last section.
    bytes.extend_from_slice(format!("build {build}").as_bytes());
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).expect("writes");
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("allowed");
    std::fs::rename(new, path).expect("renames");
}

/// A node whose agent runs from a file that a test can replace.
struct Upgradable {
    server: Server,
    admin: Person,
    node: Node,
    agent: PathBuf,
}

fn upgradable() -> Upgradable {
    let setup = Setup::new();
    write_tally(&setup.presets_dir());
    let mut server = setup.start();
    let admin = server.admin();
    let mut node = Node::new(server.url(), &admin.add_node("n1"));
    let agent = node.folder().join("hyprbox-agent");
    install(&agent, 0);
    node.set_program(&agent);
    node.start();
    Upgradable {
        server,
        admin,
        node,
        agent,
    }
}

#[test]
fn ten_upgrades_in_the_middle_of_a_job_lose_nothing() {
    let Upgradable {
        server: _server,
        admin,
        mut node,
        agent,
    } = upgradable();
    let gate = node.folder().join("gate");
    let tally = Tally {
        file: node.folder().join("ran"),
        word: "upgraded".to_owned(),
        bulk: 100_000,
        // Slow enough to write during most of the upgrades.
        lines: 3_000,
        every: 10,
        pause_ms: 10,
        gate: Some(gate.clone()),
        code: 5,
    };
    let id = tally.queue(&admin, "n1");
    eventually("the script", || (tally.runs() > 0).then_some(()));
    let mut reported = 0;
    for build in 1..=UPGRADES {
        install(&agent, build);
        if build % 3 == 0 {
            node.kill9();
        } else {
            // The job can't have ended: it waits for the gate.
            assert_eq!(node.terminate().code(), Some(0), "upgrade {build}");
        }
        assert_eq!(node.supervisors().len(), 1, "upgrade {build}");
        node.start();
        let times = usize::try_from(build).expect("small");
        eventually("the job to be found again", || {
            (node.times_logged("found again") == times).then_some(())
        });
        // The output also continues.
        reported = eventually("more output", || {
            let now = admin.job(&id)["stderrBytes"].as_u64()?;
            let all = tally.stderr().len() as u64;
            (now > reported || now == all).then_some(now)
        });
    }
    std::fs::write(&gate, "").expect("writes");
    eventually("the job's end", || {
        (admin.job(&id)["status"] != "RUNNING").then_some(())
    });
    let faults = tally.faults(&admin, &id);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn an_agent_whose_program_is_replaced_or_deleted_still_starts_jobs() {
    let Upgradable {
        server: _server,
        admin,
        node,
        agent,
    } = upgradable();
    let change: [&dyn Fn(); 2] = [&|| install(&agent, 1), &|| {
        std::fs::remove_file(&agent).expect("removes");
    }];
    for (number, change) in change.iter().enumerate() {
        let tally = Tally {
            file: node.folder().join(format!("ran-{number}")),
            word: "replaced".to_owned(),
            lines: 10,
            ..Tally::default()
        };
        change();
        let id = tally.queue(&admin, "n1");
        eventually("the job's end", || {
            let job = admin.job(&id);
            (job["status"] != "QUEUED" && job["status"] != "RUNNING").then_some(())
        });
        let faults = tally.faults(&admin, &id);
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
