//! What this machine runs in, named as `systemd-detect-virt` names it.

use super::root::Root;

/// Containers by the file that their tools leave in them.
const CONTAINER_FILES: [(&str, &str); 2] =
    [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")];
/// Virtual machines by what begins the name of their maker or model.
const MAKERS: [(&str, &str); 12] = [
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("DigitalOcean", "kvm"),
    ("Hetzner", "kvm"),
    ("Scaleway", "kvm"),
    ("Google", "google"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("innotek", "oracle"),
    ("Xen", "xen"),
    ("Parallels", "parallels"),
];

/// `none` if there is no sign of a container or a virtual machine.
pub(super) fn detect(root: &Root) -> String {
    let found = container(root).or_else(|| machine(root).map(str::to_owned));
    found.unwrap_or_else(|| "none".to_owned())
}

/// The kind of container that the agent runs in.
pub(super) fn container(root: &Root) -> Option<String> {
    // systemd writes it for every container manager that names itself.
    if let Some(name) = root.read("/run/systemd/container") {
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let name: String = name.trim().chars().filter(plain).take(64).collect();
        return Some(name).filter(|name| !name.is_empty());
    }
    let named = CONTAINER_FILES.iter().find(|(file, _)| root.has(file));
    named.map(|(_, name)| (*name).to_owned())
}

fn machine(root: &Root) -> Option<&'static str> {
    let field = |name: &str| {
        root.read(&format!("/sys/class/dmi/id/{name}"))
            .unwrap_or_default()
    };
    let (maker, model) = (field("sys_vendor"), field("product_name"));
    if maker.starts_with("Microsoft") && model.starts_with("Virtual Machine") {
        return Some("microsoft");
    }
    // KVM's own name is the model's; the maker's is that of the program that uses it.
    let by_name = MAKERS
        .iter()
        .find(|(start, _)| model.starts_with(start))
        .or_else(|| MAKERS.iter().find(|(start, _)| maker.starts_with(start)));
    let is_hypervised = || {
        let cpu = root.read("/proc/cpuinfo")?;
        let flags = cpu.lines().find(|line| line.starts_with("flags"))?;
        flags
            .split_whitespace()
            .any(|flag| flag == "hypervisor")
            .then_some("vm-other")
    };
    by_name.map(|(_, name)| *name).or_else(is_hypervised)
}

#[cfg(test)]
mod tests {
    use super::super::root::root_with;
    use super::*;

    #[test]
    fn containers_and_virtual_machines_are_told_apart() {
        let vendor = "/sys/class/dmi/id/sys_vendor";
        let product = "/sys/class/dmi/id/product_name";
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "none"),
            (&[(vendor, "Dell Inc.\n"), (product, "PowerEdge\n")], "none"),
            (&[(vendor, "QEMU\n"), (product, "Standard PC\n")], "qemu"),
            (&[(vendor, "Red Hat\n"), (product, "KVM\n")], "kvm"),
            (
                &[(vendor, "Microsoft Corporation\n"), (product, "Surface\n")],
                "none",
            ),
            (
                &[
                    (vendor, "Microsoft Corporation\n"),
                    (product, "Virtual Machine\n"),
                ],
                "microsoft",
            ),
            (
                &[("/proc/cpuinfo", "flags : fpu hypervisor sse\n")],
                "vm-other",
            ),
            (&[("/.dockerenv", ""), (vendor, "QEMU\n")], "docker"),
            (
                &[("/run/systemd/container", "lxc\n"), ("/.dockerenv", "")],
                "lxc",
            ),
        ];
        for (files, name) in cases {
            let (_dir, root) = root_with(files);
            assert_eq!(detect(&root), *name, "{files:?}");
        }
    }
}
