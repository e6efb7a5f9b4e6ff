//! Restarts the agent through its service manager, and checks that it keeps running.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::commands::agent_process::{AgentProcess, Manager};

/// Time for the old agent to exit, and for the new one to lock the state folder and keep running.
const RESTART_LIMIT: Duration = Duration::from_secs(15);
/// An agent that runs for this long has started successfully.
const PROBATION: Duration = Duration::from_secs(3);
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// The outcome of a restart.
pub(super) enum Outcome {
    /// The agent has been running the program for [`PROBATION`].
    Up,
    /// No service manager was found that could restart the agent.
    Unknown,
    /// The agent did not start, or did not keep running, for this reason.
    Down(String),
}

/// An agent and its service manager, which can be found only while the agent is running.
pub(super) struct Service {
    pub(super) agent: AgentProcess,
    manager: Manager,
}

impl Service {
    pub(super) fn of(agent: AgentProcess) -> Self {
        Self {
            manager: agent.manager(),
            agent,
        }
    }

    /// Restarts the agent, unless it runs `program` already, and waits until it has run `program`
    /// for a while.
    pub(super) async fn restart(
        &self,
        program: &Path,
        state_dir: &Path,
        print: &mut dyn FnMut(&str),
    ) -> Outcome {
        // The package's own script may already have restarted it.
        let runs = |agent: AgentProcess| program.metadata().is_ok_and(|file| agent.runs(&file));
        let mut command_error = None;
        if !AgentProcess::find(state_dir).is_some_and(runs) {
            let (shown, mut command) = match &self.manager {
                Manager::Systemd(unit) => command(&["systemctl", "restart", unit]),
                Manager::OpenRc(service) => command(&["rc-service", service, "restart"]),
                Manager::Unknown => {
                    print(&format!(
                        "no service manager restarts this agent: stop process {}, and start it again with the same command; running jobs continue\n",
                        self.agent.pid
                    ));
                    return Outcome::Unknown;
                }
            };
            print(&format!("{shown}\n"));
            command_error = match command.status() {
                Ok(status) if status.success() => None,
                Ok(status) => Some(format!("{shown} failed: {status}")),
                Err(error) => Some(format!("{shown} can't be run: {error}")),
            };
        }
        // Whatever the command returned, what counts is an agent that keeps running.
        match wait_until_stable(program, state_dir).await {
            Ok(pid) => {
                print(&format!("the agent runs it, as process {pid}\n"));
                Outcome::Up
            }
            Err(why) => Outcome::Down(command_error.unwrap_or(why)),
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

/// Waits until an agent that runs `program` has held the lock on the state folder for
/// [`PROBATION`], and returns its pid.
async fn wait_until_stable(program: &Path, state_dir: &Path) -> Result<i32, String> {
    let deadline = Instant::now() + RESTART_LIMIT;
    let mut since: Option<(i32, Instant)> = None;
    loop {
        let file = program.metadata().map_err(|error| error.to_string())?;
        let agent = AgentProcess::find(state_dir).filter(|agent| agent.runs(&file));
        since = match (agent, since) {
            (Some(agent), Some((pid, at))) if agent.pid == pid => {
                if at.elapsed() >= PROBATION {
                    return Ok(pid);
                }
                Some((pid, at))
            }
            (Some(agent), _) => Some((agent.pid, Instant::now())),
            (None, _) => None,
        };
        if Instant::now() > deadline {
            return Err(format!(
                "no agent with the new program held the lock on {} for {} s",
                state_dir.display(),
                PROBATION.as_secs()
            ));
        }
        tokio::time::sleep(CHECK_EVERY).await;
    }
}
