//! `hyprbox plan`.

use serde_json::json;

use super::program::Cli;
use crate::harness::{RealAgent, Server, eventually, write_preset};

#[test]
fn a_plan_names_the_steps_that_would_run_and_its_exit_code_says_so() {
    let mut server = Server::start();
    let admin = server.admin();
    let preset = "name: site\ntargets: [any]\nparams:\n  path: { type: string, required: true }\n  pw: { type: secret, required: true }\n\
        steps:\n  - { name: Make it, unless: 'test -e \"$path\"', run: 'touch \"$path\"' }\n  - { name: Say it, run: echo done }\n";
    write_preset(&server.presets_dir(), "site", preset);
    let foreign = "name: foreign\ntargets: [plan9]\nsteps:\n  - { name: One, run: 'true' }\n";
    write_preset(&server.presets_dir(), "foreign", foreign);
    eventually("the presets are there", || {
        let list = admin.get("/api/presets").ok().to_string();
        (list.contains("\"site\"") && list.contains("\"foreign\"")).then_some(())
    });
    let _agents = ["n1", "n2"].map(|node| RealAgent::start(&server, &admin.add_node(node)));
    let cli = Cli::of(&server, &admin);
    let file = cli.home().join("site");
    let path = format!("path={}", file.display());

    let words = ["plan", "site", "--node", "n1", "--node", "n2", "-p", &path];
    let ran = cli.run(&words);
    assert_eq!(ran.code, 3, "{ran:?}");
    let node = |name: &str, found: &str| format!("{name}: {found}\n");
    let would =
        "1 would run, 0 ok, 1 can't tell\n  would run   [1/2] Make it\n  can't tell  [2/2] Say it";
    assert_eq!(ran.text(), node("n1", would) + &node("n2", would));
    assert!(!file.exists());

    std::fs::write(&file, "").expect("written");
    let ran = cli.run(&["plan", "site", "--on", "node=n1", "-p", &path, "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let found = json!({"ok": 1, "wouldRun": 0, "cantTell": 1});
    assert_eq!(ran.json()["jobs"][0]["checkResult"], found);

    let ran = cli.run(&["plan", "foreign", "--node", "n1"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.text()
            .starts_with("n1: the check FAILED (exit code 2); see: "),
        "{ran:?}"
    );
}
