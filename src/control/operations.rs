//! The operations of the admin API: one table for the router, the permissions and the `OpenAPI`
//! document.

use super::operations::Permission::{
    Audit, CatalogRead, CatalogWrite, Identity, Keys, Publish, Support, TenantsRead, TenantsWrite, Tokens,
};
use crate::model::choice;

choice! {
    /// A permission of an admin token.
    pub enum Permission {
        /// Read tenants.
        TenantsRead = "tenants:read",
        /// Create and change tenants, their domains and their licences.
        TenantsWrite = "tenants:write",
        /// Read the catalog.
        CatalogRead = "catalog:read",
        /// Change the catalog, and move tenants between plans. Changes of identity settings require
        /// `identity:write` too.
        CatalogWrite = "catalog:write",
        /// Change identity settings: issuers, resolution, the credentials that routes require, data
        /// routes, parents of tenants. The holder can act as any tenant.
        Identity = "identity:write",
        /// Issue, replace and revoke API keys. The holder can act as any tenant, except where a
        /// token of an issuer is required.
        Keys = "keys:write",
        /// Read the audit trail, which includes earlier contents of tenants' records.
        Audit = "audit:read",
        /// Publish and reconcile.
        Publish = "publish",
        /// Act as a tenant with an API key that is valid for 15 minutes. The audit trail records
        /// it.
        Support = "support",
        /// Issue and revoke admin tokens.
        Tokens = "tokens:write",
    }
}

impl Permission {
    /// All permissions.
    pub const ALL: [Self; 10] =
        [TenantsRead, TenantsWrite, CatalogRead, CatalogWrite, Identity, Keys, Audit, Publish, Support, Tokens];

    /// Returns the permissions whose power this one includes.
    ///
    /// INVARIANT (no escalation): no operation grants a permission that is not listed here.
    /// `tests/worker/control-roles.test.mjs` walks the table.
    pub const fn reaches(self) -> &'static [Self] {
        match self {
            // The audit trail contains earlier contents of records.
            Audit => &[TenantsRead],
            // An issuer can issue a token with the scope `tenantgate:admin`, which reads the
            // tenant, issues keys and reads its audit trail.
            Identity => &[TenantsRead, Keys, Audit],
            // Only for 15 minutes and one tenant.
            Support => &[Keys],
            // A token grants no more than its creator has.
            TenantsRead | TenantsWrite | CatalogRead | CatalogWrite | Keys | Publish | Tokens => &[],
        }
    }
}

/// Members of a tenant's record that require more than `tenants:write` wherever they are set or
/// changed.
pub const GUARDED_MEMBERS: [(&str, Permission); 3] = [
    // A data route can point to another tenant's data.
    ("data_route", Identity),
    // An earlier time makes revoked credentials valid again.
    ("credentials_from", Keys),
    ("api_key_scopes", Keys),
];

/// Members of a catalog that determine who may act for tenants, and which pages may read responses.
pub const IDENTITY_MEMBERS: [&str; 3] = ["issuers", "resolution", "cors"];
/// Members of a route that determine the same.
pub const ROUTE_IDENTITY_MEMBERS: [&str; 7] =
    ["path", "methods", "access", "auth", "scopes", "act_for_descendants", "cors"];

/// One operation of the admin API.
#[derive(Debug)]
pub struct Operation {
    /// The operation's id.
    pub route: OperationId,
    /// The HTTP method.
    pub method: &'static str,
    /// The path below `/_gate/v1/admin`. `{…}` matches one segment.
    pub path: &'static str,
    /// The permissions that an admin token needs, all of them.
    pub permissions: &'static [Permission],
    /// Whether a tenant admin may call it, for its own tenant and the descendants.
    pub tenant_admin: bool,
    /// Whether it accepts an `Idempotency-Key`. Other operations refuse the header.
    pub once: bool,
    /// Whether its resource has a version for `If-Match`. Without one, `If-Match` never matches.
    pub versioned: bool,
    /// The status of a successful response.
    pub status: u16,
    /// A summary in one sentence.
    pub summary: &'static str,
}

macro_rules! operations {
    ($($OperationId:ident $method:literal $path:literal $first:ident $(+ $more:ident)* $(, $flag:ident)* => $status:literal $summary:literal;)*) => {
        /// The id of an operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum OperationId {
            $(#[doc = $summary] $OperationId,)*
        }

        impl OperationId {
            /// Returns the id as it appears in the `OpenAPI` document.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$OperationId => stringify!($OperationId),)* }
            }
        }

        /// All operations.
        pub const OPERATIONS: &[Operation] = &[
            $(Operation {
                route: OperationId::$OperationId, method: $method, path: $path,
                permissions: &[$first $(, $more)*],
                tenant_admin: operations!(@has tenant_admin $($flag)*), once: operations!(@has once $($flag)*),
                versioned: operations!(@has versioned $($flag)*),
                status: $status, summary: $summary,
            },)*
        ];
    };
    (@has $wanted:ident) => { false };
    (@has tenant_admin tenant_admin $($rest:ident)*) => { true };
    (@has once once $($rest:ident)*) => { true };
    (@has versioned versioned $($rest:ident)*) => { true };
    (@has $wanted:ident $other:ident $($rest:ident)*) => { operations!(@has $wanted $($rest)*) };
}

