//! `HYPRBOX_KEEP_DAYS`: what is old enough goes with its output, what is younger stays, and the
//! disk gets its space back.

use std::path::Path;

use serde_json::json;

use crate::harness::{FakeAgent, Field, Person, Server, bytes_chunk, eventually, with_node};

/// An ended job with a megabyte of output.
fn ended(admin: &Person, agent: &FakeAgent) -> String {
    let id = admin.queue(&agent.node_id);
    agent.claim();
    agent.output(&id, &[bytes_chunk("stdout", 0, &vec![b'x'; 1 << 20])]);
    agent.succeed(&id);
    id
}

fn finished(server: &Server, id: &str, at: &str) {
    let sql = format!("UPDATE jobs SET finished_at = {at} WHERE id = '{id}'");
    assert_eq!(server.database().execute(&sql), 1, "{sql}");
}

fn is_there(admin: &Person, id: &str) -> bool {
    // Not the detail: output that is sent while it goes would break off.
    let jobs = admin.get("/api/jobs?limit=200").ok();
    crate::harness::ids_of(&jobs).iter().any(|job| job == id)
}

#[test]
fn jobs_go_when_they_are_old_enough_whatever_way_their_time_is_written() {
    let (mut server, admin, agent) = with_node();
    let sqlite = server.database().sqlite().is_some();
    // Each written as the server does, as an operator types it, and with an offset: an hour on
    // either side of two days.
    let (old, young): (Vec<String>, Vec<String>) = if sqlite {
        let west = |hours: &str| {
            format!("strftime('%Y-%m-%dT%H:%M:%S','now','-{hours} hours','-5 hours') || '-05:00'")
        };
        (
            vec![
                server.database().ago("49 hours"),
                "datetime('now','-49 hours')".to_owned(),
                west("49"),
                "'2001-02-03 04:05:06'".to_owned(),
            ],
            vec![
                server.database().ago("47 hours"),
                "datetime('now','-47 hours')".to_owned(),
                west("47"),
                "datetime('now')".to_owned(),
            ],
        )
    } else {
        let ago = |length| vec![server.database().ago(length)];
        (ago("49 hours"), ago("47 hours"))
    };
    let make = |times: &[String]| -> Vec<String> {
        let made = times.iter().map(|at| {
            let id = ended(&admin, &agent);
            finished(&server, &id, at);
            id
        });
        made.collect()
    };
    let (old, mut young) = (make(&old), make(&young));
    // One that has not ended never goes.
    young.push(admin.queue("n1"));
    server.set("HYPRBOX_KEEP_DAYS", "2");
    server.restart();
    let admin = server.admin();
    eventually("the old ones to go", || {
        old.iter().all(|id| !is_there(&admin, id)).then_some(())
    });
    // The newest of the old went with the same statement that would have taken them.
    for id in &young {
        assert!(is_there(&admin, id), "{id}");
    }
    let chunks = "SELECT count(*) FROM chunks WHERE job_id NOT IN (SELECT id FROM jobs)";
    assert_eq!(server.database().number(chunks), 0);
}

#[test]
fn the_space_of_what_went_is_given_back() {
    let mut server = Server::start();
    let database = server.database();
    let Some(path) = database.sqlite() else {
        return;
    };
    let admin = server.admin();
    let agent = admin.add_node("n1");
    for _ in 0..48 {
        ended(&admin, &agent);
    }
    let size = |path: &Path| path.metadata().expect("there").len();
    eventually("the output in the file", || {
        (size(path) > 48 << 20).then_some(())
    });
    database.execute("UPDATE jobs SET finished_at = '2001-02-03 04:05:06'");
    server.set("HYPRBOX_KEEP_DAYS", "1");
    server.restart();
    // 16 MB are kept for what comes next.
    eventually("a smaller file", || (size(path) < 24 << 20).then_some(()));
    assert_eq!(database.integrity(), ["ok"]);
    let admin = server.admin();
    ended(&admin, &agent.at(&server));
}

/// The jobs of a run share one copy of their script. Each job shows it, and it goes with them.
#[test]
fn a_runs_script_is_stored_once_and_goes_with_its_jobs() {
    let (mut server, admin, agent) = with_node();
    admin.add_node("n2");
    let body = json!({"preset": "note", "nodes": ["n1", "n2"]});
    admin.post("/api/runs", &body).gives(201);
    let single = admin.queue("n1");
    let jobs = crate::harness::ids_of(&admin.get("/api/jobs").ok());
    let database = server.database();
    let count = |sql: &str| database.number(&format!("SELECT count(*) FROM {sql}"));
    assert_eq!(count("scripts"), 1);
    assert_eq!(count("jobs WHERE script = ''"), 2);
    let script = admin.job(&single).field("script");
    for id in &jobs {
        assert_eq!(admin.job(id).field("script"), script);
        let shown = database.texts(&format!(
            "SELECT script FROM job_scripts WHERE job_id = '{id}'"
        ));
        assert_eq!(shown, [script.as_str()]);
        let same = admin.get(&format!("/api/jobs/{id}/diff/{single}"));
        assert_eq!(same.gives(200).text(), "");
    }
    for _ in 0..2 {
        let job = agent.claim();
        assert_eq!(job.field("script"), script);
        agent.succeed(&crate::harness::id_of(&job));
    }
    // A job of the run still names the script.
    let old = database.ago("49 hours");
    server.kill_and_change(&format!("UPDATE scripts SET used_at = {old}"));
    database.execute(&format!(
        "UPDATE jobs SET finished_at = {old} WHERE finished_at IS NOT NULL"
    ));
    server.set("HYPRBOX_KEEP_DAYS", "2");
    server.start_again();
    eventually("the single job to go", || {
        (count("jobs") == 2).then_some(())
    });
    // The run has not ended, so its jobs stay with their script.
    let admin = server.admin();
    let left = crate::harness::ids_of(&admin.get("/api/jobs").ok());
    assert_eq!(admin.job(&left[0]).field("script"), script);
    assert_eq!(count("scripts"), 1);
    admin.cancel(&left[0]).gives(200);
    for table in ["jobs", "runs"] {
        database.execute(&format!("UPDATE {table} SET finished_at = {old}"));
    }
    server.restart();
    eventually("the script to go", || (count("scripts") == 0).then_some(()));
    assert_eq!(count("jobs"), 0);
}
