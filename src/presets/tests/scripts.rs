//! Rendered scripts, run by a real bash.

use serde_json::json;

use super::bash::{ran, rendered, run, run_script, steps};

/// Steps, exit code, standard output, standard error.
#[test]
fn steps_behave() {
    let table: &[(&str, &str, i32, &str, &str)] = &[
        (
            "each step announces itself",
            "- { name: One, run: echo 1 }\n- { name: It's two, run: echo 2 }",
            0,
            "==> [1/2] One\n1\n==> [2/2] It's two\n2\n",
            "",
        ),
        (
            "a step that is already done is skipped, its verify too",
            "- { name: One, unless: 'true', run: echo no, verify: 'false' }\n- { name: Two, run: echo 2 }",
            0,
            "==> [1/2] One (already done)\n==> [2/2] Two\n2\n",
            "",
        ),
        (
            "of unless the last exit status counts, whatever failed before it",
            "- { name: One, unless: \"false\\ntrue\", run: echo no }\n- { name: Two, unless: \"true\\nfalse\", run: echo 2 }",
            0,
            "==> [1/2] One (already done)\n==> [2/2] Two\n2\n",
            "",
        ),
        (
            "a pipe in unless is not failed by a reader that has seen enough",
            "- { name: One, unless: yes 2>/dev/null | grep -q y, run: echo no }",
            0,
            "==> [1/1] One (already done)\n",
            "",
        ),
        (
            "an unset variable in unless means not done",
            "- { name: One, unless: 'exec 2>/dev/null; test -z \"$nowhere\"', run: echo 1 }",
            0,
            "==> [1/1] One\n1\n",
            "",
        ),
        (
            "a failed run ends the script with its own code",
            "- { name: One, run: exit 42 }\n- { name: Two, run: echo no }",
            42,
            "==> [1/2] One\n",
            "",
        ),
        (
            "set -e holds in run to the end, behind an unless too",
            "- { name: One, unless: 'false', run: \"echo a\\nsh -c 'exit 7'\\necho no\", verify: 'true' }",
            7,
            "==> [1/1] One\na\n",
            "hyprbox: line N ended with exit code 7: sh -c 'exit 7'\n",
        ),
        (
            "set -e holds in a function that run calls",
            "- { name: One, run: \"f() { false; echo no; }\\nf\" }",
            1,
            "==> [1/1] One\n",
            "hyprbox: line N ended with exit code 1: false\n",
        ),
        (
            "pipefail and set -u hold in run",
            "- { name: One, run: \"false | true\\necho no\" }",
            1,
            "==> [1/1] One\n",
            "hyprbox: line N ended with exit code 1: a pipe (exit codes 1 0), at: true\n",
        ),
        (
            "of a step that is killed bash prints no text",
            "- { name: One, run: \"echo 1\\nkill -9 $BASHPID\" }\n- { name: Two, run: echo no }",
            137,
            "==> [1/2] One\n1\n",
            "Killed\n",
        ),
        (
            "a failed verify",
            "- { name: One, run: echo 1, verify: exit 9 }\n- { name: Two, run: echo no }",
            1,
            "==> [1/2] One\n1\n",
            "==> [1/2] verify failed: One\n",
        ),
        (
            "set -e holds in verify to the end",
            "- { name: One, run: 'true', verify: \"false\\ntrue\" }",
            1,
            "==> [1/1] One\n",
            "hyprbox: line N ended with exit code 1: false\n==> [1/1] verify failed: One\n",
        ),
        (
            "set -e is back on after a verify",
            "- { name: One, run: 'true', verify: 'true' }\n- { name: Two, run: \"false\\necho no\" }",
            1,
            "==> [1/2] One\n==> [2/2] Two\n",
            "hyprbox: line N ended with exit code 1: false\n",
        ),
        (
            "exit 0 ends the step, not the script",
            "- { name: One, run: \"echo 1\\nexit 0\\necho no\" }\n- { name: Two, run: echo 2 }",
            0,
            "==> [1/2] One\n1\n==> [2/2] Two\n2\n",
            "",
        ),
        (
            "variables, functions and the folder don't outlive a step",
            "- { name: One, run: \"x=1; f() { :; }; cd /tmp; set +u\" }\n- { name: Two, run: 'declare -F f; pwd; echo \"${x-gone}\"', unless: 'declare -F f' }",
            1,
            "==> [1/2] One\n==> [2/2] Two\n",
            "hyprbox: line N ended with exit code 1: declare -F f\n",
        ),
        (
            "a step that reads standard input gets nothing, and eats nothing of the script",
            "- { name: One, unless: \"cat\\nfalse\", run: \"cat\\nread -r line || echo end\", verify: cat }\n- { name: Two, run: echo 2 }",
            0,
            "==> [1/2] One\nend\n==> [2/2] Two\n2\n",
            "",
        ),
        (
            "a here-document, flush left and to the last line",
            "- name: One\n  run: |\n    cat <<EOF\n      $((1 + 1)) )\n    EOF\n- { name: Two, run: \"cat <<'EOF'\\nit's\\nEOF\" }",
            0,
            "==> [1/2] One\n  2 )\n==> [2/2] Two\nit's\n",
            "",
        ),
        (
            "a comment, a backslash and a semicolon at the end",
            "- { name: One, run: 'echo 1 # one' }\n- { name: Two, run: 'echo 2 \\' }\n- { name: Three, run: 'echo 3;' }",
            0,
            "==> [1/3] One\n1\n==> [2/3] Two\n2\n==> [3/3] Three\n3\n",
            "",
        ),
        (
            "a name with everything bash could stumble over",
            "- { name: \"$(id) `id` 'a' \\\"b\\\" \\\\ %s !! * ü\", run: 'true' }",
            0,
            "==> [1/1] $(id) `id` 'a' \"b\" \\ %s !! * ü\n",
            "",
        ),
    ];
    for (what, yaml, code, stdout, stderr) in table {
        let mut ran_so = run(&steps(yaml));
        ran_so.stderr = without_lines(&ran_so.stderr);
        assert_eq!(ran_so, ran(*code, stdout, stderr), "{what}");
    }
}

