//! Exit codes: a job's own, and those that tell what else there is.

use serde_json::json;

use super::Cli;
use crate::harness::{PASSWORD, Server};

#[test]
fn an_ended_job_sets_the_exit_code() {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    let agent = server.admin().add_node("n1");
    let cli = Cli::of(&server, &ann);
    for (report, code, words) in [
        (json!({"exitCode": 0}), 0, "SUCCEEDED"),
        (json!({"exitCode": 1}), 1, "exit code 1"),
        (json!({"exitCode": 255}), 255, "exit code 255"),
        (
            json!({"exitCode": null, "timedOut": true}),
            124,
            "timed out after 600 s",
        ),
        (
            json!({"exitCode": null, "signal": "SIGKILL"}),
            137,
            "killed by SIGKILL",
        ),
        (
            json!({"exitCode": null, "errorMsg": "node restarted while the job was running"}),
            137,
            "node restarted",
        ),
        (
            json!({"exitCode": -1, "errorMsg": "bash failed to start"}),
            1,
            "bash failed to start",
        ),
    ] {
        let id = ann.queue("n1");
        agent.claim();
        agent.complete(&id, &report).ok();
        cli.run(&["jobs", "wait", &id]).ends(code).says(words);
        cli.run(&["jobs", "log", "-f", &id]).ends(code).says(words);
        // The log does not show that the job has ended.
        cli.run(&["jobs", "log", &id]).ends(0);
    }
    let id = ann.queue("n1");
    cli.run(&["jobs", "cancel", &id]).ends(0).says("CANCELLED");
    cli.run(&["jobs", "wait", &id]).ends(143).says("CANCELLED");
    let id = ann.queue("n1");
    let lost =
        format!("UPDATE jobs SET status='FAILED', error_msg='agent disappeared' WHERE id='{id}'");
    server.database().execute(&lost);
    cli.run(&["jobs", "wait", &id])
        .ends(137)
        .says("agent disappeared");
}

#[test]
fn an_unknown_name_exits_with_127_and_suggests_similar_ones() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("prod-eu-1");
    server.person("ann", "OPERATOR");
    let cli = Cli::of(&server, &admin);
    for (words, said) in [
        (&["jobs", "show", "nothing"][..], "hyprbox jobs list"),
        (&["jobs", "log", "nothing"], "Job not found"),
        (&["jobs", "log", "-f", "nothing"], "Job not found"),
        (&["jobs", "wait", "../nodes"], "Job not found"),
        (&["jobs", "cancel", "nothing"], "Job not found"),
        (&["nodes", "show", "prod-eu1"], "did you mean prod-eu-1?"),
        (&["nodes", "remove", "prod"], "did you mean prod-eu-1?"),
        (&["nodes", "token", "list", "zzz"], "hyprbox nodes list"),
        (
            &["nodes", "token", "revoke", "prod-eu-1", "hbn_zzz"],
            "hyprbox nodes token list prod-eu-1",
        ),
        (
            &["run", "note", "--node", "prod-eu"],
            "did you mean prod-eu-1?",
        ),
        (
            &["run", "notes", "--node", "prod-eu-1"],
            "did you mean note?",
        ),
        (&["presets", "render", "shel"], "did you mean shell?"),
        (
            &["users", "remove", "an@example.org"],
            "did you mean ann@example.org?",
        ),
        (&["tokens", "remove", "ci"], "hyprbox tokens list"),
    ] {
        let ran = cli.run(words).ends(127).says(said);
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn who_may_not_is_126() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let eve = server.person("eve", "VIEWER");
    let cli = Cli::of(&server, &eve);
    for words in [
        &["run", "note", "--node", "n1"][..],
        &["nodes", "add", "n2"],
        &["users", "list"],
    ] {
        cli.run(words)
            .ends(126)
            .says("refused: ")
            .says("hyprbox users role EMAIL ROLE");
    }
    let ann = server.person("ann", "OPERATOR");
    let of_admin = admin.queue("n1");
    Cli::of(&server, &ann)
        .run(&["jobs", "cancel", &of_admin, "--scope", "all"])
        .ends(126)
        .says("scope=all");
    // Nobody, and somebody who is no longer taken.
    Cli::nobody()
        .run(&["jobs", "list"])
        .ends(126)
        .says("hyprbox login https://");
    let gone = Cli::of(&server, &eve.with_token("hbu_gone"));
    gone.run(&["jobs", "list"]).ends(126).says("HYPRBOX_TOKEN");
    gone.run(&["jobs", "list", "--url", "http://127.0.0.1:1"])
        .ends(125);
}