operations! {
    CreateTenant "POST" "/tenants" TenantsWrite, tenant_admin, once => 201 "Create a tenant: record, data route, defaults, API key, ledger, publication, welcome.";
    ListTenants "GET" "/tenants" TenantsRead, tenant_admin => 200 "List tenants, page by page.";
    GetTenant "GET" "/tenants/{tenant}" TenantsRead, tenant_admin, versioned => 200 "Get a tenant's record.";
    ChangeTenant "PATCH" "/tenants/{tenant}" TenantsWrite, once, versioned => 200 "Change a tenant's record by a merge patch (RFC 7396).";
    DeleteTenant "DELETE" "/tenants/{tenant}" TenantsWrite, once, versioned => 200 "Delete a tenant permanently: its keys are revoked, its names stay reserved.";
    SuspendTenant "POST" "/tenants/{tenant}/suspend" TenantsWrite, once, versioned => 200 "Stop serving a tenant.";
    ReactivateTenant "POST" "/tenants/{tenant}/reactivate" TenantsWrite, once, versioned => 200 "Resume serving a tenant.";
    DeactivateTenant "POST" "/tenants/{tenant}/deactivate" TenantsWrite, tenant_admin, once, versioned => 200 "Stop serving a tenant at its own request.";
    MaintainTenant "POST" "/tenants/{tenant}/maintenance" TenantsWrite, once, versioned => 200 "Put a tenant into maintenance: callers are asked to retry later.";
    OffboardTenant "POST" "/tenants/{tenant}/offboard" TenantsWrite, once, versioned => 200 "Stop serving a tenant and delete it when its retention period ends.";
    MoveTenant "POST" "/tenants/{tenant}/move" TenantsWrite + Identity, once, versioned => 200 "Move a tenant and its descendants to another parent.";
    GetEntitlements "GET" "/tenants/{tenant}/entitlements" TenantsRead, tenant_admin => 200 "Get a tenant's entitlements: features with their reasons, limits with the units used.";
    RefundUsage "POST" "/tenants/{tenant}/refunds" TenantsWrite, once => 200 "Refund units of a quota that were charged by mistake in the current period. Requires an `Idempotency-Key`.";
    ExportTenant "GET" "/tenants/{tenant}/export" TenantsRead, tenant_admin => 200 "Export all data of a tenant, without secrets.";
    PutOverride "PUT" "/tenants/{tenant}/overrides" TenantsWrite, once, versioned => 200 "Set an override. It replaces the override of the same feature or limit with the same start.";
    RemoveOverride "DELETE" "/tenants/{tenant}/overrides/{key}" TenantsWrite, once, versioned => 200 "Remove the overrides of a feature or limit.";
    ListExpiring "GET" "/expiring" TenantsRead => 200 "List the overrides, contracts and trials that end soon.";
    ClaimDomain "POST" "/tenants/{tenant}/domains" TenantsWrite, tenant_admin, once, versioned => 201 "Claim a domain. The response contains the TXT record that proves it.";
    VerifyDomain "POST" "/tenants/{tenant}/domains/{host}/verify" TenantsWrite, tenant_admin => 200 "Check the proof of a domain, and start serving it.";
    RemoveDomain "DELETE" "/tenants/{tenant}/domains/{host}" TenantsWrite, tenant_admin, once, versioned => 200 "Release a domain.";
    IssueApiKey "POST" "/tenants/{tenant}/api-keys" Keys, tenant_admin, once => 201 "Issue an API key, which is shown once.";
    ListApiKeys "GET" "/tenants/{tenant}/api-keys" TenantsRead, tenant_admin => 200 "List a tenant's API keys, without secrets.";
    RotateApiKey "POST" "/tenants/{tenant}/api-keys/{key}/rotate" Keys, tenant_admin, once => 201 "Replace an API key. The old one remains valid for a while.";
    RevokeApiKey "DELETE" "/tenants/{tenant}/api-keys/{key}" Keys, tenant_admin, once => 200 "Revoke an API key.";
    IssueLicence "POST" "/tenants/{tenant}/licences" TenantsWrite, once => 201 "Issue a licence key, which is shown once.";
    ListLicences "GET" "/tenants/{tenant}/licences" TenantsRead, tenant_admin => 200 "List a tenant's licences, with the instances that use them.";
    ChangeLicence "PATCH" "/tenants/{tenant}/licences/{licence}" TenantsWrite, once => 200 "Change a licence by a merge patch (RFC 7396): suspend it, revoke it, or bind it to other domains.";
    ListActivations "GET" "/tenants/{tenant}/licences/{licence}/activations" TenantsRead, tenant_admin => 200 "List the instances that use a licence.";
    EndActivation "DELETE" "/tenants/{tenant}/licences/{licence}/activations/{instance}" TenantsWrite, once => 200 "End the activation of an instance without the licence key.";
    ImpersonateTenant "POST" "/tenants/{tenant}/impersonate" Support, once => 201 "Issue a ticket, valid once within a minute, for an API key of a tenant that expires after 15 minutes. The audit trail records it.";
    GetCatalog "GET" "/catalog" CatalogRead, versioned => 200 "Get the catalog.";
    PutCatalog "PUT" "/catalog" CatalogWrite, once, versioned => 200 "Replace the catalog. Plan versions in use cannot change.";
    ListCatalogs "GET" "/catalog/versions" CatalogRead => 200 "List the versions of the catalog.";
    CompareCatalog "POST" "/catalog/impact" CatalogRead + TenantsRead => 200 "Compute the impact of a change: what tenants would gain or lose, page by page, and how recorded requests would be decided.";
    KillFeature "POST" "/features/{feature}/kill" CatalogWrite, once, versioned => 200 "Switch a feature off for all tenants.";
    ReviveFeature "POST" "/features/{feature}/revive" CatalogWrite, once, versioned => 200 "Switch a killed feature on again.";
    Import "POST" "/import" CatalogWrite => 200 "Import a catalog with its tenants and API keys from another installation. Requires `OPERATOR_TOKEN`.";
    MovePlan "POST" "/plans/{plan}/move" CatalogWrite, once => 202 "Move all tenants of a plan version to another one.";
    ListJobs "GET" "/jobs" CatalogRead => 200 "List jobs, the latest first.";
    GetJob "GET" "/jobs/{job}" CatalogRead => 200 "Get the progress of a job, and the tenants that it could not change, with their problems.";
    RunJob "POST" "/jobs/{job}/run" CatalogWrite => 200 "Run the next part of a job now.";
    GetPublication "GET" "/publications" Publish => 200 "List pending publications.";
    Publish "POST" "/publications" Publish => 200 "Publish pending changes, and repair a part of the snapshots that differ from their records.";
    GetAudit "GET" "/tenants/{tenant}/audit" Audit, tenant_admin => 200 "Get a tenant's audit trail, as JSON, lines or CSV.";
    ListDenials "GET" "/tenants/{tenant}/denials" Audit, tenant_admin => 200 "List a tenant's denials: their number by code and day, and a sample, the latest first.";
    GetCatalogAudit "GET" "/audit" Audit => 200 "Get the audit trail of the catalog and of admin tokens.";
    IssueToken "POST" "/tokens" Tokens, once => 201 "Issue an admin token, which is shown once.";
    ListTokens "GET" "/tokens" Tokens => 200 "List admin tokens, without secrets.";
    RevokeToken "DELETE" "/tokens/{token}" Tokens, once => 200 "Revoke an admin token.";
}

