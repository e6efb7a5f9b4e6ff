//! Updates and the restart that they need, as far as files show them. Asking a package manager
//! would take seconds and a lock.

use super::root::Root;
use super::virtualization;

/// Debian's packages create one of these when the machine must restart.
const RESTART_FILES: [&str; 2] = ["/run/reboot-required", "/var/run/reboot-required"];
/// Programs that create those files. If none is installed, missing files prove nothing.
const RESTART_WRITERS: [&str; 3] = [
    "/usr/share/update-notifier/notify-reboot-required",
    "/etc/kernel/postinst.d/unattended-upgrades",
    "/etc/kernel/postinst.d/update-notifier",
];
/// The message of the day that Ubuntu computes from time to time.
const UPDATES_FILE: &str = "/var/lib/update-notifier/updates-available";

/// Whether an update needs a restart.
pub(super) fn reboot_required(root: &Root, kernel: Option<&str>) -> Option<bool> {
    if RESTART_FILES.iter().any(|file| root.has(file)) {
        return Some(true);
    }
    if RESTART_WRITERS.iter().any(|file| root.has(file)) {
        return Some(false);
    }
    // Arch and others replace the running kernel's modules. A container never has these modules.
    let mut modules = std::fs::read_dir(root.path("/usr/lib/modules")).ok()?;
    let is_replaced = virtualization::container(root).is_none()
        && modules.next().is_some()
        && !root.has(&format!("/usr/lib/modules/{}", kernel?));
    is_replaced.then_some(true)
}

/// The number of updates that could be installed.
pub(super) fn pending(root: &Root) -> Option<u64> {
    let message = root.read(UPDATES_FILE)?;
    let first = message
        .split_whitespace()
        .find_map(|word| word.parse().ok());
    // With nothing to install, the message is empty or has no number.
    Some(first.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::root::root_with;
    use super::*;

    #[test]
    fn a_restart_is_known_where_something_records_it() {
        let required = |files: &[(&str, &str)]| {
            let (_dir, root) = root_with(files);
            reboot_required(&root, Some("6.1"))
        };
        let writer = ("/etc/kernel/postinst.d/unattended-upgrades", "");
        assert_eq!(required(&[]), None);
        assert_eq!(required(&[writer]), Some(false));
        assert_eq!(
            required(&[writer, ("/run/reboot-required", "")]),
            Some(true)
        );
        let replaced = ("/usr/lib/modules/6.2/x", "");
        assert_eq!(required(&[replaced]), Some(true));
        assert_eq!(required(&[replaced, ("/.dockerenv", "")]), None);
        let current = ("/usr/lib/modules/6.1/x", "");
        assert_eq!(required(&[replaced, current]), None);
    }

    #[test]
    fn updates_are_counted_where_a_file_counts_them() {
        let pending = |text: &str| {
            let (_dir, root) = root_with(&[(UPDATES_FILE, text)]);
            super::pending(&root)
        };
        let words = "\n5 updates can be applied immediately.\n3 of these updates are standard security updates.\n";
        assert_eq!(pending(words), Some(5));
        assert_eq!(pending("\n"), Some(0));
        let (_dir, root) = root_with(&[]);
        assert_eq!(super::pending(&root), None);
    }
}
