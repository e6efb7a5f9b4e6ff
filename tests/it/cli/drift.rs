//! `hyprbox drift`.

use serde_json::json;

use super::program::Cli;
use crate::harness::{RealAgent, Server, eventually, write_preset};

const GONE: &str = "name: gone\ntargets: [any]\nparams:\n  path: { type: string, required: true }\n\
    steps:\n  - { name: Make it, unless: 'test -e \"$path\"', run: 'touch \"$path\"' }\n";

#[test]
fn drift_is_read_and_checked_and_its_exit_code_says_what_was_found() {
    let mut server = Server::start();
    let admin = server.admin();
    write_preset(&server.presets_dir(), "gone", GONE);
    eventually("the preset is there", || {
        let list = admin.get("/api/presets").ok().to_string();
        list.contains("\"gone\"").then_some(())
    });
    let _agent = RealAgent::start(&server, &admin.add_node("n1"));
    let cli = Cli::of(&server, &admin);
    let none = cli.run(&["drift"]);
    assert_eq!((none.code, none.text()), (0, String::new()), "{none:?}");

    let file = cli.home().join("made");
    let job = admin.queue_with("n1", "gone", json!({"path": file}));
    eventually("the job ends", || {
        (admin.job(&job)["status"] == "SUCCEEDED").then_some(())
    });
    let check = ["drift", "--check", "--on", "node=n1", "--preset", "gone"];
    let ran = cli.run(&[&check[..], &["-o", "json"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["drift"][0]["state"], "ok");
    std::fs::remove_file(&file).expect("to remove");
    let ran = cli.run(&check);
    assert_eq!(ran.code, 3, "{ran:?}");
    for words in ["n1", "gone", "drifted", "Make it"] {
        assert!(ran.text().contains(words), "{words}: {ran:?}");
    }
    // Without a check: what is known.
    assert_eq!(cli.run(&["drift"]).code, 3);
    assert_eq!(cli.run(&["drift", "-o", "name"]).text(), "n1/gone\n");
    std::fs::remove_file(server.presets_dir().join("gone.yaml")).expect("to remove");
    eventually("the preset is gone", || {
        let list = admin.get("/api/presets").ok().to_string();
        (!list.contains("\"gone\"")).then_some(())
    });
    let ran = cli.run(&check);
    assert_eq!(ran.code, 1, "{ran:?}");
}
