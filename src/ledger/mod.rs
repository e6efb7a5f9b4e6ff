//! The ledger: a hash chain over each job queued, each job ended, each deletion by retention and
//! each audit entry. It shows whether somebody changed history in the database.
//!
//! Transactions leave what must be recorded in `ledger_due`, by triggers, and [`Ledger::follow`]
//! appends it in the background: a chain has one end, and commits would wait for one another there.
//! Agents keep the newest entry that they have seen and report it, so that the fleet knows if the
//! chain is cut or replaced.

mod append;
mod canonical;
mod check;
mod routes;
mod witness;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyprbox_protocol::LedgerHead;
use tokio::time::Instant;

pub use append::append_deletions;
pub use check::{Extent, check, check_at_once, check_scripts};
pub use routes::routes;
pub use witness::disagreements;

use crate::clock;
use crate::hub::{Hub, next_change};
use crate::outbox::{EventKind, Message, Outbox, Subject};
use crate::store::ledger::{self, LedgerFault};
use crate::store::{Change, Store, StoreError, Tx};
use crate::sync::lock;
use crate::tasks::Failures;

/// How often `ledger_due` is read if no change is announced.
const TICK: Duration = Duration::from_secs(2);
/// Collects what happens within this time and appends it together.
const GATHER: Duration = Duration::from_millis(200);
/// How often the newest entries are checked.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// How often all entries are checked.
const CHECK_ALL_EVERY_MS: i64 = 24 * 3_600_000;

/// Appends to the ledger, checks it, and knows its end. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    store: Store,
    hub: Arc<Hub>,
    outbox: Outbox,
    /// The last entry, once there is one.
    head: Mutex<Option<LedgerHead>>,
    /// What each node's agent has reported, and when that was compared.
    witnesses: Mutex<HashMap<String, (LedgerHead, Instant)>>,
}

impl Ledger {
    pub fn new(store: Store, hub: Arc<Hub>, outbox: Outbox) -> Self {
        Self(Arc::new(Shared {
            store,
            hub,
            outbox,
            head: Mutex::default(),
            witnesses: Mutex::default(),
        }))
    }

    /// The last entry that this server knows. Never one that is not durable.
    pub fn head(&self) -> Option<LedgerHead> {
        lock(&self.0.head).clone()
    }

    /// Appends and checks as long as the server runs.
    pub async fn follow(self) {
        tokio::join!(self.follow_changes(), self.follow_checks());
    }

    async fn follow_changes(&self) {
        let mut failures = Failures::of("append to the ledger");
        loop {
            // Subscribed before the read, so that a change after it is not missed.
            let mut changes = self.0.hub.changes();
            failures.log(self.append_due().await);
            tokio::select! {
                _ = next_change(&mut changes, may_be_recorded) => {}
                () = tokio::time::sleep(TICK) => {}
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Appends everything that is due.
    pub async fn append_due(&self) -> Result<(), StoreError> {
        while self.0.store.read(ledger::is_due).await? {
            self.0.store.write(append::append_some).await?;
        }
        let state = self.0.store.read(ledger::state).await?;
        *lock(&self.0.head) = (state.seq > 0).then_some(LedgerHead {
            seq: state.seq,
            hash: state.hash,
        });
        Ok(())
    }

    async fn follow_checks(&self) {
        let mut failures = Failures::of("check the ledger");
        let mut extent = Extent::All;
        loop {
            failures.log(self.check_and_record(extent).await);
            tokio::time::sleep(CHECK_EVERY).await;
            let state = self.0.store.read(ledger::state).await;
            extent = match state.map(|state| state.checked_all_at) {
                Ok(Some(at)) if clock::now().millis_since(at).abs() < CHECK_ALL_EVERY_MS => {
                    Extent::Newest
                }
                Ok(_) | Err(_) => Extent::All,
            };
        }
    }

    async fn check_and_record(&self, extent: Extent) -> Result<(), StoreError> {
        let mut faults = check(&self.0.store, extent).await?;
        faults.extend(self.0.store.read(disagreements).await?);
        self.record(faults).await?;
        let set =
            move |tx: &mut dyn Tx| ledger::set_checked(tx, extent == Extent::All, clock::now());
        self.0.store.write(set).await
    }

    /// Raises an alarm for each fault that is new.
    async fn record(&self, faults: Vec<LedgerFault>) -> Result<(), StoreError> {
        if faults.is_empty() {
            return Ok(());
        }
        let outbox = self.0.outbox.clone();
        let record = move |tx: &mut dyn Tx| {
            let mut new = Vec::new();
            for fault in faults {
                if ledger::record_fault(tx, &fault, clock::now())? {
                    new.push(fault);
                }
            }
            if let Some(first) = new.first() {
                let event = EventKind::HistoryAltered;
                outbox.report(tx, event, &Subject::SERVER, |_| {
                    Ok::<_, StoreError>(notice(&first.detail, new.len() - 1))
                })?;
            }
            Ok::<_, StoreError>(new)
        };
        for fault in self.0.store.write(record).await? {
            tracing::error!(
                "history was altered: {}; run `hyprbox audit verify`, then `hyprbox audit acknowledge`",
                fault.detail
            );
        }
        Ok(())
    }
}

/// The message about an altered history.
fn notice(first: &str, others: usize) -> Message {
    let reason = match others {
        0 => first.to_owned(),
        n => format!("{first}, and {n} more"),
    };
    Message {
        event: Some(EventKind::HistoryAltered),
        object: None,
        reason,
        stderr_tail: None,
        path: "/".to_owned(),
    }
}

/// Whether something may be due after the change.
fn may_be_recorded(change: &Change) -> bool {
    !matches!(
        change,
        Change::Output { .. } | Change::Progress { .. } | Change::Watched { .. }
    )
}
