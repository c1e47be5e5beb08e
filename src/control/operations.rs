//! The operations of the admin API: one table for the router, the permissions and the `OpenAPI` document.

use super::operations::Permission::{
    Audit, CatalogRead, CatalogWrite, Identity, Keys, Publish, Support, TenantsRead, TenantsWrite, Tokens,
};
use crate::model::choice;

choice! {
    /// What a holder of an admin token may do.
    pub enum Permission {
        /// Read tenants.
        TenantsRead = "tenants:read",
        /// Create and change tenants, their domains and their licences.
        TenantsWrite = "tenants:write",
        /// Read the catalog.
        CatalogRead = "catalog:read",
        /// Change the catalog, and move tenants between plans. What says who may speak for tenants needs `identity:write` too.
        CatalogWrite = "catalog:write",
        /// Change identity settings: issuers, resolution, the credentials that routes require, data routes, parents of tenants. Its
        /// holder can become any tenant.
        Identity = "identity:write",
        /// Issue, replace and revoke API keys. Its holder can become any tenant, but for what needs a token of an issuer.
        Keys = "keys:write",
        /// Read the audit trail, and in it what tenants' records were.
        Audit = "audit:read",
        /// Publish and reconcile.
        Publish = "publish",
        /// Act as a tenant by an API key of a quarter of an hour, on the record.
        Support = "support",
        /// Issue and revoke admin tokens.
        Tokens = "tokens:write",
    }
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 10] =
        [TenantsRead, TenantsWrite, CatalogRead, CatalogWrite, Identity, Keys, Audit, Publish, Support, Tokens];

    /// The permissions whose power this one includes. INVARIANT (no escalation): no operation leads to anything that is not
    /// listed here; `tests/worker/control-roles.test.mjs` walks the table.
    pub const fn reaches(self) -> &'static [Self] {
        match self {
            // The trail has what records were.
            Audit => &[TenantsRead],
            // An issuer can give a token the scope `tenantgate:admin`, which reads the tenant, issues keys and reads its trail.
            Identity => &[TenantsRead, Keys, Audit],
            // For a quarter of an hour, as one tenant.
            Support => &[Keys],
            // A token is given no more than its maker has.
            TenantsRead | TenantsWrite | CatalogRead | CatalogWrite | Keys | Publish | Tokens => &[],
        }
    }
}

/// Members of a tenant's record that need more than `tenants:write`, wherever they are set or changed.
pub const GUARDED_MEMBERS: [(&str, Permission); 3] = [
    // It can point to another tenant's data.
    ("data_route", Identity),
    // An earlier time revives credentials that were ended.
    ("credentials_from", Keys),
    ("api_key_scopes", Keys),
];

/// Members of a catalog that say who may speak for tenants, and which pages read what they are answered.
pub const IDENTITY_MEMBERS: [&str; 3] = ["issuers", "resolution", "cors"];
/// Members of a route that do.
pub const ROUTE_IDENTITY_MEMBERS: [&str; 7] =
    ["path", "methods", "access", "auth", "scopes", "act_for_descendants", "cors"];

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// Its name.
    pub route: OperationId,
    /// The HTTP method.
    pub method: &'static str,
    /// The path below `/_gate/v1/admin`; `{…}` stands for one segment.
    pub path: &'static str,
    /// What an admin token must allow, all of it.
    pub permissions: &'static [Permission],
    /// Whether a tenant's own admin may do it, for its own tenant and those below.
    pub tenant_admin: bool,
    /// Whether it takes an `Idempotency-Key`. An operation that does not refuses one.
    pub once: bool,
    /// Whether what it changes has a version for `If-Match`. Where nothing has one, none matches.
    pub versioned: bool,
    /// The status of success.
    pub status: u16,
    /// One sentence.
    pub summary: &'static str,
}

