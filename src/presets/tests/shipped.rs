//! The built-in presets: each script as a snapshot, so that a change of any byte is seen in review, and clean in
//! shellcheck.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::bash::{run_script, values};
use crate::presets::{Catalog, Origin, PresetList, render};

/// Params for the presets that need some, and a second set where another path is worth seeing.
fn params(preset: &str) -> Value {
    match preset {
        "server-light" => json!({"ssh_port": 2222, "keep_old_port": false}),
        _ => json!({}),
    }
}

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
fn scripts_are_as_reviewed() {
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

/// The list in the code is the folder's content.
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

/// shellcheck may be missing on a developer's machine, and never in CI.
#[test]
fn scripts_are_clean_in_shellcheck() {
    for (name, script) in scripts() {
        let shellcheck = Command::new("shellcheck")
            .args(["--shell=bash", "--norc", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut shellcheck = match shellcheck {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "shellcheck: {error}");
                return;
            }
        };
        let mut stdin = shellcheck.stdin.take().expect("piped");
        stdin.write_all(script.as_bytes()).expect("written");
        drop(stdin);
        let output = shellcheck.wait_with_output().expect("ended");
        let findings = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}:\n{findings}");
    }
}

/// The one preset that any machine may run, run here.
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
