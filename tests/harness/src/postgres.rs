//! A database of a server's own on a PostgreSQL server, gone when nobody needs it any more.

use std::sync::atomic::{AtomicU64, Ordering};

use postgres::{Client, NoTls, SimpleQueryMessage};

static MADE: AtomicU64 = AtomicU64::new(0);

pub struct Postgres {
    admin_url: String,
    name: String,
    url: String,
}

impl Postgres {
    pub(crate) fn fresh(admin_url: &str) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("it_{}_{number}", std::process::id());
        let sql = format!("CREATE DATABASE {name}");
        run(&mut connect(admin_url), &sql);
        let (server, _) = admin_url.rsplit_once('/').expect("a URL with a database");
        Self {
            admin_url: admin_url.to_owned(),
            url: format!("{server}/{name}"),
            name,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) -> usize {
        let done = run(&mut connect(&self.url), sql);
        let counts = done.iter().rev().find_map(|message| {
            if let SimpleQueryMessage::CommandComplete(count) = message {
                Some(*count)
            } else {
                None
            }
        });
        usize::try_from(counts.unwrap_or_default()).expect("a count")
    }

    #[track_caller]
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        let rows = run(&mut connect(&self.url), sql);
        let text = |message| {
            if let SimpleQueryMessage::Row(row) = message {
                Some(row.get(0).unwrap_or_default().to_owned())
            } else {
                None
            }
        };
        rows.into_iter().filter_map(text).collect()
    }

    /// Readers come through; who wants to write waits.
    pub(crate) fn hold(&self) -> Client {
        self.hold_tables("readiness, nodes, jobs, audit_entries")
    }

    /// The same of any tables.
    pub(crate) fn hold_tables(&self, tables: &str) -> Client {
        let mut client = connect(&self.url);
        let sql = format!("BEGIN; LOCK TABLE {tables} IN EXCLUSIVE MODE");
        run(&mut client, &sql);
        client
    }

    /// Every row is read through, and every reference leads somewhere.
    pub(crate) fn integrity(&self) -> Vec<String> {
        for table in self.tables() {
            self.texts(&format!("SELECT count(CAST(t AS TEXT)) FROM {table} t"));
        }
        let lost = "SELECT job_id FROM chunks WHERE job_id NOT IN (SELECT id FROM jobs)";
        let mut faults = self.texts(lost);
        if faults.is_empty() {
            faults.push("ok".to_owned());
        }
        faults
    }

    pub(crate) fn holds(&self, needle: &str) -> bool {
        let hex: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.tables().iter().any(|table| {
            let sql = format!(
                "SELECT 1 FROM {table} t WHERE position('{needle}' IN CAST(t AS TEXT)) > 0
                 OR position('{hex}' IN CAST(t AS TEXT)) > 0 LIMIT 1"
            );
            !self.texts(&sql).is_empty()
        })
    }

    fn tables(&self) -> Vec<String> {
        self.texts("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Ok(mut client) = Client::connect(&self.admin_url, NoTls) {
            let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
            // The whole cluster goes at the end; here it only gets smaller.
            let _dropped = client.batch_execute(&sql);
        }
    }
}

fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).expect("PostgreSQL answers")
}

#[track_caller]
fn run(client: &mut Client, sql: &str) -> Vec<SimpleQueryMessage> {
    client.simple_query(sql).expect(sql)
}
