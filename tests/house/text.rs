//! Words, widths and lengths of files. CONTRIBUTING.md says what to write instead.

use crate::{files, root, shown};

/// Widest comment and widest line of a document, in characters.
const WIDTH: usize = 100;

/// What the house does not write, in comments, documents and texts for users.
const WORDS: &[&str] = &[
    "at the most",
    "at the least",
    "is no ",
    "is none",
    "are none",
    "for good",
    "the mend",
    "mended",
    "told of",
    "tells of",
    "anew",
    "is to be",
    "what of it",
];

/// What looks like a word of the list and is plain English, or Rust.
const ALLOWED: &[&str] = &[
    "is no longer",
    "there is no ",
    "there is none",
    "there are none",
    "for good in ",
];

/// The files whose words count.
fn texts() -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in [
        "src",
        "agent",
        "assets",
        "presets",
        "docs",
        "packaging",
        "benches",
        "tests",
        ".ci",
    ] {
        found.extend(files(
            folder,
            &[
                ".rs", ".js", ".css", ".yaml", ".md", ".sql", ".sh", ".toml", "/run",
            ],
        ));
    }
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "schema.sql"] {
        found.push(root().join(name));
    }
    found.retain(|path| {
        !path.starts_with(root().join("tests/house")) && !path.ends_with("CONTRIBUTING.md")
    });
    found
}

/// The lines of `text` that have a word of the list.
fn listed(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut line = format!(" {} ", line.to_lowercase());
        for allowed in ALLOWED {
            line = line.replace(allowed, "");
        }
        for word in WORDS {
            let begins = |at: usize| !line[..at].ends_with(char::is_alphanumeric);
            if line.match_indices(word).any(|(at, _)| begins(at)) {
                found.push((index + 1, *word));
            }
        }
    }
    found
}

/// The lines that are too wide: of a document all but tables, code and links; of a source its comments.
fn wide(name: &str, text: &str) -> Vec<usize> {
    let mut code = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        let counts = if name.ends_with(".md") {
            if bare.starts_with("```") {
                code = !code;
            }
            !code && !bare.starts_with('|') && !bare.starts_with("![") && line.contains(' ')
        } else if name.ends_with(".rs") || name.ends_with(".js") {
            bare.starts_with("//") && !bare.contains("| ") && !bare.contains("://")
        } else {
            (name.ends_with("/run") || name.ends_with(".toml") || name.ends_with(".sh"))
                && bare.starts_with("# ")
        };
        if counts && line.chars().count() > WIDTH {
            found.push(index + 1);
        }
    }
    found
}

#[test]
fn no_word_of_the_list_is_written() {
    let mut faults = Vec::new();
    for path in texts() {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        for (line, word) in listed(&text) {
            faults.push(format!("{}:{line}: {word}", shown(&path)));
        }
    }
    assert!(
        faults.is_empty(),
        "{} places:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn comments_and_documents_have_at_most_100_columns() {
    let mut faults = Vec::new();
    for path in texts() {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let name = shown(&path);
        faults.extend(
            wide(&name, &text)
                .into_iter()
                .map(|line| format!("{name}:{line}")),
        );
    }
    assert!(
        faults.is_empty(),
        "{} places:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Longest source file that needs no reason to be this long, in lines without its test module.
const LENGTH: usize = 450;

/// Whether a source file is short enough, or its first comment says why it is one file.
fn is_one_file_for_a_reason(text: &str) -> bool {
    let is_comment = |line: &&str| line.starts_with("//");
    let comment: Vec<_> = text.lines().take_while(is_comment).collect();
    let comment = comment.join(" ").replace(" //! ", " ").replace(" // ", " ");
    let lines = text
        .split("\n#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default()
        .lines();
    lines.count() <= LENGTH || comment.contains("One file, because ")
}

#[test]
fn a_long_file_gives_a_reason() {
    let mut faults = Vec::new();
    for folder in ["src", "agent", "assets", "benches", "tests"] {
        for path in files(folder, &[".rs", ".js"]) {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            if !is_one_file_for_a_reason(&text) {
                faults.push(format!("{}: {}", shown(&path), text.lines().count()));
            }
        }
    }
    let advice = "split them, or begin a sentence of the first comment with \"One file, because\"";
    assert!(faults.is_empty(), "{advice}:\n{}", faults.join("\n"));
    assert!(!is_one_file_for_a_reason(&"x\n".repeat(LENGTH + 1)));
    let long = "x\n".repeat(LENGTH);
    assert!(is_one_file_for_a_reason(&format!(
        "//! A table. One file,\n//! because it is one.\n{long}"
    )));
}

#[test]
fn a_listed_word_and_a_wide_comment_are_found() {
    let text = "It is no longer here.\nThat is no node.\nThree at the most, for good.";
    let found: Vec<_> = listed(text)
        .into_iter()
        .map(|(line, word)| format!("{line}: {word}"))
        .collect();
    assert_eq!(found, ["2: is no ", "3: at the most", "3: for good"]);
    let long = "x ".repeat(60);
    assert_eq!(
        wide("a.rs", &format!("let x = \"{long}\";\n    // {long}")),
        [2]
    );
    assert_eq!(
        wide(
            "a.md",
            &format!("{long}\n| {long}\n```\n{long}\n```\n{long}")
        ),
        [1, 6]
    );
}
