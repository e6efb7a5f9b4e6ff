//! Bash without the agent.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::clock;

/// A script in a file, as the agent passes it to bash.
pub(crate) struct Script(tempfile::NamedTempFile);

impl Script {
    pub(crate) fn new(text: &str) -> anyhow::Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Ok(Self(file))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut bash = Command::new("/bin/bash");
        bash.arg("-s")
            .env_clear()
            .stdin(File::open(self.0.path())?)
            .stdout(Stdio::piped());
        Ok(bash)
    }

    /// Returns the milliseconds from the start of `/bin/bash -s` to its end.
    pub(crate) fn run_ms(&self) -> anyhow::Result<f64> {
        let start = Instant::now();
        self.command()?.output().context("no bash")?;
        Ok(start.elapsed().as_secs_f64() * 1_000.0)
    }

    /// Returns the milliseconds from the start to the `EPOCHREALTIME` that the script writes.
    pub(crate) fn stamp_ms(&self) -> anyhow::Result<f64> {
        let mut command = self.command()?;
        let start = clock::micros();
        let output = command.output().context("no bash")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let stamp = text.rsplit(' ').next().and_then(clock::parse_bash_time);
        let stamp = stamp.context("this bash has no EPOCHREALTIME: 5.0 or newer is needed")?;
        Ok(stamp.saturating_sub(start) as f64 / 1_000.0)
    }
}

/// Returns how many scripts of `true` so many threads run per second.
pub(crate) fn runs_per_second(threads: usize, total: usize) -> anyhow::Result<f64> {
    let script = Script::new("true\n")?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let runs =
            |_| scope.spawn(|| (0..total / threads).try_for_each(|_| script.run_ms().map(drop)));
        let threads: Vec<_> = (0..threads).map(runs).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a thread that can't panic"))
    })?;
    Ok(total as f64 / start.elapsed().as_secs_f64())
}

/// Returns the seconds that `script` takes in a bash whose output is piped to `cat >/dev/null`.
pub(crate) fn through_a_pipe(script: &str) -> anyhow::Result<f64> {
    let start = Instant::now();
    let status = Command::new("/bin/bash")
        .args(["-c", &format!("({script}) | cat >/dev/null")])
        .status()?;
    anyhow::ensure!(status.success(), "the script failed");
    Ok(start.elapsed().as_secs_f64())
}

/// Returns the milliseconds until the agent's supervisor has recorded the end of a script of
/// `true`.
pub(crate) fn supervised_ms(agent: &Path, folder: &Path, number: usize) -> anyhow::Result<f64> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let job = folder.join("jobs").join(number.to_string());
    std::fs::create_dir_all(&job)?;
    // The log of starts, as the agent creates it.
    let starts = folder.join("starts");
    if !starts.exists() {
        std::fs::write(&starts, [0; 4096])?;
        File::open(&starts)?.sync_all()?;
    }
    std::fs::write(job.join("script"), "true\n")?;
    let spec = serde_json::json!({
        "id": number.to_string(), "preset": "true", "timeoutSeconds": 60, "env": {}, "bootId": boot_id.trim(),
    });
    std::fs::write(job.join("job.json"), spec.to_string())?;
    for pipe in ["wake", "control"] {
        nix::unistd::mkfifo(
            &job.join(pipe),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )?;
    }
    let start = Instant::now();
    let mut supervisor = Command::new(agent)
        .arg("supervise")
        .arg(&job)
        .stdin(Stdio::null())
        .spawn()?;
    while !job.join("exit").exists() {
        anyhow::ensure!(
            start.elapsed() < Duration::from_secs(10),
            "the supervisor recorded no end"
        );
        std::thread::sleep(Duration::from_micros(50));
    }
    let ms = start.elapsed().as_secs_f64() * 1_000.0;
    supervisor.wait()?;
    std::fs::remove_dir_all(job)?;
    Ok(ms)
}
