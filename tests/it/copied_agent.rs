//! Two machines with one identity: an agent's state folder that was copied, and the processes of
//! one agent instance.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{FakeAgent, RealAgent, Server, eventually, with_node};
use crate::truth::is_done;

fn lines_of(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn as_process<'a>(agent: &'a FakeAgent, process: &'a str) -> impl Fn(&str) -> Value + 'a {
    move |more| agent.poll(&format!("process={process}&{more}")).ok()
}

#[test]
fn a_claim_goes_again_only_to_the_process_that_took_it() {
    let (_server, admin, agent) = with_node();
    let (one, two) = (as_process(&agent, "p1"), as_process(&agent, "p2"));
    let id = admin.queue("n1");
    assert_eq!(one("")["job"]["id"], id.as_str());
    // The answer got lost: the same process gets it again, a copy of it does not.
    assert_eq!(two("")["job"], Value::Null);
    assert_eq!(one("")["job"]["id"], id.as_str());
    // That poll has shown that both live.
    let told = two("");
    assert_eq!(
        (&told["job"], &told["newInstance"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(one(&format!("running={id}")).get("newInstance"), None);
    let node = admin.get("/api/nodes/n1").ok();
    assert!(node["copiedAgentAt"].is_string(), "{node}");
    let entries = admin.audit("nodeId=n1");
    assert!(
        entries.contains(&("node:n1".to_owned(), "node.copied_agent".to_owned())),
        "{entries:?}"
    );
    let page = admin.browser("GET", "/nodes/n1").gives(200).text();
    assert!(page.contains("copy of this node's agent state"), "{page}");
    // As an instance of its own it is an agent like any other.
    agent.succeed(&id);
    let next = admin.queue("n1");
    let own = agent.instance("own");
    assert_eq!(as_process(&own, "p2")("")["job"]["id"], next.as_str());
}

#[test]
fn a_process_that_reported_its_stop_leaves_its_claim_to_the_next_one() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    assert_eq!(as_process(&agent, "p1")("")["job"]["id"], id.as_str());
    let goodbye = json!({"instance": "one", "process": "p1", "stopping": true});
    agent.heartbeat(&goodbye).gives(200);
    assert_eq!(as_process(&agent, "p2")("")["job"]["id"], id.as_str());
}

#[test]
fn a_process_that_fell_silent_leaves_its_claim_after_a_lease() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    assert_eq!(as_process(&agent, "p1")("")["job"]["id"], id.as_str());
    assert_eq!(as_process(&agent, "p2")("")["job"], Value::Null);
    let again = eventually("the claim to come again", || {
        let answer = as_process(&agent, "p2")("wait=1");
        answer["job"].is_object().then_some(answer)
    });
    assert_eq!(again["job"]["id"], id.as_str());
}

#[test]
fn output_and_ends_are_taken_only_from_the_process_that_claimed_the_job() {
    let (_server, admin, agent) = with_node();
    let (one, two) = (as_process(&agent, "p1"), as_process(&agent, "p2"));
    let call = |process: &str, call: &str, id: &str, body: Value| {
        let path = format!("/api/jobs/{id}/{call}?agent=one&process={process}");
        agent.call("POST", &path).json(&body)
    };
    let output = json!({"chunks": [{"stream": "stdout", "offset": 0, "data": "from a copy"}]});
    let end = json!({"errorMsg": "node restarted while the job was running"});
    let id = admin.queue("n1");
    assert_eq!(one("")["job"]["id"], id.as_str());
    // It is not known yet whether the claiming process is still alive.
    let running = format!("capacity=0&running={id}");
    assert_eq!(two(&running)["unproven"], true);
    call("p2", "output", &id, output.clone()).refused(503, "process_unproven");
    call("p2", "complete", &id, end.clone()).refused(503, "process_unproven");
    assert_eq!(one(&running).get("unproven"), None);
    assert_eq!(two(&running)["newInstance"], true);
    call("p2", "output", &id, output).refused(409, "not_your_process");
    call("p2", "complete", &id, end).refused(409, "not_your_process");
    let said = json!({"chunks": [{"stream": "stdout", "offset": 0, "data": "true"}]});
    call("p1", "output", &id, said).ok();
    call("p1", "complete", &id, json!({"exitCode": 3})).ok();
    let job = admin.job(&id);
    assert_eq!(
        (&job["stdout"], &job["exitCode"], &job["errorMsg"]),
        (&json!("true"), &json!(3), &Value::Null)
    );
}

#[test]
fn the_next_process_reports_on_a_job_once_the_claiming_one_is_gone() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    assert_eq!(as_process(&agent, "p1")("")["job"]["id"], id.as_str());
    let running = format!("capacity=0&running={id}");
    let two = as_process(&agent, "p2");
    assert_eq!(two(&running)["unproven"], true);
    eventually("the first process to count as stopped", || {
        two(&running).get("unproven").is_none().then_some(())
    });
    let path = format!("/api/jobs/{id}/complete?agent=one&process=p2");
    let end = json!({"errorMsg": "node restarted while the job was running"});
    let job = agent.call("POST", &path).json(&end).ok();
    assert_eq!(job["errorMsg"], end["errorMsg"]);
}

#[test]
fn a_state_folder_that_is_copied_while_a_job_runs_does_not_touch_the_job() {
    let (server, admin, node) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let go = folder.path().join("go");
    let first = RealAgent::start(&server, &node);
    let code = format!(
        "echo before; until [ -e '{}' ]; do sleep 0.05; done; echo after; exit 3",
        go.display()
    );
    let id = admin.queue_with("n1", "shell", json!({"code": code}));
    eventually("the first line", || {
        let job = admin.job(&id);
        (job["stdout"] == "==> [1/1] Run it\nbefore\n").then_some(())
    });
    let second = first.copy();
    eventually("the copy to become another instance", || {
        second
            .logged("starting as a new agent instance")
            .then_some(())
    });
    eventually("both agents to live", || {
        (admin.get("/api/nodes/n1").ok()["liveInstances"] == 2).then_some(())
    });
    assert_eq!(admin.job(&id)["status"], "RUNNING");
    std::fs::write(&go, "").expect("writes");
    let job = eventually("the job's end", || is_done(&admin, &id));
    assert_eq!(
        (&job["status"], &job["exitCode"], &job["errorMsg"]),
        (&json!("FAILED"), &json!(3), &Value::Null),
        "{job}"
    );
    assert_eq!(job["stdout"], "==> [1/1] Run it\nbefore\nafter\n");
    assert!(!first.logged("starting as a new agent instance"));
    // The copy is now an agent like any other.
    drop(first);
    let next = admin.queue_with("n1", "shell", json!({"code": "echo next"}));
    let job = eventually("the next job's end", || is_done(&admin, &next));
    assert_eq!(job["status"], "SUCCEEDED", "{job}");
}

#[test]
fn a_restarted_agent_reports_the_end_of_its_job_at_once() {
    let (server, admin, node) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let (ready, go) = (folder.path().join("ready"), folder.path().join("go"));
    let mut agent = RealAgent::start(&server, &node);
    let code = format!(
        "touch '{}'; until [ -e '{}' ]; do sleep 0.05; done; echo end",
        ready.display(),
        go.display()
    );
    let id = admin.queue_with("n1", "shell", json!({"code": code}));
    eventually("the script's start", || ready.exists().then_some(()));
    agent.kill9();
    std::fs::write(&go, "").expect("writes");
    agent.start_again();
    let job = eventually("the job's end", || is_done(&admin, &id));
    assert_eq!(
        (&job["status"], &job["stdout"]),
        (&json!("SUCCEEDED"), &json!("==> [1/1] Run it\nend\n"))
    );
}

#[test]
fn a_copied_agent_runs_no_job_twice_and_becomes_an_instance_of_its_own() {
    let (server, admin, node) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().join("runs");
    let mut first = RealAgent::start(&server, &node);
    let code = format!("echo run >> '{}'; sleep 0.2", runs.display());
    let queue = || admin.queue_with("n1", "shell", json!({"code": code}));
    let id = queue();
    eventually("the first job", || is_done(&admin, &id));
    assert!(first.terminate().success());
    let second = first.copy();
    first.start_again();
    eventually("both agents to live", || {
        let node = admin.get("/api/nodes/n1").ok();
        (node["liveInstances"] == 2 && node["copiedAgentAt"].is_string()).then_some(())
    });
    eventually("the copy to become another instance", || {
        (first.logged("starting as a new agent instance")
            || second.logged("starting as a new agent instance"))
        .then_some(())
    });
    let ids: Vec<String> = (0..4).map(|_| queue()).collect();
    for id in &ids {
        let job = eventually("a job's end", || is_done(&admin, id));
        assert_eq!(job["status"], "SUCCEEDED", "{job}");
    }
    assert_eq!(lines_of(&runs), 5);
}
