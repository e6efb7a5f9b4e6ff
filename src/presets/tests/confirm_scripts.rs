//! Scripts of presets with `confirm`, run by a real bash.

use serde_json::json;

use super::bash::run_script;
use crate::presets::{render, script_steps, undo_steps};

/// The agent runs the script again to undo a step. Black-box, with a real agent: `confirm.rs`.
#[test]
fn a_script_with_confirm_records_its_steps_and_undoes_one() {
    let preset = super::bash::preset(
        "targets: [any]\nconfirm: 5m\nkeepProcesses: true\nparams:\n  key: { type: secret }\nsteps:\n\
         - { name: It's one, run: 'echo \"$key\"', undo: 'echo back; (exit 4)' }\n\
         - { name: Done, unless: 'true', run: 'false', undo: 'false' }\n\
         - { name: Three, run: 'false', undo: 'echo \"$HYPRBOX_UNDO\"' }",
    );
    let script = render(
        &preset,
        &super::bash::values(&preset, json!({"key": "swordfish"})),
    )
    .text;
    let first = script.lines().next();
    let marks = "set -euo pipefail # hyprbox: confirm 300 # hyprbox: keep-processes";
    assert_eq!(first, Some(marks));
    assert_eq!(undo_steps(&script), [1, 2, 3]);
    assert_eq!(script_steps(&script), ["It's one", "Done", "Three"]);
    let state = tempfile::tempdir().expect("a folder");
    let dir = state.path().join("undo");
    let shown = dir.display().to_string();
    let none = run_script(&script, &[("HYPRBOX_UNDO_DIR", &shown)], b"swordfish\0");
    assert_eq!((none.code, none.stdout.as_str()), (Some(2), ""));
    assert!(none.stderr.contains("upgrade the agent"), "{}", none.stderr);
    std::fs::create_dir(&dir).expect("made");
    let all = run_script(&script, &[("HYPRBOX_UNDO_DIR", &shown)], b"swordfish\0");
    assert_eq!(
        (all.code, all.stdout.as_str()),
        (
            Some(1),
            "==> [1/3] It's one\nswordfish\n==> [2/3] Done (already done)\n==> [3/3] Three\n"
        )
    );
    let steps = std::fs::read_to_string(state.path().join("undo.steps")).expect("recorded");
    assert_eq!(steps, "1 It's one\n3 Three\n");
    for (step, code, stdout) in [
        ("1", 4, "==> undo [1/3] It's one\nback\n"),
        ("3", 0, "==> undo [3/3] Three\n3\n"),
        ("9", 0, ""),
    ] {
        let env = [("HYPRBOX_UNDO_DIR", &*shown), ("HYPRBOX_UNDO", step)];
        let undone = run_script(&script, &env, b"");
        assert_eq!((undone.code, undone.stdout.as_str()), (Some(code), stdout));
    }
}
