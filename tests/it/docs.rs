//! What the pages for people tell one to type is there: each command of `hyprbox` parses, each of
//! the agent, each script and each setting exists, each link leads somewhere. What a command then
//! does is for docs_run.rs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::docs::examples;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).expect("reads");
    let mut paths: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("reads");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Lines of shell examples.
pub(crate) fn shell_lines(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.lines()
        .filter(|line| {
            let mark = line.trim_start();
            if mark.starts_with("```") {
                inside = mark == "```sh";
                return false;
            }
            inside
        })
        .collect()
}

#[test]
fn every_command_of_the_server_parses() {
    let mut seen = 0;
    for (path, text) in pages() {
        for words in examples(&text) {
            // A package's file, a unit or a setting has the name in it, too.
            let is_command = words
                .get(1)
                .is_some_and(|word| !word.starts_with("hyprbox"));
            if !is_command
                || !words[0].ends_with("hyprbox")
                || words.iter().any(|word| word.contains('…'))
            {
                continue;
            }
            if let Err(error) = hyprbox::program::command().try_get_matches_from(&words) {
                let is_help = !error.use_stderr();
                assert!(is_help, "{}: {words:?}: {error}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn every_command_of_the_agent_exists() {
    let agent = crate::harness::built("hyprbox-agent");
    let help = Command::new(agent).arg("--help").output().expect("runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let mut seen = 0;
    for (path, text) in pages() {
        for line in shell_lines(&text) {
            let Some(at) = line.find("hyprbox-agent ") else {
                continue;
            };
            let command = line[at..].split_whitespace().nth(1).unwrap_or_default();
            // A file's name may end like it.
            if command.starts_with('/') {
                continue;
            }
            // `apt purge hyprbox hyprbox-agent` has none after it.
            assert!(
                help.contains(&format!("\n  {command} ")),
                "{}: {line}",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn every_script_and_every_setting_exists_and_every_link_leads_somewhere() {
    use std::os::unix::fs::PermissionsExt;
    let known = Command::new(env!("CARGO_BIN_EXE_hyprbox"))
        .args(["serve", "--help"])
        .output()
        .expect("runs");
    let mut known = String::from_utf8(known.stdout).expect("UTF-8");
    for source in [
        "agent/src/main.rs",
        "agent/src/config/mod.rs",
        "packaging/install.sh",
        "packaging/build",
        "packaging/container",
    ] {
        known += &std::fs::read_to_string(root().join(source)).expect("reads");
    }
    for (path, text) in pages() {
        for line in shell_lines(&text) {
            for word in line.split_whitespace() {
                if word.starts_with("tests/") || word.starts_with("packaging/") {
                    let about = root().join(word).metadata();
                    let mode = about.map_or(0, |about| about.permissions().mode());
                    assert_ne!(mode & 0o111, 0, "{}: {word}", path.display());
                }
                if let Some((name, _)) = word.split_once('=')
                    && name.starts_with("HYPRBOX_")
                {
                    assert!(known.contains(name), "{}: {name}", path.display());
                }
            }
        }
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = link.split('#').next().unwrap_or_default();
            let is_file = !file.is_empty() && !file.contains("://");
            let folder = path.parent().expect("a folder");
            assert!(
                !is_file || folder.join(file).exists(),
                "{}: {link}",
                path.display()
            );
        }
    }
}

/// docs/security.md names the test that proves each of its lines.
#[test]
fn every_test_that_the_threat_model_names_exists() {
    let page = std::fs::read_to_string(root().join("docs/security.md")).expect("reads");
    let mut sources = String::new();
    let mut folders: Vec<PathBuf> = ["src", "agent", "tests"]
        .map(|name| root().join(name))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("reads") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(path).expect("reads");
            }
        }
    }
    let is_name = |word: &&str| {
        word.contains('_')
            && word
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    let names: Vec<&str> = page.split('`').filter(is_name).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
    }
}