#[test]
fn a_server_that_is_not_there_is_125_at_once() {
    let cli = Cli::nobody()
        .with("HYPRBOX_URL", "http://127.0.0.1:1")
        .with("HYPRBOX_TOKEN", "hbu_x");
    for words in [
        &["jobs", "list"][..],
        &["jobs", "log", "-f", "x"],
        &["run", "note", "--node", "n1", "--follow"],
    ] {
        cli.run(words)
            .ends(125)
            .says("can't reach http://127.0.0.1:1")
            .says("is the server running at that address");
    }
    let far = Cli::nobody()
        .with("HYPRBOX_URL", "http://192.0.2.1")
        .with("HYPRBOX_TOKEN", "hbu_x");
    far.run(&["jobs", "list"])
        .ends(125)
        .says("HYPRBOX_INSECURE_HTTP=1");
}

#[test]
fn what_the_state_forbids_is_125() {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    let agent = server.admin().add_node("n1");
    let id = ann.queue("n1");
    agent.claim();
    let cli = Cli::of(&server, &server.login("admin@example.org", PASSWORD));
    cli.run(&["nodes", "remove", "n1"])
        .ends(125)
        .says("running job");
    cli.run(&["nodes", "add", "n1"]).ends(125).says("already");
    agent.succeed(&id);
    let cli = Cli::of(&server, &ann);
    cli.run(&["jobs", "cancel", &id])
        .ends(125)
        .says("SUCCEEDED");
}

#[test]
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
    let cli = Cli::nobody();
    for words in [
        &["run"][..],
        &["run", "note"],
        &["run", "note", "--node", "n", "--timeout", "0s"],
        &["run", "note", "--node", "n", "--timeout", "1.5h"],
        &["run", "note", "--node", "n", "--cancel-on-interrupt"],
        &["run", "note", "--node", "n", "-p", "port"],
        &["nodes", "add", "n", "--label", "attic"],
        &["jobs", "log", "x", "--json"],
        &["jobs"],
        &["jobs", "nonsense"],
        &["jobs", "list", "--status", "DONE"],
        &["jobs", "list", "--limit", "0"],
        &["jobs", "log", "x", "--tail", "-1"],
        &["users", "add", "a@b", "--role", "king"],
        &["login"],
        &["completions", "tcsh"],
    ] {
        let ran = cli.run(words).ends(64);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:?}");
    }
    cli.run(&["jobs", "log", "x", "--tail", "ten"])
        .ends(64)
        .says("must be a whole number of lines");
    cli.run(&["run", "--help"]).ends(0);
    // Told by the program, not by its parser.
    let cli = cli
        .with("HYPRBOX_URL", "nonsense")
        .with("HYPRBOX_TOKEN", "x");
    cli.run(&["jobs", "list"]).ends(64).says("HYPRBOX_URL");
    let ran = cli.run(&["jobs", "log", "x", "--json", "--url", "http://127.0.0.1:1"]);
    ran.ends(64).says("--json requires --follow");
}

#[test]
fn errors_are_json_for_programs() {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    server.admin().add_node("n1");
    let words = [
        "run", "note", "-n", "n1", "-p", "port=x", "-p", "nope=1", "--json",
    ];
    let ran = Cli::of(&server, &ann).run(&words).ends(125);
    let told: serde_json::Value = serde_json::from_str(&ran.stderr).expect("JSON");
    assert_eq!(
        (&told["code"], &told["processExitCode"]),
        (&json!("bad_input"), &json!(125))
    );
    assert!(told["fields"]["params.port"].is_string(), "{told}");
}

#[test]
fn general_options_may_stand_before_the_command() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let cli = Cli::of(&server, &admin);
    let after = cli.run(&["nodes", "list", "--json"]).ends(0).json();
    let before = cli.run(&["--json", "nodes", "list"]).ends(0).json();
    assert_eq!(before["nodes"][0]["id"], after["nodes"][0]["id"]);
    let nobody = Cli::nobody().with("HYPRBOX_TOKEN", &admin.token);
    let listed = nobody
        .run(&[
            "--url",
            server.url(),
            "--color=never",
            "--json",
            "nodes",
            "list",
        ])
        .ends(0)
        .json();
    assert_eq!(listed["nodes"][0]["id"], "n1");
    cli.run(&["--json", "--nope", "nodes", "list"]).ends(64);
}
