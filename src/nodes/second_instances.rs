//! Limits the audit entries about second agent instances of a node: otherwise the database would
//! grow with every id that a token's owner makes up.

/// Audit entries per node within [`WINDOW_MS`].
const ENTRIES_MAX: u32 = 10;
/// One hour.
const WINDOW_MS: u64 = 3_600_000;

/// New instances of a node that appeared while another one was alive.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SecondInstances {
    /// Start of the current hour, on the run clock.
    since_ms: u64,
    count: u32,
}

/// Whether a second instance gets an audit entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditDecision {
    Write,
    /// Write, and mention that the rest of this hour is not written.
    WriteLast,
    Skip,
}

impl SecondInstances {
    /// Counts one more.
    pub(super) fn count(&mut self, now_ms: u64) -> AuditDecision {
        if now_ms.saturating_sub(self.since_ms) >= WINDOW_MS {
            *self = Self {
                since_ms: now_ms,
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        match self.count {
            ..ENTRIES_MAX => AuditDecision::Write,
            ENTRIES_MAX => AuditDecision::WriteLast,
            _ => AuditDecision::Skip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_entries_an_hour_are_written() {
        let mut instances = SecondInstances::default();
        let mut decide = |now_ms| instances.count(now_ms);
        assert!((0..9).all(|_| decide(5) == AuditDecision::Write));
        assert_eq!(decide(6), AuditDecision::WriteLast);
        assert!((0..1_000).all(|_| decide(3_599_999) == AuditDecision::Skip));
        assert_eq!(decide(3_600_000), AuditDecision::Write);
    }
}
