//! Facts about this machine: host name, distribution, boot id, machine id.

use hyprbox_protocol::OsInfo;

/// The most characters in a host name that the server accepts.
const MAX_HOSTNAME: usize = 253;

/// This machine's host name.
pub(crate) fn hostname() -> Option<String> {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .or_else(|| std::env::var("HOSTNAME").ok())?;
    let name: String = read.trim().chars().take(MAX_HOSTNAME).collect();
    (!name.is_empty()).then_some(name)
}

/// The distribution, from os-release; on systems without that file only the kind of system.
pub(crate) fn os_info() -> OsInfo {
    std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .map_or_else(
            |_| OsInfo {
                id: Some(std::env::consts::OS.to_owned()),
                ..OsInfo::default()
            },
            |text| parse_os_release(&text),
        )
}

/// The boot id: random, and new at each boot. Tests simulate a reboot with `HYPRBOX_BOOT_ID_FILE`,
/// which names another file.
#[cfg(target_os = "linux")]
pub(crate) fn boot_id() -> String {
    let path = std::env::var_os("HYPRBOX_BOOT_ID_FILE")
        .unwrap_or_else(|| "/proc/sys/kernel/random/boot_id".into());
    std::fs::read_to_string(path)
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// The machine id. A cloned disk keeps it until its first boot creates a new one.
#[cfg(target_os = "linux")]
pub(crate) fn machine_id() -> String {
    let path =
        std::env::var_os("HYPRBOX_MACHINE_ID_FILE").unwrap_or_else(|| "/etc/machine-id".into());
    std::fs::read_to_string(path)
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn parse_os_release(text: &str) -> OsInfo {
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let value = line.trim().strip_prefix(name)?.strip_prefix('=')?;
            let unquoted = value.trim_matches(['"', '\'']);
            (!unquoted.is_empty()).then(|| unquoted.to_owned())
        })
    };
    OsInfo {
        id: field("ID"),
        id_like: field("ID_LIKE"),
        version_id: field("VERSION_ID"),
        pretty_name: field("PRETTY_NAME"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_with_and_without_quotes() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\nID_LIKE=x\n";
        let os = parse_os_release(text);
        assert_eq!(os.id.as_deref(), Some("debian"));
        assert_eq!(os.id_like.as_deref(), Some("x"));
        assert_eq!(os.version_id.as_deref(), Some("12"));
        assert_eq!(
            os.pretty_name.as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(parse_os_release("ID=\n"), OsInfo::default());
    }
}