/// Returns the operation for a method and a path below `/_gate/v1/admin`, with the segments that
/// match `{…}`.
///
/// # Errors
/// The methods that the path accepts. An empty list means that the path is unknown.
///
/// # Examples
/// ```
/// use tenantgate::control::{OperationId, route};
/// let (operation, segments) = route("POST", "/tenants/t_acme/suspend").unwrap();
/// assert_eq!(operation.route, OperationId::SuspendTenant);
/// assert_eq!(segments, ["t_acme"]);
/// assert_eq!(route("PUT", "/tokens").unwrap_err(), ["POST", "GET"]);
/// ```
pub fn route<'p>(method: &str, path: &'p str) -> Result<(&'static Operation, Vec<&'p str>), Vec<&'static str>> {
    let mut methods = Vec::new();
    for operation in OPERATIONS {
        let Some(segments) = segments(operation.path, path) else { continue };
        if operation.method == method {
            return Ok((operation, segments));
        }
        methods.push(operation.method);
    }
    Err(methods)
}

fn segments<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let (mut expected, mut found) = (template.split('/'), path.split('/'));
    let mut taken = Vec::new();
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return Some(taken),
            (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => taken.push(segment),
            (Some(name), Some(segment)) if name == segment => {}
            _ => return None,
        }
    }
}
