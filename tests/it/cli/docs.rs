//! What docs/cli.md and the man pages tell is what there is.

use std::collections::BTreeSet;
use std::path::Path;

use super::Cli;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    std::fs::read_to_string(path).expect("docs/cli.md")
}

/// The words of each line of a shell example that calls the program.
pub(crate) fn examples(text: &str) -> Vec<Vec<String>> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
            continue;
        }
        let Some(at) = line.find("hyprbox ").filter(|_| inside) else {
            continue;
        };
        // Up to a pipe, a redirect or a comment.
        let command = line[at..]
            .split(['|', '>', '<', '#', ')', ';'])
            .next()
            .unwrap_or_default();
        found.push(words(command));
    }
    found
}

fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// `jobs list`, and so on: every command that is not a group.
fn leaves(command: &clap::Command, path: &str, found: &mut BTreeSet<String>) {
    let inner: Vec<_> = command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
        .collect();
    if inner.is_empty() {
        found.insert(path.trim().to_owned());
    }
    for inner in inner {
        leaves(inner, &format!("{path} {}", inner.get_name()), found);
    }
}

#[test]
fn every_documented_command_parses_and_every_command_is_documented() {
    let examples = examples(&document());
    assert!(examples.len() > 25, "{examples:?}");
    for words in &examples {
        if let Err(error) = hyprbox::program::command().try_get_matches_from(words) {
            panic!("{words:?}: {error}");
        }
    }
    let mut commands = BTreeSet::new();
    leaves(&hyprbox::program::command(), "", &mut commands);
    for command in commands {
        let named: Vec<&str> = command.split(' ').collect();
        let is_shown = examples
            .iter()
            .any(|words| words.get(1..=named.len()).is_some_and(|w| w == named));
        let elsewhere = [
            "serve",
            "demo",
            "backup",
            "restore",
            "doctor",
            "health",
            "migrate-store",
        ]
        .contains(&command.as_str());
        assert!(
            is_shown || elsewhere,
            "docs/cli.md has no example of `hyprbox {command}`"
        );
    }
}

#[test]
fn every_exit_code_is_documented() {
    let document = document();
    for line in hyprbox::cli::EXIT_CODES
        .lines()
        .filter(|line| line.starts_with("  "))
    {
        let code = line.trim().split("  ").next().unwrap_or_default();
        assert!(
            document.contains(&format!("| {code} |")),
            "docs/cli.md lacks the exit code {code}"
        );
    }
}

#[test]
fn there_is_a_man_page_of_every_command() {
    let cli = Cli::nobody();
    let folder = cli.home().join("man");
    cli.run(&["man", folder.to_str().expect("UTF-8")])
        .ends(0)
        .says("man pages");
    let mut commands = BTreeSet::new();
    leaves(&hyprbox::program::command(), "", &mut commands);
    for command in commands.iter().map(String::as_str).chain(["", "jobs"]) {
        let name = format!("hyprbox {command}").trim().replace(' ', "-");
        let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).expect(&name);
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
    let page = std::fs::read_to_string(folder.join("hyprbox-run.1")).expect("a page");
    // A table keeps its lines, under a heading that says what it is.
    assert!(
        page.contains(".SH EXIT CODES\n.nf\n\\&  0          success;"),
        "{page}"
    );
    assert!(page.contains("timeout") && page.contains("124"), "{page}");
    assert!(!folder.join("hyprbox-supervise.1").exists());
}
