//! Paths → files → findings. A folder stands for every preset file in it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::presets::schema::MAX_FILE_BYTES;

use super::{Finding, Tools, check};

/// A checked file.
#[derive(Debug)]
pub struct Checked {
    /// The path as given; for a file in a folder, the folder as given plus the file's name.
    pub path: PathBuf,
    /// The text; empty if the file can't be read.
    pub text: String,
    /// By line and column; or why the file can't be read.
    pub findings: Result<Vec<Finding>, String>,
}

/// Checks each file in `paths`, and in each folder the files that end in .yaml or .yml, by name.
pub fn check_paths(paths: &[PathBuf], tools: &Tools) -> Vec<Checked> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            match files_of(path) {
                Ok(files) if files.is_empty() => all.push(failed(
                    path,
                    "no file in this folder ends in .yaml".to_owned(),
                )),
                Ok(files) => all.extend(files.iter().map(|file| check_file(file, tools))),
                Err(error) => all.push(failed(path, error.to_string())),
            }
        } else {
            all.push(check_file(path, tools));
        }
    }
    all
}

fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden
            && path
                .extension()
                .is_some_and(|end| end == "yaml" || end == "yml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(path: &Path, tools: &Tools) -> Checked {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => return failed(path, error.to_string()),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let findings = check(&stem, &text, tools);
    Checked {
        path: path.to_owned(),
        text,
        findings: Ok(findings),
    }
}

fn failed(path: &Path, why: String) -> Checked {
    Checked {
        path: path.to_owned(),
        text: String::new(),
        findings: Err(why),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!(
            "has more than {MAX_FILE_BYTES} bytes, the most that a preset may have"
        )));
    }
    Ok(text)
}