macro_rules! operations {
    ($($OperationId:ident $method:literal $path:literal $first:ident $(+ $more:ident)* $(, $flag:ident)* => $status:literal $summary:literal;)*) => {
        /// The name of an operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum OperationId {
            $(#[doc = $summary] $OperationId,)*
        }

        impl OperationId {
            /// The name, as it stands in the `OpenAPI` document.
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
    CreateTenant "POST" "/tenants" TenantsWrite, tenant_admin, once => 201 "Set a tenant up: record, data route, defaults, API key, ledger, publication, welcome.";
    ListTenants "GET" "/tenants" TenantsRead, tenant_admin => 200 "Tenants, a page of them.";
    GetTenant "GET" "/tenants/{tenant}" TenantsRead, tenant_admin, versioned => 200 "A tenant's record.";
    ChangeTenant "PATCH" "/tenants/{tenant}" TenantsWrite, once, versioned => 200 "Change a tenant's record by a merge patch (RFC 7396).";
    DeleteTenant "DELETE" "/tenants/{tenant}" TenantsWrite, once, versioned => 200 "Delete a tenant for good: its keys end, its names are set aside.";
    SuspendTenant "POST" "/tenants/{tenant}/suspend" TenantsWrite, once, versioned => 200 "Stop serving a tenant.";
    ReactivateTenant "POST" "/tenants/{tenant}/reactivate" TenantsWrite, once, versioned => 200 "Serve a tenant again.";
    DeactivateTenant "POST" "/tenants/{tenant}/deactivate" TenantsWrite, tenant_admin, once, versioned => 200 "Stop a tenant at its own wish.";
    MaintainTenant "POST" "/tenants/{tenant}/maintenance" TenantsWrite, once, versioned => 200 "Ask a tenant's callers to come back later.";
    OffboardTenant "POST" "/tenants/{tenant}/offboard" TenantsWrite, once, versioned => 200 "Stop a tenant and have it deleted when its data has been kept long enough.";
    MoveTenant "POST" "/tenants/{tenant}/move" TenantsWrite + Identity, once, versioned => 200 "Migration a tenant, and those below it, under another one.";
    GetEntitlements "GET" "/tenants/{tenant}/entitlements" TenantsRead, tenant_admin => 200 "What a tenant has and how much is left: features with their reasons, limits with what is used.";
    RefundUsage "POST" "/tenants/{tenant}/refunds" TenantsWrite, once => 200 "Give back units of a quota that were charged by mistake in its current period; needs an `Idempotency-Key`.";
    ExportTenant "GET" "/tenants/{tenant}/export" TenantsRead, tenant_admin => 200 "All that is kept of a tenant, without secrets.";
    PutOverride "PUT" "/tenants/{tenant}/overrides" TenantsWrite, once, versioned => 200 "Set an override: it replaces the one for the same feature or limit that starts at the same time.";
    RemoveOverride "DELETE" "/tenants/{tenant}/overrides/{key}" TenantsWrite, once, versioned => 200 "Remove the overrides of a feature or limit.";
    ListExpiring "GET" "/expiring" TenantsRead => 200 "Overrides, contracts and trials that end soon.";
    ClaimDomain "POST" "/tenants/{tenant}/domains" TenantsWrite, tenant_admin, once, versioned => 201 "NewDomain a domain: says which TXT record proves it.";
    VerifyDomain "POST" "/tenants/{tenant}/domains/{host}/verify" TenantsWrite, tenant_admin => 200 "Look for the proof of a domain, and serve it.";
    RemoveDomain "DELETE" "/tenants/{tenant}/domains/{host}" TenantsWrite, tenant_admin, once, versioned => 200 "Give a domain up.";
    IssueApiKey "POST" "/tenants/{tenant}/api-keys" Keys, tenant_admin, once => 201 "Issue an API key: shown once.";
    ListApiKeys "GET" "/tenants/{tenant}/api-keys" TenantsRead, tenant_admin => 200 "A tenant's API keys, without secrets.";
    RotateApiKey "POST" "/tenants/{tenant}/api-keys/{key}/rotate" Keys, tenant_admin, once => 201 "Issue an API key in place of another, which works on for a while.";
    RevokeApiKey "DELETE" "/tenants/{tenant}/api-keys/{key}" Keys, tenant_admin, once => 200 "End an API key.";
    IssueLicence "POST" "/tenants/{tenant}/licences" TenantsWrite, once => 201 "Issue a licence key: shown once.";
    ListLicences "GET" "/tenants/{tenant}/licences" TenantsRead, tenant_admin => 200 "A tenant's licences, with the instances that use them.";
    ChangeLicence "PATCH" "/tenants/{tenant}/licences/{licence}" TenantsWrite, once => 200 "Change a licence by a merge patch (RFC 7396): suspend it, revoke it, bind it to other domains.";
    ListActivations "GET" "/tenants/{tenant}/licences/{licence}/activations" TenantsRead, tenant_admin => 200 "The instances that use a licence.";
    EndActivation "DELETE" "/tenants/{tenant}/licences/{licence}/activations/{instance}" TenantsWrite, once => 200 "End the activation of an instance, without its key.";
    ImpersonateTenant "POST" "/tenants/{tenant}/impersonate" Support, once => 201 "A ticket, good once and for a minute, for an API key of a tenant that ends after a quarter of an hour; on the record.";
    GetCatalog "GET" "/catalog" CatalogRead, versioned => 200 "The catalog.";
    PutCatalog "PUT" "/catalog" CatalogWrite, once, versioned => 200 "Replace the catalog; plan versions that are in use stay as they are.";
    ListCatalogs "GET" "/catalog/versions" CatalogRead => 200 "Versions of the catalog.";
    CompareCatalog "POST" "/catalog/impact" CatalogRead + TenantsRead => 200 "Dry run: who would gain or lose what, a page of tenants, and how recorded questions would be answered.";
    KillFeature "POST" "/features/{feature}/kill" CatalogWrite, once, versioned => 200 "Switch a feature off for everybody.";
    ReviveFeature "POST" "/features/{feature}/revive" CatalogWrite, once, versioned => 200 "End a kill.";
    Import "POST" "/import" CatalogWrite => 200 "Chargeable over a catalog with its tenants and API keys, as they stand elsewhere; for `OPERATOR_TOKEN` alone.";
    MovePlan "POST" "/plans/{plan}/move" CatalogWrite, once => 202 "Migration all tenants of a plan version to another.";
    ListJobs "GET" "/jobs" CatalogRead => 200 "Long runs, the latest first.";
    GetJob "GET" "/jobs/{job}" CatalogRead => 200 "How far a long run has come, and which tenants it has left as they were, with the problems.";
    RunJob "POST" "/jobs/{job}/run" CatalogWrite => 200 "Let a long run go on now, for a slice.";
    GetPublication "GET" "/publications" Publish => 200 "What is not published yet.";
    Publish "POST" "/publications" Publish => 200 "Publish what waits, and mend a slice of what has drifted.";
    GetAudit "GET" "/tenants/{tenant}/audit" Audit, tenant_admin => 200 "A tenant's audit trail, as JSON, lines or CSV.";
    ListDenials "GET" "/tenants/{tenant}/denials" Audit, tenant_admin => 200 "What a tenant was denied: how many by code and day, a sample, the latest first.";
    GetCatalogAudit "GET" "/audit" Audit => 200 "The audit trail of the catalog and of admin tokens.";
    IssueToken "POST" "/tokens" Tokens, once => 201 "Issue an admin token: shown once.";
    ListTokens "GET" "/tokens" Tokens => 200 "Admin tokens, without secrets.";
    RevokeToken "DELETE" "/tokens/{token}" Tokens, once => 200 "End an admin token.";
}

/// The operation of a method and a path below `/_gate/v1/admin`, with the segments that stand for `{…}`.
///
/// # Errors
/// The methods that the path takes; none: there is no such path.
///
/// # Examples
/// ```
/// use tenantgate::control::{OperationId, route};
/// let (operation, segments) = route("POST", "/tenants/t_acme/suspend").unwrap();
/// assert_eq!((operation.route, segments.as_slice()), (OperationId::SuspendTenant, ["t_acme"].as_slice()));
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
