//! A repository's folder and the commit that its HEAD names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::objects::{ObjectId, parse_id};

/// Longest file that is read for a ref, and for the list of packed refs.
const REF_MAX: u64 = 4 * 1024;
const PACKED_MAX: u64 = 64 * 1024 * 1024;
/// Symbolic refs that may point to each other.
const DEPTH_MAX: usize = 5;

/// The folder of a repository.
#[derive(Debug)]
pub(super) struct GitDir {
    worktree: PathBuf,
    /// `.git`, or the folder of a linked worktree.
    own: PathBuf,
    /// Refs and objects, which linked worktrees share.
    common: PathBuf,
}

impl GitDir {
    /// The repository in whose checkout `folder` is.
    pub(super) fn above(folder: &Path) -> io::Result<Option<Self>> {
        for worktree in folder.ancestors() {
            let dot_git = worktree.join(".git");
            let own = match fs::metadata(&dot_git) {
                Ok(about) if about.is_dir() => dot_git,
                // A linked worktree or a submodule names its folder in a file.
                Ok(_) => {
                    let text = read(&dot_git, REF_MAX)?;
                    let path = text.trim_end().strip_prefix("gitdir: ");
                    worktree.join(path.ok_or_else(|| malformed(&dot_git))?)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let common = match read(&own.join("commondir"), REF_MAX) {
                Ok(path) => own.join(path.trim_end()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => own.clone(),
                Err(error) => return Err(error),
            };
            return Ok(Some(Self {
                worktree: worktree.to_owned(),
                own,
                common,
            }));
        }
        Ok(None)
    }

    pub(super) fn worktree(&self) -> &Path {
        &self.worktree
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.common.join("objects")
    }

    /// The commit that is checked out.
    pub(super) fn head(&self) -> io::Result<ObjectId> {
        let mut text = read(&self.own.join("HEAD"), REF_MAX)?;
        for _ in 0..DEPTH_MAX {
            let Some(name) = text.trim_end().strip_prefix("ref: ") else {
                return parse_id(text.trim_end()).ok_or_else(|| malformed(&self.own));
            };
            if !name.starts_with("refs/") || name.split('/').any(|part| part == "..") {
                return Err(malformed(&self.own));
            }
            text = match read(&self.common.join(name), REF_MAX) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.packed(name)?,
                read => read?,
            };
        }
        Err(malformed(&self.own))
    }

    fn packed(&self, name: &str) -> io::Result<String> {
        let text = read(&self.common.join("packed-refs"), PACKED_MAX)?;
        let found = text.lines().find_map(|line| {
            let (id, known) = line.split_once(' ')?;
            (known == name).then(|| id.to_owned())
        });
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no ref {name}")))
    }
}

fn read(path: &Path, max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(max).read_to_string(&mut text)?;
    Ok(text)
}

fn malformed(path: &Path) -> io::Error {
    io::Error::other(format!("{} is not readable as git's", path.display()))
}
