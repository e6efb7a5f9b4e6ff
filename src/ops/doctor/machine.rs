//! Folders, files and the disk.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Finding;
use crate::clock;
use crate::tls::Tls;

/// Less room than this, in bytes, deserves a word; and less than this will soon stop the server.
const LITTLE: u64 = 1 << 30;
const TOO_LITTLE: u64 = 100 << 20;
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// Whatever renews a certificate has done so by then, or has failed.
const SOON_DAYS: i64 = 14;

/// The data folder: there, and for its owner alone.
pub(super) fn folder(path: &Path) -> Finding {
    let shown = path.display();
    match path.metadata() {
        Ok(about) if !about.is_dir() => Finding::fail(
            "data folder",
            format!("{shown} is no folder"),
            "set HYPRBOX_DATA_DIR to a folder",
        ),
        Ok(about) if about.permissions().mode() & 0o077 != 0 => Finding::warn(
            "data folder",
            format!("{shown} is open to other users"),
            format!("chmod 700 {shown}"),
        ),
        Ok(_) => Finding::ok("data folder", format!("{shown}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::warn(
            "data folder",
            format!("{shown} is not there yet"),
            "start the server, which makes it; or set HYPRBOX_DATA_DIR to the server's",
        ),
        Err(error) => Finding::fail(
            "data folder",
            format!("{shown}: {error}"),
            "run this as the server's user, or with sudo",
        ),
    }
}

/// The certificate of the server's own TLS: whether it holds, and for how long yet.
pub(super) fn certificate(tls: &Tls) -> Finding {
    let shown = tls.cert().display();
    let Some(until) = tls.not_after() else {
        return Finding::warn(
            "certificate",
            format!("{shown} doesn't say until when it holds"),
            "have another one made",
        );
    };
    let left = until.millis_since(clock::now());
    let mend = "renew it; the server takes it over by itself, without a restart";
    if left < 0 {
        let seen = format!("{shown} expired at {until}: browsers and agents refuse it");
        return Finding::fail("certificate", seen, mend);
    }
    let seen = format!(
        "{shown} holds until {until}, {} days from now",
        left / DAY_MS
    );
    if left < SOON_DAYS * DAY_MS {
        Finding::warn("certificate", seen, mend)
    } else {
        Finding::ok("certificate", seen)
    }
}

/// Room on the disk that holds `path`, or will hold it.
pub(super) fn disk(path: &Path) -> Finding {
    let nearest = path.ancestors().find(|folder| folder.exists());
    let nearest = nearest.unwrap_or(Path::new("/"));
    let about = match statvfs(nearest) {
        Ok(about) => about,
        Err(error) => {
            let seen = format!("{}: {}", nearest.display(), error.desc());
            return Finding::warn("disk", seen, "look at it with df");
        }
    };
    let free = about
        .blocks_available()
        .saturating_mul(about.fragment_size());
    let seen = format!("{} MiB free at {}", free >> 20, nearest.display());
    let mend = "make room, or lower HYPRBOX_KEEP_DAYS";
    if free < TOO_LITTLE {
        Finding::fail("disk", seen, mend)
    } else if free < LITTLE {
        Finding::warn("disk", seen, mend)
    } else {
        Finding::ok("disk", seen)
    }
}

/// The key that seals secrets.
pub(super) fn key(path: &Path, has_data: bool) -> Finding {
    let shown = path.display();
    match path.metadata() {
        Ok(about) if about.permissions().mode() & 0o077 != 0 => Finding::fail(
            "key",
            format!("{shown} can be read by other users"),
            format!("chmod 600 {shown}"),
        ),
        Ok(about) if about.len() == 0 => Finding::fail(
            "key",
            format!("{shown} is empty"),
            "bring the key back from its copy; without one, remove the file, and secrets of waiting jobs are lost",
        ),
        Ok(about) => Finding::ok("key", format!("{shown}, of user {}", about.uid())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !has_data => {
            Finding::ok("key", format!("{shown} will be made"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::fail(
            "key",
            format!("{shown} is not there, but the database is"),
            "bring the key back from its copy; without it, secrets of waiting jobs are lost",
        ),
        Err(error) => Finding::fail(
            "key",
            format!("{shown}: {error}"),
            "run this as the server's user, or with sudo",
        ),
    }
}
