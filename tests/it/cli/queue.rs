//! What is queued: typed params, secrets, once however often the answer gets lost, again, and the
//! difference.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::{Cli, Tty};
use crate::harness::{Field, RealAgent, eventually, id_of, with_operator};

#[test]
fn params_are_json_of_their_type() {
    let (server, ann, _agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let words = [
        "run",
        "note",
        "--node",
        "n1",
        "--timeout",
        "90s",
        "-p",
        "text=@@home = 1",
        "-p",
        "port=2222",
        "-p",
        "count=3",
        "-p",
        "loud=true",
        "-p",
        "colour=green",
    ];
    let ran = cli.run(&words).ends(0);
    let id = ran.text().trim().to_owned();
    ran.says(&format!("hyprbox jobs log --follow {id}"));
    let job = ann.job(&id);
    let expected =
        json!({"text": "@home = 1", "port": 2222, "count": 3, "loud": true, "colour": "green"});
    assert_eq!(
        (&job["params"], &job["timeoutSeconds"]),
        (&expected, &json!(90))
    );
    let told = cli
        .run(&["run", "note", "-n", "n1", "--json"])
        .ends(0)
        .json();
    assert_eq!(
        (&told["status"], &told["nodeId"]),
        (&json!("QUEUED"), &json!("n1"))
    );
}

#[test]
fn a_file_of_params_and_what_wins_over_it() {
    let (server, ann, _agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let file = cli.home().join("params.json");
    std::fs::write(&file, r#"{"text": "from the file", "port": 2022}"#).expect("writes");
    let path = file.to_str().expect("UTF-8");
    let words = [
        "run",
        "note",
        "-n",
        "n1",
        "--params-file",
        path,
        "-p",
        "port=2222",
    ];
    let id = cli.run(&words).ends(0).text();
    let params = ann.job(id.trim())["params"].clone();
    assert_eq!(
        (&params["text"], &params["port"]),
        (&json!("from the file"), &json!(2222))
    );
    let words = ["run", "note", "-n", "n1", "--params-file", "-"];
    let id = cli.run_with(&words, r#"{"count": 2}"#).ends(0).text();
    assert_eq!(ann.job(id.trim())["params"]["count"], 2);
    cli.run_with(&words, "[1]").ends(125).says("JSON object");
    cli.run_with(&words, "{").ends(125).says("is not JSON");
    let utf_16: Vec<u8> = "\u{feff}{}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::write(&file, utf_16).expect("writes");
    cli.run(&["run", "note", "-n", "n1", "--params-file", path])
        .ends(125)
        .says("it is UTF-16 text, not UTF-8");
    cli.run(&["run", "note", "-n", "n1", "-p", "=x"])
        .ends(64)
        .says("must be NAME=VALUE");
    let twice = [
        "run",
        "note",
        "-n",
        "n1",
        "--params-file",
        "-",
        "-p",
        "text=@-",
    ];
    cli.run_with(&twice, "{}")
        .ends(64)
        .says("standard input can't be both");
}

#[test]
fn every_wrong_field_is_reported_at_its_param() {
    let (server, ann, _agent) = with_operator();
    let words = [
        "run",
        "note",
        "-n",
        "n1",
        "-p",
        "port=ssh",
        "-p",
        "count=9",
        "-p",
        "colour=blue",
        "-p",
        "txt=1",
    ];
    Cli::of(&server, &ann)
        .run(&words)
        .ends(125)
        .says("-p port: must be a whole number")
        .says("-p count: must be 1 to 5")
        .says("-p colour: must be one of red, green")
        .says("-p txt: is unknown: note takes text, port");
}

#[test]
fn a_secret_needs_to_stand_on_no_command_line() {
    let (server, ann, agent) = with_operator();
    let _agent = RealAgent::start(&server, &agent);
    let cli = Cli::of(&server, &ann);
    let file = cli.home().join("key");
    std::fs::write(&file, "swordfish-one\n").expect("writes");
    let from_file = format!("key=@{}", file.display());
    let run = ["run", "vault", "-n", "n1", "-f"];
    let ran = cli.run(&[&run[..], &["-p", &from_file]].concat()).ends(0);
    assert!(ran.text().contains("the key is ***"), "{ran:?}");
    let ran = cli
        .run_with(&[&run[..], &["-p", "key=@-"]].concat(), "swordfish-two\n")
        .ends(0);
    assert!(ran.text().contains("the key is ***"), "{ran:?}");
    cli.run(&[&run[..], &["-p", "key=swordfish-three"]].concat())
        .ends(0)
        .says("shell's history");
    // Asked for on the terminal, where it is not seen.
    let mut tty = Tty::start(&cli, &run);
    // Ctrl-S holds the question back. Echo must already be off when Ctrl-Q lets it pass.
    tty.type_in("\x13");
    eventually("echo to be off", || (!tty.echoes()).then_some(()));
    tty.type_in("\x11");
    tty.shows("key (secret): ");
    tty.type_in("swordfish-fuor\x7f\x7f\x7four\r");
    let (code, shown) = tty.ended();
    assert!(code == 0 && shown.contains("the key is ***"), "{shown}");
    assert!(!shown.contains("swordfish"), "{shown}");
}

#[test]
fn a_secret_that_can_not_be_asked_for_is_a_usage_error() {
    let (server, ann, _agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let mut command = std::process::Command::new("setsid");
    command.args([
        "--wait",
        env!("CARGO_BIN_EXE_hyprbox"),
        "run",
        "vault",
        "-n",
        "n1",
    ]);
    let output = cli
        .dress(&mut command)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("-p key=@FILE"), "{said}");
    // A script doesn't hold it, so that it can be shown without.
    let script = cli.run(&["presets", "render", "vault"]).ends(0).text();
    assert!(
        script.contains("Use it") && !script.contains("not the real value"),
        "{script}"
    );
}

/// Passes requests on to the server, and drops the answer to the first job that is queued.
fn forgetful_proxy(server: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = server.to_owned();
    std::thread::spawn(move || {
        let mut has_dropped = false;
        for near in listener.incoming().map_while(Result::ok) {
            let request = read_request(&near);
            let is_queue = request.starts_with(b"POST /api/jobs ");
            let mut far = TcpStream::connect(&server).expect("the server");
            far.write_all(&request).expect("sends");
            let mut answer = Vec::new();
            far.read_to_end(&mut answer).expect("answers");
            if is_queue && !std::mem::replace(&mut has_dropped, true) {
                continue;
            }
            let mut near = near;
            // A client that has gone wants no answer.
            let _gone = near.write_all(&answer);
        }
    });
    url
}

/// A request with its body; the connection closes after it.
fn read_request(near: &TcpStream) -> Vec<u8> {
    let mut near = near;
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        near.read_exact(&mut byte).expect("a head");
        request.push(byte[0]);
    }
    let head = String::from_utf8(request.clone())
        .expect("ASCII")
        .to_lowercase();
    let length = head.split("content-length: ").nth(1).map_or(0, |rest| {
        rest.split("\r\n")
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a length")
    });
    let mut body = vec![0; length];
    near.read_exact(&mut body).expect("a body");
    let end = request.len() - 2;
    request.splice(end..end, *b"connection: close\r\n");
    request.extend(body);
    request
}

#[test]
fn a_lost_answer_never_queues_twice() {
    let (server, ann, _agent) = with_operator();
    let cli = Cli::at(&forgetful_proxy(server.address()), &ann);
    let ran = cli
        .run(&["run", "note", "-n", "n1"])
        .ends(0)
        .says("queued only once");
    let jobs = ann.get("/api/jobs").ok().list("jobs");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(ran.text().trim(), id_of(&jobs[0]));
    // Another run is another job.
    cli.run(&["run", "note", "-n", "n1"]).ends(0);
    assert_eq!(ann.get("/api/jobs").ok().list("jobs").len(), 2);
}

#[test]
fn again_and_what_differs() {
    let (server, ann, agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let words = [
        "run",
        "note",
        "-n",
        "n1",
        "-p",
        "text=first",
        "--timeout",
        "77s",
    ];
    let first = cli.run(&words).ends(0).text().trim().to_owned();
    let second = cli
        .run(&["jobs", "retry", &first])
        .ends(0)
        .text()
        .trim()
        .to_owned();
    let (a, b) = (ann.job(&first), ann.job(&second));
    for field in [
        "preset",
        "nodeId",
        "params",
        "timeoutSeconds",
        "scriptSha256",
    ] {
        assert_eq!(a[field], b[field], "{field}");
    }
    cli.run(&["jobs", "diff", &first, &second])
        .ends(0)
        .says("identical");
    let third = cli
        .run(&["jobs", "retry", &first, "-p", "text=third"])
        .ends(0)
        .says("jobs diff");
    let third = third.text().trim().to_owned();
    let diff = cli.run(&["jobs", "diff", &first, &third]).ends(0);
    let path = format!("/api/jobs/{first}/diff/{third}");
    assert_eq!(diff.stdout, ann.get(&path).gives(200).body);
    assert!(
        diff.text().contains("first") && diff.text().contains("third"),
        "{diff:?}"
    );
    let before = cli.run(&["jobs", "diff", &third]).ends(0);
    let before = before.says(&format!("Compared with the job {second}"));
    let path = format!("/api/jobs/{second}/diff/{third}");
    assert_eq!(before.stdout, ann.get(&path).gives(200).body);
    cli.run(&["jobs", "diff", &first])
        .ends(127)
        .says("before this one");
    // A retry may be followed, too.
    let running = cli.start(&["jobs", "retry", &first, "--follow"]);
    running.stderr.wait_for("Job ");
    for _ in 0..4 {
        let id = agent.claim_id();
        agent.complete(&id, &json!({"exitCode": 4})).ok();
    }
    running.ended().ends(4);
}

#[test]
fn lists_for_people_and_for_programs() {
    let (mut server, ann, _agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    for text in ["a", "b", "c"] {
        ann.queue_with("n1", "note", json!({ "text": text }));
    }
    let table = cli.run(&["jobs", "list"]).ends(0).text();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    let column = lines[0].find("STATUS").expect("a heading");
    assert!(
        lines[1..]
            .iter()
            .all(|line| line[column..].starts_with("QUEUED")),
        "{table}"
    );
    let json = cli
        .run(&["jobs", "list", "--json", "--limit", "2"])
        .ends(0)
        .json();
    assert_eq!(json["jobs"].as_array().map(Vec::len), Some(2));
    assert!(json["nextCursor"].is_string());
    let none = cli
        .run(&["jobs", "list", "-s", "running", "-s", "failed"])
        .ends(0)
        .says("None of your jobs match");
    assert!(none.stdout.is_empty());
    let eve = server.person("eve", "VIEWER");
    let all = Cli::of(&server, &eve)
        .run(&["jobs", "list", "--scope", "all"])
        .ends(0)
        .text();
    assert_eq!(all.matches("ann@example.org").count(), 3, "{all}");
    let colored = cli
        .run(&["jobs", "list", "--color", "always"])
        .ends(0)
        .text();
    assert!(
        colored.contains("\x1b[") && !table.contains('\x1b'),
        "{colored}"
    );
    for words in [
        &["nodes", "list", "--json"][..],
        &["presets", "list", "--json"],
        &["tokens", "list", "--json"],
    ] {
        assert!(cli.run(words).ends(0).json().is_object());
    }
    let show = cli.run(&["presets", "show", "note"]).ends(0).text();
    assert!(
        show.contains("1 to 65535") && show.contains("red | green"),
        "{show}"
    );
    assert_eq!(
        cli.run(&["presets", "show", "note", "--json"]).json()["name"],
        json!("note")
    );
}

#[test]
fn a_job_may_wait_for_a_time_and_expire() {
    let (server, ann, agent) = with_operator();
    let cli = Cli::of(&server, &ann);
    let at = "2027-01-01T08:00:00+01:00";
    let words = ["run", "note", "-n", "n1", "--at", at, "--expires", "60d"];
    let ran = cli.run(&words).ends(0);
    let id = ran.text().trim().to_owned();
    ran.says("The job waits: not before 2027-01-01T07:00:00.000Z.");
    let job = ann.job(&id);
    assert_eq!(job["notBefore"], "2027-01-01T07:00:00.000Z");
    let [from, to] = ["createdAt", "expiresAt"].map(|field| {
        let at: jiff::Timestamp = job.field(field).parse().expect("a time");
        at.as_second()
    });
    assert_eq!(to - from, 60 * 86_400);
    let shown = cli.run(&["jobs", "show", &id]).ends(0).text();
    assert!(
        shown.contains("not before 2027-01-01T07:00:00.000Z"),
        "{shown}"
    );
    let list = cli.run(&["jobs", "list"]).ends(0).text();
    assert!(list.contains("QUEUED, held"), "{list}");
    agent.finds_nothing("");
    for (flag, value, words) in [
        ("--at", "tomorrow", "a time with its zone"),
        ("--expires", "59s", "a time from 1m to 366d"),
        ("--expires", "367d", "a time from 1m to 366d"),
    ] {
        cli.run(&["run", "note", "-n", "n1", flag, value])
            .ends(64)
            .says(words);
    }
}

#[test]
fn an_admin_fails_a_running_job() {
    let (mut server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    let admin = server.admin();
    let cli = Cli::of(&server, &admin);
    let fail = [
        "jobs",
        "fail",
        &id,
        "--scope",
        "all",
        "--why",
        "the disk is gone",
    ];
    cli.run(&fail).ends(125).says("hyprbox jobs cancel");
    agent.claim();
    cli.run(&fail).ends(0).says("is FAILED");
    assert_eq!(ann.job(&id)["errorMsg"], "the disk is gone");
    Cli::of(&server, &ann)
        .run(&["jobs", "fail", &id, "--why", "x"])
        .ends(126);
    // Without a reason nothing is sent.
    cli.run(&["jobs", "fail", &id]).ends(64);
}
