//! Why a job is refused before anything of it runs.

/// The reason of a refusal, in the field `refused` of a completion and as a label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It has no envelope, or a signature is missing.
    Unsigned,
    /// Its envelope or a signature can't be read.
    Malformed,
    /// A signature does not verify.
    Signature,
    /// The node does not know or trust a key that signed it.
    Signer,
    /// Its envelope is for another node.
    Node,
    /// Its envelope is another job's, or differs from the job.
    Job,
    /// Its script is not the one that was signed.
    Script,
    /// Its secrets are not those that were signed.
    Secrets,
    /// It has expired, or was made too long ago.
    Expired,
    /// It has run here before, or may have.
    Replayed,
    /// A standing envelope is used up or not valid now.
    Limit,
    /// Its envelope has an unknown version.
    Version,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::Unsigned,
        Self::Malformed,
        Self::Signature,
        Self::Signer,
        Self::Node,
        Self::Job,
        Self::Script,
        Self::Secrets,
        Self::Expired,
        Self::Replayed,
        Self::Limit,
        Self::Version,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Signer => "signer",
            Self::Node => "node",
            Self::Job => "job",
            Self::Script => "script",
            Self::Secrets => "secrets",
            Self::Expired => "expired",
            Self::Replayed => "replayed",
            Self::Limit => "limit",
            Self::Version => "version",
        }
    }

    /// The reason with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}
