//! The gate's own endpoints: one table for the router and the `OpenAPI` document. The operations of
//! the admin API have a table of their own; see [`super::OPERATIONS`].

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Anybody.
    Anybody,
    /// The operator, by `OPERATOR_TOKEN`.
    Operator,
    /// Anybody who may make requests of a tenant: decided as a request of the catalog's routes.
    Tenant,
    /// The holder of a secret in the request itself: a ticket or a licence key.
    Holder,
    /// The operator, an admin token, or a tenant admin.
    Admin,
}

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointId {
    /// The `OpenAPI` document.
    OpenApi,
    /// The public keys of assertions and licences.
    Jwks,
    /// Health.
    Health,
    /// The playground.
    Playground,
    /// The documentation.
    Docs,
    /// A decision about a request.
    Decide,
    /// A report of usage.
    ReportUsage,
    /// Usage events.
    ReceiveUsage,
    /// A socket of a tenant.
    Connect,
    /// Messages to sockets.
    PublishMessages,
    /// The connections of a tenant.
    ListConnections,
    /// The end of a connection.
    CloseConnection,
    /// The users in a channel.
    Presence,
    /// A support ticket.
    RedeemTicket,
    /// The validity of a licence.
    ValidateLicence,
    /// The end of a licence's activation.
    DeactivateLicence,
    /// The features that a page may know.
    Features,
    /// Flags over OFREP.
    Ofrep,
    /// The admin API.
    Admin,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// The endpoint.
    pub id: EndpointId,
    /// The method. `*`: all methods. An endpoint that takes GET takes HEAD too.
    pub method: &'static str,
    /// The path. With `/*` at its end: the path itself and all paths below it.
    pub path: &'static str,
    /// Who may call it.
    pub caller: Caller,
}

macro_rules! endpoints {
    ($($id:ident $method:literal $path:literal $caller:ident;)*) => {
        /// All endpoints.
        pub const ENDPOINTS: &[Endpoint] = &[
            $(Endpoint { id: EndpointId::$id, method: $method, path: $path, caller: Caller::$caller },)*
        ];
    };
}

endpoints! {
    OpenApi "GET" "/_gate/openapi.json" Anybody;
    Jwks "GET" "/_gate/jwks.json" Anybody;
    Health "GET" "/_gate/healthz" Anybody;
    // Pages exist on the operator's own hosts alone, so they refuse other methods as unknown paths.
    Playground "*" "/_gate/ui" Anybody;
    Docs "*" "/_gate/docs/*" Anybody;
    Decide "POST" "/_gate/v1/decide" Operator;
    ReportUsage "GET" "/_gate/v1/usage" Operator;
    ReceiveUsage "POST" "/_gate/v1/usage" Operator;
    Connect "GET" "/_gate/v1/connect" Tenant;
    PublishMessages "POST" "/_gate/v1/messages" Operator;
    ListConnections "GET" "/_gate/v1/connections" Operator;
    CloseConnection "DELETE" "/_gate/v1/connections" Operator;
    Presence "GET" "/_gate/v1/presence" Operator;
    RedeemTicket "POST" "/_gate/v1/tickets" Holder;
    ValidateLicence "POST" "/_gate/v1/licences/validate" Holder;
    DeactivateLicence "POST" "/_gate/v1/licences/deactivate" Holder;
    // A page of another origin asks first whether it may (a CORS preflight).
    Features "OPTIONS" "/_gate/v1/features" Anybody;
    Features "GET" "/_gate/v1/features" Tenant;
    Ofrep "OPTIONS" "/_gate/ofrep/v1/evaluate/flags/*" Anybody;
    Ofrep "POST" "/_gate/ofrep/v1/evaluate/flags/*" Tenant;
    Admin "*" "/_gate/v1/admin/*" Admin;
}

/// The endpoint of a request.
///
/// # Errors
/// The methods that the path takes. Empty: there is no such path.
///
/// # Examples
/// ```
/// use tenantgate::control::{EndpointId, endpoint};
/// assert_eq!(endpoint("HEAD", "/_gate/healthz").unwrap().id, EndpointId::Health);
/// assert_eq!(endpoint("PUT", "/_gate/v1/usage").unwrap_err(), ["GET", "POST"]);
/// assert!(endpoint("GET", "/_gate/v2").unwrap_err().is_empty());
/// ```
pub fn endpoint(method: &str, path: &str) -> Result<&'static Endpoint, Vec<&'static str>> {
    let mut methods = Vec::new();
    for row in ENDPOINTS.iter().filter(|row| row.matches(path)) {
        if row.method == "*" || row.method == method || row.method == "GET" && method == "HEAD" {
            return Ok(row);
        }
        methods.push(row.method);
    }
    Err(methods)
}

impl Endpoint {
    fn matches(&self, path: &str) -> bool {
        let Some(prefix) = self.path.strip_suffix("/*") else { return self.path == path };
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}
