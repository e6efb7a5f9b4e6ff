//! A machine's facts as lines of `hyprbox nodes show`.

use hyprbox_protocol::{DiskFacts, MachineFacts};

use super::screen::Paint;
use super::table::Cell;
use super::times;
use crate::clock::Timestamp;

/// The facts that are known.
pub(super) fn lines(facts: &MachineFacts, at: Option<Timestamp>) -> Vec<(&'static str, Cell)> {
    let number = |count: Option<u64>| count.map(|count| count.to_string());
    let booted_at: Option<Timestamp> = facts.booted_at.as_ref().and_then(|at| at.parse().ok());
    let disks = facts.disks.as_ref().filter(|disks| !disks.is_empty());
    let disks = disks.map(|disks| {
        let disks: Vec<String> = disks.iter().map(disk).collect();
        disks.join(", ")
    });
    let addresses = facts.addresses.as_ref().filter(|all| !all.is_empty());
    let texts = [
        ("architecture", facts.arch.clone()),
        ("kernel", facts.kernel.clone()),
        ("processors", number(facts.cpus)),
        ("memory", facts.memory_bytes.map(bytes)),
        ("disks", disks),
        ("addresses", addresses.map(|all| all.join(", "))),
        ("runs in", facts.virtualization.clone()),
        ("started", booted_at.map(|at| times::moment(Some(at)))),
        ("updates", number(facts.pending_updates)),
    ];
    let mut lines: Vec<(&str, Cell)> = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?.into())))
        .collect();
    if facts.reboot_required == Some(true) {
        lines.push((
            "restart",
            Cell::painted("needed for updates", Paint::Yellow),
        ));
    }
    if at.is_some() {
        lines.push(("facts of", times::moment(at).into()));
    }
    lines
}

fn disk(disk: &DiskFacts) -> String {
    match (disk.free_bytes, disk.size_bytes) {
        (Some(free), Some(size)) => {
            format!("{} ({} of {} free)", disk.mount, bytes(free), bytes(size))
        }
        _ => disk.mount.clone(),
    }
}

/// A size in the largest unit that it has one of: `3.4 GiB`.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = "B";
    let mut size = count as f64;
    for larger in UNITS {
        if size < 1_024.0 {
            break;
        }
        (size, unit) = (size / 1_024.0, larger);
    }
    match unit {
        "B" => format!("{count} B"),
        unit => format!("{size:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_largest_unit() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (8_589_934_592, "8.0 GiB"),
            (1 << 41, "2.0 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
