//! Property tests with a real bash: no value breaks out of its quotes, and no step out of its
//! function.

use proptest::prelude::*;
use serde_json::json;

use super::bash::{preset, rendered, run, run_script, values};
use crate::presets::{Preset, Step, render};

fn echo_preset() -> Preset {
    preset(
        "targets: [any]\n\
         params:\n  value: { type: string, maxLength: 100000 }\n  hidden: { type: secret }\n\
         steps:\n  - name: Show\n    unless: \"printf 'u%s|' \\\"$value\\\" \\\"$hidden\\\"; false\"\n    \
           run: printf '%s|' \"$value\" \"$hidden\"\n    verify: printf 'v%s|' \"$value\" \"$hidden\"\n",
    )
}

/// Runs `cases` cases, or PROPTEST_CASES. Failures are not saved to files: a useful one becomes a
/// case in a table.
pub(super) fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|n| n.parse().ok()).unwrap_or(cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Texts that are special to bash, printf, globbing, history or a terminal.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "'",
        "\"",
        "`",
        "\\",
        "$",
        "$(touch pwned)",
        "`id`",
        "${IFS}",
        "$((1/0))",
        "'\\''",
        "\n",
        "\r\n",
        "\r",
        "\t",
        " ",
        "*",
        "?",
        "[a-z]",
        "~",
        "~root",
        "!",
        "!!",
        "#",
        ";",
        "&",
        "|",
        ">",
        "<",
        "(",
        ")",
        "{",
        "}",
        "%s",
        "%n",
        "\\n",
        "\\0",
        "\u{1}",
        "\u{7f}",
        "\u{1b}[2J",
        "ü",
        "é",
        "日本語",
        "🦀",
        "\u{200b}",
        "\u{202e}",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "-n",
        "--",
        "<<EOF\n",
        "EOF\n",
        "\n)\n",
        "\n}\n",
        "$'\\x27'",
        "===",
        "\u{fffd}",
    ];
    prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        2 => "[^\\x00]{0,8}",
        1 => any::<char>().prop_filter("no NUL", |c| *c != '\0').prop_map(String::from),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

fn assert_round_trip(value: &str, hidden: &str) {
    let preset = echo_preset();
    let values = values(&preset, json!({"value": value, "hidden": hidden}));
    let script = render(&preset, &values).text;
    let mut framed = hidden.as_bytes().to_vec();
    framed.push(0);
    let ran = run_script(&script, &[], &framed);
    assert_eq!(ran.stderr, "");
    let expected =
        format!("u{value}|u{hidden}|==> [1/1] Show\n{value}|{hidden}|v{value}|v{hidden}|");
    assert_eq!(ran.stdout, expected);
    assert_eq!(ran.code, Some(0));
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn any_value_arrives_unchanged(value in text(), hidden in text()) {
        assert_round_trip(&value, &format!("{hidden}....", ));
    }
}

#[test]
fn large_values_arrive_unchanged() {
    for unit in ["'", "\\", "\n", "$(x)`", "ü", "🦀", "a b\t*"] {
        let count = 65_536 / unit.chars().count();
        let large = unit.repeat(count);
        assert_round_trip(&large, &large);
    }
    // Every pair of ASCII characters except NUL.
    let mut pairs = String::new();
    for a in 1..=127_u8 {
        for b in 1..=127_u8 {
            pairs.extend([char::from(a), char::from(b)]);
        }
    }
    assert_round_trip(&pairs, &pairs);
}

fn step(name: &str, run: String) -> Step {
    Step {
        name: name.to_owned(),
        unless: None,
        run,
        verify: None,
        undo: None,
    }
}

/// Pieces of bash that open and close constructs, in any order.
pub(super) fn scraps() -> impl Strategy<Value = String> {
    let known = [
        "'",
        "\"",
        "`",
        "(",
        ")",
        "((",
        "))",
        "{ ",
        "; }",
        "$(",
        "${x:-",
        "$((",
        "[[ ",
        " ]]",
        "<<EOF\n",
        "\nEOF\n",
        "<<'EOF'\n",
        "<<-EOF\n",
        "\n",
        ";",
        " && ",
        " || ",
        " | ",
        " &",
        "\\",
        "\\\n",
        "#",
        "if true; then ",
        "; fi",
        "case x in x) ",
        ";; ",
        " esac",
        "while false; do ",
        "; done",
        "f() ",
        "echo out",
        "true",
        "x=1",
        "! ",
        "select x in a; do ",
        "coproc ",
        "for x in a; do ",
        "time ",
        ">/dev/null ",
        "exit 0",
        "exec ",
        "return ",
        "trap - DEBUG",
    ];
    prop::collection::vec(prop::sample::select(known.to_vec()), 1..10)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(config(300))]

    /// Either the steps run in order, or nothing runs.
    #[test]
    fn no_step_breaks_out_of_its_function(two in scraps(), three in scraps()) {
        let mut preset = preset("targets: [any]\nsteps:\n- { name: One, run: echo 1 }");
        preset.steps.push(step("Two", two));
        preset.steps.push(step("Three", three));
        let ran = run(&preset);
        let in_order = ran.stdout.starts_with("==> [1/3] One\n1\n==> [2/3] Two\n");
        let nothing = ran.stdout.is_empty() && ran.code == Some(2) && !ran.stderr.is_empty();
        prop_assert!(in_order || nothing, "{ran:?}\n{}", rendered(&preset).text);
        if ran.code == Some(0) {
            prop_assert!(ran.stdout.contains("==> [3/3] Three\n"), "{ran:?}");
        }
    }
}
