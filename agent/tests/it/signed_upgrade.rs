//! Agent and server are upgraded while a job runs, to and from versions that sign nothing.

use crate::signed::{World, sign, unpinned};

/// A job of a server that signs nothing, which runs until [`World::open`].
fn running(world: &World) -> String {
    let gate = world.node.dir.path().join("gate");
    let script = format!(
        "echo began; until [[ -e {} ]]; do sleep 0.05; done",
        gate.display()
    );
    let id = world.server.queue(&script);
    world.server.wait_output(&id, "began");
    id
}

impl World {
    fn open(&self) {
        std::fs::write(self.node.dir.path().join("gate"), "").expect("writes");
    }
}

#[test]
fn a_server_that_begins_to_sign_while_a_job_runs_is_trusted_from_then_on() {
    let world = unpinned();
    let _agent = world.node.start();
    let before = running(&world);
    let after = world
        .server
        .queue_with("exit 0", |job| sign(job, &world.key, |_| {}));
    world.open();
    assert_eq!(world.server.wait_end(&before).exit_code, Some(0));
    assert_eq!(world.server.wait_end(&after).exit_code, Some(0));
    assert!(world.trusted().exists());
    // A server of the version before signs nothing, so nothing of it runs.
    world.refuses("unsigned", "no envelope or signature", |_| {});
}

#[test]
fn an_agent_that_learns_a_key_while_its_job_runs_reports_the_end() {
    let world = unpinned();
    let agent = world.node.start();
    let before = running(&world);
    agent.kill9();
    // As after an enrolment.
    world.trust(&world.key.public().to_line());
    let _agent = world.node.start();
    world.open();
    let end = world.server.wait_end(&before);
    assert_eq!((end.exit_code, end.refused), (Some(0), None));
    world.runs(|job| sign(job, &world.key, |_| {}));
}
