//! What the machine itself can do, measured in the same run.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;

/// Milliseconds from the spawn of `/bin/bash -s` to its end, of a script that prints one line.
pub(crate) fn bash_spawns(samples: usize) -> anyhow::Result<Vec<f64>> {
    (0..samples).map(|_| bash_spawn()).collect()
}

fn bash_spawn() -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut bash = Command::new("/bin/bash")
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("no bash")?;
    let mut stdin = bash.stdin.take().context("bash has no standard input")?;
    stdin.write_all(b"echo hi\n")?;
    drop(stdin);
    bash.wait_with_output()?;
    Ok(start.elapsed().as_secs_f64() * 1_000.0)
}

/// Seconds that `script` takes in a bash whose output goes through a pipe to nobody.
pub(crate) fn through_a_pipe(script: &str) -> anyhow::Result<f64> {
    let start = Instant::now();
    let status = Command::new("/bin/bash")
        .args(["-c", &format!("({script}) | cat >/dev/null")])
        .status()?;
    anyhow::ensure!(status.success(), "the script failed by itself");
    Ok(start.elapsed().as_secs_f64())
}
