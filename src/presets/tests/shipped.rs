//! The built-in presets: a snapshot of each script, so that review shows every changed byte, and
//! shellcheck on each.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::bash::{run_script, values};
use crate::presets::{Catalog, Origin, PresetList, render, render_check};

/// Params for presets that require some, or that have a second path worth a snapshot.
fn params(preset: &str) -> Value {
    match preset {
        "caddy-site" => json!({"domain": "www.example.org", "upstream": "localhost:3000"}),
        "postgres-server" => {
            json!({"database": "app", "role": "app", "password": SECRET, "allow_from": "192.0.2.0/24"})
        }
        "restic-backup" => json!({"repository": "/mnt/backup/restic", "password": SECRET}),
        "server-light" => json!({"ssh_port": 2222, "keep_old_port": false, "firewall": true}),
        "ssh-keys" => json!({"account": "root", "keys": KEY, "refuse_passwords": true}),
        _ => json!({}),
    }
}

const SECRET: &str = "correct horse \' battery";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Gm8mCyQ2pYFQ8q1Yk7s9dIhT0O0b0Vb0d8V3xXkqY me@example.org";

fn scripts() -> Vec<(String, String)> {
    let catalog = Catalog::open(None).current();
    let script = |entry: &std::sync::Arc<crate::presets::CatalogEntry>| {
        let values = values(&entry.preset, params(&entry.preset.name));
        (
            entry.preset.name.clone(),
            render(&entry.preset, &values).text,
        )
    };
    catalog.entries().map(script).collect()
}

#[test]
fn scripts_match_their_snapshots() {
    for (name, script) in scripts() {
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, script);
        });
    }
}

#[test]
fn rendering_is_deterministic() {
    assert_eq!(scripts(), scripts());
}