/// `hyprbox: line 57 ended` → `hyprbox: line N ended`
fn without_lines(stderr: &str) -> String {
    let number = regex::Regex::new("(?m)^hyprbox: line [0-9]+ ").expect("a pattern");
    number.replace_all(stderr, "hyprbox: line N ").into_owned()
}

/// A step that `set -e` ends reports its line and command once; an intended failure is not
/// reported.
#[test]
fn set_e_reports_the_command_that_ended_the_step() {
    let hint =
        "; SIGPIPE: under pipefail, a command fails if its reader (grep -q, head) ends first";
    let table: &[(&str, &str, i32, &str)] = &[
        ("false", "false", 1, "false"),
        ("f() {\n  false\n  echo no\n}\nf", "  false", 1, "false"),
        ("x=$(exit 3)", "x=$(exit 3)", 3, "x=$(exit 3)"),
        (
            "x=$(y=$(exit 3))",
            "x=$(y=$(exit 3))",
            3,
            "x=$(y=$(exit 3))",
        ),
        (
            "for i in 1 2; do\n  [[ $i == 1 ]]\ndone",
            "  [[ $i == 1 ]]",
            1,
            "[[ $i == 1 ]]",
        ),
        ("true && false", "true && false", 1, "false"),
        (
            "sh -c 'exit 9' \\\n  a",
            "sh -c 'exit 9' \\",
            9,
            "sh -c 'exit 9' a",
        ),
        ("((0))", "((0))", 1, "((0))"),
        ("trap 'echo bye' EXIT\nfalse", "false", 1, "false"),
    ];
    for (body, line, code, command) in table {
        for field in ["run", "verify"] {
            let text = json!(body);
            let other = if field == "verify" {
                ", run: 'true'"
            } else {
                ""
            };
            let preset = steps(&format!("- {{ name: One, {field}: {text}{other} }}"));
            let script = rendered(&preset).text;
            let at = script
                .lines()
                .collect::<Vec<_>>()
                .iter()
                .rposition(|it| it == line)
                .expect("the line")
                + 1;
            let mut expected =
                format!("hyprbox: line {at} ended with exit code {code}: {command}\n");
            if field == "verify" {
                expected.push_str("==> [1/1] verify failed: One\n");
            }
            let ended = run(&preset);
            assert_eq!(ended.stderr, expected, "{body}");
            let code = if field == "verify" { 1 } else { *code };
            assert_eq!(ended.code, Some(code), "{body}");
        }
    }
    let pipe = run(&steps("- { name: One, run: yes | head -n 1 >/dev/null }"));
    assert_eq!(pipe.code, Some(141));
    assert_eq!(
        without_lines(&pipe.stderr),
        format!(
            "hyprbox: line N ended with exit code 141: a pipe (exit codes 141 0), at: head -n 1 > /dev/null{hint}\n"
        )
    );
    for meant in [
        "if false; then :; fi; false || true; ! true; ! false; while false; do :; done",
        "f() { false; true; }; f || echo 1; if f; then :; fi; ! f; true",
        "x=$(false) || x=1; echo \"$(false)\"; declare y=$(false); (false) || true; { false; } || true",
        "set +e\nfalse\nset -e\ntrue",
        "false | true || true; (false; true) || true",
        "false && true; true",
    ] {
        let preset = steps(&format!(
            "- {{ name: One, unless: 'false', run: {}, verify: {} }}",
            json!(meant),
            json!(meant)
        ));
        let ended = run(&preset);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{meant}"
        );
    }
}

