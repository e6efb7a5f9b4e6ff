//! A server over a database of an older version: it goes on as it was, and ends like a fresh one.

use crate::harness::{Database, Server, Setup, chunk};

/// What the first release's database looked like, with a job that has run and one that waits.
pub(crate) fn version_1(database: &Database) {
    database.make_version_1();
    let (now, said) = (database.now(), database.bytes("one\ntwo\n"));
    database.execute_all(&format!(
        "INSERT INTO nodes (id, name, labels, created_at, os_id) VALUES ('n1', 'n1', '{{}}', {now}, 'debian');
         INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, started_at, finished_at,
             exit_code, timeout_seconds, script_sha256, position, stdout_bytes, params, script)
         VALUES ('019a0000-0000-7000-8000-000000000001', 'SUCCEEDED', 'hello', 'n1', 'u', 'u@example.org', {now}, {now},
             {now}, 0, 60, 'aa', 8, 8, '{{}}', 'true');
         INSERT INTO chunks (job_id, stream, start_offset, position, arrived_at, data)
             VALUES ('019a0000-0000-7000-8000-000000000001', 'stdout', 0, 0, {now}, {said});
         INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds,
             script_sha256, params, script)
         VALUES ('019a0000-0000-7000-8000-000000000002', 'QUEUED', 'hello', 'n1', 'u', 'u@example.org', {now}, 60, 'b5bea41b6c623f7c09f1bf24dcae58ebab3c0cdd90ad966bc43a45b44867e12b',
             '{{}}', 'true');"
    ));
}

#[test]
fn an_older_database_keeps_its_contents() {
    let setup = Setup::new();
    let database = setup.database();
    version_1(&database);
    let folder = setup.data_dir();
    let mut server = setup.start();
    let admin = server.admin();
    let old = "019a0000-0000-7000-8000-000000000001";
    let log = admin.get(&format!("/api/jobs/{old}/log?scope=all"));
    assert_eq!(log.gives(200).text(), "one\ntwo\n");
    let agent = admin.agent_of("n1");
    let waiting = agent.claim_id();
    assert_eq!(waiting, "019a0000-0000-7000-8000-000000000002");
    agent.output(
        &waiting,
        &[
            chunk("stdout", 0, "a\nb"),
            chunk("stderr", 0, "c\n"),
            chunk("stdout", 3, "\nd\n"),
        ],
    );
    agent.succeed(&waiting);
    // The job had not begun when the server was upgraded, so its lines are counted.
    let numbers = format!(
        "SELECT CAST(line AS TEXT) FROM chunks WHERE job_id = '{waiting}' ORDER BY position"
    );
    assert_eq!(database.texts(&numbers), ["1", "3", "3"]);
    assert_eq!(
        database.number(&format!("SELECT lines FROM jobs WHERE id = '{waiting}'")),
        4
    );
    let unknown = format!("SELECT count(*) FROM chunks WHERE job_id = '{old}' AND line IS NULL");
    assert_eq!(database.number(&unknown), 1);
    if database.sqlite().is_some() {
        assert!(
            folder.join("hyprbox.db.before-upgrade-from-1").exists(),
            "no copy was made"
        );
    }
}

#[test]
fn an_upgraded_database_is_like_a_fresh_one() {
    let setup = Setup::new();
    setup.database().make_version_1();
    let (upgraded, fresh) = (setup.start(), Server::start());
    let of = |server: &Server| server.database().shape();
    assert!(
        of(&fresh)
            .iter()
            .any(|line| line.starts_with("chunks line "))
    );
    assert_eq!(of(&upgraded), of(&fresh));
}
