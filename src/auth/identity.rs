//! Who sent a request, and with which credential.

use super::user::User;
use crate::clock::Timestamp;

/// What a request was authenticated with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A session, by its token's SHA-256.
    Session([u8; 32]),
    /// A personal token, by its id.
    UserToken(String),
    /// A node token, by its id.
    NodeToken(String),
}

/// An authenticated person of any role.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: User,
    pub credential: Credential,
    /// When the credential was created. For a session, that is the sign-in.
    pub since: Timestamp,
    /// When the credential expires; `None`: never. Each use of a session moves it.
    pub expires_at: Option<Timestamp>,
}

/// An agent, by its node token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The token's node. The route checks whether the request is about that node.
    pub node_id: String,
    pub token_id: String,
}

/// The owner of a token.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    Person(Caller),
    Node(NodeIdentity),
}

impl Identity {
    pub(super) fn credential(&self) -> Credential {
        match self {
            Identity::Person(caller) => caller.credential.clone(),
            Identity::Node(node) => Credential::NodeToken(node.token_id.clone()),
        }
    }
}
