//! How much of the node's disk output may take.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// The part of the disk that output leaves free.
pub(crate) const RESERVED_PERCENT: u64 = 10;

/// How many bytes are free on the disk of this folder, apart from its last part, which stays free.
pub(crate) fn free_for_output(dir: &Path) -> io::Result<u64> {
    let about = statvfs(dir)?;
    // As `df` counts: without the blocks that the file system reserves for itself.
    let used = about.blocks().saturating_sub(about.blocks_free());
    let size = used.saturating_add(about.blocks_available());
    let kept_free = size.div_ceil(100 / RESERVED_PERCENT);
    let blocks = about.blocks_available().saturating_sub(kept_free);
    Ok(blocks.saturating_mul(about.fragment_size()))
}
