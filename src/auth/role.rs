//! Roles of people.

use serde::{Deserialize, Serialize};

/// A user's role. Each role includes the ones before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Sees only their own account until an ADMIN assigns a role.
    Pending,
    /// Reads.
    Viewer,
    /// Queues and cancels jobs.
    Operator,
    /// Manages users, nodes and tokens.
    Admin,
}

impl Role {
    /// The name in the API and in the database.
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

/// Which jobs an OPERATOR may read (`HYPRBOX_OPERATOR_SCOPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OperatorScope {
    /// Only their own.
    Own,
    /// All jobs, with `scope=all`.
    #[default]
    All,
}

impl OperatorScope {
    /// Whether a person of that role may read all jobs.
    pub fn lets_read_all(self, role: Role) -> bool {
        match role {
            Role::Pending => false,
            Role::Operator => self == Self::All,
            Role::Viewer | Role::Admin => true,
        }
    }
}
