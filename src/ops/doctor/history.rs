//! Whether the history fits the ledger.

use super::Finding;
use crate::config::{Config, DatabaseUrl};
use crate::ledger::{check_at_once, disagreements};
use crate::store::diagnosis::{diagnose, read_only};
use crate::store::ledger::{self, LedgerFault};
use crate::store::{SCHEMA_VERSION, StoreError, Tx};

const WHAT: &str = "history";

/// What the ledger shows.
struct History {
    entries: u64,
    /// Alarms that nobody has acknowledged.
    open: Vec<LedgerFault>,
    /// What does not fit now.
    faults: Vec<LedgerFault>,
}

/// Checks the whole ledger of a database with the current schema.
pub(super) fn findings(config: &Config) -> Option<Finding> {
    let read = match &config.database {
        DatabaseUrl::Sqlite(path) => {
            let version = diagnose_version(path)?;
            (version == SCHEMA_VERSION).then(|| read_only(path, read))?
        }
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => postgres(url)?,
    };
    Some(match read {
        Ok(history) => judge(&history),
        Err(error) => Finding::warn(
            WHAT,
            format!("the ledger can't be read: {error}"),
            "run this as the server's user, or with sudo",
        ),
    })
}

fn diagnose_version(path: &std::path::Path) -> Option<i64> {
    path.exists().then_some(())?;
    diagnose(path).ok().map(|found| found.content.version)
}

fn read(tx: &mut dyn Tx) -> Result<History, StoreError> {
    let mut faults = check_at_once(tx)?;
    faults.extend(disagreements(tx)?);
    Ok(History {
        entries: ledger::state(tx)?.seq,
        open: ledger::open_faults(tx, 100)?,
        faults,
    })
}

#[cfg(feature = "postgres")]
fn postgres(url: &str) -> Option<Result<History, String>> {
    use crate::store::Store;
    use crate::store::diagnosis::diagnose_postgres;

    let content = diagnose_postgres(url).ok()?.content?;
    if content.version != SCHEMA_VERSION {
        return None;
    }
    let read = async {
        let listener = std::sync::Arc::new(|_: &[crate::store::Change]| {});
        let store = Store::open_postgres(url, listener).map_err(|error| error.to_string())?;
        let history = store.read(read).await;
        store.close().await;
        history.map_err(|error| error.to_string())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    Some(match runtime {
        Ok(runtime) => runtime.block_on(read),
        Err(error) => Err(error.to_string()),
    })
}

fn judge(history: &History) -> Finding {
    let first = history.open.first().or(history.faults.first());
    let Some(first) = first else {
        let seen = format!("the ledger fits: {} entries", history.entries);
        return Finding::ok(WHAT, seen);
    };
    let others = history.open.len().max(history.faults.len()) - 1;
    let more = match others {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    let seen = format!("{}{more}", first.detail);
    if history.open.is_empty() {
        let fix = "acknowledged: `hyprbox audit verify` names everything that does not fit";
        return Finding::warn(WHAT, seen, fix);
    }
    Finding::fail(
        WHAT,
        seen,
        "find out who changed the database: `hyprbox audit verify --nodes` names what does not fit; then `hyprbox audit acknowledge`",
    )
}
