//! Inputs of a script: the distribution, the params, the secrets.

use serde_json::json;

use super::bash::{preset, ran, rendered, run, run_script, steps, values};
use crate::presets::render;

fn own_id() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("ID="))
        .map_or("unknown".to_owned(), |id| id.trim_matches('"').to_owned())
}

#[test]
fn the_distro_guard() {
    let for_others = preset("targets: [plan9, templeos]\nsteps:\n- { name: One, run: echo 1 }");
    let script = rendered(&for_others).text;
    let refusal = format!(
        "distro guard: this preset targets plan9, templeos; this node is {}\n",
        own_id()
    );
    assert_eq!(run(&for_others), ran(2, "", &refusal));
    for force in ["", "0", "true"] {
        let ran_anyway = run_script(&script, &[("HYPRBOX_FORCE", force)], b"");
        assert_eq!(ran_anyway, ran(2, "", &refusal));
    }
    let done = ran(0, "==> [1/1] One\n1\n", "");
    assert_eq!(run_script(&script, &[("HYPRBOX_FORCE", "1")], b""), done);

    let for_this = format!(
        "targets: [plan9, {}]\nsteps:\n- {{ name: One, run: echo 1 }}",
        own_id()
    );
    assert_eq!(run(&preset(&for_this)), done);
    assert_eq!(run(&steps("- { name: One, run: echo 1 }")), done);
}

/// The guard reads every notation that os-release(5) allows or that occurs in practice.
#[test]
fn the_guard_reads_os_release() {
    let preset = preset("targets: [arch]\nsteps:\n- { name: One, run: echo 1 }");
    let script = rendered(&preset).text;
    let guarded = |os_release: &str| {
        let file = tempfile::NamedTempFile::new().expect("a temp file");
        std::fs::write(file.path(), os_release).expect("written");
        let path = file.path().display().to_string();
        run_script(&script.replace("/etc/os-release", &path), &[], b"")
    };
    for arch in [
        "ID=arch\n",
        "ID=arch",
        "ID=\"arch\"\n",
        "ID='arch'\r\n",
        "NAME=x\nID_LIKE=debian\nID=arch  \nVERSION_ID=1\n",
        "PRETTY_NAME=\"$(touch /nowhere/x; exit 5)\"\nID=arch\n",
    ] {
        assert_eq!(guarded(arch).code, Some(0), "{arch:?}");
    }
    for (text, id) in [
        ("", "unknown"),
        ("ID=\n", "unknown"),
        ("NAME=arch\nVARIANT_ID=arch\n", "unknown"),
        ("ID=archarm\n", "archarm"),
        ("ID=arch*\nID=void\n", "void"),
    ] {
        let refusal = format!("distro guard: this preset targets arch; this node is {id}\n");
        assert_eq!(guarded(text), ran(2, "", &refusal), "{text:?}");
    }
}

/// With `derivatives`, a target in `ID_LIKE` passes the guard, and the node picker agrees.
#[test]
fn the_guard_and_derivatives() {
    let yaml = "targets: [debian, ubuntu]\nderivatives: true\nsteps:\n- { name: One, run: echo 1 }";
    let with = preset(yaml);
    let without = preset(&yaml.replace("derivatives: true\n", ""));
    for (os_release, id, like, fits, fits_alone) in [
        ("ID=debian\n", "debian", "", true, true),
        (
            "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
            "linuxmint",
            "ubuntu debian",
            true,
            false,
        ),
        (
            "ID_LIKE='arch  ubuntu'\r\nID=pop",
            "pop",
            "arch  ubuntu",
            true,
            false,
        ),
        ("ID=fedora\nID_LIKE=\n", "fedora", "", false, false),
        ("ID=x\nID_LIKE=debianish\n", "x", "debianish", false, false),
        ("ID=x\nID_LIKE=\"*\"\n", "x", "*", false, false),
        ("ID=x\nVARIANT_ID_LIKE=debian\n", "x", "", false, false),
        ("", "unknown", "", false, false),
    ] {
        for (preset, fits, and) in [
            (&with, fits, " and derivatives"),
            (&without, fits_alone, ""),
        ] {
            assert_eq!(preset.targets_os(id, like), fits, "{os_release:?}");
            let file = tempfile::NamedTempFile::new().expect("a temp file");
            std::fs::write(file.path(), os_release).expect("written");
            let path = file.path().display().to_string();
            let script = rendered(preset).text.replace("/etc/os-release", &path);
            let refusal = format!(
                "distro guard: this preset targets debian, ubuntu{and}; this node is {id}\n"
            );
            let expected = if fits {
                ran(0, "==> [1/1] One\n1\n", "")
            } else {
                ran(2, "", &refusal)
            };
            assert_eq!(run_script(&script, &[], b""), expected, "{os_release:?}");
        }
    }
}

#[test]
fn params_are_read_only_and_quoted() {
    let preset = preset(
        "targets: [any]\n\
         params:\n  text: { type: string }\n  number: { type: int, default: -7 }\n  truth: { type: bool, default: false }\n  \
           choice: { type: enum, values: ['on', a b], default: a b }\n  ssh_port: { type: port, default: 22 }\n\
         steps:\n  - name: Show\n    run: |\n      printf '[%s]' \"$text\" \"$number\" \"$truth\" \"$choice\" \"$ssh_port\"\n      \
           if (text=new) 2>/dev/null; then echo writable; fi\n",
    );
    let ran_with = |params| run_script(&render(&preset, &values(&preset, params)).text, &[], b"");
    assert_eq!(
        ran_with(json!({})).stdout,
        "==> [1/1] Show\n[][-7][false][a b][22]"
    );
    let given = json!({"text": "a'b\n'", "number": i64::MIN, "truth": true, "choice": "on", "ssh_port": 65535});
    assert_eq!(
        ran_with(given).stdout,
        "==> [1/1] Show\n[a'b\n'][-9223372036854775808][true][on][65535]"
    );
}

#[test]
fn secrets_come_from_descriptor_3() {
    let preset = preset(
        "targets: [any]\n\
         params:\n  zeta: { type: secret }\n  user: { type: string, default: me }\n  alpha: { type: secret }\n\
         steps:\n  - name: Use\n    run: |\n      printf '[%s]' \"$alpha\" \"$zeta\" \"$user\"\n      \
           { : <&3; } 2>/dev/null && echo open\n      env | grep -c 'line' || true\n",
    );
    let values = values(&preset, json!({"zeta": "z\nline\n", "alpha": "a'$x\\"}));
    let script = render(&preset, &values).text;
    assert!(
        !script.contains("a'") && !script.contains("line\n\n"),
        "{script}"
    );
    let framed: Vec<u8> = values
        .secrets()
        .values()
        .flat_map(|secret| secret.bytes().chain([0]))
        .collect();
    assert_eq!(
        run_script(&script, &[], &framed),
        ran(0, "==> [1/1] Use\n[a'$x\\][z\nline\n][me]0\n", "")
    );
    // A truncated or missing secret ends the script before its first step.
    for short in [&framed[..3], &framed[..framed.len() - 1], b""] {
        let ran = run_script(&script, &[], short);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{short:?}");
        assert!(ran.stderr.contains("did not arrive\n"), "{}", ran.stderr);
    }
}
