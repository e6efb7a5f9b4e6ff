//! Holds: why a QUEUED job can't be claimed yet.

use serde::{Deserialize, Serialize};

use crate::store::{FromValue, Value};

/// A reason why a QUEUED job can't be claimed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// The job's `notBefore` is not reached.
    NotBefore,
    /// The run has not released the job's batch.
    Batch,
    /// The run is paused.
    PausedRun,
    /// The job waits for a signature.
    Signature,
}

impl HoldKind {
    /// Every kind, in the order in which they are listed.
    pub const ALL: [Self; 4] = [
        Self::NotBefore,
        Self::Batch,
        Self::PausedRun,
        Self::Signature,
    ];

    /// The kind's share of `jobs.holds`, which is a sum.
    pub const fn bit(self) -> u64 {
        match self {
            HoldKind::NotBefore => 1,
            HoldKind::Batch => 2,
            HoldKind::PausedRun => 4,
            HoldKind::Signature => 8,
        }
    }
}

/// The open holds of a job. A set in one column instead of a table: one UPDATE of the job's row
/// opens or releases a hold and decides whether it was the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holds(u64);

impl Holds {
    /// No hold: the job can be claimed.
    pub const NONE: Self = Self(0);

    /// Adds a hold.
    #[must_use]
    pub fn with(self, kind: HoldKind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// Whether the hold is open.
    pub fn contains(self, kind: HoldKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether no hold is open.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The open holds.
    pub fn kinds(self) -> impl Iterator<Item = HoldKind> {
        HoldKind::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }
}

impl FromValue for Holds {
    fn from_value(value: Value) -> Option<Self> {
        u64::from_value(value).map(Self)
    }
}

impl From<Holds> for Value {
    fn from(holds: Holds) -> Self {
        Value::from(holds.0)
    }
}
