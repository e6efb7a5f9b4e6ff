//! The state folder: whether a job and its output can be written down there.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Finding;
use crate::state;
use crate::trusted_dir;

const WHAT: &str = "state folder";
/// What a job may need at once: both streams' tails, and its journal.
const ROOM: u64 = 10 << 20;
/// What a try writes: as much as a job's first files take.
const PROBE_BYTES: usize = 64 * 1024;

pub(super) fn look(dir: &Path) -> Finding {
    let shown = dir.display();
    // A folder that isn't there yet is judged by where it would be made.
    let nearest = dir
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(dir);
    if !nearest.is_dir() {
        return Finding::wrong(
            WHAT,
            format!("{shown} is no folder"),
            "move away what is there, or name another one with HYPRBOX_STATE_DIR",
        );
    }
    match trusted_dir::check(dir).and_then(|loose| match loose {
        None => state::check_content(dir),
        loose => Ok(loose),
    }) {
        Ok(None) => {}
        Ok(Some(loose)) => return Finding::wrong(WHAT, loose.problem, loose.fix),
        Err(error) => return refused(dir, nearest, &error),
    }
    if let Err(error) = try_to_write(dir, nearest) {
        return refused(dir, nearest, &error);
    }
    let room = statvfs(nearest).map(|about| {
        about
            .blocks_available()
            .saturating_mul(about.fragment_size())
    });
    match room {
        Ok(bytes) if bytes < ROOM => Finding::wrong(
            WHAT,
            format!(
                "{shown} has {} MiB left, and a job's output may need {}",
                bytes >> 20,
                ROOM >> 20
            ),
            "make room on that disk",
        ),
        _ if nearest == dir => Finding::good(WHAT, format!("{shown} can be written")),
        _ => Finding::good(WHAT, format!("{shown} will be made")),
    }
}

fn try_to_write(dir: &Path, nearest: &Path) -> io::Result<()> {
    if nearest != dir {
        // A look makes no folders.
        let writable = nix::unistd::access(nearest, nix::unistd::AccessFlags::W_OK);
        return writable.map_err(io::Error::from);
    }
    // A name that the running agent doesn't use.
    state::try_to_write(&dir.join("check.probe"), PROBE_BYTES)
}

fn refused(dir: &Path, nearest: &Path, error: &io::Error) -> Finding {
    let shown = dir.display();
    let kind = error.kind();
    if [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&kind) {
        return Finding::wrong(
            WHAT,
            format!("{shown} is on a disk that is full"),
            "make room on that disk",
        );
    }
    if kind == io::ErrorKind::ReadOnlyFilesystem {
        return Finding::wrong(
            WHAT,
            format!("{shown} is mounted read-only"),
            "mount it read-write (after an error, look at `dmesg` first), or name another one with HYPRBOX_STATE_DIR",
        );
    }
    let owner = nearest.metadata().map_or(0, |about| about.uid());
    let own = nix::unistd::geteuid();
    Finding::wrong(
        WHAT,
        format!(
            "{shown} can't be written by user {own}: {} is user {owner}'s ({error})",
            nearest.display()
        ),
        "run this as the agent's user (root, with sudo), or have the folder given to that user with chown",
    )
}
