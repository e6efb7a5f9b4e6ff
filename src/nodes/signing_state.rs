//! Whether a node's jobs are signed, by which key, and what somebody who writes the database could
//! still do there, in words for the node's page and `hyprbox doctor`.

use hyprbox_signing::PublicKey;

use crate::signing::CurrentKey;
use crate::store::sign_key::SignKeyRecord;

/// Fingerprints of the keys with which the server signs and has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKeys {
    current: String,
    /// The keys from which statements lead to the current one.
    earlier: Vec<String>,
}

impl ServerKeys {
    /// The keys in the database. `None` if there is none yet.
    pub fn stored(records: &[SignKeyRecord]) -> Option<Self> {
        let fingerprint = |record: &SignKeyRecord| {
            PublicKey::parse_line(&record.public_key).map(|(key, _)| key.fingerprint())
        };
        let current = fingerprint(records.last()?)?;
        let has_successor = records
            .iter()
            .zip(records.iter().skip(1))
            .rev()
            .take_while(|(_, next)| next.statement.is_some());
        let earlier = has_successor.filter_map(|(record, _)| fingerprint(record));
        Some(Self {
            earlier: earlier.collect(),
            current,
        })
    }
}

impl From<&CurrentKey> for ServerKeys {
    fn from(key: &CurrentKey) -> Self {
        let changes = key.changes().iter().filter_map(|change| change.verify());
        Self {
            current: key.fingerprint(),
            earlier: changes.map(|(from, _, _)| from.fingerprint()).collect(),
        }
    }
}

/// How a node's jobs are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SigningState {
    /// The agent checks nothing.
    Unchecked,
    /// The agent trusts the first key that it sees.
    NoKey,
    /// The agent trusts another key than the server's.
    OtherKey,
    /// The server signs.
    Server,
    /// The server signs, and the agent will learn of its new key.
    Follows,
    /// The server and a person sign.
    People,
}

impl SigningState {
    /// From what the agent reports: whether it requires signatures by people, and the fingerprints
    /// of the keys that it trusts, `None` if it does not check signatures.
    pub fn of(is_required: bool, trusted: Option<&[String]>, keys: &ServerKeys) -> Self {
        let Some(trusted) = trusted else {
            return Self::Unchecked;
        };
        let follows = trusted.iter().any(|key| keys.earlier.contains(key));
        match () {
            () if trusted.is_empty() && !is_required => Self::NoKey,
            () if trusted.is_empty() || trusted.contains(&keys.current) => match is_required {
                true => Self::People,
                false => Self::Server,
            },
            () if follows => match is_required {
                true => Self::People,
                false => Self::Follows,
            },
            () => Self::OtherKey,
        }
    }

    /// Whether its jobs are signed, and by which key; completes "jobs …".
    pub fn signed(self, keys: &ServerKeys) -> String {
        let key = &keys.current;
        match self {
            Self::Unchecked => {
                "are not checked: the agent is from before jobs were signed".to_owned()
            }
            Self::NoKey => {
                "are not checked yet: the agent knows no key, and will trust the one that signs its first job".to_owned()
            }
            Self::OtherKey => format!(
                "are refused: the server signs with {key}, and the agent trusts another key"
            ),
            Self::Server => format!("are signed with the server's key {key}"),
            Self::Follows => format!(
                "are signed with the server's key {key}, which the agent learns with its next job"
            ),
            Self::People => format!(
                "run only if a person has signed them, and the server with its key {key}"
            ),
        }
    }

    /// What somebody who writes the database can still do on the node.
    pub fn remaining_risk(self) -> &'static str {
        match self {
            Self::Unchecked => "Whoever writes the database can run any script here as root.",
            Self::NoKey => {
                "Until then, whoever writes the database can make the agent trust a key of their own, and run any script here."
            }
            Self::OtherKey => "Nothing runs here.",
            Self::Server | Self::Follows => {
                "Whoever writes the database can't change or insert jobs, but can make themselves an ADMIN, sign in, and queue any script."
            }
            Self::People => {
                "Whoever writes the database, or owns the server, can delay and cancel jobs, but can't run what no signer of the node has signed."
            }
        }
    }

    /// How to fix it, if something is wrong.
    pub fn fix(self) -> Option<&'static str> {
        match self {
            Self::Unchecked => Some("upgrade the agent"),
            Self::NoKey => Some("enrol the node again, or let it run one job over https"),
            Self::OtherKey => Some("enrol the node again"),
            Self::Server | Self::Follows | Self::People => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_from_what_the_agent_reports() {
        let keys = ServerKeys {
            current: "new".to_owned(),
            earlier: vec!["old".to_owned()],
        };
        let state = |is_required, trusted: &[&str]| {
            let trusted: Vec<String> = trusted.iter().map(|key| (*key).to_owned()).collect();
            SigningState::of(is_required, Some(&trusted), &keys)
        };
        assert_eq!(
            SigningState::of(false, None, &keys),
            SigningState::Unchecked
        );
        for (trusted, server, people) in [
            (&[][..], SigningState::NoKey, SigningState::People),
            (&["new"], SigningState::Server, SigningState::People),
            (&["x", "new"], SigningState::Server, SigningState::People),
            (&["old"], SigningState::Follows, SigningState::People),
            (&["x"], SigningState::OtherKey, SigningState::OtherKey),
        ] {
            assert_eq!(state(false, trusted), server, "{trusted:?}");
            assert_eq!(state(true, trusted), people, "{trusted:?}");
        }
    }

    #[test]
    fn only_statements_lead_from_an_earlier_key() {
        let key = |seed: u8| {
            let line = hyprbox_signing::SignKey::generate(&seed.to_string());
            line.public().clone()
        };
        let keys: Vec<PublicKey> = (0..4).map(key).collect();
        let record = |at: usize, has_statement: bool| SignKeyRecord {
            seq: at as u64,
            public_key: keys[at].to_line(),
            created_at: crate::clock::Timestamp::from_millis(0),
            statement: has_statement.then(|| ("s".to_owned(), "s".to_owned())),
        };
        let records = [
            record(0, false),
            record(1, false),
            record(2, true),
            record(3, true),
        ];
        let found = ServerKeys::stored(&records).expect("keys");
        assert_eq!(found.current, keys[3].fingerprint());
        assert_eq!(
            found.earlier,
            [keys[2].fingerprint(), keys[1].fingerprint()]
        );
        assert_eq!(ServerKeys::stored(&[]), None);
    }
}
