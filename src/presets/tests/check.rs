//! The linter finds exactly the faults of the folder `broken`, and nothing in the built-in presets
//! and in ordinary scripts. One file, because it is one list of scripts and their findings.

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

/// The first line of each file has the expected finding and its place.
#[test]
fn exactly_the_expected_faults_are_found() {
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

/// shellcheck may add findings, and must not remove any.
#[test]
fn shellchecks_findings_map_to_the_file() {
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
    assert_eq!(
        human(&all),
        format!("{} files: no problems found\n", all.len())
    );
}

/// Texts that look wrong but are correct. Each is the `run` of a preset with a few params.
#[test]
fn no_false_alarms() {
    let table = [
        // Quotes that are not needed.
        "x=$name; y=\"${name}\"; [[ $name == a* && -e $name ]]; case $name in a) ;; esac; cat <<<$name; local_file=$name",
        "declare a=$name; readonly b=$name; export c=$name; echo \"$a$b$c\"",
        "echo $port ${#name} $((port + 1)) $flag; printf '%s\\n' '$name'; : \"$name\"",
        "cat <<EOF\n$name $(printf '%s' \"$name\")\nEOF\ncat <<'EOF'\n$nothing\nEOF",
        // Variables that are set in various ways.
        "read -r a b <<<\"$name\"; mapfile -t lines </etc/fstab; printf -v c x; echo \"$a$b$c${lines[0]}\"",
        "for f in /etc/*; do echo \"$f\"; done; while IFS= read -r line; do echo \"$line\"; done </etc/fstab",
        "((count = 1)); for ((i = 0; i < port; i++)); do echo \"$i$count\"; done; getopts ab opt || echo \"$opt\"",
        "f() { local x=1 y; y=2; echo \"$x$y\"; }\nf; echo \"${maybe:-} ${other-x} ${third+y} $http_proxy\"",
        "awk -v p=\"$name\" '{ print $p, $undefined }' /etc/fstab; sed \"s/x/\\$y/\" /etc/fstab",
        ". /etc/os-release; echo \"$ID\"; . ./lib.sh; echo \"$id\"",
        // Safe removals.
        "rm -rf \"${name:?}/\"; rm -rf \"/srv/${name:?}\"; rm -f \"/srv/$name\"; rm -rf \"/srv/$name.d\"",
        "[[ -n $name ]] || exit 1\nrm -rf \"/srv/$name\"",
        "rm -rf \"/srv/$strict\" \"/srv/$port\"",
        // Downloads that are not executed.
        "curl -fsS https://example.org/ | tar -xz -C /opt; curl -fsS https://example.org/x | python3 parse.py; bash install.sh",
        "echo 'curl x | bash'; curl -o bash https://example.org; echo \"$(curl https://example.org)\"",
        // apt without questions.
        "DEBIAN_FRONTEND=noninteractive apt-get -qy install curl; apt-get update; apt-get -s upgrade; apt-get check",
        "export DEBIAN_FRONTEND=noninteractive; options=(--yes); apt-get \"${options[@]}\" install curl; echo apt-get install x",
        // Secrets that stay hidden.
        "printf '%s' \"$key\" | openssl dgst; PGPASSWORD=$key psql -c 'select 1'; cat <<<\"$key\"; use() { printf '%s' \"$1\"; }; use \"$key\"",
        "[[ -n $key ]]; test \"$key\" = x || restic ${key:+--quiet} snapshots",
        // The machine stops later.
        "shutdown -r +1; echo 'reboot now'; systemctl status reboot.target",
        "sshd -t; systemctl reload ssh",
        "chmod 0755 /srv; chmod +x /srv/x",
        // Various bash syntax.
        "case $name in\n  a | b) echo 1 ;;&\n  (c) echo 2 ;;\n  *)\n    echo \"$(case x in x) echo \"$name\" ;; esac)\"\n    ;;\nesac",
        "old=\"`wc -l <\"$name\"`\"\nnew=\"`wc -l </etc/fstab`\"; echo \"$old\" \"$new\"",
        ": ${so:=`tput smso`} ${se:=`tput rmso`}; for f in `ls`; do echo \"$f\"; done; echo \"$so\" \"$se\"",
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

/// Findings have the place in the file for every YAML notation.
#[test]
fn places_in_every_yaml_notation() {
    let text = "name: x\ntargets: [any]\nparams: { name: { type: string, required: true } }\nsteps:\n\
                - { name: Flow, run: echo $name }\n- name: Quoted\n  run: 'echo ''é'' $name'\n- name: Quoted too\n  run: \"echo \\\"x\\\" $name\"\n\
                - name: Block\n  run: |-\n\n     # ü\n     echo \\\n       $name\n- name: Folded\n  run: >\n    echo\n    $name\n";
    let own = own_rules();
    let rule = " unquoted-param";
    let places = ["5:27", "7:20", "9:20", "15:8", "19:5"].map(|place| format!("{place}{rule}"));
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
    let message = "this lets every user of the machine change a file that root may read or run: set narrower permissions";
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

    /// The linter ends and doesn't panic for any text.
    #[test]
    fn any_bash_is_read(run in super::hostile::scraps()) {
        let mut text = "name: x\ntargets: [any]\nsteps:\n- name: One\n  run: |\n    true\n".to_owned();
        for line in run.lines() {
            text.push_str(&format!("    {line}\n"));
        }
        // Also without bash -n, which refuses most of it.
        crate::presets::check::read_anything(&run);
        let findings = check("x", &text, &own_rules());
        let lines = text.lines().count();
        prop_assert!(findings.iter().all(|f| (1..=lines).contains(&f.line)), "{findings:?}\n{text}");
    }
}

/// The example in the documentation is a valid preset, and its finding is the linter's.
#[test]
fn the_documentations_example_and_finding_are_right() {
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
    let report = human(&check_paths(&[path], &Tools::installed()));
    let report = report.replace(&dir.path().display().to_string(), "my-presets");
    let finding = report.split("\n\n").next().expect("a finding");
    assert!(docs.contains(finding), "{report}");
}

/// Lints a text as part of a preset with a few params. Each finding is the rule and the text at its
/// place.
fn rules(field: &str, body: &str) -> Vec<String> {
    let indented = body.replace('\n', "\n      ");
    let run = if field == "run" {
        ""
    } else {
        "\n    run: 'true'"
    };
    let text = format!(
        "name: x\ntargets: [any]\nparams:\n  name: {{ type: string, required: true }}\n  port: {{ type: port, default: 22 }}\n\
         steps:\n  - name: All\n    run: printf '%s' \"$name\" \"$port\"\n  - name: One{run}\n    {field}: |\n      {indented}\n"
    );
    let findings = check("x", &text, &own_rules());
    let at = |f: &Finding| {
        let line = text.lines().nth(f.line - 1).unwrap_or_default();
        let rest: String = line.chars().skip(f.column - 1).collect();
        format!(
            "{}: {}",
            f.rule,
            rest.split([' ', ';', ')']).next().unwrap_or_default()
        )
    };
    findings.iter().map(at).collect()
}

#[test]
#[rustfmt::skip] // one fault, one line
fn commands_that_end_a_step_are_found() {
    let table: &[(&str, &str)] = &[
        ("port=${port:-22}", "readonly-param: port=${port:-22}"),
        ("f() { for name; do :; done; }; f a", "readonly-param: name"),
        ("f() { local name=x; echo \"$name\"; }; f", "readonly-param: name=x"),
        ("f() { local name; }; f", "readonly-param: name"),
        ("for name in a b; do echo \"$name\"; done", "readonly-param: name"),
        ("read -r name <<<x", "readonly-param: name"),
        ("declare -r name=1", "readonly-param: name=1"),
        ("unset name", "readonly-param: name"),
        ("export port=1", "readonly-param: port=1"),
        ("printf -v name %s x", "readonly-param: name"),
        ("mapfile -t name </etc/fstab", "readonly-param: name"),
        ("while getopts ab name; do :; done", "readonly-param: name"),
        ("((port = 1))", "readonly-param: port"),
        ("x=1; echo $((port += x))", "readonly-param: port"),
        ("((port++)) || true", "readonly-param: port++"),
        ("let port=3", "readonly-param: port=3"),
        ("let x=1 'port += x' || true; echo \"$x\"", "readonly-param: 'port"),
        ("for ((; port < 3; port++)); do :; done", "readonly-param: port++"),
        ("exec {port}>/dev/null", "readonly-param: port}>/dev/null"),
        ("cat {port}</etc/fstab", "readonly-param: port}</etc/fstab"),
        ("read -ra name <<<x", "readonly-param: name"),
        ("read -aname <<<x", "readonly-param: -aname"),
        ("read -rp 'Port: ' -t 1 port <<<x", "readonly-param: port"),
        ("readarray -d '' -t name </etc/fstab", "readonly-param: name"),
        ("printf -vname %s x", "readonly-param: -vname"),
        ("select name in a b; do break; done <<<1", "readonly-param: name"),
        ("f() { declare -i port; }; f", "readonly-param: port"),
        ("typeset port=1", "readonly-param: port=1"),
        ("readonly port=1", "readonly-param: port=1"),
        ("name=(a b)", "readonly-param: name=(a"),
        ("name[0]=a", "readonly-param: name[0]=a"),
        ("coproc name { cat; }", "readonly-param: name"),
        ("sleep 1 & wait -n -p port", "readonly-param: port"),
        ("x=$(port=1; echo \"$port\"); echo \"$x\"", "readonly-param: port=1"),
        ("cat <<EOF\n$((port = 3))\nEOF", "readonly-param: port"),
        ("[[ $name =~ (a) ]] && name=${BASH_REMATCH[1]}", "readonly-param: name=${BASH_REMATCH[1]}"),
        (": \"${name:=x}\"", "readonly-param: ${name:=x}\""),
        ("name+=x", "readonly-param: name+=x"),
        ("port=1 env", "readonly-param: port=1"),
        ("dpkg -l | grep -q curl", "early-reader: grep"),
        ("if dpkg -l | grep -Fxq curl; then :; fi", "early-reader: grep"),
        ("dpkg -l | grep -m1 curl", "early-reader: grep"),
        ("x=$(dpkg -l | head -n 1); echo \"$x\"", "early-reader: head"),
        ("dpkg -l | sort | head", "early-reader: head"),
        ("dpkg -l | sed 5q", "early-reader: sed"),
        ("dpkg -l | awk '/x/ { print; exit }'", "early-reader: awk"),
        ("echo \"$LOAD_SCRIPT\"", "undefined-variable: $LOAD_SCRIPT\""),
        (". /etc/os-release; echo \"$id\"", "undefined-variable: $id\""),
        ("echo \"$id\"; . ./lib.sh", "undefined-variable: $id\""),
        ("echo \"$agent\"; eval \"$(ssh-agent)\"", "undefined-variable: $agent\""),
        ("echo \"${SUDO_USER}\"", "undefined-variable: ${SUDO_USER}\""),
        ("curl -fsSL https://x.example | sudo -E bash -s -- x", "download-to-shell: sudo"),
        ("curl -fsSL https://x.example | sudo -u root bash -", "download-to-shell: sudo"),
        ("curl -fsSL https://x.example | sh -s install now", "download-to-shell: sh"),
        ("wget -qO- https://x.example | python3 - --yes", "download-to-shell: python3"),
        ("wget -qO- https://x.example | perl", "download-to-shell: perl"),
        ("SUDO=sudo; curl https://x.example | $SUDO bash", "download-to-shell: $SUDO"),
        ("curl https://x.example | tee /tmp/x | bash -o pipefail", "download-to-shell: bash"),
        ("bash <(curl -fsS https://x.example) --yes", "download-to-shell: bash"),
        ("bash -s x < <(curl -fsS https://x.example)", "download-to-shell: bash"),
        ("bash <<<\"$(curl -fsS https://x.example)\"", "download-to-shell: bash"),
        ("sh -c \"$(curl -fsS https://x.example)\" '' --yes", "download-to-shell: sh"),
        ("source <(curl -fsS https://x.example)", "download-to-shell: source"),
        ("curl https://x.example | env A=1 bash -x", "download-to-shell: env"),
        ("read -rp 'Continue? ' answer; echo \"$answer\"", "read-without-input: read"),
        ("until [[ ${x:-} == y ]]; do read -r x; done", "read-without-input: read"),
        (". ./lib.sh; read -r x; echo \"$x\"", "read-without-input: read"),
        ("while read -r x; do echo \"$x\"; done </etc/fstab; read -r y; echo \"$y\"", "read-without-input: read"),
        ("nohup sleep 301 >/dev/null 2>&1 & echo $! >/tmp/p", "ended-with-job: nohup"),
        ("setsid -f sleep 300", "ended-with-job: setsid"),
        ("sleep 300 &", "ended-with-job: sleep"),
        ("podman run -d --name x docker.io/library/nginx", "ended-with-job: podman"),
        ("tmux new-session -d 'sleep 300'", "ended-with-job: tmux"),
        ("service nginx start", "ended-with-job: service"),
    ];
    let wrong: Vec<_> = table
        .iter()
        .map(|(run, expected)| (run, rules("run", run), *expected))
        .filter(|(_, found, expected)| found[..] != [*expected])
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(rules("verify", "ss -ltn | grep -q :22"), ["early-reader: grep"]);
    assert_eq!(rules("unless", "ss -ltn | grep -q :22"), [""; 0]);
}

/// Only in an `unless`, which a check also runs.
#[test]
fn an_unless_that_changes_the_machine_is_found() {
    let table = [
        ("date >/srv/x", ">/srv/x"),
        ("date &>>\"$name\"", "&>>\"$name\""),
        ("if ! date >|/srv/x; then exit 1; fi", ">|/srv/x"),
        ("x=$(mktemp); test -s \"$x\"", "mktemp"),
        ("sudo rm -f /srv/x; test -e /srv/y", "sudo"),
        ("date | tee /srv/x | grep -q 1", "tee"),
        ("sed -i s/a/b/ /srv/x && true", "sed"),
        ("apt-get update -q && false", "apt-get"),
        ("systemctl is-active x || systemctl start x", "systemctl"),
        ("chmod 600 /srv/x && useradd y", "chmod"),
        ("ufw allow 22", "ufw"),
    ];
    for (unless, place) in table {
        let found = rules("unless", unless);
        let expected = format!("unless-changes: {place}");
        assert_eq!(found.first(), Some(&expected), "{unless}: {found:?}");
        let in_run = rules("run", unless);
        assert!(
            !in_run.iter().any(|it| it.starts_with("unless")),
            "{in_run:?}"
        );
    }
    for unless in [
        "date >/dev/null 2>&1 && echo x >&2 && date &>/dev/null",
        "systemctl is-enabled --quiet x && systemctl show x | grep -q y || ufw status | grep -q 22",
        "sed -n 's/a/b/p' /srv/x | tee /dev/stderr | grep -q b; [[ $name > a ]] && ((port > 3))",
        "dpkg -l | grep -c x; apt-get -s upgrade | grep -c y; apt-cache policy x; nft list ruleset",
        "exec 3<>/dev/tcp/127.0.0.1/22; read -r x <&3; echo \"$x\"; diff <(date) <(date)",
    ] {
        let found = rules("unless", unless);
        assert!(
            !found.iter().any(|it| it.starts_with("unless")),
            "{found:?}"
        );
    }
}

/// Ordinary idioms from public provisioning scripts.
#[test]
fn ordinary_idioms_have_no_findings() {
    let table = [
        "PORT=$port; NAME=${name}; echo \"$PORT$NAME\"; export name; m=([port]=1); env port=1 true; echo port=1; alias port=x",
        "if [[ $port == 1 ]] && ((port == 1 || port <= 2 || port >= 3 || port != 4)); then :; fi; [ \"$name\" = x ]",
        "echo \"$name\" | grep -q x; uname -m | grep -q x; bash --version | head -n 1; id -u | head -1",
        "grep -q x <<<\"$(dpkg -l)\"; grep -q x /etc/fstab; head -n 1 /etc/fstab; dpkg -l | grep x; dpkg -l | head -n -1; dpkg -l | sed -n 1p",
        "x=$(dpkg -l | head -n 1) || true; echo \"$x\" \"$(dpkg -l | head -n 1)\"; f() { local y; y=$(true); echo \"$y\"; local z=$(dpkg -l | head -1); echo \"$z\"; }; f",
        "while read -r a; do echo \"$a\"; done < <(dpkg -l | head); [[ $(dpkg -l | head -1) == x ]] || true; dpkg -l | grep -q x || true",
        "set +o pipefail; dpkg -l | grep -q x",
        "echo \"$USER $LOGNAME $SHELL $HOME $PATH $LANG $TERM $HYPRBOX_JOB_ID $HOSTNAME $EUID ${BASH_VERSINFO[0]} $OSTYPE $HTTPS_PROXY $PWD $RANDOM\"",
        "if [[ -z ${DEBUG:-} ]]; then DEBUG=0; fi; : \"${TOKEN:?}\"; echo \"$TOKEN$DEBUG\"; [ -n \"${CI+x}\" ] && echo \"$CI\" || true",
        "set +u; echo \"$ANYTHING\"",
        "for name; do echo \"$name\"; done; unset name || true; if ! unset -v port; then :; fi; unset -f name; declare -p port; readonly name; export port; env -u port true; [[ -v port ]]",
        "let 'x = port == 3' y=port+1 i=0 i++ || true; echo \"$x$y$i\"; let z=port; echo \"$z\"; echo {port} {name} >/dev/null; : \"${port:=22}\" \"${name:-x}\"",
        "read -rp name x <<<y; read -p port -r x <<<y; echo \"$x\"; printf '%s' -v port; declare -f name || true; mapfile -C name -c 1 lines </etc/fstab; echo \"${lines[0]}\"",
        "f() { echo \"$later$LATER\"; }; . ./lib.sh; f; eval \"$(ssh-agent)\"; echo \"$SSH_AGENT_PID\"; exec {fd}</etc/fstab; exec {fd}<&-; echo \"$fd\"",
        "sort /etc/fstab | (read -r a; echo \"$a\"); (read -r b; echo \"$b\") </etc/fstab; sort /etc/fstab | (\n  x=1\n  while read -r c; do echo \"$c$x\"; done\n)",
        "f() { read -r x; echo \"$x\"; }; sort /etc/fstab | while true; do f; break; done; [[ -t 0 ]] && read -r y && echo \"$y\"",
        "read -ru 3 z 3</etc/fstab; read -r -u3 z 3</etc/fstab; echo \"$z\"; if [ -t 0 ]; then read -rp 'Sure? ' w; echo \"$w\"; fi",
        "if getent passwd root | grep -q x; then :; fi; file /etc/fstab | grep -q text; head -n 1 /etc/fstab | grep -q x; dpkg -l | awk '/x/ { exit 1 }'",
        "start-stop-daemon --start --pidfile /dev/null --startas /usr/bin/mandb",
        ". /etc/os-release; echo \"$VERSION_CODENAME\"",
        "read -r A B <<<\"$name\"; for C in a b; do echo \"$A$B$C\"; done; exec {FD}>/dev/null; echo >&\"$FD\"; printf -v D x; echo \"$D\"",
        "awk 'BEGIN { print ENVIRON[\"X\"], $NF }' /etc/fstab; sed \"s/\\$HOME/x/\" /etc/fstab; cat <<'EOF'\n$NOTHING\nEOF",
        "curl -fsSL https://x.example -o /tmp/x; echo 'abc  /tmp/x' | sha256sum -c -; bash /tmp/x; curl https://x.example | jq -r .tag_name",
        "curl https://x.example | python3 -c 'import sys; print(sys.stdin.read())'; curl https://x.example | perl -ne 'print'; curl https://x.example | bash -n script.sh",
        "curl https://x.example | sudo tee /etc/apt/keyrings/x.asc >/dev/null; curl https://x.example | gpg --dearmor -o /x; command -v bash; curl https://x.example | sudo -u bash cat",
        "while IFS= read -r line; do echo \"$line\"; done </etc/fstab; echo x | { read -r y; echo \"$y\"; }; read -r -u 3 z 3</etc/fstab; echo \"$z\"",
        "ask() { read -r answer; echo \"$answer\"; }; ask <<<y; read -r w </dev/tty || w=y; echo \"$w\"; dpkg -l | while read -r p; do echo \"$p\"; done",
        "sleep 1 & wait; sleep 5 & pid=$!; kill \"$pid\"; docker run -d nginx; systemctl start nginx; podman run --rm nginx; true && echo x &>/dev/null; ls 2>&1 >&2",
        "case $port in\n  port) echo 1 ;;\n  name=*) echo 2 ;;\nesac\nx=\"$(case x in x) echo y ;; esac)\"; echo \"$x\"",
    ];
    let wrong: Vec<_> = table
        .iter()
        .map(|run| (run, rules("run", run)))
        .filter(|(_, found)| !found.is_empty())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let text = "name: x\ntargets: [any]\nkeepProcesses: true\nsteps:\n- name: One\n  run: nohup sleep 300 &\n";
    assert_eq!(found(&check("x", text, &own_rules())), [""; 0]);
}

/// A reader that exits early ends a step, but in a condition it only makes the condition false.
#[test]
fn an_early_reader_is_described_where_it_is() {
    let table = [
        ("dpkg -l | grep -q x", "fails the step"),
        ("true && dpkg -l | grep -q x", "fails the step"),
        ("if true; then\n  dpkg -l | grep -q x\nfi", "fails the step"),
        (
            "f || true; x=$(dpkg -l | head -n 1); echo \"$x\"",
            "fails the step",
        ),
        ("if dpkg -l | grep -q x; then :; fi", "in this condition"),
        (
            "if true; then :; elif dpkg -l | grep -q x; then :; fi",
            "in this condition",
        ),
        ("if ! dpkg -l | grep -q x; then :; fi", "in this condition"),
        (
            "while dpkg -l | grep -q x; do sleep 1; done",
            "in this condition",
        ),
        (
            "until { dpkg -l | grep -q x; }; do sleep 1; done",
            "in this condition",
        ),
        ("if (dpkg -l | grep -q x); then :; fi", "in this condition"),
        (
            "if [[ -e /x ]] && dpkg -l | grep -q x; then :; fi",
            "in this condition",
        ),
        ("dpkg -l | grep -q x && echo yes", "in this condition"),
        ("dpkg -l |\n  grep -q x ||\n  echo no", "in this condition"),
        ("{ dpkg -l | grep -q x; } || echo no", "in this condition"),
        ("! dpkg -l | grep -q x", "in this condition"),
        (
            "if x=$(dpkg -l | head -n 1); then echo \"$x\"; fi",
            "in this condition",
        ),
        (
            "has() { dpkg -l | grep -q x; }; if has; then :; fi",
            "calls the function",
        ),
        (
            "has() (\n  dpkg -l | grep -q x\n)\nhas",
            "calls the function",
        ),
    ];
    for (run, expected) in table {
        let indented = run.replace('\n', "\n      ");
        let text = format!(
            "name: x\ntargets: [any]\nsteps:\n  - name: One\n    run: |\n      {indented}\n"
        );
        let findings = check("x", &text, &own_rules());
        let messages: Vec<&str> = findings.iter().map(|it| it.message.as_str()).collect();
        assert!(
            matches!(messages[..], [message] if message.contains(expected)),
            "{run}: {messages:?}"
        );
    }
}
