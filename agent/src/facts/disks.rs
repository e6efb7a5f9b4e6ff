//! Mounted file systems on the machine's own disks.

use std::collections::HashSet;

use hyprbox_protocol::DiskFacts;
use nix::sys::statvfs::statvfs;

use super::root::Root;

/// Most disks that are sent.
const DISKS_MAX: usize = 32;
/// Types of file systems on disks. Others have no size of their own, or are on a network, where
/// asking for a size may take for ever.
const TYPES: &[&str] = &[
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "msdos", "nilfs2",
    "ntfs3", "reiserfs", "ufs", "vfat", "xfs", "zfs",
];

/// Each disk once, where it was mounted first. `None` if the kernel does not list them.
pub(super) fn mounted(root: &Root) -> Option<Vec<DiskFacts>> {
    let mounts = root.read("/proc/self/mountinfo")?;
    let mut seen = HashSet::new();
    let disks = mounts.lines().filter_map(Mount::parse).filter(|mount| {
        // The root of a container is seldom a disk, but its size is what counts there.
        (TYPES.contains(&mount.kind) || mount.point == "/" && mount.kind == "overlay")
            && seen.insert(mount.device.to_owned())
    });
    Some(
        disks
            .take(DISKS_MAX)
            .map(|mount| describe(root, mount))
            .collect(),
    )
}

struct Mount<'l> {
    /// Major and minor number, or the name of a pool's part.
    device: &'l str,
    point: String,
    kind: &'l str,
}

impl<'l> Mount<'l> {
    /// Parses `36 35 98:0 /root /mount/point options… - type source options`.
    fn parse(line: &'l str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let device = fields.next()?;
        let point = fields.nth(1)?;
        let kind = after.split(' ').next()?;
        Some(Self {
            device,
            point: unescape(point),
            kind,
        })
    }
}

/// Replaces `\040` and the like, which the kernel writes for space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let plain = escapes
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        });
    // A path with control characters can't be shown.
    plain.chars().filter(|c| !c.is_control()).collect()
}

fn describe(root: &Root, mount: Mount<'_>) -> DiskFacts {
    let sizes = statvfs(&root.path(&mount.point)).ok();
    let bytes = |blocks: u64, size: u64| blocks.checked_mul(size);
    DiskFacts {
        size_bytes: sizes
            .as_ref()
            .and_then(|all| bytes(all.blocks(), all.fragment_size())),
        free_bytes: sizes
            .as_ref()
            .and_then(|all| bytes(all.blocks_available(), all.fragment_size())),
        mount: mount.point,
    }
}

#[cfg(test)]
mod tests {
    use super::super::root::root_with;
    use super::*;

    #[test]
    fn each_disk_is_listed_once_and_the_network_is_not_touched() {
        let (_dir, root) = root_with(&[
            (
                "/proc/self/mountinfo",
                "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw - proc proc rw
23 21 8:1 /srv /mnt/bind rw - ext4 /dev/sda1 rw
24 21 0:30 / /mnt/nfs rw - nfs4 server:/x rw
25 21 8:2 / /mnt/with\\040space rw - xfs /dev/sdb rw
26 21 0:31 / /mnt/fuse rw - fuse.sshfs x:/ rw
27 21 0:32 / /run rw - tmpfs tmpfs rw
",
            ),
            ("/mnt/with space/.keep", ""),
        ]);
        let disks = mounted(&root).expect("listed");
        let mounts: Vec<&str> = disks.iter().map(|disk| disk.mount.as_str()).collect();
        assert_eq!(mounts, ["/", "/mnt/with space"]);
        for disk in &disks {
            assert!(
                disk.size_bytes > Some(0) && disk.free_bytes <= disk.size_bytes,
                "{disk:?}"
            );
        }
    }

    #[test]
    fn a_containers_root_is_a_disk() {
        let line =
            "21 1 0:40 / / rw - overlay overlay rw\n22 21 0:41 / /x rw - overlay overlay rw\n";
        let (_dir, root) = root_with(&[("/proc/self/mountinfo", line)]);
        assert_eq!(mounted(&root).expect("listed").len(), 1);
    }
}
