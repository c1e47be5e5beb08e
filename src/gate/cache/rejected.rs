//! The reasons why the cache rejects a document.

use crate::identity::RefusalReason;
use crate::model::Problems;

/// The reason why the cache rejected a document. The held one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The document has problems.
    #[error("the document has problems:\n{0}")]
    Problems(#[from] Problems),
    /// A newer one is held.
    #[error("epoch {found} is older than {held}, which was seen before")]
    Older {
        /// The epoch that was offered.
        found: u64,
        /// The epoch that is held.
        held: u64,
    },
    /// The same version was published before, with other content.
    #[error("version {0} was published before with other content: a change needs a higher version")]
    Changed(u64),
    /// There is no catalog.
    #[error("no catalog is published")]
    Absent,
    /// The seal is missing or invalid.
    #[error("{0}")]
    Unsealed(RefusalReason),
    /// The slug or a domain belongs to another tenant.
    #[error("the slug or one of the domains belongs to another tenant")]
    Taken,
    /// The record under this key belongs to another tenant.
    #[error("the record under this key belongs to another tenant")]
    Foreign,
}