/// The list in the code matches the folder.
#[test]
fn every_shipped_file_is_built_in() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/presets");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the folder of presets")
        .map(|file| {
            file.expect("readable")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    let catalog = Catalog::open(None).current();
    let built_in = catalog.entries().map(|entry| {
        assert_eq!(entry.origin, Origin::BuiltIn);
        assert!(!entry.preset.description.is_empty());
        entry.preset.name.clone()
    });
    assert_eq!(built_in.collect::<BTreeSet<_>>(), files);
    assert!(PresetList::from(&*catalog).errors.is_empty());
}

/// Variations of the params: only the required ones, limits, and text that is special in bash.
fn variations(preset: &str) -> Vec<Value> {
    let hostile = "it's \"x\" \\ * ~ # ; &\n!! ünï";
    let mut all = match preset {
        "agent-upgrade" => vec![json!({}), json!({"sha256": "ab".repeat(32)})],
        "caddy-site" => vec![
            json!({"domain": "example.org"}),
            json!({"domain": "a.b", "folder": "/srv/www", "tls": "off"}),
            json!({"domain": "a.b", "upstream": "[::1]:8080", "tls": "internal"}),
        ],
        "docker-host" => vec![
            json!({}),
            json!({"account": "me", "log_max_mib": 1, "log_max_files": 100}),
        ],
        "fail2ban" => vec![json!({"ignore": "192.0.2.1 2001:db8::/32", "ban_time": "4w"})],
        "node-exporter" => vec![json!({"address": "[::]", "port": 65_535})],
        "postgres-server" => vec![json!({"database": "a", "role": "b", "password": hostile})],
        "restic-backup" => vec![
            json!({"repository": "sftp:me@host:/srv/x", "password": hostile, "folders": "/a b\n/c", "exclude": hostile}),
        ],
        "server-light" => vec![
            json!({}),
            json!({"ssh_port": 1, "firewall": true, "open_ports": "80 443/tcp 51820/udp", "trusted_interfaces": "wg0"}),
            json!({"auto_upgrades": false}),
        ],
        "ssh-keys" => vec![json!({"account": "me", "keys": hostile})],
        "swap-file" => {
            vec![json!({"path": "/var/swap/file-1.img", "size_mib": 131_072, "swappiness": 0})]
        }
        "system-update" => vec![json!({"full": true, "autoremove": true, "reboot": true})],
        "system-report" => vec![json!({"pace": 5000})],
        other => panic!("{other} has no variations yet"),
    };
    all.push(params(preset));
    all
}

/// shellcheck may be missing on a developer's machine, but not in CI.
#[test]
fn scripts_are_clean_in_shellcheck() {
    let catalog = Catalog::open(None).current();
    let mut found = String::new();
    for entry in catalog.entries() {
        let name = &entry.preset.name;
        for params in variations(name) {
            let values = values(&entry.preset, params.clone());
            for script in [
                render(&entry.preset, &values),
                render_check(&entry.preset, &values),
            ] {
                match shellcheck(&script.text) {
                    Ok(findings) if findings.is_empty() => {}
                    Ok(findings) => found.push_str(&format!("{name} {params}:\n{findings}")),
                    Err(error) => {
                        assert!(std::env::var_os("CI").is_none(), "shellcheck: {error}");
                        return;
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{found}");
}

fn shellcheck(script: &str) -> std::io::Result<String> {
    let mut child = Command::new("shellcheck")
        .args(["--shell=bash", "--norc", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(script.as_bytes()).expect("written");
    drop(stdin);
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Values that the form and the API refuse before a script is rendered.
#[test]
fn params_are_bounded() {
    let catalog = Catalog::open(None).current();
    for (name, params) in [
        ("caddy-site", json!({"domain": "-a.org"})),
        ("caddy-site", json!({"domain": "a.org\n}"})),
        (
            "caddy-site",
            json!({"domain": "a.org", "upstream": "x y:80"}),
        ),
        (
            "caddy-site",
            json!({"domain": "a.org", "folder": "/srv/../etc"}),
        ),
        ("docker-host", json!({"account": "a:b"})),
        ("fail2ban", json!({"ban_time": "-1"})),
        ("fail2ban", json!({"ignore": "1.2.3.4\nbantime"})),
        ("node-exporter", json!({"address": "0.0.0.0 --x"})),
        (
            "postgres-server",
            json!({"database": "a\";", "role": "b", "password": SECRET}),
        ),
        (
            "postgres-server",
            json!({"database": "a", "role": "b", "password": SECRET, "allow_from": "all"}),
        ),
        (
            "restic-backup",
            json!({"repository": "--help", "password": SECRET}),
        ),
        (
            "restic-backup",
            json!({"repository": "/srv/x", "password": SECRET, "folders": "etc"}),
        ),
        (
            "restic-backup",
            json!({"repository": "/srv/x", "password": SECRET, "at": "24:00"}),
        ),
        ("server-light", json!({"open_ports": "80; drop"})),
        (
            "server-light",
            json!({"trusted_interfaces": "eth0\" accept"}),
        ),
        ("ssh-keys", json!({"account": "../root", "keys": KEY})),
        ("swap-file", json!({"path": "/../x"})),
        ("swap-file", json!({"path": "/dev/sda\n"})),
    ] {
        let entry = catalog.get(name).expect("built in");
        let Value::Object(params) = params else {
            panic!("an object")
        };
        let refused = crate::presets::Values::check(&entry.preset, &params);
        assert_eq!(
            refused.map_err(|errors| errors.fields.len()),
            Err(1),
            "{name} {params:?}"
        );
    }
}

/// Every preset that installs packages uses the same functions around apt.
#[test]
fn every_preset_uses_apt_in_the_same_way() {
    let catalog = Catalog::open(None).current();
    let mut texts = BTreeSet::new();
    let mut count = 0;
    for entry in catalog.entries() {
        for (at, _) in entry
            .source
            .match_indices("# Waits for other apt processes.")
        {
            let text = &entry.source[at..];
            // system-update installs no packages by name.
            let Some((text, _)) = text.split_once("retry apt_get update") else {
                continue;
            };
            count += 1;
            texts.insert(text.lines().map(str::trim).collect::<Vec<_>>().join("\n"));
        }
    }
    assert!(count > 7, "{count}");
    assert_eq!(texts.len(), 1, "{texts:#?}");
}

/// Runs the preset that is safe on any machine.
#[test]
fn system_report_runs_here() {
    let catalog = Catalog::open(None).current();
    let entry = catalog.get("system-report").expect("built in");
    let script = render(&entry.preset, &values(&entry.preset, json!({}))).text;
    let ran = run_script(&script, &[], b"");
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("==> [8/8] Failed units\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("MemTotal"), "{}", ran.stdout);
}
