//! Upgrades an agent that dpkg installed, through apt and with the package that the server ships.
//! If the file were swapped instead, dpkg's records would be wrong, and the next reinstallation of
//! the package would bring the old program back.

use std::path::Path;
use std::process::{Command, Stdio};

use super::is_same_file;
use super::swap::{NewFile, copy_owner_and_mode, write_error};

/// The package that a program belongs to.
pub(super) struct Package {
    name: String,
}

impl Package {
    /// Finds the package that owns the file; `None` if no package does, or dpkg is missing.
    pub(super) fn owner(program: &Path) -> Option<Self> {
        let output = Command::new("dpkg-query")
            .arg("--search")
            .arg(program)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // `hyprbox-agent: /usr/bin/hyprbox-agent`; some packages have an architecture after the
        // name, as in `name:amd64`.
        text.lines().find_map(|line| {
            let (names, path) = line.split_once(": ")?;
            let name = names.split([':', ',']).next()?;
            let is_owner = Path::new(path) == program || is_same_file(Path::new(path), program);
            (is_owner && !name.starts_with("diversion ")).then(|| Self {
                name: name.to_owned(),
            })
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds the downloaded package until it is installed.
    pub(super) fn download_file(&self, state_dir: &Path) -> Result<NewFile, String> {
        std::fs::create_dir_all(state_dir).map_err(|error| write_error(state_dir, &error))?;
        Ok(NewFile::at(state_dir.join("upgrade.deb")))
    }

    /// Copies the program out of the package, so that it can be run before the installation.
    pub(super) fn extract(&self, deb: &Path, to: &Path) -> Result<(), String> {
        let folder = deb.with_extension("unpacked");
        let remove_folder = || match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(write_error(&folder, &error))
            }
            _ => Ok(()),
        };
        remove_folder()?;
        let extracted = run(Command::new("dpkg-deb")
            .arg("--extract")
            .arg(deb)
            .arg(&folder));
        let copied = extracted.and_then(|()| {
            let inside = folder.join("usr/bin/hyprbox-agent");
            std::fs::copy(&inside, to)
                .and_then(|_| copy_owner_and_mode(&inside, to))
                .map_err(|error| write_error(to, &error))
        });
        remove_folder().and(copied)
    }

    /// Installs the package with apt. Nobody can answer questions about settings files, so those
    /// that were changed by hand stay as they are.
    pub(super) fn install(&self, deb: &Path, may_be_older: bool) -> Result<(), String> {
        let mut apt = Command::new("apt-get");
        apt.args(["--yes", "-qq", "-o", "DPkg::Lock::Timeout=300"])
            .args(["-o", "Dpkg::Use-Pty=0", "-o", "APT::Sandbox::User=root"])
            .args(["-o", "Dpkg::Options::=--force-confdef"])
            .args(["-o", "Dpkg::Options::=--force-confold"])
            .env("DEBIAN_FRONTEND", "noninteractive");
        if may_be_older {
            apt.args(["--allow-downgrades", "--reinstall"]);
        }
        run(apt.arg("install").arg(deb))
    }
}

/// Runs the command, which must succeed. Its standard error is passed on.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let result = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match result {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} failed: {status}")),
        Err(error) => Err(format!("{program} can't be run: {error}")),
    }
}
