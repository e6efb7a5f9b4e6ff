//! Scripts of checks, run by a real bash.

use serde_json::json;

use super::bash::{Ran, preset, ran, run_script, steps, values};
use crate::presets::{Preset, render_check, script_steps};

fn script(preset: &Preset) -> String {
    let values = values(&preset.without_secrets(), json!({}));
    render_check(preset, &values).text
}

fn check(preset: &Preset) -> Ran {
    run_script(&script(preset), &[], b"")
}

#[test]
fn each_step_says_what_it_would_do() {
    let preset = steps(
        "- { name: Done, unless: 'true', run: echo no }\n\
         - { name: Two, unless: 'false', run: echo no, verify: 'true' }\n\
         - { name: It's three, run: echo no, verify: 'true' }\n\
         - { name: Four, unless: 'true', run: echo no, verify: 'true' }\n\
         - { name: Five, unless: 'true', run: echo no, verify: \"false\\ntrue\" }\n\
         - { name: Six, unless: exit 124, run: echo no }\n\
         - { name: Seven, unless: 'kill -KILL $BASHPID', run: echo no }\n\
         - { name: Eight, unless: 'echo \"$nowhere\"', run: echo no }",
    );
    let ran = check(&preset);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            Some(0),
            "==> [1/8] Done (ok)\n==> [2/8] Two (would run)\n==> [3/8] It's three (can't tell)\n\
             ==> [4/8] Four (ok)\n==> [5/8] Five (would run)\n==> [6/8] Six (would run)\n\
             ==> [7/8] Seven (would run)\n==> [8/8] Eight (would run)\n"
        ),
        "{}",
        ran.stderr
    );
    let names = script_steps(&script(&preset));
    assert_eq!(names[1..3], ["Two", "It's three"]);
    assert_eq!(names.len(), 8);
}

#[test]
fn a_check_needs_no_secret_and_can_not_tell_what_depends_on_one() {
    let preset = preset(
        "targets: [any]\nparams:\n  pw: { type: secret, required: true }\n  user: { type: string, default: it is me }\n\
         steps:\n\
         - { name: One, unless: '[[ $pw == x ]]', run: 'true' }\n\
         - { name: Two, unless: 'true', run: 'true', verify: 'echo \"${pw}\"' }\n\
         - { name: Three, unless: '[[ $user == \"it is me\" ]]', run: 'echo \"$pw\"' }",
    );
    let expected = "==> [1/3] One (can't tell)\n==> [2/3] Two (can't tell)\n==> [3/3] Three (ok)\n";
    assert_eq!(check(&preset), ran(0, expected, ""));
    assert!(!script(&preset).contains("&3"));
}

#[test]
fn a_part_that_takes_too_long_ends_with_everything_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let pids = folder.path().join("pids");
    let preset = steps(&format!(
        "- {{ name: One, unless: 'trap \"\" TERM; sleep 1000 & echo $! $BASHPID >{0}; wait', run: 'true' }}\n\
         - {{ name: Two, unless: 'true', run: 'true' }}",
        pids.display()
    ));
    let quick = script(&preset)
        .replace("sleep 60", "sleep 1")
        .replace(">= 60", ">= 1");
    let expected = "==> [1/2] One (can't tell)\n==> [2/2] Two (ok)\n";
    assert_eq!(run_script(&quick, &[], b""), ran(0, expected, ""));
    let pids = std::fs::read_to_string(pids).expect("it began");
    for pid in pids.split_whitespace() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}

#[test]
fn a_step_that_breaks_out_of_its_function_runs_nothing() {
    let preset = steps("- { name: One, unless: 'true) }; echo out; (', run: 'true' }");
    let ran = check(&preset);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
}
