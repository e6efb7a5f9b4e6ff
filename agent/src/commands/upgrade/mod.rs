//! `hyprbox-agent upgrade`: replaces the agent's program with the one that the server ships, and
//! has the service manager restart the agent. Running jobs continue: each has a supervisor of its
//! own, which keeps the program with which it began. The upgrade may itself be part of such a job.

mod allowed;
mod fetch;
mod package;
mod restart;
pub(crate) mod swap;

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hyprbox_protocol::{ShippedAgent, is_older};
use nix::fcntl::{Flock, FlockArg};

use crate::commands::agent_process::AgentProcess;
use crate::config::{ConfigError, RawSettings, is_in_the_clear};
use allowed::Allowed;
use fetch::ShippedAgents;
use package::Package;
use restart::{Outcome, Service};
use swap::{Swap, exchange, previous_program};

/// The arguments of `upgrade`.
pub struct Upgrade {
    target: Target,
    api_url: String,
    ca_file: Option<PathBuf>,
    state_dir: PathBuf,
    /// Installs what the server ships even if it is older, or another build of the same version.
    anyway: bool,
    restart: bool,
    allowed: Allowed,
}

#[derive(Clone, Copy)]
enum Target {
    /// The program that the server ships.
    Shipped,
    /// The program that the last upgrade replaced.
    Previous,
}

