//! What the machine itself can do, measured in the same run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// Milliseconds until the end of a script of `true` is known, of the same bash under the agent's supervisor.
pub(crate) fn supervised(agent: &Path, samples: usize) -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let one = |number: usize| -> anyhow::Result<f64> {
        let job = folder.path().join(number.to_string());
        std::fs::create_dir(&job)?;
        std::fs::write(job.join("script"), "true\n")?;
        let spec = serde_json::json!({
            "id": number.to_string(), "preset": "true", "timeoutSeconds": 60, "env": {}, "bootId": boot_id.trim(),
        });
        std::fs::write(job.join("job.json"), spec.to_string())?;
        let pipes = Command::new("mkfifo")
            .args([job.join("wake"), job.join("control")])
            .status()?;
        anyhow::ensure!(pipes.success(), "no pipes to be had");
        let start = Instant::now();
        let mut supervisor = Command::new(agent).arg("supervise").arg(&job).spawn()?;
        while !job.join("exit").exists() {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(10),
                "the supervisor wrote no end"
            );
            std::thread::sleep(Duration::from_micros(50));
        }
        let ms = start.elapsed().as_secs_f64() * 1_000.0;
        supervisor.wait()?;
        Ok(ms)
    };
    (0..samples).map(one).collect()
}
