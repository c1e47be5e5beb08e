//! The data that the core may lack, named so that an adapter can fetch it.
//!
//! A call that lacks something returns [`Progress::Need`]. The adapter fetches it, puts it into the
//! gate and makes the same call again. Work that can wait until after the answer is a [`Refresh`].

use std::sync::Arc;

use crate::identity::Signature;
use crate::ledger::Question;
use crate::model::{KeyId, Slug, TenantId};
use crate::resolve::Name;

/// The catalog's name where epochs are exchanged. No tenant id contains a blank.
pub(super) const CATALOG: &str = " catalog";

/// How far a call came.
#[derive(Debug)]
pub enum Progress<T> {
    /// The result.
    Ready(T),
    /// Fetch this, put it in, and make the same call again.
    Need(Need),
}

impl<T> From<Result<T, Need>> for Progress<T> {
    fn from(result: Result<T, Need>) -> Self {
        result.map_or_else(Self::Need, Self::Ready)
    }
}

/// Data that a call cannot go on without.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Need {
    /// A published document; see [`super::Gate::put_published`].
    Snapshot(SnapshotKey),
    /// Whether this signature is valid; see [`super::Gate::put_signature`].
    Signature(Box<Signature>),
    /// The secret of this name; see [`super::Gate::put_secret`].
    Secret(Arc<str>),
    /// The answer of the adapter's own resolver for this request.
    CustomResolver,
    /// The ledger's answer to a question that another request asked; see [`super::Gate::progress`].
    LedgerAnswer(Question),
    /// A ledger, which [`super::Waiting::Never`] rules out. Nothing can be put in for it.
    Ledger,
}

/// A document in KV, or an issuer's key set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SnapshotKey {
    /// The catalog.
    Catalog,
    /// The tenant id behind a slug.
    Slug(Slug),
    /// The tenant id behind a verified domain.
    Domain(String),
    /// A tenant record.
    Tenant(TenantId),
    /// An API key's record.
    ApiKey(KeyId),
    /// The keys that an issuer publishes at this URL; see [`super::Gate::put_issuer_keys`].
    IssuerKeys(Arc<str>),
}

/// Work that the adapter does behind the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refresh {
    /// Fetch this snapshot again: it serves, but it is past its soft age.
    Snapshot(SnapshotKey),
    /// Fetch more units for a lease; see [`super::Gate::refill`].
    Lease {
        /// The tenant whose ledger grants them.
        root: TenantId,
        /// The first counter of the lease.
        counter: String,
    },
}

impl From<SnapshotKey> for Need {
    fn from(key: SnapshotKey) -> Self {
        Self::Snapshot(key)
    }
}

impl From<SnapshotKey> for Refresh {
    fn from(key: SnapshotKey) -> Self {
        Self::Snapshot(key)
    }
}

impl SnapshotKey {
    /// The index entry behind a name. `None` means that the name needs no index, or is malformed.
    pub(super) fn of_name(name: &Name<'_>) -> Option<Self> {
        match name {
            Name::Slug(slug) => Slug::parse(slug).map(Self::Slug),
            Name::Domain(host) => Some(Self::Domain(host.to_string())),
            Name::Id(_) | Name::Credential | Name::Nobody => None,
        }
    }

    /// The key in KV.
    pub fn in_kv(&self) -> String {
        match self {
            Self::Catalog => String::from("catalog"),
            Self::Slug(slug) => format!("slug:{slug}"),
            Self::Domain(host) => format!("domain:{host}"),
            Self::Tenant(id) => format!("tenant:{id}"),
            Self::ApiKey(id) => format!("key:{id}"),
            Self::IssuerKeys(url) => format!("jwks:{url}"),
        }
    }

    /// Parses a key in KV.
    pub fn parse(key: &str) -> Option<Self> {
        let (kind, name) = key.split_once(':').unwrap_or((key, ""));
        match kind {
            "catalog" if name.is_empty() => Some(Self::Catalog),
            "slug" => Slug::parse(name).map(Self::Slug),
            "domain" => Some(Self::Domain(name.to_owned())),
            "tenant" => TenantId::parse(name).map(Self::Tenant),
            "key" => KeyId::parse(name).map(Self::ApiKey),
            "jwks" => Some(Self::IssuerKeys(name.into())),
            _ => None,
        }
    }

    /// Whether the document is sealed in KV. An index entry needs no seal: it leads only to a
    /// record that has the name.
    pub const fn is_sealed(&self) -> bool {
        matches!(self, Self::Catalog | Self::Tenant(_) | Self::ApiKey(_) | Self::IssuerKeys(_))
    }
}
