//! A program that dpkg has installed is upgraded by apt, with the package that the server ships: a
//! file swapped behind dpkg's back would no longer be what it says it has there, and its next
//! repair would bring the old one back.

use std::path::Path;
use std::process::{Command, Stdio};

use super::is_same;
use super::swap::{Making, like, told};

/// The package that a program belongs to.
pub(super) struct Package {
    name: String,
}

impl Package {
    /// The owner of that file; none where dpkg has none, or there is no dpkg.
    pub(super) fn owner(program: &Path) -> Option<Self> {
        let asked = Command::new("dpkg-query")
            .arg("--search")
            .arg(program)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&asked.stdout);
        // `hyprbox-agent: /usr/bin/hyprbox-agent`; the name before a `:amd64` where a package says
        // so.
        said.lines().find_map(|line| {
            let (names, path) = line.split_once(": ")?;
            let name = names.split([':', ',']).next()?;
            let is_named = Path::new(path) == program || is_same(Path::new(path), program);
            (is_named && !name.starts_with("diversion ")).then(|| Self {
                name: name.to_owned(),
            })
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the package that comes is kept until it is installed.
    pub(super) fn place(&self, state_dir: &Path) -> Result<Making, String> {
        std::fs::create_dir_all(state_dir).map_err(|error| told(state_dir, &error))?;
        Ok(Making::at(state_dir.join("upgrade.deb")))
    }

    /// The program in a package, as a file of its own that may be tried.
    pub(super) fn extract(&self, deb: &Path, to: &Path) -> Result<(), String> {
        let folder = deb.with_extension("unpacked");
        let clean = || match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(told(&folder, &error))
            }
            _ => Ok(()),
        };
        clean()?;
        let extracted = run(Command::new("dpkg-deb")
            .arg("--extract")
            .arg(deb)
            .arg(&folder));
        let copied = extracted.and_then(|()| {
            let inside = folder.join("usr/bin/hyprbox-agent");
            std::fs::copy(&inside, to)
                .and_then(|_| like(&inside, to))
                .map_err(|error| told(to, &error))
        });
        clean().and(copied)
    }

    /// Has apt install it. Nobody is there to be asked about a settings file: one that was changed
    /// by hand stays.
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

/// Runs it to a good end; what it says on its standard error is passed on.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("{program} can't be run: {error}")),
    }
}
