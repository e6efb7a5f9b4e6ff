//! Fills a stopped server's database with nodes and their tokens, finished jobs, and queued jobs.

use std::path::Path;

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

/// Size of a queued job's script, about that of a rendered preset.
const SCRIPT_BYTES: usize = 3_000;

/// The open database of a stopped server.
pub(crate) struct Seed {
    connection: Connection,
    owner: String,
}

/// The id of a node.
pub(crate) fn node(number: usize) -> String {
    format!("n{number}")
}

/// The token of a node.
pub(crate) fn node_token(number: usize) -> String {
    format!("hbn_{number:043}")
}

impl Seed {
    pub(crate) fn open(database: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(database)?;
        // The data can be created again, so it needs no fsync.
        connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;")?;
        let owner = connection.query_row("SELECT id FROM users LIMIT 1", [], |row| row.get(0))?;
        Ok(Self { connection, owner })
    }

    /// Adds `count` nodes with a token each.
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

    /// Adds finished jobs of the node `past` with a line of output each, older than all other jobs.
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
        Ok(())
    }

    /// Adds a QUEUED job on each of the first `count` nodes, in one commit.
    pub(crate) fn queue(&self, count: usize) -> anyhow::Result<()> {
        // The server checks it at each claim.
        let script = "#".repeat(SCRIPT_BYTES);
        let digest: String = Sha256::digest(script.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1 - 1)
             INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds,
                script_sha256, lines, params, script, envelope, signature)
             SELECT format('02900000-%04x-7000-%04x-%012x', abs(random()) >> 47, 32768 + (abs(random()) >> 49), n), 'QUEUED', 'true', 'n' || n, ?2,
                'bench@example.org', '2026-01-02T00:00:00.000Z', 600, ?3, 0, '{}', ?4, '{}', 'not checked by the benchmark''s agents'
             FROM numbers",
            params![count as i64, self.owner, digest, script],
        )?;
        Ok(())
    }

    /// Adds QUEUED jobs that are held until 2100, spread over the first `nodes` nodes, in one
    /// commit.
    pub(crate) fn held(&self, count: usize, nodes: usize) -> anyhow::Result<()> {
        self.connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1 - 1)
             INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds,
                script_sha256, lines, params, script, queue_no, not_before, held, holds)
             SELECT format('01800000-%04x-7000-8000-%012x', n >> 16, n), 'QUEUED', 'true', 'n' || (n % ?2), ?3,
                'bench@example.org', '2026-01-01T00:00:00.000Z', 600, ?4, 0, '{}', 'true', 0, '2100-01-01T00:00:00.000Z', 1, 1
             FROM numbers",
            params![count as i64, nodes as i64, self.owner, "0".repeat(64)],
        )?;
        Ok(())
    }

    /// The id of the `n`th finished job, counted from 1.
    pub(crate) fn past_id(n: usize) -> String {
        format!("01900000-{:04x}-7000-8000-{n:012x}", n >> 16)
    }
}

/// Copies a database that no program has open.
pub(crate) fn copy(database: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(database, to)?;
    let wal = |path: &Path| path.with_extension("db-wal");
    if wal(database).exists() {
        std::fs::copy(wal(database), wal(to))?;
    }
    Ok(())
}
