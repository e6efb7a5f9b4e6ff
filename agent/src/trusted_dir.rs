//! Whether a folder and the way to it are this user's alone. The agent writes there as root: in a
//! folder that others can write to, a link in the place of a file would make it overwrite a file of
//! their choice.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::geteuid;

const STICKY: u32 = 0o1000;
const WRITE_OF_OTHERS: u32 = 0o022;

/// What makes a folder one that others can change, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loose {
    pub(crate) seen: String,
    pub(crate) fix: String,
}

impl fmt::Display for Loose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.seen, self.fix)
    }
}

/// Checks the folder `dir` itself and every folder on the way to it. What is not there yet is not
/// checked.
pub(crate) fn check(dir: &Path) -> io::Result<Option<Loose>> {
    let real = match dir.canonicalize() {
        Ok(real) => real,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return check_way(dir),
        Err(e) => return Err(e),
    };
    // A link on the way is as good as who may change it, and then as what it leads to.
    if let Some(loose) = check_way(dir)? {
        return Ok(Some(loose));
    }
    if let Some(loose) = check_way(&real)? {
        return Ok(Some(loose));
    }
    let about = real.symlink_metadata()?;
    if !about.is_dir() {
        return Ok(None);
    }
    Ok(loose_folder(&real, &about, WRITE_OF_OTHERS))
}

/// Checks the folders above `path`, and each link among them and at its end.
fn check_way(path: &Path) -> io::Result<Option<Loose>> {
    for place in path
        .ancestors()
        .filter(|place| !place.as_os_str().is_empty())
    {
        let about = match place.symlink_metadata() {
            Ok(about) => about,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let loose = if about.is_dir() && place != path {
            let forbidden = if about.mode() & STICKY == 0 {
                WRITE_OF_OTHERS
            } else {
                // There nobody can rename or remove what is another user's.
                0
            };
            loose_folder(place, &about, forbidden)
        } else if about.is_symlink() {
            foreign(place, &about)
        } else {
            None
        };
        if loose.is_some() {
            return Ok(loose);
        }
    }
    Ok(None)
}

fn loose_folder(path: &Path, about: &Metadata, forbidden: u32) -> Option<Loose> {
    let shown = path.display();
    if about.mode() & forbidden != 0 {
        return Some(Loose {
            seen: format!(
                "{shown} can be written by other users (mode {:04o})",
                about.mode() & 0o7777
            ),
            fix: format!("run chmod go-w {shown}, or name another folder with HYPRBOX_STATE_DIR"),
        });
    }
    foreign(path, about)
}

fn foreign(path: &Path, about: &Metadata) -> Option<Loose> {
    let (owner, own) = (about.uid(), geteuid());
    if owner == 0 || owner == own.as_raw() {
        return None;
    }
    let shown = path.display();
    Some(Loose {
        seen: format!("{shown} belongs to user {owner}, and the agent runs as user {own}"),
        fix: format!("run chown -h {own} {shown}, or name another folder with HYPRBOX_STATE_DIR"),
    })
}

/// Checks what is in the state folder `dir`: files, and folders of jobs with files and `pipes`.
pub(crate) fn check_content(dir: &Path, pipes: &[&str]) -> io::Result<Option<Loose>> {
    for entry in entries(dir)? {
        if let Some(loose) = check_entry(&entry, &[])? {
            return Ok(Some(loose));
        }
    }
    for folder in ["jobs", "next"] {
        for job in entries(&dir.join(folder))? {
            if let Some(loose) = check_entry(&job, &[])? {
                return Ok(Some(loose));
            }
            for entry in entries(&job)? {
                if let Some(loose) = check_entry(&entry, pipes)? {
                    return Ok(Some(loose));
                }
            }
        }
    }
    Ok(None)
}

/// What is in a folder; nothing if it is not there, or is no folder.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => {
            Ok(Vec::new())
        }
        Err(e) => Err(e),
    }
}

