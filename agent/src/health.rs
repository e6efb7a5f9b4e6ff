//! Checks whether this node can run jobs.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};

const BASH: &str = "/bin/bash";
/// A job's first files need this much disk space.
const ROOM_BYTES: u64 = 256 * 1024;

/// Why this machine can't run a job, as far as a check without writing shows.
pub(crate) fn problem(state_dir: &Path) -> Option<String> {
    if let Err(error) = access(BASH, AccessFlags::X_OK) {
        return Some(format!("{BASH} can't be started: {}", error.desc()));
    }
    if let Err(error) = std::fs::metadata("/proc/self/exe") {
        return Some(format!("/proc is not usable: /proc/self/exe: {error}"));
    }
    let shown = state_dir.display();
    match statvfs(state_dir) {
        Ok(about) if about.flags().contains(FsFlags::ST_RDONLY) => {
            Some(format!("state folder: {shown} is mounted read-only"))
        }
        Ok(about)
            if about
                .blocks_available()
                .saturating_mul(about.fragment_size())
                < ROOM_BYTES =>
        {
            Some(format!("state folder: {shown} is on a disk that is full"))
        }
        Ok(_) => unwritable(&[state_dir, &state_dir.join("jobs")]),
        Err(error) => Some(format!("state folder: {shown}: {}", error.desc())),
    }
}

/// Why one of the folders can't be written to: its mode, or it was made immutable. A missing one is
/// created later.
fn unwritable(dirs: &[&Path]) -> Option<String> {
    dirs.iter().find_map(
        |dir| match access(*dir, AccessFlags::W_OK | AccessFlags::X_OK) {
            Ok(()) | Err(Errno::ENOENT) => None,
            Err(error) => {
                let (dir, error) = (dir.display(), error.desc());
                Some(format!("state folder: {dir} can't be written to: {error}"))
            }
        },
    )
}
