//! What a person may do.

use serde::{Deserialize, Serialize};

/// A user's role; each may do what those before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Sees themselves and nothing else, until an ADMIN gives them a role.
    Pending,
    /// Reads.
    Viewer,
    /// Queues and cancels jobs.
    Operator,
    /// Manages users, nodes and tokens.
    Admin,
}

impl Role {
    /// As written on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Pending => "PENDING",
            Role::Viewer => "VIEWER",
            Role::Operator => "OPERATOR",
            Role::Admin => "ADMIN",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Role::Pending, Role::Viewer, Role::Operator, Role::Admin]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whose jobs an OPERATOR may read (`HYPRBOX_OPERATOR_SCOPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OperatorScope {
    /// Only their own.
    Own,
    /// Everybody's, with `scope=all`.
    #[default]
    All,
}

impl OperatorScope {
    /// Whether a person of that role may read everybody's jobs.
    pub fn lets_read_all(self, role: Role) -> bool {
        match role {
            Role::Pending => false,
            Role::Operator => self == Self::All,
            Role::Viewer | Role::Admin => true,
        }
    }
}
