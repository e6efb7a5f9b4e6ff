//! Ids as types of their own. A signature that takes two ids names their kinds, so that the
//! compiler refuses a call that swaps them.

use serde::Deserialize;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(transparent)]
        pub struct $name<S = String>(pub S);

        impl $name {
            /// The same id, borrowed.
            pub fn borrowed(&self) -> $name<&str> {
                $name(&self.0)
            }
        }

        impl<S: std::fmt::Display> std::fmt::Display for $name<S> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A job's id, a UUIDv7.
    JobId;
    /// A node's id, a name that an admin chose.
    NodeId;
    /// A user's id, a UUIDv7.
    UserId;
    /// The id of a node's token or of a personal token, a UUIDv7.
    TokenId;
}