/// The agent's supervisor reads the end of the first line. Black-box, with a real agent:
/// `agent::a_preset_may_leave_processes_running`.
#[test]
fn a_preset_may_keep_its_processes() {
    let yaml = "targets: [any]\nkeepProcesses: KEEP\nsteps:\n- { name: One, run: echo 1 }";
    for (keep, is_there) in [("true", true), ("false", false)] {
        let preset = super::bash::preset(&yaml.replace("KEEP", keep));
        let script = rendered(&preset).text;
        let first = script.lines().next();
        let marked = "set -euo pipefail # hyprbox: keep-processes";
        let plain = "set -euo pipefail";
        assert_eq!(first, Some(if is_there { marked } else { plain }));
        assert_eq!(run(&preset).stdout, "==> [1/1] One\n1\n");
    }
}

/// Steps that leave a construct open: no step may run, and the script exits with 2.
#[test]
fn an_open_step_runs_nothing() {
    let table = [
        (
            "a quote in two steps",
            r#"echo "it's""#,
            "echo it's",
            "echo it's",
        ),
        ("one quote", "echo 1", "echo it's", "echo 3"),
        ("a parenthesis too many", "echo 1", "echo 2\n)", "echo 3"),
        ("a parenthesis too few", "echo 1", "(echo 2", "echo 3"),
        (
            "too many here, too few there",
            "echo 1",
            "echo 2\n)",
            "(\necho 3",
        ),
        (
            "a brace too few and one too many",
            "echo 1",
            "{ echo 2",
            "echo 3; }",
        ),
        (
            "a here-document that ends in the next step",
            "echo 1",
            "cat <<EOF\n2\n  EOF",
            "cat <<EOF\n3\nEOF\necho 4",
        ),
        (
            "a here-document that never ends",
            "echo 1",
            "cat <<EOF\n2",
            "echo 3",
        ),
        (
            "command substitutions",
            "echo 1",
            "echo $(echo 2",
            "echo 3)",
        ),
        ("backticks", "echo 1", "echo `echo 2", "echo 3`"),
        ("expansions", "echo 1", "echo ${x:-2", "echo 3}"),
        ("arithmetic", "echo 1", "((2", "echo 3))"),
        (
            "an if without its end",
            "echo 1",
            "if true; then echo 2",
            "echo 3; fi",
        ),
        (
            "a case without its end",
            "echo 1",
            "case 2 in\n2) echo 2 ;;",
            "echo 3",
        ),
        ("a pipe into nothing", "echo 1", "echo 2 |", "echo 3"),
        ("an and without its end", "echo 1", "echo 2 &&", "echo 3"),
        ("a function without its body", "echo 1", "f()", "echo 3"),
        (
            "out of the group, and the rest hidden in a here-document: bash alone would exit with 0",
            "echo 1",
            ">/dev/null case x in x) ; }<<'EOF'",
            "'",
        ),
        (
            "out of its function and back",
            "echo 1",
            "echo 2\n)\necho out\n(\necho 3",
            "echo 4",
        ),
        (
            "out by a subshell",
            "echo 1",
            "echo 2\n)\n(echo out)\n(\necho 3",
            "echo 4",
        ),
        (
            "out by a pipe",
            "echo 1",
            "echo 2\n)\n(echo out) | cat | (\ncat",
            "echo 4",
        ),
        (
            "out of the group and back",
            "echo 1",
            "echo 2\n)\n}\necho out\n{ (\necho 3",
            "echo 4",
        ),
        (
            "out of the group, in a subshell",
            "echo 1",
            "echo 2\n)\n}\n(echo out)\n{\n(",
            "echo 4",
        ),
    ];
    for (what, one, two, three) in table {
        let yaml: Vec<String> = [one, two, three]
            .iter()
            .map(|run| format!("- {{ name: Step, run: {} }}", json!(run)))
            .collect();
        let ran = run(&steps(&yaml.join("\n")));
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(2), ""),
            "{what}: {ran:?}"
        );
        assert!(!ran.stderr.is_empty(), "{what}");
    }
}

