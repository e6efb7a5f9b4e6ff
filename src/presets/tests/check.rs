//! The linter: every fault of the folder `broken` at its place, and no other; the built-in presets are clean; what is no
//! fault is left alone.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::presets::check::{Finding, Tools, check, check_paths, human, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn own_rules() -> Tools {
    let tools = Tools::installed().without_shellcheck();
    assert!(tools.has_bash());
    tools
}

fn found(findings: &[Finding]) -> Vec<String> {
    let one = |f: &Finding| format!("{}:{} {}", f.line, f.column, f.rule);
    findings.iter().map(one).collect()
}

/// Each file says in its first line what is to be found, and where.
#[test]
fn each_fault_is_found_at_its_place_and_nothing_else() {
    let all = check_paths(&[folder("src/presets/tests/broken")], &own_rules());
    assert!(all.len() >= 20, "{}", all.len());
    let mut wrong = String::new();
    for file in &all {
        let expected = file
            .text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# expect: "));
        let findings = file.findings.as_ref().expect("readable");
        if found(findings) != [expected.expect("a line that says it")] {
            wrong.push_str(&format!("{}\n{findings:#?}\n", file.text));
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n{}", human(&all));
}

/// With shellcheck, too: it may say more, and takes none away.
#[test]
fn shellcheck_speaks_of_the_same_places() {
    let tools = Tools::installed();
    if !tools.has_shellcheck() {
        assert!(std::env::var_os("CI").is_none(), "shellcheck is missing");
        return;
    }
    for file in check_paths(&[folder("src/presets/tests/broken")], &tools) {
        let expected = file
            .text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# expect: "));
        let findings = found(file.findings.as_ref().expect("readable"));
        assert!(
            findings.iter().any(|f| Some(f.as_str()) == expected),
            "{findings:?}\n{}",
            file.text
        );
    }
    let text = "name: x\ntargets: [any]\nparams:\n  name: { type: string, required: true }\nsteps:\n  - name: One\n    \
                unless: test -e \"$name\"\n    run: |\n      echo \"$name\"\n\n      for file in $(ls /srv); do\n        \
                echo \"$file\"\n      done\n  - name: Two\n    run: 'x=1; export x; cat $HOME/file'\n";
    assert_eq!(
        found(&check("x", text, &tools)),
        ["11:19 SC2045", "15:30 SC2086"]
    );
}

#[test]
fn the_built_in_presets_are_clean() {
    let all = check_paths(&[folder("presets")], &Tools::installed());
    assert!(
        all.iter()
            .all(|file| file.findings.as_ref().is_ok_and(Vec::is_empty)),
        "{}",
        human(&all)
    );
    assert_eq!(human(&all), format!("{} files: nothing found\n", all.len()));
}

/// What looks like a fault and is none. Each is the `run` of a preset with a few params.
#[test]
fn no_false_alarms() {
    let table = [
        // Quotes that aren't needed.
        "x=$name; y=\"${name}\"; [[ $name == a* && -e $name ]]; case $name in a) ;; esac; cat <<<$name; local_file=$name",
        "declare a=$name; readonly b=$name; export c=$name; echo \"$a$b$c\"",
        "echo $port ${#name} $((port + 1)) $flag; printf '%s\\n' '$name'; : \"$name\"",
        "cat <<EOF\n$name $(printf '%s' \"$name\")\nEOF\ncat <<'EOF'\n$nothing\nEOF",
        // Variables that are set in one way or another.
        "read -r a b <<<\"$name\"; mapfile -t lines </etc/fstab; printf -v c x; echo \"$a$b$c${lines[0]}\"",
        "for f in /etc/*; do echo \"$f\"; done; while IFS= read -r line; do echo \"$line\"; done </etc/fstab",
        "((count = 1)); for ((i = 0; i < port; i++)); do echo \"$i$count\"; done; getopts ab opt || echo \"$opt\"",
        "f() { local x=1 y; y=2; echo \"$x$y\"; }\nf; echo \"${maybe:-} ${other-x} ${third+y} $http_proxy\"",
        "awk -v p=\"$name\" '{ print $p, $undefined }' /etc/fstab; sed \"s/x/\\$y/\" /etc/fstab",
        ". /etc/os-release; echo \"$id\"",
        // Removals that can't go too far.
        "rm -rf \"${name:?}/\"; rm -rf \"/srv/${name:?}\"; rm -f \"/srv/$name\"; rm -rf \"/srv/$name.d\"",
        "[[ -n $name ]] || exit 1\nrm -rf \"/srv/$name\"",
        "rm -rf \"/srv/$strict\" \"/srv/$port\"",
        // Downloads that aren't run.
        "curl -fsS https://example.org/ | tar -xz -C /opt; curl -fsS https://example.org/x | python3 parse.py; bash install.sh",
        "echo 'curl x | bash'; curl -o bash https://example.org; echo \"$(curl https://example.org)\"",
        // apt that asks nothing.
        "DEBIAN_FRONTEND=noninteractive apt-get -qy install curl; apt-get update; apt-get -s upgrade; apt-get check",
        "export DEBIAN_FRONTEND=noninteractive; options=(--yes); apt-get \"${options[@]}\" install curl; echo apt-get install x",
        // Secrets that nobody sees.
        "printf '%s' \"$key\" | openssl dgst; PGPASSWORD=$key psql -c 'select 1'; cat <<<\"$key\"; use() { printf '%s' \"$1\"; }; use \"$key\"",
        "[[ -n $key ]]; test \"$key\" = x || restic ${key:+--quiet} snapshots",
        // Ends that come later.
        "shutdown -r +1; echo 'reboot now'; systemctl status reboot.target",
        "sshd -t; systemctl reload ssh",
        "chmod 0755 /srv; chmod +x /srv/x",
        // Bash of all sorts.
        "case $name in\n  a | b) echo 1 ;;&\n  (c) echo 2 ;;\n  *)\n    echo \"$(case x in x) echo \"$name\" ;; esac)\"\n    ;;\nesac",
        "x=`echo \"$name\"`; diff <(echo \"$name\") <(cat /etc/fstab); echo $'it\\'s' \"${x//\\'/\\\"}\" ${x:+\"$x\"}",
        "if [[ $name =~ ^(a|b)\\ c$ ]]; then :; elif ! [[ -e /x && ( -d /y || -f /z ) ]]; then :; fi",
        "coproc cat; time { echo 1; } 2>/dev/null >&2 | cat; (cd /srv && ls) || exit 1 # 'quote",
        "exec 4<>/dev/tcp/127.0.0.1/80; echo x >&4; exec 4>&-; cat /etc/fstab &>/dev/null; wait",
    ];
    for run in table {
        let indented = run.replace('\n', "\n      ");
        let text = format!(
            "name: x\ntargets: [any]\nparams:\n  name: {{ type: string, required: true }}\n  strict: {{ type: string, pattern: '[a-z]+', required: true }}\n  \
             port: {{ type: port, default: 22 }}\n  flag: {{ type: bool, default: true }}\n  key: {{ type: secret }}\nsteps:\n  \
             - name: All\n    run: printf '%s' \"$name\" \"$strict\" \"$port\" \"$flag\" \"$key\"\n  - name: One\n    run: |\n      {indented}\n"
        );
        assert_eq!(
            found(&check("x", &text, &own_rules())),
            Vec::<String>::new(),
            "{run}"
        );
    }
}

/// Places are those of the file, however the text stands in it.
#[test]
fn places_in_all_forms_of_text() {
    let text = "name: x\ntargets: [any]\nparams: { name: { type: string, required: true } }\nsteps:\n\
                - { name: Flow, run: echo $name }\n- name: Quoted\n  run: 'echo ''é'' $name'\n- name: Quoted too\n  run: \"echo \\\"x\\\" $name\"\n\
                - name: Block\n  run: |-\n\n     # ü\n     echo \\\n       $name\n- name: Folded\n  run: >\n    echo\n    $name\n";
    let own = own_rules();
    let rule = " unquoted-param";
    let places = ["5:27", "7:20", "9:20", "15:8", "17:8"].map(|place| format!("{place}{rule}"));
    assert_eq!(found(&check("x", text, &own)), places);
    assert_eq!(found(&check("x", &format!("\u{feff}{text}"), &own)), places);
    assert_eq!(
        found(&check("x", &text.replace('\n', "\r\n"), &own)),
        places
    );
}

#[test]
fn reports() {
    let dir = tempfile::tempdir().expect("a temp folder");
    let path = dir.path().join("bad.yaml");
    let text = "name: bad\ntargets: [any]\nsteps:\n- name: One\n  run: |\n    true\n    \tchmod 777 /srv\n";
    std::fs::write(&path, text).expect("written");
    let missing = dir.path().join("missing.yaml");
    let all = check_paths(&[path.clone(), missing.clone()], &own_rules());
    let (path, missing) = (path.display().to_string(), missing.display().to_string());
    let message =
        "every user of the machine may change it then, and so what root reads or runs of it";
    assert_eq!(
        human(&all),
        format!(
            "{path}:7:6: warning: {message} [open-to-all]\n  |\n7 |     \tchmod 777 /srv\n  |     \t^\n\n\
             {missing}: can't be read: No such file or directory (os error 2)\n\n\
             2 files; errors: 0, warnings and notes: 1, not read: 1\n"
        )
    );
    assert_eq!(
        json(&all),
        serde_json::json!({
            "files": 2,
            "findings": [{"file": path, "line": 7, "column": 6, "severity": "warning", "rule": "open-to-all", "message": message}],
            "unreadable": [{"file": missing, "message": "No such file or directory (os error 2)"}],
        })
    );
    let empty = tempfile::tempdir().expect("a temp folder");
    assert!(
        human(&check_paths(&[empty.path().to_owned()], &own_rules()))
            .contains("no file in this folder")
    );
}

proptest! {
    #![proptest_config(super::hostile::config(200))]

    /// Whatever stands in a step: the linter ends, and doesn't panic.
    #[test]
    fn any_bash_is_read(run in super::hostile::scraps()) {
        let mut text = "name: x\ntargets: [any]\nsteps:\n- name: One\n  run: |\n    true\n".to_owned();
        for line in run.lines() {
            text.push_str(&format!("    {line}\n"));
        }
        // Past bash -n as well, which refuses most of it.
        crate::presets::check::read_anything(&run);
        let findings = check("x", &text, &own_rules());
        let lines = text.lines().count();
        prop_assert!(findings.iter().all(|f| (1..=lines).contains(&f.line)), "{findings:?}\n{text}");
    }
}

/// The example of the documentation is a preset, and the finding that it shows is what is found.
#[test]
fn the_documentation_tells_the_truth() {
    let docs = std::fs::read_to_string(folder("docs/presets.md")).expect("the page");
    let (_, rest) = docs.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    assert_eq!(
        found(&check("motd", example, &Tools::installed())),
        Vec::<String>::new()
    );
    let dir = tempfile::tempdir().expect("a temp folder");
    let path = dir.path().join("motd.yaml");
    std::fs::write(&path, example.replace("\"$text\" >", "$text >")).expect("written");
    let told = human(&check_paths(&[path], &Tools::installed()));
    let told = told.replace(&dir.path().display().to_string(), "my-presets");
    let finding = told.split("\n\n").next().expect("a finding");
    assert!(docs.contains(finding), "{told}");
}
