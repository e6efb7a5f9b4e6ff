//! The disk.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Returns how many durable appends of 4 KiB a file in this directory takes per second.
pub(crate) fn syncs_per_second(folder: &Path) -> anyhow::Result<f64> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let start = Instant::now();
    let mut syncs = 0;
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096])?;
        file.as_file().sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / start.elapsed().as_secs_f64())
}
