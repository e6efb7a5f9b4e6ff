//! `hyprbox-agent upgrade`: has the agent's program replaced by the one that the server ships, and
//! the agent restarted by whatever runs it. Running jobs are left alone: each is under a supervisor
//! of its own, which keeps the program that it began with. It may be part of such a job itself.

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

use crate::commands::agent_process::Running;
use crate::config::{ConfigError, Raw, is_in_the_clear};
use fetch::Shop;
use package::Package;
use restart::{Outcome, Service};
use swap::{Swap, exchange, old_of};

/// What is asked for.
pub struct Upgrade {
    way: Way,
    api_url: String,
    ca_file: Option<PathBuf>,
    state_dir: PathBuf,
    /// Takes what the server ships though it is older, or another build of the same version.
    anyway: bool,
    restart: bool,
}

enum Way {
    /// To what the server ships.
    Forth,
    /// To the program that the last upgrade replaced.
    Back,
}

impl Upgrade {
    /// Reads the words after the command's name.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let (mut way, mut anyway, mut restart) = (Way::Forth, false, true);
        let mut others = Vec::new();
        for word in args {
            match word.to_str() {
                Some("--back") => way = Way::Back,
                Some("--anyway") => anyway = true,
                Some("--no-restart") => restart = false,
                _ => others.push(word),
            }
        }
        let raw = Raw::parse(others, env)?;
        let (api_url, ca_file) = raw.server()?;
        Ok(Self {
            way,
            api_url,
            ca_file,
            state_dir: raw.state_dir()?,
            anyway,
            restart,
        })
    }

    /// Does it. An error is one line; it says what there is now, where that is not what there was.
    pub async fn run(&self, say: &mut dyn FnMut(&str)) -> Result<(), String> {
        let running = Running::find(&self.state_dir);
        // The file that the agent was started from, wherever this one lies.
        let program = match &running {
            Some(running) => running.program(),
            None => std::env::current_exe(),
        };
        let program =
            program.map_err(|error| format!("the agent's program can't be found: {error}"))?;
        let folder = program.parent().unwrap_or(Path::new("/"));
        let _turn = File::open(folder)
            .map_err(|error| format!("{} can't be opened: {error}", folder.display()))
            .and_then(|folder| {
                Flock::lock(folder, FlockArg::LockExclusiveNonblock)
                    .map_err(|_| "another upgrade is under way; look at it first".to_owned())
            })?;
        let package = Package::owner(&program);
        let service = running.map(Service::of);
        match self.way {
            Way::Forth => self.forth(&program, package, service.as_ref(), say).await,
            Way::Back => self.back(&program, package, service.as_ref(), say).await,
        }
    }

    async fn forth(
        &self,
        program: &Path,
        package: Option<Package>,
        service: Option<&Service>,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let own = version_of(program)?;
        let shop = Shop::open(&self.api_url, self.ca_file.as_deref())?;
        let shipped = shop.look().await?;
        let version = shipped.version.clone().ok_or_else(|| {
            format!(
                "the agent that {} ships doesn't tell its version; upgrade the server first",
                self.api_url
            )
        })?;
        let is_same_file =
            swap::sha256(program).is_ok_and(|digest| digest == shipped.program.sha256);
        if is_same_file || (!self.anyway && !is_older(&own, &version)) {
            return self
                .nothing_newer(program, service, &own, &version, is_same_file, say)
                .await;
        }
        say(&format!(
            "this agent is {own}, the server ships {version}\n"
        ));
        if is_in_the_clear(&self.api_url) {
            say(
                "over plain http the SHA-256 comes by the same open line as the program: it shows a cut, and no change on the way\n",
            );
        }
        let kept = match package {
            Some(package) => {
                self.install(&package, &shop, &shipped, program, &version, say)
                    .await?;
                None
            }
            None => Some(
                self.swap(&shop, &shipped, program, &own, &version, say)
                    .await?,
            ),
        };
        self.after(program, service, kept.as_ref(), &own, say).await
    }

    /// What there is to say, and to do, where the file is not to be replaced.
    async fn nothing_newer(
        &self,
        program: &Path,
        service: Option<&Service>,
        own: &str,
        version: &str,
        is_same_file: bool,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        if !is_same_file && is_older(version, own) {
            return Err(format!(
                "the server ships {version}, which is older than this {own}: upgrade the server; --anyway takes the older one"
            ));
        }
        let also = if is_same_file {
            ""
        } else {
            ", in another build than the server's (--anyway takes that)"
        };
        say(&format!("already at version {own}{also}\n"));
        let about = program.metadata().map_err(|error| error.to_string())?;
        match service {
            // An upgrade before this one ended between the two.
            Some(service) if !service.agent.runs(&about) => {
                say("but the agent still runs the program before it\n");
                self.after(program, Some(service), None, own, say).await
            }
            _ => Ok(()),
        }
    }

    async fn swap(
        &self,
        shop: &Shop,
        shipped: &ShippedAgent,
        program: &Path,
        own: &str,
        version: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<Swap, String> {
        let swap = Swap::beside(program);
        let mut file = swap.create()?;
        shop.fetch("", &shipped.program, &mut file).await?;
        swap.finish(file)?;
        let comes = version_of(swap.path())?;
        if comes != version {
            return Err(format!(
                "the program that came calls itself {comes} and not {version}; nothing was changed"
            ));
        }
        say(&format!(
            "{} bytes came with the SHA-256 that the server names, and run as {version}\n",
            shipped.program.bytes
        ));
        swap.replace()?;
        say(&format!(
            "{} is {version} now; {own} is kept as {}\n",
            program.display(),
            swap.old().display()
        ));
        Ok(swap)
    }

    async fn install(
        &self,
        package: &Package,
        shop: &Shop,
        shipped: &ShippedAgent,
        program: &Path,
        version: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let Some(deb) = &shipped.package else {
            return Err(format!(
                "{} is the package {}'s, and {} ships no package for {}: get the one of {version}, and `apt install` it",
                program.display(),
                package.name(),
                self.api_url,
                shipped.machine
            ));
        };
        let fetched = package.place(&self.state_dir)?;
        let mut file = fetched.create()?;
        shop.fetch(".deb", deb, &mut file).await?;
        fetched.finish(file)?;
        let trial = Swap::beside(program);
        drop(trial.create()?);
        package.extract(fetched.path(), trial.path())?;
        let comes = version_of(trial.path())?;
        drop(trial);
        if comes != version {
            return Err(format!(
                "the package that came has {comes} in it and not {version}; nothing was changed"
            ));
        }
        say(&format!(
            "{} bytes came with the SHA-256 that the server names, and {version} in them runs\n{} is the package {}'s: apt upgrades it\n",
            deb.bytes,
            program.display(),
            package.name()
        ));
        package.install(fetched.path(), self.anyway)?;
        say(&format!(
            "{} is {} now\n",
            program.display(),
            version_of(program)?
        ));
        Ok(())
    }

    async fn back(
        &self,
        program: &Path,
        package: Option<Package>,
        service: Option<&Service>,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        if let Some(package) = package {
            return Err(format!(
                "{} is the package {}'s: `apt install --allow-downgrades` the package before it",
                program.display(),
                package.name()
            ));
        }
        let old = old_of(program);
        let before = version_of(&old).map_err(|error| format!("there is no way back: {error}"))?;
        exchange(program, &old)?;
        say(&format!("{} is {before} again\n", program.display()));
        self.after(program, service, None, &before, say).await
    }

    /// Has the agent restarted, and puts the old program back (`kept`) where the new one doesn't
    /// stay up.
    async fn after(
        &self,
        program: &Path,
        service: Option<&Service>,
        kept: Option<&Swap>,
        own: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let Some(service) = service else {
            say("no agent runs here; the next start takes this program\n");
            return Ok(());
        };
        if !self.restart {
            say(&format!(
                "the agent, process {}, goes on with the program before it until its restart\n",
                service.agent.pid
            ));
            return Ok(());
        }
        let ended = service.restart(program, &self.state_dir, say).await;
        match (ended, kept) {
            (Outcome::Up | Outcome::Unknown, _) => Ok(()),
            (Outcome::Down(why), Some(swap)) => {
                swap.undo()?;
                say(&format!(
                    "the new agent doesn't stay up: {why}\n{} is {own} again\n",
                    program.display()
                ));
                match service.restart(program, &self.state_dir, say).await {
                    Outcome::Up => Err(format!("the upgrade was taken back: {own} runs again")),
                    Outcome::Unknown => Err(format!(
                        "the upgrade was taken back; start the agent, which is {own} again"
                    )),
                    Outcome::Down(why) => Err(format!(
                        "the upgrade was taken back, but {own} doesn't come up either: {why}"
                    )),
                }
            }
            (Outcome::Down(why), None) => Err(format!(
                "the agent doesn't stay up: {why}; look into its log"
            )),
        }
    }
}

/// What a program calls itself, which shows that it runs here at all.
fn version_of(program: &Path) -> Result<String, String> {
    let shown = program.display();
    let asked = Command::new(program)
        .arg("--version")
        .env_clear()
        .output()
        .map_err(|error| format!("{shown} can't be started: {error}"))?;
    let said = String::from_utf8_lossy(&asked.stdout);
    let version = said
        .trim()
        .strip_prefix("hyprbox-agent ")
        .map(str::to_owned);
    match version.filter(|_| asked.status.success()) {
        Some(version) => Ok(version),
        None => Err(format!(
            "{shown} doesn't run as an agent here: it ended with {}",
            asked.status
        )),
    }
}

/// Whether two names lead to the same file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
