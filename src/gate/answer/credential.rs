//! Verified credentials, and the challenge for a caller that lacks one.

use std::sync::Arc;

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
pub struct Challenge {
    /// Whether a token is accepted.
    pub token: bool,
    /// Whether an API key is accepted.
    pub api_key: bool,
    /// Whether the request carries a token that is invalid.
    pub invalid_token: bool,
    /// The scopes that the presented token lacks for the route.
    pub scopes: Vec<Scope>,
    /// The genuine API key that was refused, such as an expired one, and its tenant. For the
    /// operator.
    pub refused_key: Option<(KeyId, TenantId)>,
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
            tenant,
            issuer_id: Some(validity.issuer),
        }
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
            scopes: Vec::new(),
            refused_key: None,
        }
    }
}
