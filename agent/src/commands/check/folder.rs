//! Checks that the state folder can hold jobs and their output.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Finding;
use crate::state;
use crate::trusted_dir;

const SUBJECT: &str = "state folder";
/// What one job may need: the tails of both streams and its own files.
const NEEDED_BYTES: u64 = 10 << 20;
/// Size of the test file: as much as a job's first files take.
const PROBE_BYTES: usize = 64 * 1024;

pub(super) fn check(dir: &Path) -> Finding {
    let shown = dir.display();
    // A folder that does not exist yet is judged by the one in which it would be created.
    let nearest = dir
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(dir);
    if !nearest.is_dir() {
        return Finding::wrong(
            SUBJECT,
            format!("{shown} is not a folder"),
            "move that file away, or set HYPRBOX_STATE_DIR to another folder",
        );
    }
    match trusted_dir::check(dir).and_then(|loose| match loose {
        None => state::check_content(dir),
        loose => Ok(loose),
    }) {
        Ok(None) => {}
        Ok(Some(loose)) => return Finding::wrong(SUBJECT, loose.problem, loose.fix),
        Err(error) => return write_failure(dir, nearest, &error),
    }
    if let Err(error) = try_to_write(dir, nearest) {
        return write_failure(dir, nearest, &error);
    }
    let free = statvfs(nearest).map(|about| {
        about
            .blocks_available()
            .saturating_mul(about.fragment_size())
    });
    match free {
        Ok(bytes) if bytes < NEEDED_BYTES => Finding::wrong(
            SUBJECT,
            format!(
                "the disk of {shown} has only {} MiB free, and a job's output may need {} MiB",
                bytes >> 20,
                NEEDED_BYTES >> 20
            ),
            "free space on that disk",
        ),
        _ if nearest == dir => Finding::good(SUBJECT, format!("{shown} is writable")),
        _ => Finding::good(
            SUBJECT,
            format!("{shown} does not exist yet and can be created"),
        ),
    }
}

fn try_to_write(dir: &Path, nearest: &Path) -> io::Result<()> {
    if nearest != dir {
        // A check creates no folders.
        let writable = nix::unistd::access(nearest, nix::unistd::AccessFlags::W_OK);
        return writable.map_err(io::Error::from);
    }
    // The running agent does not use this name.
    state::try_to_write(&dir.join("check.probe"), PROBE_BYTES)
}

fn write_failure(dir: &Path, nearest: &Path, error: &io::Error) -> Finding {
    let shown = dir.display();
    let kind = error.kind();
    if [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&kind) {
        return Finding::wrong(
            SUBJECT,
            format!("the disk of {shown} is full"),
            "free space on that disk",
        );
    }
    if kind == io::ErrorKind::ReadOnlyFilesystem {
        return Finding::wrong(
            SUBJECT,
            format!("{shown} is mounted read-only"),
            "mount it read-write (after a disk error, check `dmesg` first), or set HYPRBOX_STATE_DIR to another folder",
        );
    }
    let owner = nearest.metadata().map_or(0, |about| about.uid());
    let own = nix::unistd::geteuid();
    Finding::wrong(
        SUBJECT,
        format!(
            "user {own} can't write to {shown}: {} belongs to user {owner} ({error})",
            nearest.display()
        ),
        "run this as the agent's user (for root, with sudo), or give the folder to this user with chown",
    )
}
