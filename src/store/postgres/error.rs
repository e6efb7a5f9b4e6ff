//! What PostgreSQL's errors mean to the store.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// Translates an error of a statement.
pub(super) fn store_error(error: &Error) -> StoreError {
    let Some(state) = error.code() else {
        // Without a state the error is not from the server: the connection is broken, or a value
        // has an unexpected type.
        return if error.is_closed() || has_io_cause(error) {
            StoreError::Unusable(describe(error))
        } else {
            StoreError::Statement(describe(error))
        };
    };
    if *state == SqlState::DISK_FULL {
        return StoreError::Full;
    }
    let busy = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    // Class 53: too many connections, out of memory.
    if busy.contains(state) || state.code().starts_with("53") {
        tracing::warn!(error = describe(error), "the database is busy");
        return StoreError::Busy;
    }
    // Classes 08 (connection), 57 (shutting down, starting up), 58 (system) and XX (internal,
    // corrupt).
    let unusable = ["08", "57", "58", "XX"]
        .iter()
        .any(|class| state.code().starts_with(class));
    if unusable || *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        return StoreError::Unusable(describe(error));
    }
    StoreError::Statement(describe(error))
}

fn has_io_cause(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.is::<std::io::Error>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Returns an error with its causes in one line.
pub(super) fn describe(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    if text.contains("server does not support TLS") {
        text.push_str(
            ": turn on ssl in the database server, or connect with sslmode=disable over a network that nobody can read",
        );
    }
    text.replace('\n', " ")
}
