//! Times of steps: the node takes them, and old agents' are those of the arrival.

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Server, chunk};
use crate::output::running;

const OUTPUT: &str = "==> [1/3] One\na\n==> [2/3] Two (already done)\n==> [3/3] Three\nb\n";
/// The ends of the announcing lines.
const ENDS: [u64; 3] = [14, 45, 61];

/// The body of a call with all output and these times of the steps.
fn body(elapsed_ms: u64, times: [u64; 3]) -> Value {
    let stamps: Vec<Value> = ENDS
        .into_iter()
        .zip(times)
        .map(|(end, ms)| json!({"lineEnd": end, "ms": ms}))
        .collect();
    json!({"chunks": [chunk("stdout", 0, OUTPUT)], "stepTimes": {"elapsedMs": elapsed_ms, "stamps": stamps}})
}

/// Runs a job that sends this and ends.
fn run(admin: &Person, agent: &FakeAgent, output: &Value, end: &Value) -> String {
    let id = admin.queue("n1");
    agent.claim();
    agent.output_call(&id, output).ok();
    agent.complete(&id, end).ok();
    id
}

/// The rows of the comparison's table of steps, as text.
fn compared(admin: &Person, id: &str) -> Vec<String> {
    let page = admin
        .browser("GET", &format!("/jobs/{id}/compare"))
        .gives(200)
        .text();
    let (_, table) = page.split_once("id=\"steps\"").expect("the steps");
    let table = table.split("</table>").next().expect("its end").to_owned();
    table
        .split("<tr>")
        .skip(2)
        .map(|row| {
            let text = row.split('<').filter_map(|part| part.split_once('>'));
            text.map(|(_, text)| text.trim())
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
fn steps_are_timed_by_the_node_however_late_their_output_arrives() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let ended = json!({"exitCode": 0, "ranMs": 5_250});
    run(&admin, &agent, &body(5_300, [4, 1_008, 1_020]), &ended);
    let id = run(&admin, &agent, &body(9_000, [4, 1_008, 3_020]), &ended);
    assert_eq!(
        compared(&admin, &id),
        [
            "One Done 1.0 s Done 1.0 s about the same",
            "Two Already done Already done –",
            "Three Done 4.2 s Done 2.2 s 2.0 s shorter"
        ]
    );
    // An older agent's steps arrive together.
    let old = json!({"chunks": [chunk("stdout", 0, OUTPUT)]});
    let id = run(&admin, &agent, &old, &json!({"exitCode": 0}));
    assert_eq!(
        compared(&admin, &id),
        [
            "One Done 1.0 s Done under 2 s about the same",
            "Two Already done Already done –",
            "Three Done 2.2 s Done under 2 s 2.2 s shorter"
        ]
    );
}

#[test]
fn lines_have_the_times_of_their_steps_in_downloads_and_streams() {
    let (server, admin, agent, id) = running();
    // As if the job had run for long: a script does not begin before its claim.
    server
        .database()
        .execute("UPDATE jobs SET started_at = '2026-01-01T00:00:00.000Z'");
    // A line and its time arrive with two calls.
    let first = "before\n==> [1/2] On";
    agent
        .output_call(&id, &json!({"chunks": [chunk("stdout", 0, first)]}))
        .ok();
    let rest = "e\nwork\n==> [2/2] Two\nmore\n";
    let stamps = json!([{"lineEnd": 21, "ms": 40_000}, {"lineEnd": 40, "ms": 41_003}]);
    let times = json!({"elapsedMs": 42_000, "stamps": stamps});
    let rest = json!({"chunks": [chunk("stdout", first.len() as u64, rest)], "stepTimes": times});
    agent.output_call(&id, &rest).ok();
    agent.succeed(&id);
    let log = admin
        .get(&format!("/api/jobs/{id}/log?times=true"))
        .gives(200)
        .text();
    let lines: Vec<(&str, &str)> = log
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let texts: Vec<&str> = lines.iter().map(|line| line.1).collect();
    assert_eq!(
        texts,
        ["before", "==> [1/2] One", "work", "==> [2/2] Two", "more"]
    );
    let millis = |line: usize| {
        let clock = lines[line]
            .0
            .split_once('T')
            .expect("a time")
            .1
            .trim_end_matches('Z');
        let parts: Vec<f64> = clock
            .split(':')
            .map(|part| part.parse().expect("a number"))
            .collect();
        (parts[0] * 3_600_000.0 + parts[1] * 60_000.0 + parts[2] * 1_000.0).round()
    };
    // At midnight the clock begins again.
    assert_eq!(
        (millis(3) - millis(1)).rem_euclid(86_400_000.0),
        1_003.0,
        "{log}"
    );
    assert_eq!(millis(0), millis(1));
    assert_eq!(millis(2), millis(3));
    assert!(lines.is_sorted_by_key(|line| line.0), "{log}");
    let events = admin
        .get(&format!("/api/jobs/{id}/stream?times=true"))
        .open()
        .until_done();
    let stamped: Vec<(String, u64)> = events
        .iter()
        .filter(|event| event.data["stepMs"].is_u64())
        .map(|event| (event.data.field("data"), event.data.count("stepMs")))
        .collect();
    assert_eq!(
        stamped,
        [
            ("e\n".to_owned(), 40_000),
            ("work\n==> [2/2] Two\n".to_owned(), 41_003)
        ]
    );
}

#[test]
fn forged_times_are_not_believed_and_do_not_pile_up() {
    let (server, admin, agent, id) = running();
    let many: Vec<Value> = (0..1_000).map(|n| json!({"lineEnd": n, "ms": n})).collect();
    let times =
        |stamps: &[Value]| json!({"chunks": [], "stepTimes": {"elapsedMs": 9, "stamps": stamps}});
    let refused = agent.output_call(&id, &times(&many)).gives(400).json();
    assert_eq!(refused["fields"]["stepTimes.stamps"], "must be at most 999");
    // Stamps of lines that announce nothing are not stored.
    agent.output_call(&id, &times(&many[..999])).ok();
    let count = |what: &str| {
        server
            .database()
            .number(&format!("SELECT count(*) FROM job_steps{what}"))
    };
    assert_eq!(count(""), 0);
    // Nor are times after the call, and times that run backwards give no exact duration.
    agent
        .output_call(&id, &body(2_000, [1_900, 1_000, 2_001]))
        .ok();
    agent
        .complete(&id, &json!({"exitCode": 0, "ranMs": 5}))
        .ok();
    assert_eq!(count(" WHERE began_ms IS NULL"), 1);
    let other = admin.queue("n1");
    agent.claim();
    let all: String = (0..200_000)
        .map(|n| format!("==> [{}/999] s\n", n % 1_000))
        .collect();
    let mut sent = 0;
    for part in all.as_bytes().chunks(1_000_000) {
        let text = std::str::from_utf8(part).expect("ASCII");
        sent = agent.say(&other, sent, text).count("stdoutBytes");
    }
    agent.succeed(&other);
    assert_eq!(count(&format!(" WHERE job_id = '{other}'")), 999);
    // The pages still work.
    admin
        .browser("GET", &format!("/jobs/{other}/compare"))
        .gives(200);
}
