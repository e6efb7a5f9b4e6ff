//! `packaging/release --prepare` on a copy of the checkout.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::root;

fn prepare(copy: &Path, version: &str) -> Output {
    Command::new(copy.join("packaging/release"))
        .args(["--prepare", version])
        .output()
        .expect("it runs")
}

#[test]
fn a_release_sets_its_version_in_every_file() {
    let copy = tempfile::tempdir().expect("a folder");
    let copy = copy.path();
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        "CHANGELOG.md",
        "README.md",
        "docs",
        "packaging",
        "src",
        "agent",
        "benches",
        "tests",
    ] {
        let copied = Command::new("cp")
            .arg("-r")
            .args([root().join(name), copy.join(name)])
            .status();
        assert!(copied.expect("cp runs").success(), "{name}");
    }
    let read = |name: &str| fs::read_to_string(copy.join(name)).expect(name);
    let refused = prepare(copy, "7.8.9");
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        "packaging/release: the first version in CHANGELOG.md must be \"## 7.8.9, not released yet\"\n"
    );
    assert_eq!(
        read("Cargo.lock"),
        fs::read_to_string(root().join("Cargo.lock")).expect("a file")
    );
    let changes = read("CHANGELOG.md").replacen("\n## ", "\n## 7.8.9, not released yet\n\n## ", 1);
    fs::write(copy.join("CHANGELOG.md"), changes).expect("written");
    let done = prepare(copy, "7.8.9");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(!read("CHANGELOG.md").contains("7.8.9, not released yet"));
    assert!(read("CHANGELOG.md").contains("\n## 7.8.9, 20"));
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("version = \"7.8.9\""), "{manifest}");
    assert!(!manifest.contains("version = \"0.1.0\""), "{manifest}");
    let lock = read("Cargo.lock");
    for name in [
        "hyprbox",
        "hyprbox-agent",
        "hyprbox-protocol",
        "hyprbox-signing",
    ] {
        let entry = format!("name = \"{name}\"\nversion = \"7.8.9\"");
        assert!(lock.contains(&entry), "{name}");
    }
    for (name, package) in [
        ("packaging/changelog", "hyprbox"),
        ("packaging/changelog-agent", "hyprbox-agent"),
    ] {
        let text = read(name);
        assert!(
            text.starts_with(&format!("{package} (7.8.9-1) unstable")),
            "{text}"
        );
        let before = fs::read_to_string(root().join(name)).expect("a file");
        assert!(text.ends_with(&before), "the earlier entries stay: {text}");
    }
    assert!(read("docs/install.md").contains("./hyprbox_7.8.9-1_amd64.deb"));
    // A second run for the same version changes nothing.
    let again = prepare(copy, "7.8.9");
    assert_eq!(again.status.code(), Some(2));
}