/// The same between the parts of one step: here a condition swallows the rest.
#[test]
fn an_open_unless_runs_nothing() {
    let preset = steps("- { name: One, unless: echo it's, run: echo no, verify: echo it's }");
    let ran = run(&preset);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert_eq!(
        ran.stderr,
        "hyprbox: the script is incomplete, or a step is not valid bash by itself; nothing was run\n"
    );
}

/// A script without its last line runs nothing; from its third line on, that is an error.
#[test]
fn a_truncated_script_runs_nothing() {
    let script = rendered(&steps("- { name: One, run: echo 1, verify: echo v }")).text;
    let opened = script.find("\n{ ").expect("a group");
    for length in (0..script.trim_end().len()).step_by(7) {
        let ran = run_script(&script[..length], &[], b"");
        assert_eq!(ran.stdout, "", "the first {length} bytes");
        assert!(length < opened || ran.code == Some(2), "{length}: {ran:?}");
    }
}

/// Params are read-only variables: a name that the script itself assigns to would end it.
#[test]
fn no_param_has_a_name_that_the_script_assigns_to() {
    let script = rendered(&steps(
        "- { name: One, unless: 'false', run: 'exit 0', verify: 'true' }",
    ));
    let assigned = regex::Regex::new(r"(?m)(?:^|[\s;])([a-z][a-z0-9_]*)=").expect("valid");
    let own: Vec<&str> = assigned
        .captures_iter(&script.text)
        .map(|found| found.extract::<1>().1[0])
        // Of a comment for shellcheck.
        .filter(|name| *name != "disable")
        .collect();
    assert!(own.is_empty(), "{own:?}");
    for name in ["code", "line", "command", "hint", "status"] {
        let preset = super::bash::preset(&format!(
            "targets: [any]\nparams:\n  {name}: {{ type: string, default: x }}\nsteps:\n- {{ name: One, run: sh -c 'exit 7' }}"
        ));
        let ended = run(&preset);
        assert_eq!(ended.code, Some(7), "{name}: {}", ended.stderr);
        assert_eq!(
            without_lines(&ended.stderr),
            "hyprbox: line N ended with exit code 7: sh -c 'exit 7'\n"
        );
    }
}
