//! Checks of directories, files and the disk.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Finding;
use crate::clock;
use crate::tls::Tls;

/// Free bytes below which a disk gets a warning.
const WARN_FREE: u64 = 1 << 30;
/// Free bytes below which the server will soon stop.
const FAIL_FREE: u64 = 100 << 20;
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// A certificate that expires within this time should have been renewed already.
const SOON_DAYS: i64 = 14;

/// Whether the data directory exists and only its owner can read it.
pub(super) fn folder(path: &Path) -> Finding {
    let shown = path.display();
    match path.metadata() {
        Ok(about) if !about.is_dir() => Finding::fail(
            "data directory",
            format!("{shown} is not a directory"),
            "set HYPRBOX_DATA_DIR to a directory",
        ),
        Ok(about) if about.permissions().mode() & 0o077 != 0 => Finding::warn(
            "data directory",
            format!("other users can read {shown}"),
            format!("chmod 700 {shown}"),
        ),
        Ok(_) => Finding::ok("data directory", format!("{shown}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::warn(
            "data directory",
            format!("{shown} does not exist yet"),
            "start the server, which creates it, or set HYPRBOX_DATA_DIR to the server's data directory",
        ),
        Err(error) => Finding::fail(
            "data directory",
            format!("{shown}: {error}"),
            "run this as the server's user, or with sudo",
        ),
    }
}

/// Whether the server's own certificate is valid, and for how long.
pub(super) fn certificate(tls: &Tls) -> Finding {
    let shown = tls.cert().display();
    let Some(until) = tls.not_after() else {
        return Finding::warn(
            "certificate",
            format!("{shown} has no readable expiry date"),
            "have the certificate issued again",
        );
    };
    let left = until.millis_since(clock::now());
    let fix = "renew the certificate; the server loads it without a restart";
    if left < 0 {
        let seen = format!("{shown} expired at {until}: browsers and agents refuse the server");
        return Finding::fail("certificate", seen, fix);
    }
    let seen = format!(
        "{shown} is valid until {until}, {} days from now",
        left / DAY_MS
    );
    if left < SOON_DAYS * DAY_MS {
        Finding::warn("certificate", seen, fix)
    } else {
        Finding::ok("certificate", seen)
    }
}

/// Free space on the disk of `path`, which need not exist yet.
pub(super) fn disk(path: &Path) -> Finding {
    let nearest = path.ancestors().find(|folder| folder.exists());
    let nearest = nearest.unwrap_or(Path::new("/"));
    let about = match statvfs(nearest) {
        Ok(about) => about,
        Err(error) => {
            let seen = format!("{}: {}", nearest.display(), error.desc());
            return Finding::warn("disk", seen, "check the disk with df");
        }
    };
    let free = about
        .blocks_available()
        .saturating_mul(about.fragment_size());
    let seen = format!("{} MiB free at {}", free >> 20, nearest.display());
    let fix = "free disk space, or lower HYPRBOX_KEEP_DAYS";
    if free < FAIL_FREE {
        Finding::fail("disk", seen, fix)
    } else if free < WARN_FREE {
        Finding::warn("disk", seen, fix)
    } else {
        Finding::ok("disk", seen)
    }
}

/// Whether the key that seals secrets exists and only its owner can read it.
pub(super) fn key(path: &Path, has_data: bool) -> Finding {
    let shown = path.display();
    match path.metadata() {
        Ok(about) if about.permissions().mode() & 0o077 != 0 => Finding::fail(
            "key",
            format!("other users can read {shown}"),
            format!("chmod 600 {shown}"),
        ),
        Ok(about) if about.len() == 0 => Finding::fail(
            "key",
            format!("{shown} is empty"),
            "restore the key from its copy; without a copy, remove the file: the secrets of queued jobs are lost",
        ),
        Ok(about) => Finding::ok("key", format!("{shown}, owned by user {}", about.uid())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !has_data => {
            Finding::ok("key", format!("{shown} will be created"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::fail(
            "key",
            format!("{shown} is missing, but the database exists"),
            "restore the key from its copy; without it, the secrets of queued jobs are lost",
        ),
        Err(error) => Finding::fail(
            "key",
            format!("{shown}: {error}"),
            "run this as the server's user, or with sudo",
        ),
    }
}
