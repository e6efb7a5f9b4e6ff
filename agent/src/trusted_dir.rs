//! Checks that only this user can change a folder and the path to it. The agent writes there as
//! root: in a folder that others can change, a link instead of a file would make the agent
//! overwrite a file of their choice.

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

/// Why other users can change a folder, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFault {
    pub(crate) problem: String,
    pub(crate) fix: String,
}

impl fmt::Display for TrustFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem, self.fix)
    }
}

/// Checks the folder `dir` and every folder on the path to it, as far as they exist.
pub(crate) fn check(dir: &Path) -> io::Result<Option<TrustFault>> {
    let real = match dir.canonicalize() {
        Ok(real) => real,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return check_path(dir),
        Err(e) => return Err(e),
    };
    // First the links on the path themselves, then the folders that they lead to.
    if let Some(fault) = check_path(dir)? {
        return Ok(Some(fault));
    }
    if let Some(fault) = check_path(&real)? {
        return Ok(Some(fault));
    }
    let about = real.symlink_metadata()?;
    if !about.is_dir() {
        return Ok(None);
    }
    Ok(mode_fault(&real, &about, WRITE_OF_OTHERS))
}

/// Checks the folders above `path`, and each link among them and at its end.
fn check_path(path: &Path) -> io::Result<Option<TrustFault>> {
    for place in path
        .ancestors()
        .filter(|place| !place.as_os_str().is_empty())
    {
        let about = match place.symlink_metadata() {
            Ok(about) => about,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let fault = if about.is_dir() && place != path {
            let forbidden = if about.mode() & STICKY == 0 {
                WRITE_OF_OTHERS
            } else {
                // In a sticky folder nobody can rename or remove another user's files.
                0
            };
            mode_fault(place, &about, forbidden)
        } else if about.is_symlink() {
            owner_fault(place, &about)
        } else {
            None
        };
        if fault.is_some() {
            return Ok(fault);
        }
    }
    Ok(None)
}

fn mode_fault(path: &Path, about: &Metadata, forbidden: u32) -> Option<TrustFault> {
    let shown = path.display();
    if about.mode() & forbidden != 0 {
        return Some(TrustFault {
            problem: format!(
                "{shown} can be written by other users (mode {:04o})",
                about.mode() & 0o7777
            ),
            fix: format!("run chmod go-w {shown}, or name another folder with HYPRBOX_STATE_DIR"),
        });
    }
    owner_fault(path, about)
}

fn owner_fault(path: &Path, about: &Metadata) -> Option<TrustFault> {
    let (owner, user) = (about.uid(), geteuid());
    if owner == 0 || owner == user.as_raw() {
        return None;
    }
    let shown = path.display();
    Some(TrustFault {
        problem: format!("{shown} belongs to user {owner}, and the agent runs as user {user}"),
        fix: format!("run chown -h {user} {shown}, or name another folder with HYPRBOX_STATE_DIR"),
    })
}

/// Checks the content of the state folder `dir`: only files, and jobs' directories with files and
/// `pipes`.
pub(crate) fn check_content(dir: &Path, pipes: &[&str]) -> io::Result<Option<TrustFault>> {
    for entry in entries(dir)? {
        if let Some(fault) = check_entry(&entry, &[])? {
            return Ok(Some(fault));
        }
    }
    for folder in ["jobs", "next"] {
        for job in entries(&dir.join(folder))? {
            if let Some(fault) = check_entry(&job, &[])? {
                return Ok(Some(fault));
            }
            for entry in entries(&job)? {
                if let Some(fault) = check_entry(&entry, pipes)? {
                    return Ok(Some(fault));
                }
            }
        }
    }
    Ok(None)
}

/// The paths in a folder; none if it does not exist or is not a folder.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => {
            Ok(Vec::new())
        }
        Err(e) => Err(e),
    }
}

fn check_entry(path: &Path, pipes: &[&str]) -> io::Result<Option<TrustFault>> {
    let about = match path.symlink_metadata() {
        Ok(about) => about,
        // A supervisor has just renamed it.
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
    Ok(Some(TrustFault {
        problem: format!("{shown} {what}, which the agent did not create"),
        fix: "find out who created it, and remove it".to_owned(),
    }))
}

/// Options that don't follow a link, and create files that only their owner can read.
pub(crate) fn own_file() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Reads a file, but does not follow a link.
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

    fn problem(fault: io::Result<Option<TrustFault>>) -> String {
        fault
            .expect("reads")
            .map_or_else(String::new, |fault| fault.problem)
    }

    #[test]
    fn neither_the_folder_nor_one_above_it_may_be_open_to_others() {
        let (outer, dir) = folder();
        assert_eq!(check(&dir).expect("reads"), None);
        for mode in [0o777, 0o770, 0o702, 0o1777] {
            chmod(&dir, mode);
            assert!(problem(check(&dir)).contains("can be written"), "{mode:o}");
        }
        chmod(&dir, 0o755);
        assert_eq!(check(&dir).expect("reads"), None);
        chmod(outer.path(), 0o777);
        assert!(problem(check(&dir)).contains("can be written"));
        assert!(problem(check(&outer.path().join("not/yet"))).contains("can be written"));
        chmod(outer.path(), 0o1777);
        assert_eq!(check(&dir).expect("reads"), None);
    }

    #[test]
    fn a_link_on_the_path_is_checked_with_its_target() {
        let (outer, dir) = folder();
        let link = outer.path().join("link");
        symlink(&dir, &link).expect("made");
        assert_eq!(check(&link).expect("reads"), None);
        chmod(&dir, 0o777);
        assert!(problem(check(&link)).contains("can be written"));
    }

    #[test]
    fn only_files_and_the_pipes_of_jobs_are_allowed() {
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
                problem(check_content(&dir, &["wake"])).contains("is a link"),
                "{name}"
            );
            std::fs::remove_file(dir.join(name)).expect("removed");
        }
        let other = outer.path().join("other");
        std::fs::write(&other, "").expect("written");
        std::fs::hard_link(&other, dir.join("starts")).expect("made");
        assert!(problem(check_content(&dir, &["wake"])).contains("second name"));
        std::fs::remove_file(&other).expect("removed");
        assert_eq!(check_content(&dir, &["wake"]).expect("reads"), None);
        pipe("agent.lock");
        assert!(problem(check_content(&dir, &["wake"])).contains("neither a file"));
    }
}
