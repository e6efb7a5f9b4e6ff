//! PostgreSQL's own tools: `psql` and `pgbench`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A database, and the directory of the tools.
pub(crate) struct Sql {
    programs: PathBuf,
    pub(crate) url: String,
}

impl Sql {
    /// The cluster of `tests/with-postgres`.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        Ok(Self {
            programs: PathBuf::from(std::env::var("HYPRBOX_TEST_POSTGRES_BIN")?),
            url: std::env::var("HYPRBOX_TEST_DATABASE_URL")?,
        })
    }

    /// Creates a database.
    pub(crate) async fn fresh(&self, name: &str) -> anyhow::Result<Self> {
        self.run(&format!("CREATE DATABASE {name}")).await?;
        let (server, _) = self.url.rsplit_once('/').context("a URL with a database")?;
        Ok(Self {
            programs: self.programs.clone(),
            url: format!("{server}/{name}"),
        })
    }

    /// Runs statements and returns the rows, unaligned.
    pub(crate) async fn run(&self, sql: &str) -> anyhow::Result<String> {
        let mut psql = Command::new(self.programs.join("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", &self.url])
            .env("PGOPTIONS", "-c hyprbox.tells=itself")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = psql.stdin.take().context("psql has no standard input")?;
        stdin.write_all(sql.as_bytes()).await?;
        drop(stdin);
        let output = psql.wait_with_output().await?;
        anyhow::ensure!(output.status.success(), "psql: {sql}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a script with prepared statements and without the trigger's notifications. Returns the
    /// transactions per second.
    pub(crate) async fn pgbench(
        &self,
        script: &Path,
        clients: usize,
        each: usize,
    ) -> anyhow::Result<f64> {
        let output = Command::new(self.programs.join("pgbench"))
            .args(["-n", "-M", "prepared", "-j", "2", "-f"])
            .arg(script)
            .args(["-c", &clients.to_string(), "-t", &each.to_string()])
            .arg(&self.url)
            .env("PGOPTIONS", "-c hyprbox.tells=itself")
            .output()
            .await?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "pgbench: {printed}");
        let line = printed
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))
            .context("pgbench printed no rate")?;
        Ok(line.split(' ').next().unwrap_or_default().parse()?)
    }
}
