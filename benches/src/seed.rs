//! Fills a stopped server's database: many nodes with tokens, many jobs of the past, and jobs that
//! wait.

use std::path::Path;

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

/// The script of a job that was never rendered; about what a preset gives.
const SCRIPT_BYTES: usize = 3_000;

/// An open database of a server that is stopped.
pub(crate) struct Seed {
    connection: Connection,
    owner: String,
}

/// The node with that number.
pub(crate) fn node(number: usize) -> String {
    format!("n{number}")
}

/// Its token.
pub(crate) fn node_token(number: usize) -> String {
    format!("hbn_{number:043}")
}

impl Seed {
    pub(crate) fn open(database: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(database)?;
        // Nothing in there is worth a sync.
        connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;")?;
        let owner = connection.query_row("SELECT id FROM users LIMIT 1", [], |row| row.get(0))?;
        Ok(Self { connection, owner })
    }

    /// Nodes 0 to `count`, with a token each.
    pub(crate) fn nodes(&self, count: usize) -> anyhow::Result<()> {
        self.connection.execute_batch("BEGIN")?;
        let mut node_of = self.connection.prepare(
            "INSERT INTO nodes (id, name, labels, created_at) VALUES (?1, ?1, '{}', '2026-01-01T00:00:00.000Z')",
        )?;
        let mut token_of = self.connection.prepare(
            "INSERT INTO node_tokens (id, node_id, prefix, token_sha256, created_at)
             VALUES ('t' || ?1, ?1, 'hbn_', ?2, '2026-01-01T00:00:00.000Z')",
        )?;
        for number in 0..count {
            let digest = Sha256::digest(node_token(number).as_bytes());
            node_of.execute([node(number)])?;
            token_of.execute(params![node(number), &digest[..]])?;
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(())
    }

    /// Finished jobs of a node `past`, a line of output each, older than every other job.
    pub(crate) fn history(&self, count: usize) -> anyhow::Result<()> {
        self.connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
             INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, started_at,
                finished_at, exit_code, timeout_seconds, script_sha256, lines, position, stdout_bytes, params, script)
             SELECT format('01900000-%04x-7000-8000-%012x', n >> 16, n), 'SUCCEEDED', 'true', 'past', ?2, 'bench@example.org',
                '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:01.000Z', '2026-01-01T00:00:02.000Z', 0, 600, ?3, 1, 3, 3,
                '{}', 'true'
             FROM numbers",
            params![count as i64, self.owner, "0".repeat(64)],
        )?;
        self.connection.execute(
            "INSERT INTO chunks (job_id, stream, start_offset, position, arrived_at, line, data)
             SELECT id, 'stdout', 0, 0, finished_at, 1, x'68690a' FROM jobs WHERE node_id = 'past'",
            [],
        )?;
        self.connection.execute_batch("ANALYZE")?;
        Ok(())
    }

    /// Jobs that wait: one on each of nodes 0 to `count`, all in one commit.
    pub(crate) fn queue(&self, count: usize) -> anyhow::Result<()> {
        self.connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1 - 1)
             INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds,
                script_sha256, lines, params, script)
             SELECT format('02900000-%04x-7000-%04x-%012x', abs(random()) >> 47, 32768 + (abs(random()) >> 49), n), 'QUEUED', 'true', 'n' || n, ?2,
                'bench@example.org', '2026-01-02T00:00:00.000Z', 600, ?3, 0, '{}', ?4
             FROM numbers",
            params![count as i64, self.owner, "0".repeat(64), "#".repeat(SCRIPT_BYTES)],
        )?;
        Ok(())
    }

    /// The id of the `n`th job of the past, from 1.
    pub(crate) fn past_id(n: usize) -> String {
        format!("01900000-{:04x}-7000-8000-{n:012x}", n >> 16)
    }
}

/// A copy of a database that nobody has open.
pub(crate) fn copy(database: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(database, to)?;
    let wal = |path: &Path| path.with_extension("db-wal");
    if wal(database).exists() {
        std::fs::copy(wal(database), wal(to))?;
    }
    Ok(())
}
