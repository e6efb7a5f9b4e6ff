//! One's own scripts on the command line: import, save, run, edit, compare; and run once.

use serde_json::json;

use super::Cli;
use crate::harness::{Field, Person, RealAgent, Server};

const SCRIPT: &str = "#!/bin/bash\n# Greets somebody.\ngrep nothing /dev/null | sort\necho \"hello, $1$SUFFIX\"\nexit 3\n";

fn ready() -> (Server, Person, RealAgent, tempfile::TempDir) {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = RealAgent::start(&server, &admin.add_node("n1"));
    (server, admin, agent, tempfile::tempdir().expect("a folder"))
}

#[test]
fn a_script_is_imported_saved_run_edited_run_again_and_compared() {
    let (server, admin, _agent, folder) = ready();
    let cli = Cli::of(&server, &admin);
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("Greet me.sh"), SCRIPT).expect("writes");
    // Needs no server.
    let imported = Cli::nobody()
        .run(&["presets", "import", &path("Greet me.sh")])
        .ends(0);
    let source = imported.text();
    assert!(source.starts_with("name: greet-me\n"), "{source}");
    let notes = imported.stderr.clone();
    let at = |line: usize, rule: &str| {
        let begin = format!("{}:{line}:", path("Greet me.sh"));
        notes
            .lines()
            .any(|it| it.starts_with(&begin) && it.ends_with(&format!("[{rule}]")))
    };
    assert!(at(3, "pipe-failure") && at(4, "unset-variable"), "{notes}");
    std::fs::write(path("greet.yaml"), &source).expect("writes");
    let saved = cli.run(&["presets", "save", &path("greet.yaml")]).ends(0);
    assert!(
        saved.stderr.contains("Saved greet-me, version 1."),
        "{saved:?}"
    );
    let run = || {
        let words = [
            "run", "greet-me", "--node", "n1", "-p", "arg1=Ada", "--follow",
        ];
        cli.run(&words)
    };
    // The pipe ends the step.
    assert!(!run().ends(1).text().contains("hello"));
    let edited = source.replace(
        "grep nothing /dev/null",
        "{ grep nothing /dev/null || true; }",
    );
    std::fs::write(path("greet.yaml"), &edited).expect("writes");
    cli.run(&["presets", "save", "--based-on", "2", &path("greet.yaml")])
        .ends(125);
    cli.run(&["presets", "save", "--based-on", "0", &path("greet.yaml")])
        .ends(125);
    let saved = cli
        .run(&["presets", "save", "--based-on", "1", &path("greet.yaml")])
        .ends(0);
    assert!(
        saved.stderr.contains("Saved greet-me, version 2."),
        "{saved:?}"
    );
    assert!(run().ends(3).text().contains("hello, Ada\n"));
    let jobs = admin.get("/api/jobs?preset=greet-me").ok();
    let ids: Vec<String> = jobs
        .list("jobs")
        .iter()
        .map(|job| job.field("id"))
        .collect();
    let diff = cli.run(&["jobs", "diff", &ids[1], &ids[0]]);
    assert!(
        diff.text()
            .contains("+{ grep nothing /dev/null || true; } | sort"),
        "{diff:?}"
    );
    let versions = cli.run(&["presets", "versions", "greet-me"]).ends(0).text();
    assert_eq!(versions.lines().count(), 3, "{versions}");
    let first = cli.run(&["presets", "versions", "greet-me", "1"]).ends(0);
    assert_eq!(first.text(), source);
    cli.run(&["presets", "delete", "greet-me"]).ends(0);
    cli.run(&["presets", "show", "greet-me"]).ends(127);
}

#[test]
fn a_script_runs_once_and_its_exit_code_is_this_programs() {
    let (server, admin, _agent, folder) = ready();
    let cli = Cli::of(&server, &admin);
    let file = folder.path().join("s.sh").display().to_string();
    std::fs::write(&file, "echo out\necho err >&2\nexit 7\n").expect("writes");
    let ran = cli
        .run(&["exec", "--node", "n1", "--follow", &file])
        .ends(7);
    assert_eq!(ran.text(), "out\nerr\n");
    let queued = cli.run(&["exec", "--on", "node=n1", &file]).ends(0);
    let id = queued.text().trim().to_owned();
    let run = admin.get(&format!("/api/runs/{id}")).ok();
    assert_eq!(
        (&run["preset"], &run["selector"]),
        (&json!("-"), &json!("node=n1"))
    );
    cli.run(&["runs", "show", "--follow", &id]).ends(1);
    let again = cli.run(&["runs", "retry", &id, "--follow"]).ends(1);
    assert!(again.stderr.contains("Run "), "{again:?}");
    cli.run(&["runs", "retry", &id, "-p", "a=b"]).ends(125);
    cli.run(&["exec", "--node", "n1", "/nonexistent"]).ends(125);
    cli.run(&["exec", &file]).ends(64);
}
