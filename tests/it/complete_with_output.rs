//! The end of a job that comes with its last output, and the next job that goes with the answer.

use serde_json::{Value, json};

use crate::harness::{Field, chunk, id_of, with_node};

fn last_words(end: &Value) -> Value {
    json!({"chunks": [chunk("stdout", 0, "all\n"), chunk("stderr", 0, "of it\n")], "end": end})
}

#[test]
fn output_with_an_end_ends_the_job_in_one_call() {
    let (mut server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let end = json!({"exitCode": 3, "stdoutBytes": 4, "stderrBytes": 8});
    let answer = agent.output_call(&id, &last_words(&end)).ok();
    assert_eq!(answer["ended"], true);
    assert_eq!(answer["stdoutBytes"], 4);
    assert_eq!(answer["stderrBytes"], 8, "what never arrived counts");
    // Durable, and sound, before the answer.
    server.kill9();
    server.start_again();
    let (admin, agent) = (server.admin(), agent.at(&server));
    let job = admin.job(&id);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(job["exitCode"], 3);
    assert_eq!(job["stdout"], "all\n");
    assert_eq!(job["stderr"], "of it\n");
    assert_eq!(job["stdoutDropped"], 0);
    assert_eq!(job["stderrDropped"], 2);
    // The same again, in either form, is as good; another end is not, and nothing is added.
    for _ in 0..2 {
        let again = agent.output_call(&id, &last_words(&end)).ok();
        assert_eq!(again["ended"], true);
        agent.complete(&id, &end).gives(200);
    }
    let other = json!({"exitCode": 0, "stdoutBytes": 4, "stderrBytes": 8});
    agent
        .output_call(&id, &last_words(&other))
        .refused(409, "wrong_state");
    agent
        .output_call(&id, &json!({"chunks": [chunk("stdout", 4, "more")]}))
        .refused(409, "wrong_state");
    assert_eq!(admin.job(&id)["stdout"], "all\n");
}

#[test]
fn a_viewer_sees_the_last_output_before_the_end_that_came_with_it() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    agent.say(&id, 0, "first\n");
    let mut viewer = admin.get(&format!("/api/jobs/{id}/stream")).open();
    let words = json!({"chunks": [chunk("stdout", 6, "last\n")], "end": {"exitCode": 0}});
    agent.output_call(&id, &words).ok();
    let events = viewer.until_done();
    let text: String = events
        .iter()
        .filter(|event| event.name == "output")
        .map(|event| event.data.field("data"))
        .collect();
    assert_eq!(text, "first\nlast\n");
    assert_eq!(events.last().expect("done").data["status"], "SUCCEEDED");
}

#[test]
fn a_refused_end_stores_no_output() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent
        .output_call(&id, &last_words(&json!({"exitCode": 0})))
        .refused(409, "wrong_state");
    agent.claim();
    let answer = agent.output_call(&id, &last_words(&json!({}))).gives(400);
    assert_eq!(answer.fields(), ["end.exitCode"]);
    agent
        .instance("other")
        .output_call(&id, &last_words(&json!({"exitCode": 0})))
        .refused(409, "not_your_claim");
    assert_eq!(admin.job(&id)["stdout"], "");
    assert_eq!(
        agent.output(&id, &[]).get("ended"),
        None,
        "only where an end was told"
    );
    agent
        .output_call(&id, &last_words(&json!({"exitCode": 0})))
        .ok();
    assert_eq!(admin.job(&id)["status"], "SUCCEEDED");
}

/// The last output of a job that succeeded, from an agent that would take its next job along.
fn last_words_and_next() -> Value {
    let mut words = last_words(&json!({"exitCode": 0}));
    words["next"] = json!(true);
    words
}

#[test]
fn the_next_job_is_claimed_with_the_end_of_the_last() {
    let (mut server, admin, agent) = with_node();
    let first = admin.queue("n1");
    let second = admin.queue_with("n1", "vault", json!({"key": "hunter2-and-more"}));
    let third = admin.queue("n1");
    assert_eq!(agent.claim_id(), first);
    let answer = agent.output_call(&first, &last_words_and_next()).ok();
    assert_eq!(answer["ended"], true);
    let job = answer["job"].clone();
    assert_eq!(id_of(&job), second);
    assert_eq!(job["secrets"], json!({"key": "hunter2-and-more"}));
    // Durable before the answer. Should that be lost, the same call brings the same job once more,
    // and so does a poll.
    server.kill9();
    server.start_again();
    let (admin, agent) = (server.admin(), agent.at(&server));
    assert_eq!(admin.job(&first)["status"], "SUCCEEDED");
    assert_eq!(admin.job(&second)["status"], "RUNNING");
    let again = agent.output_call(&first, &last_words_and_next()).ok();
    assert_eq!(again["job"], job);
    assert_eq!(agent.claim(), job);
    agent.finds_nothing(&format!("capacity=0&running={second}"));
    assert_eq!(admin.job(&third)["status"], "QUEUED", "one at a time");
    let answer = agent.output_call(&second, &last_words_and_next()).ok();
    assert_eq!(id_of(&answer["job"]), third);
    let answer = agent.output_call(&third, &last_words_and_next()).ok();
    assert_eq!(answer.get("job"), None, "there is none");
}

#[test]
fn no_job_is_given_but_with_an_end_that_is_taken() {
    let (_server, admin, agent) = with_node();
    let elsewhere = admin.add_node("n2");
    let first = admin.queue("n1");
    agent.claim();
    let second = admin.queue("n1");
    let given = |answer: Value| assert_eq!(answer.get("job"), None, "{answer}");
    // While the job runs.
    given(
        agent
            .output_call(&first, &json!({"chunks": [], "next": true}))
            .ok(),
    );
    // By a report that is refused.
    agent
        .instance("other")
        .output_call(&first, &last_words_and_next())
        .refused(409, "not_your_claim");
    elsewhere
        .output_call(&first, &last_words_and_next())
        .gives(404);
    let mut no_end = last_words_and_next();
    no_end["end"] = json!({});
    agent.output_call(&first, &no_end).gives(400);
    let mut no_bool = last_words_and_next();
    no_bool["next"] = json!("yes");
    agent.output_call(&first, &no_bool).gives(400);
    // Of one who did not ask.
    given(
        agent
            .output_call(&first, &last_words(&json!({"exitCode": 0})))
            .ok(),
    );
    assert_eq!(admin.job(&second)["status"], "QUEUED");
    // To one whom nobody could ask whether it arrived.
    let founding = agent.founding();
    assert_eq!(founding.claim_id(), second);
    let third = admin.queue("n1");
    given(founding.output_call(&second, &last_words_and_next()).ok());
    assert_eq!(admin.job(&third)["status"], "QUEUED");
}
