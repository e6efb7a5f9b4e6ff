//! The agent's restart, by whatever runs it, and whether it then stays up.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::commands::agent_process::{Manager, Running};

/// For the old agent to hand over, and the new one to take the state folder.
const COMES_WITHIN: Duration = Duration::from_secs(15);
/// A program that can't live here ends sooner.
const STAYS_FOR: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What became of it.
pub(super) enum Outcome {
    /// The agent runs that program, and has done so for a while.
    Up,
    /// Nobody is known who could restart it.
    Unknown,
    /// It doesn't come, or doesn't stay; this is why.
    Down(String),
}

/// An agent, and what starts it again: found while it runs, as a dead one tells nothing.
pub(super) struct Service {
    pub(super) agent: Running,
    manager: Manager,
}

impl Service {
    pub(super) fn of(agent: Running) -> Self {
        Self {
            manager: agent.manager(),
            agent,
        }
    }

    /// Has the agent restarted, unless it runs `program` by now, and waits until it is sure to run
    /// that.
    pub(super) async fn restart(
        &self,
        program: &Path,
        state_dir: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Outcome {
        // A package's own script may have restarted it.
        let runs = |agent: Running| program.metadata().is_ok_and(|file| agent.runs(&file));
        let mut complaint = None;
        if !Running::find(state_dir).is_some_and(runs) {
            let (shown, mut command) = match &self.manager {
                Manager::Systemd(unit) => command(&["systemctl", "restart", unit]),
                Manager::OpenRc(service) => command(&["rc-service", service, "restart"]),
                Manager::Unknown => {
                    say(&format!(
                        "nothing is known here that restarts the agent: stop process {}, and start it again as it was started; jobs go on meanwhile\n",
                        self.agent.pid
                    ));
                    return Outcome::Unknown;
                }
            };
            say(&format!("{shown}\n"));
            complaint = match command.status() {
                Ok(status) if status.success() => None,
                Ok(status) => Some(format!("{shown} ended with {status}")),
                Err(error) => Some(format!("{shown} can't be run: {error}")),
            };
        }
        // Whatever the command says: what counts is an agent that stays.
        match stays(program, state_dir).await {
            Ok(pid) => {
                say(&format!("the agent runs it, as process {pid}\n"));
                Outcome::Up
            }
            Err(why) => Outcome::Down(complaint.unwrap_or(why)),
        }
    }
}

fn command(words: &[&str]) -> (String, Command) {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    (words.join(" "), command)
}

/// The process of an agent that runs `program` and holds the state folder, once it has for a while.
async fn stays(program: &Path, state_dir: &Path) -> Result<i32, String> {
    let deadline = Instant::now() + COMES_WITHIN;
    let mut since: Option<(i32, Instant)> = None;
    loop {
        let file = program.metadata().map_err(|error| error.to_string())?;
        let found = Running::find(state_dir).filter(|agent| agent.runs(&file));
        since = match (found, since) {
            (Some(agent), Some((pid, at))) if agent.pid == pid => {
                if at.elapsed() >= STAYS_FOR {
                    return Ok(pid);
                }
                Some((pid, at))
            }
            (Some(agent), _) => Some((agent.pid, Instant::now())),
            (None, _) => None,
        };
        if Instant::now() > deadline {
            return Err(format!(
                "no agent with that program held {} for {} s",
                state_dir.display(),
                STAYS_FOR.as_secs()
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