fn check_entry(path: &Path, pipes: &[&str]) -> io::Result<Option<Loose>> {
    let about = match path.symlink_metadata() {
        Ok(about) => about,
        // A supervisor has renamed it meanwhile.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let kind = about.file_type();
    let is_pipe = |name: &&str| path.file_name() == Some(OsStr::new(name));
    let what = if kind.is_symlink() {
        "is a link"
    } else if kind.is_file() && about.nlink() > 1 {
        "has a second name elsewhere (a hard link)"
    } else if kind.is_file() || kind.is_dir() || (kind.is_fifo() && pipes.iter().any(is_pipe)) {
        return Ok(None);
    } else {
        "is neither a file nor a folder"
    };
    let shown = path.display();
    Ok(Some(Loose {
        seen: format!("{shown} {what}, which the agent did not make"),
        fix: "find out who made it, and remove it".to_owned(),
    }))
}

/// Options that open no link, and make a file that only its owner can read.
pub(crate) fn own_file() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Reads a file that is no link.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::Read::read_to_end(&mut own_file().read(true).open(path)?, &mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().expect("a folder");
        let dir = outer.path().join("state");
        std::fs::create_dir_all(dir.join("jobs/one")).expect("made");
        chmod(&dir, 0o700);
        (outer, dir)
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    }

    fn seen(loose: io::Result<Option<Loose>>) -> String {
        loose
            .expect("reads")
            .map_or_else(String::new, |loose| loose.seen)
    }

    #[test]
    fn neither_the_folder_nor_one_above_it_may_be_open_to_others() {
        let (outer, dir) = folder();
        assert_eq!(check(&dir).expect("reads"), None);
        for mode in [0o777, 0o770, 0o702, 0o1777] {
            chmod(&dir, mode);
            assert!(seen(check(&dir)).contains("can be written"), "{mode:o}");
        }
        chmod(&dir, 0o755);
        assert_eq!(check(&dir).expect("reads"), None);
        chmod(outer.path(), 0o777);
        assert!(seen(check(&dir)).contains("can be written"));
        assert!(seen(check(&outer.path().join("not/yet"))).contains("can be written"));
        chmod(outer.path(), 0o1777);
        assert_eq!(check(&dir).expect("reads"), None);
    }

    #[test]
    fn a_link_on_the_way_counts_with_what_it_leads_to() {
        let (outer, dir) = folder();
        let link = outer.path().join("link");
        symlink(&dir, &link).expect("made");
        assert_eq!(check(&link).expect("reads"), None);
        chmod(&dir, 0o777);
        assert!(seen(check(&link)).contains("can be written"));
    }

    #[test]
    fn what_is_in_it_is_files_and_the_pipes_of_jobs() {
        let (outer, dir) = folder();
        let make = |name: &str| std::fs::write(dir.join(name), "").expect("written");
        make("instance");
        make("jobs/one/script");
        let pipe = |name: &str| {
            nix::unistd::mkfifo(&dir.join(name), nix::sys::stat::Mode::S_IRUSR).expect("made");
        };
        pipe("jobs/one/wake");
        assert_eq!(check_content(&dir, &["wake"]).expect("reads"), None);
        for name in ["probe", "jobs/two", "jobs/one/job.json"] {
            symlink(outer.path(), dir.join(name)).expect("made");
            assert!(
                seen(check_content(&dir, &["wake"])).contains("is a link"),
                "{name}"
            );
            std::fs::remove_file(dir.join(name)).expect("removed");
        }
        let other = outer.path().join("other");
        std::fs::write(&other, "").expect("written");
        std::fs::hard_link(&other, dir.join("starts")).expect("made");
        assert!(seen(check_content(&dir, &["wake"])).contains("second name"));
        std::fs::remove_file(&other).expect("removed");
        assert_eq!(check_content(&dir, &["wake"]).expect("reads"), None);
        pipe("agent.lock");
        assert!(seen(check_content(&dir, &["wake"])).contains("neither a file"));
    }
}
