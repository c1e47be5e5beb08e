//! What the gate may need of its adapter, and where it stands in KV.

use std::sync::Arc;

use crate::ledger::Question;
use crate::model::{KeyId, Slug, TenantId};
use crate::resolve::Name;

/// Something that the gate needs and the adapter fetches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Need {
    /// The catalog.
    Catalog,
    /// The id behind a slug.
    Slug(Slug),
    /// The id behind a verified domain.
    Domain(String),
    /// A tenant record.
    Tenant(TenantId),
    /// An API key's record.
    ApiKey(KeyId),
    /// The keys that issuers publish at this URL; see [`Snapshots::put_keys`](super::Snapshots::put_keys).
    Keys(Arc<str>),
    /// The secret of this name; see [`Snapshots::put_secret`](super::Snapshots::put_secret).
    Secret(Arc<str>),
    /// What has changed since the adapter looked last; see [`Snapshots::changed`](super::Snapshots::changed). The gate itself never asks for it.
    Feed,
    /// What the adapter's own resolver says of the request.
    Custom,
    /// The answer to a question that another request asked already; see [`super::Gate::progress`].
    Answer(Question),
    /// More units for the lease on this counter, from the ledger of this tenant; see [`super::Gate::refill`].
    Refill(TenantId, String),
}

impl Need {
    /// The index entry behind a name.
    pub(super) fn of(name: &Name<'_>) -> Option<Self> {
        match name {
            Name::Slug(slug) => Slug::parse(slug).map(Self::Slug),
            Name::Domain(host) => Some(Self::Domain(host.to_string())),
            Name::Id(_) | Name::Credential | Name::Nobody => None,
        }
    }

    /// The key under which it stands in KV. Empty for what is kept elsewhere: secrets, ledgers, the custom resolver's answer.
    pub fn key(&self) -> String {
        match self {
            Self::Catalog => String::from("catalog"),
            Self::Slug(slug) => format!("slug:{slug}"),
            Self::Domain(host) => format!("domain:{host}"),
            Self::Tenant(id) => format!("tenant:{id}"),
            Self::ApiKey(id) => format!("key:{id}"),
            Self::Keys(url) => format!("jwks:{url}"),
            Self::Feed | Self::Secret(_) | Self::Custom | Self::Answer(_) | Self::Refill(..) => String::new(),
        }
    }

    /// What stands in KV under a key.
    pub fn under(key: &str) -> Option<Self> {
        let (kind, name) = key.split_once(':').unwrap_or((key, ""));
        match kind {
            "catalog" if name.is_empty() => Some(Self::Catalog),
            "slug" => Slug::parse(name).map(Self::Slug),
            "domain" => Some(Self::Domain(name.to_owned())),
            "tenant" => TenantId::parse(name).map(Self::Tenant),
            "key" => KeyId::parse(name).map(Self::ApiKey),
            "jwks" => Some(Self::Keys(name.into())),
            _ => None,
        }
    }

    /// Whether it is sealed in KV. What the index of names says needs no seal: it leads only to a record that has that name.
    pub const fn is_sealed(&self) -> bool {
        matches!(self, Self::Catalog | Self::Tenant(_) | Self::ApiKey(_) | Self::Keys(_))
    }
}
