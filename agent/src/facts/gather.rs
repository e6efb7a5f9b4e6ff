//! Reads the facts from the kernel's files. No command is run, and no network file system is
//! touched.

use std::net::IpAddr;

use hyprbox_protocol::MachineFacts;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use nix::sys::utsname::uname;

use super::root::Root;
use super::{Snapshot, disks, updates, virtualization};
use crate::rfc3339::seconds_as_rfc3339;

/// Most addresses that are sent.
const ADDRESSES_MAX: usize = 32;

/// Gathers the facts. Tests describe a machine with `HYPRBOX_FACTS_ROOT`, which names the folder
/// that its `/proc`, `/sys`, `/etc`, `/run` and so on are in.
pub(super) fn gather() -> Snapshot {
    let root = std::env::var_os("HYPRBOX_FACTS_ROOT").unwrap_or_else(|| "/".into());
    gather_from(&Root::new(root.into()))
}

fn gather_from(root: &Root) -> Snapshot {
    let system = uname().ok();
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let kernel = system.as_ref().map(|system| text(system.release()));
    let booted_seconds = root.read("/proc/stat").and_then(|stat| boot_time(&stat));
    let facts = MachineFacts {
        arch: system.as_ref().map(|system| text(system.machine())),
        cpus: root
            .read("/sys/devices/system/cpu/online")
            .and_then(|ranges| count_ranges(&ranges))
            .or_else(processors),
        memory_bytes: root.read("/proc/meminfo").and_then(|text| memory(&text)),
        disks: disks::mounted(root),
        addresses: addresses(),
        booted_at: booted_seconds.map(seconds_as_rfc3339),
        reboot_required: updates::reboot_required(root, kernel.as_deref()),
        pending_updates: updates::pending(root),
        virtualization: Some(virtualization::detect(root)),
        kernel,
    };
    Snapshot {
        facts,
        booted_seconds,
    }
}

/// The number of processors in `0-3,8`.
fn count_ranges(ranges: &str) -> Option<u64> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    ranges.trim().split(',').map(count).sum()
}

fn processors() -> Option<u64> {
    let count = std::thread::available_parallelism().ok()?.get();
    u64::try_from(count).ok()
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn memory(meminfo: &str) -> Option<u64> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// `btime` of /proc/stat.
fn boot_time(stat: &str) -> Option<u64> {
    let time = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    time.trim().parse().ok()
}

/// The addresses of this machine's interfaces, except those that only this machine or its own
/// network segment can use.
fn addresses() -> Option<Vec<String>> {
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        if interface.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            return None;
        }
        ip_address(&interface.address?).filter(|address| match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
    };
    let mut addresses: Vec<IpAddr> = getifaddrs().ok()?.filter_map(address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    Some(addresses.iter().map(IpAddr::to_string).collect())
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

#[cfg(test)]
mod tests {
    use super::super::root::root_with;
    use super::*;

    #[test]
    fn a_machine_is_read_from_its_files() {
        let (_dir, root) = root_with(&[
            ("/proc/stat", "cpu 1 2 3\nbtime 1764064200\nprocesses 5\n"),
            ("/proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n"),
            ("/sys/devices/system/cpu/online", "0-3,8\n"),
        ]);
        let snapshot = gather_from(&root);
        let facts = &snapshot.facts;
        assert_eq!(facts.booted_at.as_deref(), Some("2025-11-25T09:50:00Z"));
        assert_eq!(snapshot.booted_seconds, Some(1_764_064_200));
        assert_eq!(facts.memory_bytes, Some(2_097_152));
        assert_eq!(facts.cpus, Some(5));
        assert_eq!(facts.virtualization.as_deref(), Some("none"));
        assert_eq!((facts.reboot_required, facts.pending_updates), (None, None));
        assert_eq!(facts.disks, None);
        assert!(facts.arch.is_some() && facts.kernel.is_some());
    }

    #[test]
    fn garbage_in_the_files_is_an_unknown_fact() {
        let (_dir, root) = root_with(&[
            ("/proc/stat", "btime soon\n"),
            ("/proc/meminfo", "MemTotal: 99999999999999999999 kB\n"),
            ("/sys/devices/system/cpu/online", "3-0,x\n"),
            ("/proc/self/mountinfo", "\u{0}\n1 2\n"),
        ]);
        let facts = gather_from(&root).facts;
        assert_eq!((facts.booted_at, facts.memory_bytes), (None, None));
        assert!(facts.cpus.is_some_and(|cpus| cpus > 0), "counted otherwise");
        assert_eq!(facts.disks, Some(Vec::new()));
    }
}
