//! Verified credentials, and the challenge for a caller that lacks one.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::gate::compiled::{CompiledCatalog, CompiledRoute};
use crate::identity::Claims;
use crate::model::{ApiKey, Auth, Key, KeyId, Scope, StrategyKind, TenantId, UnixMillis};
use crate::resolve::{Carrier, Name};

/// A verified credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `jwt` or `api_key`.
    pub kind: StrategyKind,
    /// The issuer of the token, by its name in the catalog.
    pub issuer: Option<Key>,
    /// The id of the API key.
    pub key: Option<KeyId>,
    /// The subject of the token.
    pub subject: Option<String>,
    /// The scopes.
    pub scopes: Vec<Scope>,
    /// When it was issued.
    pub issued_at: Option<UnixMillis>,
    /// When it expires, with the leeway of its issuer.
    pub expires_at: Option<UnixMillis>,
    /// The tenant that it names.
    pub(in crate::gate) tenant: Name<'static>,
    /// The issuer of the token, by number.
    pub(in crate::gate) issuer_id: Option<usize>,
}

/// A credential of a request, and the tenant that it belongs to.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// The credential.
    pub credential: Arc<Credential>,
    /// The tenant that it was issued for: the decision's, or an ancestor.
    pub tenant: TenantId,
    /// The place in the request where it was found.
    pub from: Carrier,
}

/// A challenge: the credentials that a caller could present (RFC 9110 §11.6.1, RFC 6750 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "two say what is accepted, two what was presented")]
pub struct Challenge {
    /// Whether a token is accepted.
    pub token: bool,
    /// Whether an API key is accepted.
    pub api_key: bool,
    /// Whether the request carries a token that is invalid.
    pub invalid_token: bool,
    /// Whether the request carries no credential at all, or none that counts.
    pub is_missing: bool,
    /// The scopes that the presented token lacks for the route.
    pub scopes: Vec<Scope>,
    /// The genuine API key that was refused, such as an expired one, and its tenant. For the
    /// operator.
    pub refused_key: Option<(KeyId, TenantId)>,
}

/// A credential as it is kept, with short names: the runtime keeps it for each socket.
#[derive(Serialize, Deserialize)]
struct KeptCredential<'a> {
    #[serde(borrow, rename = "i", default, skip_serializing_if = "Option::is_none")]
    issuer: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "k", default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "u", default, skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<Cow<'a, str>>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    issued_at: Option<u64>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(borrow, rename = "t")]
    tenant: (char, Cow<'a, str>),
}

impl Credential {
    pub(in crate::gate) fn of_key(record: &ApiKey) -> Self {
        Self {
            kind: StrategyKind::ApiKey,
            issuer: None,
            key: Some(record.id.clone()),
            subject: None,
            scopes: record.scopes.clone(),
            issued_at: Some(record.created_at),
            expires_at: record.expires_at,
            tenant: Name::Id(record.tenant.to_string().into()),
            issuer_id: None,
        }
    }

    pub(in crate::gate) fn of_token(claims: Claims, catalog: &CompiledCatalog) -> Self {
        let Claims { validity, tenant, subject, scopes } = claims;
        Self {
            kind: StrategyKind::Jwt,
            issuer: catalog.issuers.get(validity.issuer).map(|(key, _)| key.clone()),
            key: None,
            subject,
            scopes,
            issued_at: validity.issued_at,
            expires_at: Some(catalog.issuers.end_of(validity)),
            tenant,
            issuer_id: Some(validity.issuer),
        }
    }

    /// Everything but the secret, as text, so that the credential can be judged again later.
    pub fn keep(&self) -> String {
        let tenant = match &self.tenant {
            Name::Id(id) => ('i', id.as_ref()),
            Name::Slug(slug) => ('s', slug.as_ref()),
            Name::Domain(domain) => ('d', domain.as_ref()),
            Name::Credential | Name::Nobody => ('n', ""),
        };
        let kept = KeptCredential {
            issuer: self.issuer.as_ref().map(|issuer| issuer.as_str().into()),
            key: self.key.as_ref().map(|key| key.as_str().into()),
            subject: self.subject.as_deref().map(Into::into),
            scopes: self.scopes.iter().map(|scope| scope.as_str().into()).collect(),
            issued_at: self.issued_at.map(UnixMillis::get),
            expires_at: self.expires_at.map(UnixMillis::get),
            tenant: (tenant.0, tenant.1.into()),
        };
        // It has only texts and numbers, so it always serializes.
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Reads what [`Self::keep`] has written. `None` if it is something else.
    pub(in crate::gate) fn kept(text: &str, catalog: &CompiledCatalog) -> Option<Self> {
        let kept: KeptCredential<'_> = serde_json::from_str(text).ok()?;
        let tenant = kept.tenant.1.into_owned().into();
        let issuer = kept.issuer.as_deref().and_then(Key::parse);
        Some(Self {
            kind: if kept.key.is_some() { StrategyKind::ApiKey } else { StrategyKind::Jwt },
            issuer_id: issuer.as_ref().and_then(|issuer| catalog.issuers.find(issuer)),
            issuer,
            key: kept.key.as_deref().and_then(KeyId::parse),
            subject: kept.subject.map(Cow::into_owned),
            scopes: kept.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect(),
            issued_at: kept.issued_at.map(UnixMillis::new),
            expires_at: kept.expires_at.map(UnixMillis::new),
            tenant: match kept.tenant.0 {
                'i' => Name::Id(tenant),
                's' => Name::Slug(tenant),
                'd' => Name::Domain(tenant),
                _ => Name::Nobody,
            },
        })
    }

    /// The bytes that its issuer could choose.
    pub(in crate::gate) fn bytes(&self) -> usize {
        let scopes = self.scopes.iter().map(|scope| scope.as_str().len().saturating_add(size_of::<Scope>()));
        scopes.sum::<usize>().saturating_add(self.subject.as_ref().map_or(0, String::len))
    }

    pub(in crate::gate) fn serves(&self, auth: Auth) -> bool {
        match auth {
            Auth::None | Auth::Any => true,
            Auth::Jwt => self.kind == StrategyKind::Jwt,
            Auth::ApiKey => self.kind == StrategyKind::ApiKey,
        }
    }

    pub(in crate::gate) fn allows(&self, scopes: &[Scope]) -> bool {
        scopes.iter().all(|scope| self.scopes.contains(scope))
    }
}

impl std::fmt::Display for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.issuer, &self.key) {
            (Some(issuer), _) => write!(f, "a token of `{issuer}`")?,
            (None, Some(key)) => write!(f, "the API key `{key}`")?,
            (None, None) => f.write_str("a credential")?,
        }
        let scopes: Vec<_> = self.scopes.iter().map(Scope::as_str).collect();
        write!(f, ", with {}", if scopes.is_empty() { String::from("no scopes") } else { scopes.join(" ") })
    }
}

impl Challenge {
    pub(in crate::gate) fn new(catalog: &CompiledCatalog, route: &CompiledRoute, invalid_token: bool) -> Self {
        let reads = |kind| catalog.document.resolution.strategy(kind).is_some();
        Self {
            token: reads(StrategyKind::Jwt) && route.auth != Auth::ApiKey,
            api_key: reads(StrategyKind::ApiKey) && route.auth != Auth::Jwt,
            invalid_token,
            is_missing: false,
            scopes: Vec::new(),
            refused_key: None,
        }
    }
}
