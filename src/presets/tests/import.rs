//! Shell scripts as presets.

use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::json;

use super::bash::{run_script, values};
use super::hostile::config;
use crate::presets::check::{ImportError, Imported, Severity, Tools, check, import};
use crate::presets::{Preset, render};

fn imported(script: &str) -> Imported {
    let tools = Tools::installed().without_shellcheck();
    import("given", script, &tools).unwrap_or_else(|error| panic!("{error}: {script}"))
}

/// The preset of a script. The linter finds no error in it.
fn preset_of(script: &str) -> Preset {
    let source = imported(script).source;
    let tools = Tools::installed().without_shellcheck();
    let errors: Vec<_> = check("given", &source, &tools)
        .into_iter()
        .filter(|it| it.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:?}\n{source}");
    Preset::parse("given", &source).expect("it was checked")
}

/// `3 pipe-failure` for each finding, without the notes that every script has.
fn findings(script: &str) -> Vec<String> {
    imported(script)
        .findings
        .into_iter()
        .filter(|it| it.rule != "stops-at-failure")
        .map(|it| format!("{} {}", it.line, it.rule))
        .collect()
}

#[test]
fn a_script_is_kept_byte_for_byte() {
    for script in [
        "echo one",
        "echo one\n",
        "echo one\n\n\n",
        "#!/bin/bash\necho one\n",
        "\n\necho one\n",
        "  echo indented\n",
        "\techo tab\n",
        "\n \techo both\n",
        "echo 'trailing blanks'   \n\t\n   \necho more\t\n",
        "echo one\r\necho two\r\n",
        "echo one\rtwo\n",
        "cat <<EOF\n  deep: [yaml]\n- list\nEOF\n",
        "cat <<'EOF'\nkey: value # no comment\n\"quotes\" 'both' \\\nEOF\n",
        "echo \u{85}\u{2028}\u{2029}\u{a0}\u{feff}\n",
        "\u{feff}echo bom\n",
        "echo \u{1}\u{1b}[1m\u{7f}\u{9f}\u{fffe}\u{1f600}\n",
        "  \u{7}echo\r\n   echo\n\n",
        "--- \necho\n...\n",
        "- echo\n",
        "# only a comment first\necho\n   ",
        "echo\n ",
        "echo\n\n ",
        "true: &a *b !c %d @e `f`\n",
    ] {
        let Imported { source, .. } = imported(script);
        let preset = Preset::parse("given", &source);
        let preset = preset.unwrap_or_else(|faults| panic!("{faults:?}\n{source}"));
        assert_eq!(preset.steps[0].run, script, "{source}");
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn any_text_is_kept(script in pieces()) {
        let tools = Tools::installed_none();
        match import("given", &script, &tools) {
            Ok(Imported { source, .. }) => {
                let preset = Preset::parse("given", &source);
                let preset = preset.unwrap_or_else(|faults| panic!("{faults:?}\n{source}"));
                let run = &preset.steps[0].run;
                prop_assert!(run.ends_with(&script), "{source}");
                let prelude = &run[..run.len() - script.len()];
                prop_assert!(prelude.is_empty() || prelude.starts_with("# What the script"));
            }
            Err(error) => prop_assert!(matches!(error, ImportError::Empty | ImportError::Nul)),
        }
    }
}

/// Texts that are special to YAML or to bash.
fn pieces() -> impl Strategy<Value = String> {
    let known = [
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        " ",
        "  ",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{7f}",
        "\u{1b}",
        "#",
        "# ",
        "---",
        "...",
        "- ",
        ": ",
        "? ",
        "|",
        ">",
        "&a",
        "*a",
        "!t",
        "%",
        "@",
        "`",
        "'",
        "\"",
        "\\",
        "\\\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        "$1",
        "${2:-x}",
        "$@",
        "${A:?}",
        "$B",
        "echo",
        "x=1",
        "arg1=",
        "cat <<E\n",
        "E\n",
        "f() {\n",
        "}\n",
        "shift\n",
        "\u{1f600}",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => any::<char>().prop_map(|c| c.to_string()),
    ];
    prop::collection::vec(piece, 1..40).prop_map(|pieces| pieces.concat())
}

/// What bash does with a file of its own, and what the rendered preset does.
fn assert_same_effect(
    script: &str,
    arguments: &[&str],
    env: &[(&str, &str)],
    params: serde_json::Value,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("script.sh");
    std::fs::write(&file, script).expect("writes");
    let alone = Command::new("/bin/bash")
        .arg(&file)
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/")
        .env("LANG", "C.UTF-8")
        .envs(env.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .expect("bash starts");
    let preset = preset_of(script);
    let rendered = render(&preset, &values(&preset, params));
    let ran = run_script(&rendered.text, &[], b"");
    let expected = String::from_utf8(alone.stdout).expect("UTF-8");
    let stdout = ran.stdout.strip_prefix("==> [1/1] Run the script\n");
    assert_eq!(stdout, Some(expected.as_str()), "{script}\n{}", ran.stderr);
    assert_eq!(ran.code, alone.status.code(), "{script}\n{}", ran.stderr);
}

#[test]
fn an_imported_script_has_the_effect_that_it_had_alone() {
    let none = || json!({});
    for script in [
        "echo hello\nexit 3\necho not here\n",
        "trap 'echo bye' EXIT\necho hi\n",
        "f() { echo \"$1-$#\"; }\nf a b\n",
        "cat <<EOF\n\ttabs and  blanks  \n$HOME\nEOF\n",
        "x=$(printf 'a\\nb')\necho \"$x\"\nfor i in 1 2 3; do echo $i; done | tail -n 1\n",
        "set +e\nfalse\necho still here\n",
        "echo \"[$NEVER_SET]\"\n[ -z \"$NEVER_SET\" ] && echo empty\n",
        "set -- one two\necho \"$1 $2 $#\"\n",
        "case ${MODE:-x} in x) echo x ;; esac",
    ] {
        assert_same_effect(script, &[], &[], none());
    }
    let both =
        "echo \"$1 and ${2:-none}: $#\"\nenv | grep ^TARGET=\necho \"${TARGET:?is missing}\"\n";
    let target = [("TARGET", "a b")];
    assert_same_effect(
        both,
        &["x y"],
        &target,
        json!({"arg1": "x y", "target": "a b"}),
    );
    let given = json!({"arg1": "x", "arg2": "*", "target": "a b"});
    assert_same_effect(both, &["x", "*"], &target, given);
    let list = "while [ $# -gt 0 ]; do echo \"<$1>\"; shift; done\necho \"${2-}\" ${9-}\n";
    assert_same_effect(
        list,
        &["a", "b c"],
        &[],
        json!({"arg1": "a", "arg2": "b c"}),
    );
    assert_same_effect(list, &[], &[], none());
    assert_same_effect(
        "echo \"${name:?}\"\n",
        &[],
        &[("name", "n")],
        json!({"name": "n"}),
    );
}

#[test]
fn params_are_proposed_for_arguments_and_demanded_variables() {
    let params = |script: &str| {
        let preset = preset_of(script);
        let param = |it: &crate::presets::Param| {
            format!("{}{}", it.name, if it.required { "!" } else { "" })
        };
        preset
            .params
            .iter()
            .map(param)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (script, expected) in [
        ("echo hi", ""),
        ("echo $1 \"$3\"", "arg1! arg2! arg3!"),
        ("echo ${1:-x} $2", "arg1! arg2!"),
        ("echo $1 ${2-x}", "arg1! arg2"),
        ("echo ${1:?usage}", "arg1!"),
        ("f() { echo $1; }\nf x", ""),
        ("set -- a b\necho $1", ""),
        ("arg1=x\necho $1 $arg1", "arg1_2!"),
        ("echo \"$@\"", ""),
        ("while getopts ab o; do :; done\necho $1", "arg1"),
        (
            ": ${HOST:?} ${PORT?no port} ${UNSET:-x}\nhost=x",
            "host_2! port!",
        ),
        ("HOST=a\n: ${HOST:?}", ""),
    ] {
        assert_eq!(params(script), expected, "{script}");
    }
}

#[test]
fn findings_name_what_set_e_u_and_pipefail_would_change() {
    for (script, expected) in [
        ("echo hi\n", &[][..]),
        ("set -e\ngrep x f\n", &[]),
        ("#!/bin/bash -e\ngrep x f\n", &[]),
        ("#!/bin/bash\necho hi\ngrep x f\n", &["3 ignored-failure"]),
        (
            "if grep x f; then :; fi\ngrep x f || true\ngrep x f && echo y\n",
            &[],
        ),
        ("set +e\ngrep x f\n", &[]),
        ("((i++))\n", &["1 ignored-failure"]),
        (
            "i=0\nlet i++\nwhile ((i < 3)); do ((i += 1)); done\n",
            &["2 ignored-failure", "3 ignored-failure"],
        ),
        (
            "i=$((i + 1))\nfor ((i = 0; i < 3; i++)); do echo; done\n",
            &[],
        ),
        ("[[ -f /x ]]\n[ -f /x ] && echo y\n", &["1 ignored-failure"]),
        (
            "x=$(grep a f)\necho \"$x\" $(grep b f)\n",
            &["1 ignored-failure"],
        ),
        (
            "f() {\n  [ -f x ] && echo y\n}\nf\n",
            &["2 ignored-failure"],
        ),
        (
            "mkdir /x\nmkdir -p /x\nrm x\nrm -f x\n",
            &["1 ignored-failure", "3 ignored-failure"],
        ),
        (
            "systemctl restart x\nif [ $? -ne 0 ]; then echo no; fi\n",
            &["1 exit-code-read-later"],
        ),
        ("cmd || code=$?\n", &[]),
        ("grep x f | sort\n", &["1 pipe-failure"]),
        ("set -o pipefail\ngrep x f | sort\n", &[]),
        ("echo x | sort | grep y | wc -l\n", &["1 pipe-failure"]),
        ("ls *.log | wc -l\n", &["1 pipe-failure"]),
        ("echo $NOPE\necho ${NOPE2:-}\n", &["1 unset-variable"]),
        ("echo \"$@\"\n", &["1 arguments"]),
        ("cd \"$(dirname \"$0\")\"\n", &["1 own-file"]),
        (
            "read -r answer\n",
            &["1 ignored-failure", "1 read-without-input"],
        ),
        (
            "#!/usr/bin/env python3\nprint('x')\n",
            &["1 interpreter", "2 syntax"],
        ),
        ("#!/bin/zsh\necho x\n", &["1 interpreter"]),
        ("#!/bin/sh\necho 'a\\nb'\n", &["2 echo-escapes"]),
        ("echo $1\nnohup x &\n", &["2 ended-with-job"]),
        ("echo $1\n\nif x\n", &["3 syntax"]),
        ("echo a\r\n", &["1 line-ends"]),
    ] {
        assert_eq!(findings(script), expected, "{script}");
    }
    let tested = "x=$(some --thing)\nif [ -z \"$x\" ]; then echo none; fi\n";
    assert_eq!(findings(tested), ["1 ignored-failure"]);
    assert_eq!(findings("x=$(some --thing)\necho \"$x\"\n"), [""; 0]);
    let rules = |script: &str| imported(script).findings.into_iter().map(|it| it.rule);
    assert!(rules("echo\nsystemctl restart x\n").any(|rule| rule == "stops-at-failure"));
    assert!(!rules("set -e\nsystemctl restart x\n").any(|rule| rule == "stops-at-failure"));
}

#[test]
fn what_can_not_be_a_preset_is_refused() {
    let tools = Tools::installed_none();
    let error = |name: &str, script: &str| import(name, script, &tools).expect_err(script);
    assert_eq!(error("-", "true"), ImportError::Name);
    assert_eq!(error("Ü", "true"), ImportError::Name);
    assert_eq!(error("a", "# nothing\n"), ImportError::Empty);
    assert_eq!(error("a", "true\0"), ImportError::Nul);
    assert_eq!(error("a", &"true\n".repeat(60_000)), ImportError::TooLong);
    for name in ["true", "123", "0x1", "null", "-x", "1e3", "y"] {
        let imported = import(name, "true", &tools).expect("a preset");
        assert_eq!(
            Preset::parse(name, &imported.source).expect("parses").name,
            name
        );
    }
}
