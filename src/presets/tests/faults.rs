//! Each kind of invalid preset file, with line, column and message.

use proptest::prelude::*;

use crate::presets::Preset;

fn faults(text: &str) -> Vec<(usize, usize, String)> {
    let Err(faults) = Preset::parse("test", text) else {
        return Vec::new();
    };
    faults
        .into_iter()
        .map(|f| (f.line.unwrap_or(0), f.column.unwrap_or(0), f.message))
        .collect()
}

/// A preset with one param, on line 4.
fn with_param(param: &str) -> String {
    format!(
        "name: test\ntargets: [any]\nparams:\n  {param}\nsteps:\n  - name: One\n    run: echo 1\n"
    )
}

fn assert_faults(text: &str, expected: &[(usize, usize, &str)]) {
    let found = faults(text);
    let found: Vec<_> = found.iter().map(|(l, c, m)| (*l, *c, m.as_str())).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
#[rustfmt::skip] // one fault, one line
fn faults_of_the_structure() {
    let table: &[(&str, usize, usize, &str)] = &[
        ("", 1, 1, "missing field `name`"),
        ("# nothing\n", 2, 1, "missing field `name`"),
        ("- a\n", 1, 1, "invalid type: sequence, expected a preset: a mapping with name, targets and steps"),
        ("name: test\ntargets: [any]\n", 1, 1, "missing field `steps`"),
        ("name: test\nsteps:\n  - { name: One, run: 'true' }\n", 1, 1, "missing field `targets`"),
        ("name: test\ntargets: [any]\nstepz: []\n", 3, 1, "unknown field `stepz`, expected one of `name`, `title`, `description`, `targets`, `derivatives`, `risk`, `timeout`, `params`, `keepProcesses`, `confirm`, `steps`"),
        ("name: test\nname: test\n", 2, 1, "`name` is listed twice"),
        ("name: test\ntargets: debian\nsteps: []\n", 2, 10, "targets: invalid type: string \"debian\", expected a sequence"),
        ("name: test\nsteps:\n  - name: One\n    run: a\n    run: b\n", 5, 5, "steps[0]: `run` is listed twice"),
        ("name: test\nrisk: extreme\n", 2, 7, "risk: unknown variant `extreme`, expected one of `low`, `medium`, `high`"),
        ("name: test\ntargets: [any]\nsteps:\n  - echo 1\n", 4, 5, "steps[0]: invalid type: string \"echo 1\", expected a step: a mapping with name and run"),
        ("name: test\ntargets: [any]\nsteps:\n  - name: One\n    run: echo 1\n  - name: Two\n", 6, 5, "steps[1]: missing field `run`"),
        ("name: test\ntargets: [any]\nsteps:\n  - name: One\n    run: echo 1\n    when: x\n", 6, 5, "steps[0]: unknown field `when`, expected one of `name`, `unless`, `run`, `verify`, `undo`"),
        ("name: test\ntargets: [any]\nsteps:\n  - name: One\n    run: [a]\n", 5, 10, "steps[0].run: invalid type: sequence, expected a string"),
        ("name: test\ntargets: [any\nsteps: []\n", 3, 6, "did not find expected ',' or ']', while parsing a flow sequence at line 2 column 10"),
        ("name: test\n\ttitle: x\n", 2, 1, "found a tab character that violates indentation, while scanning a plain scalar at line 1 column 7"),
        ("name: test\ntargets: [any]\nsteps: []\n---\nname: other\n", 0, 0, "a file must have one preset; this one has a second YAML document after ---"),
    ];
    for (text, line, column, message) in table {
        assert_faults(text, &[(*line, *column, message)]);
    }
}

#[test]
#[rustfmt::skip] // one fault, one line
fn faults_of_the_structure_of_params() {
    let table: &[(&str, usize, usize, &str)] = &[
        ("p: port", 4, 6, "params.p: invalid type: string \"port\", expected a param: a mapping with type"),
        ("p: {}", 4, 6, "params.p: missing field `type`"),
        ("p: { type: ports }", 4, 14, "params.p.type: unknown variant `ports`, expected one of `string`, `int`, `bool`, `enum`, `port`, `secret`"),
        ("p: { type: port, defualt: 22 }", 4, 20, "params.p: unknown field `defualt`, expected one of `type`, `description`, `required`, `default`, `pattern`, `maxLength`, `min`, `max`, `values`"),
        ("p: { type: int, min: 0.5 }", 4, 24, "params.p.min: invalid type: floating point `0.5`, expected a whole number of 64 bits"),
        ("p: { type: port }\n  q: { type: port }\n  p: { type: int }", 6, 3, "params: `p` is listed twice"),
    ];
    for (param, line, column, message) in table {
        assert_faults(&with_param(param), &[(*line, *column, message)]);
    }
}

#[test]
#[rustfmt::skip] // one fault, one line
fn faults_of_params() {
    let table: &[(&str, usize, usize, &str)] = &[
        ("SSH-port: { type: port }", 4, 3, "param name \"SSH-port\" must match [a-z][a-z0-9_]{0,62}"),
        ("p: { type: port, default: 0 }", 4, 29, "default must be 1 to 65535"),
        ("p: { type: port, default: 22.0 }", 4, 29, "default must be a whole number, 1 to 65535"),
        ("p: { type: port, default: '22' }", 4, 29, "default must be a whole number, 1 to 65535"),
        ("p: { type: port, default: }", 4, 27, "default must not be null: leave it out instead"),
        ("p: { type: port, min: 1024 }", 4, 20, "min does not apply to a param of type port; it is for type int"),
        ("p: { type: int, pattern: x, values: [a] }", 4, 19, "pattern does not apply to a param of type int; it is for type string"),
        ("p: { type: int, min: 2, max: 1 }", 4, 32, "max must not be less than min"),
        ("p: { type: int, min: 2, default: 1 }", 4, 36, "default must be at least 2"),
        ("p: { type: int, default: 9223372036854775808 }", 4, 28, "default must be -9223372036854775808 to 9223372036854775807"),
        ("p: { type: bool, default: yes }", 4, 29, "default must be true or false"),
        ("p: { type: string, default: 22 }", 4, 31, "default must be a string: put it in quotes"),
        ("p: { type: string, default: [a] }", 4, 31, "default must be a string, a number or a boolean"),
        ("p: { type: string, default: \"a\\0b\" }", 4, 31, "default must not contain a NUL character, which bash can't hold"),
        ("p: { type: string, maxLength: 2, default: abc }", 4, 45, "default must have at most 2 characters"),
        ("p: { type: string, maxLength: -1 }", 4, 33, "maxLength must be 1 to 1048576 characters"),
        ("p: { type: string, pattern: '[a-z]', default: ab }", 4, 49, "default must match [a-z]"),
        ("p: { type: string, pattern: '(', default: ab }", 4, 31, "pattern: unclosed group"),
        ("p: { type: string, pattern: 'a)|(b' }", 4, 31, "pattern: unopened group"),
        ("p: { type: string, pattern: '(?=a)' }", 4, 31, "pattern: look-around, including look-ahead and look-behind, is not supported"),
        ("p: { type: string, pattern: '((a{99}){99}){99}' }", 4, 31, "pattern: Compiled regex exceeds size limit of 1048576 bytes."),
        ("p: { type: string, required: true, default: x }", 4, 38, "a required param never uses its default: remove one of the two"),
        ("p: { type: enum }", 4, 3, "an enum needs values: a list of strings"),
        ("p: { type: enum, values: [] }", 4, 3, "an enum needs values: a list of strings"),
        ("p: { type: enum, values: [a, 1] }", 4, 32, "an enum value must be a string: put numbers, true, false and null in quotes"),
        ("p: { type: enum, values: [a, b, a] }", 4, 35, "value \"a\" is listed twice"),
        ("p: { type: enum, values: [a, b], default: c }", 4, 45, "default must be one of a, b"),
        ("p: { type: enum, values: ['1', '2'], default: 1 }", 4, 49, "default must be one of 1, 2: put it in quotes"),
        ("p: { type: secret, default: swordfish }", 4, 22, "a secret can't have a default: this file would contain it"),
        ("p: { type: secret, required: false }", 4, 32, "a secret is always required"),
        ("p: { type: secret, pattern: x }", 4, 22, "pattern does not apply to a param of type secret; it is for type string"),
    ];
    for (param, line, column, message) in table {
        let text = with_param(param);
        let found = faults(&text);
        let first = found.first().map(|(l, c, m)| (*l, *c, m.as_str()));
        assert_eq!(first, Some((*line, *column, *message)), "{text}");
    }
}

#[test]
#[rustfmt::skip] // one fault, one line
fn faults_of_confirm_and_undo() {
    let head = "name: test\ntargets: [any]\n";
    let table: &[(&str, usize, usize, &str)] = &[
        ("confirm: 59s\nsteps:\n- { name: A, run: x, undo: y }", 3, 10, "\"59s\" must be a time from 1m to 1h, such as 90s or 10m"),
        ("confirm: 61m\nsteps:\n- { name: A, run: x, undo: y }", 3, 10, "\"61m\" must be a time from 1m to 1h, such as 90s or 10m"),
        ("steps:\n- { name: A, run: x, undo: y }", 4, 22, "undo needs confirm at the preset, such as confirm: 5m; without it nothing is undone"),
        ("confirm: 5m\nsteps:\n- { name: A, run: x, undo: '#' }", 5, 28, "undo has no command"),
        ("confirm: 5m\nparams:\n  pw: { type: secret }\nsteps:\n- { name: A, run: x, undo: 'echo $pw' }", 7, 28, "undo can't use the secret pw, which is gone after a reboot: let run keep what undo needs in $HYPRBOX_UNDO_DIR"),
    ];
    for (rest, line, column, message) in table {
        assert_faults(&format!("{head}{rest}"), &[(*line, *column, message)]);
    }
}

/// All faults of a file are reported at once, in the file's order.
#[test]
#[rustfmt::skip] // one fault, one line
fn all_faults_at_once() {
    let text = "\
timeout: 10 minutes
name: Test
title: ''
targets: [Debian, any, ubuntu, ubuntu]
steps:
  - name: |
      two
      lines
    unless: '# a comment'
    run: ''
  - name: \"bell \\a\"
    run: \"echo \\0\"
params:
  Port: { type: port, min: 1 }
  choice:
    type: enum
    values: [on, on]
";
    assert_faults(
        text,
        &[
            (1, 10, "\"10 minutes\" must be a time from 1s to 7d, such as 90s, 10m, 1h30m or 2d"),
            (2, 7, "name must have 1 to 100 characters of a-z, 0-9 and - ([a-z0-9-]+)"),
            (3, 8, "title must be one line of 1 to 200 characters"),
            (4, 11, "a target must be an ID of /etc/os-release (a-z, 0-9, ., _ and -), such as debian"),
            (4, 19, "any means every Linux: remove the other targets"),
            (4, 32, "target ubuntu is listed twice"),
            (6, 11, "a step's name must be one line of 1 to 200 characters"),
            (9, 13, "unless has no command"),
            (10, 10, "run has no command"),
            (11, 11, "a step's name must be one line of 1 to 200 characters"),
            (12, 10, "run must not contain a NUL character"),
            (14, 3, "param name \"Port\" must match [a-z][a-z0-9_]{0,62}"),
            (14, 23, "min does not apply to a param of type port; it is for type int"),
            (17, 18, "value \"on\" is listed twice"),
        ],
    );
    assert_faults(
        "name: other\ntargets: []\nsteps: []\n",
        &[
            (1, 7, "name must match the file name: test (or rename the file to other.yaml)"),
            (2, 10, "targets must list at least one distribution (an ID of /etc/os-release), or be [any]"),
            (3, 8, "steps must have at least one step"),
        ],
    );
}

#[test]
fn optional_fields_and_yaml_notations() {
    let text = "\u{feff}# a comment\r\nname: test\r\ntargets:\r\n- any\r\nparams:\r\nsteps:\r\n- name: One\r\n  unless: false\r\n  run: |-\r\n    a\r\n    b\r\n";
    let preset = Preset::parse("test", text).expect("good");
    assert_eq!(preset.title, "test");
    assert_eq!(preset.timeout_seconds, 600);
    assert_eq!(preset.risk, crate::presets::Risk::Medium);
    assert!(preset.params.is_empty());
    assert_eq!(preset.steps[0].unless.as_deref(), Some("false"));
    assert_eq!(preset.steps[0].run, "a\nb");
}

#[test]
fn bombs_are_refused_quickly() {
    let deep = format!("name: {}{}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(!faults(&deep).is_empty());
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let refs = vec![format!("*a{}", n - 1); 10].join(", ");
        aliases.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
    }
    assert!(!faults(&aliases).is_empty());
}

/// Inputs that would take quadratic time: deep nesting is refused, and only the first faults are
/// reported.
#[test]
fn hostile_files_are_refused_at_once() {
    for text in [
        "[".repeat(200_000),
        "- ".repeat(100_000),
        "{a: ".repeat(60_000),
        format!("name: test\n---\n{}", "[".repeat(200_000)),
        // Invalid before it nests deeply.
        format!("name: @test\n{}", "{a: ".repeat(60_000)),
    ] {
        let found = faults(&text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].2,
            "is nested more than 32 deep, which no preset needs"
        );
    }

    let mut many =
        "name: test\ntargets: [any]\nsteps: [{ name: One, run: 'true' }]\nparams:\n".to_owned();
    for n in 0..5_000 {
        many.push_str(&format!("  p{n}: {{ type: port, default: 0 }}\n"));
    }
    let found = faults(&many);
    assert_eq!(found.len(), 21);
    assert_eq!(found[0], (5, 30, "default must be 1 to 65535".to_owned()));
    assert_eq!(found[19].0, 24);
    assert_eq!(found[20], (0, 0, "and 4,980 more".to_owned()));
}

proptest! {
    #![proptest_config(super::hostile::config(256))]

    /// Files at any stage of editing: parsing never panics, and every fault has a message.
    #[test]
    fn damaged_files_never_panic(
        at in 0_usize..3_000,
        removed in 0_usize..40,
        inserted in "[ \\n:{}\\[\\]'\"&*!|>#,a-z0-9\\-]{0,6}",
    ) {
        let source = include_str!("../../../presets/server-light.yaml");
        let mut bytes = source.as_bytes().to_vec();
        let at = at.min(bytes.len());
        let end = (at + removed).min(bytes.len());
        bytes.splice(at..end, inserted.bytes());
        let text = String::from_utf8_lossy(&bytes);
        if let Err(faults) = Preset::parse("server-light", &text) {
            prop_assert!(!faults.is_empty());
            prop_assert!(faults.iter().all(|fault| !fault.message.is_empty()));
        }
    }
}
