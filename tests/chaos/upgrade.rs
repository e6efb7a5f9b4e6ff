//! The agent's program is replaced and the agent restarted, again and again, in the middle of a
//! job.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{Person, Server, Setup, eventually};
use crate::node::{Node, program};
use crate::script::{Tally, write_tally};

const UPGRADES: u32 = 10;

/// Puts a program of another build under `path`, whole and at once, as package managers do.
fn install(path: &Path, build: u32) {
    let mut bytes = std::fs::read(program()).expect("reads");
    // What comes after the last section is none of the loader's business.
    bytes.extend_from_slice(format!("build {build}").as_bytes());
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).expect("writes");
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("allowed");
    std::fs::rename(new, path).expect("renames");
}

/// A node whose agent runs from a file that a test may replace.
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
fn ten_upgrades_in_the_middle_of_a_job_harm_nothing() {
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
        // Slow enough to write through most of it.
        lines: 3_000,
        every: 10,
        pause_ms: 10,
        gate: Some(gate.clone()),
        code: 5,
    };
    let id = tally.queue(&admin, "n1");
    eventually("the script", || (tally.runs() > 0).then_some(()));
    let mut told = 0;
    for build in 1..=UPGRADES {
        install(&agent, build);
        if build % 3 == 0 {
            node.kill9();
        } else {
            let (status, took) = node.terminate();
            assert_eq!(status.code(), Some(0), "upgrade {build}");
            assert!(took.as_secs_f64() < 2.0, "upgrade {build} took {took:?}");
        }
        assert_eq!(node.supervisors().len(), 1, "upgrade {build}");
        node.start();
        let times = usize::try_from(build).expect("small");
        eventually("the job to be found again", || {
            (node.times_logged("found again") == times).then_some(())
        });
        // It goes on with the output, too.
        told = eventually("more output", || {
            let now = admin.job(&id)["stderrBytes"].as_u64()?;
            let all = tally.stderr().len() as u64;
            (now > told || now == all).then_some(now)
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
fn an_agent_whose_program_is_replaced_or_gone_still_starts_jobs() {
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