impl Upgrade {
    /// Parses the arguments after the command's name.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let (mut target, mut anyway, mut restart) = (Target::Shipped, false, true);
        let (mut sha256, mut others) = (None, Vec::new());
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--sha256") => sha256 = Some(args.next().unwrap_or_default()),
                Some("--back") => target = Target::Previous,
                Some("--anyway") => anyway = true,
                Some("--no-restart") => restart = false,
                _ => others.push(arg),
            }
        }
        let raw = RawSettings::parse(others, env)?;
        let (api_url, ca_file) = raw.server()?;
        Ok(Self {
            target,
            api_url,
            ca_file,
            state_dir: raw.state_dir()?,
            anyway,
            restart,
            allowed: Allowed::parse(sha256, env)?,
        })
    }

    /// Runs the upgrade. An error is one line; it names the state of things if that has changed.
    pub async fn run(&self, print: &mut dyn FnMut(&str)) -> Result<(), String> {
        let agent = AgentProcess::find(&self.state_dir);
        // The file from which the running agent was started, which need not be this program.
        let program = match &agent {
            Some(agent) => agent.program(),
            None => std::env::current_exe(),
        };
        let program =
            program.map_err(|error| format!("the agent's program can't be found: {error}"))?;
        self.allowed.check_call(agent.as_ref())?;
        let folder = program.parent().unwrap_or(Path::new("/"));
        let _lock = File::open(folder)
            .map_err(|error| format!("{} can't be opened: {error}", folder.display()))
            .and_then(|folder| {
                Flock::lock(folder, FlockArg::LockExclusiveNonblock)
                    .map_err(|_| "another upgrade is running; wait until it has ended".to_owned())
            })?;
        let package = Package::owner(&program);
        let service = agent.map(Service::of);
        match self.target {
            Target::Shipped => {
                self.install_shipped(&program, package, service.as_ref(), print)
                    .await
            }
            Target::Previous => {
                self.install_previous(&program, package, service.as_ref(), print)
                    .await
            }
        }
    }

    async fn install_shipped(
        &self,
        program: &Path,
        package: Option<Package>,
        service: Option<&Service>,
        print: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let own = version_of(program)?;
        let source = ShippedAgents::connect(&self.api_url, self.ca_file.as_deref())?;
        let shipped = source.query().await?;
        let version = shipped.version.clone().ok_or_else(|| {
            format!(
                "the agent that {} ships does not state its version; upgrade the server first",
                self.api_url
            )
        })?;
        let offered = match (&package, &shipped.package) {
            (Some(_), Some(deb)) => deb,
            _ => &shipped.program,
        };
        self.allowed.check_file(&offered.sha256)?;
        let is_same_file =
            swap::sha256(program).is_ok_and(|digest| digest == shipped.program.sha256);
        if is_same_file || (!self.anyway && !is_older(&own, &version)) {
            return self
                .keep_current(program, service, &own, &version, is_same_file, print)
                .await;
        }
        print(&format!(
            "this agent is {own}, the server ships {version}\n"
        ));
        if is_in_the_clear(&self.api_url) {
            print(
                "over plain http the SHA-256 is as unprotected as the program: it detects a broken download, but not tampering\n",
            );
        }
        let swap = match package {
            Some(package) => {
                self.install_package(&package, &source, &shipped, program, &version, print)
                    .await?;
                None
            }
            None => Some(
                self.swap_program(&source, &shipped, program, &own, &version, print)
                    .await?,
            ),
        };
        self.restart_agent(program, service, swap.as_ref(), &own, print)
            .await
    }

    /// Reports why the program is not replaced, and restarts an agent that does not run it yet.
    async fn keep_current(
        &self,
        program: &Path,
        service: Option<&Service>,
        own: &str,
        version: &str,
        is_same_file: bool,
        print: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        if !is_same_file && is_older(version, own) {
            return Err(format!(
                "the server ships {version}, which is older than this {own}; upgrade the server, or install the older version with --anyway"
            ));
        }
        let also = if is_same_file {
            ""
        } else {
            ", in another build than the server's (--anyway installs the server's build)"
        };
        print(&format!("already at version {own}{also}\n"));
        let file = program.metadata().map_err(|error| error.to_string())?;
        match service {
            // An earlier upgrade was interrupted before the restart.
            Some(service) if !service.agent.runs(&file) => {
                print("but the agent still runs the previous program\n");
                self.restart_agent(program, Some(service), None, own, print)
                    .await
            }
            _ => Ok(()),
        }
    }

    async fn swap_program(
        &self,
        source: &ShippedAgents,
        shipped: &ShippedAgent,
        program: &Path,
        own: &str,
        version: &str,
        print: &mut dyn FnMut(&str),
    ) -> Result<Swap, String> {
        let swap = Swap::next_to(program);
        let mut file = swap.create()?;
        source.download("", &shipped.program, &mut file).await?;
        swap.finish(file)?;
        let downloaded = version_of(swap.path())?;
        if downloaded != version {
            return Err(format!(
                "the downloaded program is version {downloaded} and not {version}; nothing was changed"
            ));
        }
        print(&format!(
            "downloaded {} bytes: the SHA-256 matches, and the program runs as {version}\n",
            shipped.program.bytes
        ));
        swap.replace()?;
        print(&format!(
            "{} is now {version}; {own} is kept as {}\n",
            program.display(),
            swap.previous().display()
        ));
        Ok(swap)
    }

    async fn install_package(
        &self,
        package: &Package,
        source: &ShippedAgents,
        shipped: &ShippedAgent,
        program: &Path,
        version: &str,
        print: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let Some(deb) = &shipped.package else {
            return Err(format!(
                "{} belongs to the package {}, and {} ships no package for {}; download the package of {version} and install it with `apt install`",
                program.display(),
                package.name(),
                self.api_url,
                shipped.machine
            ));
        };
        let file_of_package = package.download_file(&self.state_dir)?;
        let mut file = file_of_package.create()?;
        source.download(".deb", deb, &mut file).await?;
        file_of_package.finish(file)?;
        let trial = Swap::next_to(program);
        drop(trial.create()?);
        package.extract(file_of_package.path(), trial.path())?;
        let downloaded = version_of(trial.path())?;
        drop(trial);
        if downloaded != version {
            return Err(format!(
                "the downloaded package contains {downloaded} and not {version}; nothing was changed"
            ));
        }
        print(&format!(
            "downloaded {} bytes: the SHA-256 matches, and the program in the package runs as {version}\n{} belongs to the package {}: apt upgrades it\n",
            deb.bytes,
            program.display(),
            package.name()
        ));
        package.install(file_of_package.path(), self.anyway)?;
        print(&format!(
            "{} is now {}\n",
            program.display(),
            version_of(program)?
        ));
        Ok(())
    }

    async fn install_previous(
        &self,
        program: &Path,
        package: Option<Package>,
        service: Option<&Service>,
        print: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        if let Some(package) = package {
            return Err(format!(
                "{} belongs to the package {}; install the previous package with `apt install --allow-downgrades`",
                program.display(),
                package.name()
            ));
        }
        let previous = previous_program(program);
        let version = version_of(&previous)
            .map_err(|error| format!("the previous program can't be used: {error}"))?;
        let digest = swap::sha256(&previous)
            .map_err(|error| format!("{} can't be read: {error}", previous.display()))?;
        self.allowed.check_file(&digest)?;
        exchange(program, &previous)?;
        print(&format!("{} is {version} again\n", program.display()));
        self.restart_agent(program, service, None, &version, print)
            .await
    }

    /// Has the agent restarted. If the new program does not keep running, `swap` puts the previous
    /// one back.
    async fn restart_agent(
        &self,
        program: &Path,
        service: Option<&Service>,
        swap: Option<&Swap>,
        own: &str,
        print: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let Some(service) = service else {
            print("no agent is running here; the next one to start uses this program\n");
            return Ok(());
        };
        if !self.restart {
            print(&format!(
                "the agent (process {}) keeps running the previous program until it is restarted\n",
                service.agent.pid
            ));
            return Ok(());
        }
        let outcome = service.restart(program, &self.state_dir, print).await;
        match (outcome, swap) {
            (Outcome::Up | Outcome::Unknown, _) => Ok(()),
            (Outcome::Down(why), Some(swap)) => {
                swap.undo()?;
                print(&format!(
                    "the new agent does not keep running: {why}\n{} is {own} again\n",
                    program.display()
                ));
                match service.restart(program, &self.state_dir, print).await {
                    Outcome::Up => Err(format!("the upgrade was undone: {own} is running again")),
                    Outcome::Unknown => Err(format!(
                        "the upgrade was undone; start the agent, which is {own} again"
                    )),
                    Outcome::Down(why) => Err(format!(
                        "the upgrade was undone, but {own} does not keep running either: {why}"
                    )),
                }
            }
            (Outcome::Down(why), None) => Err(format!(
                "the agent does not keep running: {why}; check its log"
            )),
        }
    }
}

/// Runs `PROGRAM --version`, which also shows that the program can run on this machine.
fn version_of(program: &Path) -> Result<String, String> {
    let shown = program.display();
    let output = Command::new(program)
        .arg("--version")
        .env_clear()
        .output()
        .map_err(|error| format!("{shown} can't be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .trim()
        .strip_prefix("hyprbox-agent ")
        .map(str::to_owned);
    match version.filter(|_| output.status.success()) {
        Some(version) => Ok(version),
        None => Err(format!(
            "{shown} does not run as an agent here: {}",
            output.status
        )),
    }
}

/// Whether two paths name the same file.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
