// What each code means and what to do about it, for the pages that `scripts/docs.mjs` makes. Statuses
// and messages come from the sources; a code that is missing here, or unknown there, fails the build.

export const CODES = {
  ALLOWED: {
    meaning: "The gate lets the request through. What the request costs is counted.",
    action: ["Nothing. The decision says which features the route read and how every limit of the request stands."],
  },
  BAD_REQUEST: {
    meaning: "The request is invalid. The gate cannot read its host, path, query, tenant header or body.",
    action: [
      "For bodies and documents: read `details.problems`. It lists every problem with `path` (a JSON path), `found` and `expected`.",
      "For other requests: send one valid `Host` header, a path without control characters or encoded slashes, and values within the [bounds](../bounds).",
      "The path may look like another route's path (`/Admin`, `/public/..%2Fadmin`, `/admin.json`). [Protect an origin](../../how-to/protect-an-origin) says how to let such a path in.",
    ],
  },
  TENANT_AMBIGUOUS: {
    meaning: "One place of the request names the tenant twice, such as two `X-Tenant-ID` headers or two `tenant` parameters.",
    action: ["Send the header or parameter once."],
  },
  UNAUTHENTICATED: {
    meaning: "The route needs a valid token or API key, and the request has an invalid one or is missing one. The answer is the same for every reason; the log and the trace have the reason.",
    action: [
      "Read `WWW-Authenticate`: it names the kinds of credentials that the route takes (RFC 6750).",
      "Check that the token is not expired, that its issuer and audience are those of the catalog, and that its key is published.",
      "Check that the API key belongs to this environment: `tg_live_` or `tg_test_`.",
      "As an operator, ask for a [trace](../../how-to/operate#explain-a-decision) or read the log for the reason.",
      "For endpoints of the gate: send `Authorization: Bearer` with `OPERATOR_TOKEN`, or with an admin token for the admin API.",
    ],
  },
  TENANT_NOT_FOUND: {
    meaning: "Every signal of the request is missing, or one of them names an unknown tenant.",
    action: [
      "Check the host, path, header or query against the strategies of the catalog's `resolution`.",
      "Check that the tenant exists and that its slug and domain are current. A domain counts after it is verified.",
      "Without the control plane, a new tenant may be unknown for 30 seconds to an isolate that was asked for it before.",
    ],
  },
  TENANT_MISMATCH: {
    meaning: "Signals or credentials of the request name different tenants. All of them must name one tenant.",
    action: [
      "Send the credential of the tenant that the host, path, header or query names.",
      "For credentials of an ancestor: set `act_for_descendants` on the route.",
    ],
  },
  INSUFFICIENT_SCOPE: {
    meaning: "The credential is valid, and it lacks a scope of the route. One credential must have all scopes.",
    action: ["Issue an API key or token with the `scopes` of the route. `WWW-Authenticate` names them."],
  },
  ORIGIN_NOT_ALLOWED: {
    meaning: "A preflight comes from a page whose origin the CORS policy of the route does not name.",
    action: ["Add the page's origin to the policy in the catalog's `cors`, or give the route a policy. See [CORS](../../how-to/cors)."],
  },
  TENANT_SUSPENDED: {
    meaning: "The tenant is suspended, or one of its ancestors is.",
    action: ["Serve the tenant again: `npx tenantgate tenant reactivate ID`, once the reason has ended. The audit trail has the reason."],
  },
  TENANT_INACTIVE: {
    meaning: "The tenant is inactive, or one of its ancestors is: it was deactivated, offboarded or deleted.",
    action: ["Serve the tenant again by `reactivate`, unless it is deleted. A deleted tenant does not come back."],
  },
  TENANT_PROVISIONING: {
    meaning: "The tenant is being set up, or one of its ancestors is.",
    action: ["Wait for `Retry-After` and send the request again.", "If it lasts: send the `POST /tenants` request again with the same `Idempotency-Key`. The answer says what is missing."],
  },
  TENANT_MAINTENANCE: {
    meaning: "The tenant is under maintenance, or one of its ancestors is. A tenant that moves to another family is under maintenance for a moment.",
    action: ["Wait for `Retry-After` and send the request again.", "End the maintenance by `reactivate`."],
  },
  RESIDENCY_VIOLATION: {
    meaning: "The `residency` of the tenant does not list the `REGION` of this deployment.",
    action: ["Send the request to a deployment in a region of the tenant, or change the tenant's `residency`."],
  },
  FEATURE_NOT_AVAILABLE: {
    meaning: "The route needs a feature that the tenant does not have. `details` has `feature`, `current_plan` and `upgrade_url`.",
    action: [
      "Show the tenant `upgrade_url`, or move it to a plan with the feature.",
      "Set an [override](../../how-to/contracts-and-trials) for one tenant.",
      "A feature is also off when it is killed, or when a feature that it `requires` is off. A [trace](../../how-to/operate#explain-a-decision) says which.",
    ],
  },
  TENANT_CIRCUIT_OPEN: {
    meaning: "The origin fails for this tenant, and the circuit breaker of the route is open. The request was not forwarded.",
    action: ["Wait for `Retry-After` and send the request again.", "Repair the origin. The breaker closes by itself when its trial calls succeed.", "To move it by hand, see [circuit breakers](../../how-to/circuit-breakers)."],
  },
  RATE_LIMITED: {
    meaning: "A rate or a window is used up, or too many requests from one address reach an open endpoint of the gate, or a tenant's admins have used their budget of changes.",
    action: ["Wait for `Retry-After` and send the request again.", "`details` says which limit it is, how much is used and how much was asked for.", "Raise the limit by a plan, an add-on or an override."],
  },
  CONCURRENCY_LIMITED: {
    meaning: "All slots of a `concurrency` limit are in use. Of sockets and messages to them: the tenant's hub, or the lobby, is full or overloaded.",
    action: ["Wait until a request or job has ended. `Retry-After` is a guess of one second.", "Settle reservations when the work has ended; an unsettled one holds its slots until its time is over."],
  },
  QUOTA_EXCEEDED: {
    meaning: "A quota or a gauge is used up. `details` names every quota that refuses.",
    action: ["Wait for the next period (`Retry-After`), or raise the allowance by a plan, an add-on or an override.", "For gauges: release what is not used any more.", "For units that were charged by mistake: [refund](../../how-to/limits#refund-units) them."],
  },
  IDEMPOTENCY_KEY_REUSED: {
    meaning: "This idempotency key was used for a different request.",
    action: ["Use a new key for each operation, and the same key only for repetitions of one operation."],
  },
  RESOLVER_FAILED: {
    meaning: "The service `RESOLVER` of the strategy `custom` failed, or did not answer within 2 seconds.",
    action: ["Repair the service. It answers `{\"tenant\": \"acme\"}`, or status 204 when the request names no tenant.", "Wait for `Retry-After` and send the request again."],
  },
  ISSUER_UNAVAILABLE: {
    meaning: "The keys of the token's issuer are not available: `jwks_url` cannot be read, or a secret is missing.",
    action: ["Check that `jwks_url` answers within 5 seconds with at most 128 KiB, uncompressed.", "Check that the `secret` of the issuer is set in the Worker.", "Wait for `Retry-After` and send the request again."],
  },
  SNAPSHOT_UNAVAILABLE: {
    meaning: "The catalog or a record is not available, or everything that the isolate holds is older than a day.",
    action: ["Check that KV is bound as `SNAPSHOTS` and that it has a catalog: `/_gate/healthz` says so.", "With `SNAPSHOT_KEY`, check that the snapshots are sealed with it.", "A limit whose plan is unknown and that has no other allowance is answered with this code, too. Check the tenant's `plan`."],
  },
  LEDGER_UNAVAILABLE: {
    meaning: "The ledger did not answer and the limit has `on_error: closed`, or the ledger has too much to do, or the request waited for more than 8 seconds.",
    action: ["Wait for `Retry-After` and send the request again. Usage events count once, so sending them again is safe.", "Check that the Durable Object is bound as `LEDGER`.", "For limits with much traffic: use the mode `leased`. See [when the ledger is far away](../../explanation/distance)."],
  },
  NOT_FOUND: {
    meaning: "The endpoint is unknown, or the thing that the path names is unknown or belongs to another tenant.",
    action: ["Check the path against [the endpoints](../endpoints) and [the admin API](../api/).", "A tenant's admin sees its tenant and the tenants below it. Everything else is unknown to it."],
  },
  METHOD_NOT_ALLOWED: {
    meaning: "The endpoint does not take this method. `Allow` lists the methods that it takes. The gate forwards `TRACE` to no origin.",
    action: ["Use a method of `Allow`."],
  },
  PAYLOAD_TOO_LARGE: {
    meaning: "The body is larger than the endpoint takes.",
    action: ["Send less at once: see the [bounds](../bounds)."],
  },
  REQUEST_TIMEOUT: {
    meaning: "The body did not arrive within 30 seconds.",
    action: ["Send the request again over a faster connection, or send less at once."],
  },
  UPGRADE_REQUIRED: {
    meaning: "The endpoint opens a WebSocket, and the request is not one of a WebSocket client.",
    action: ["Connect with a WebSocket client, such as `tenantgate/ws/client`."],
  },
  UPSTREAM_UNAVAILABLE: {
    meaning: "The gate allowed the request, and the origin could not be reached.",
    action: ["Check `UPSTREAM` or `UPSTREAM_URL`, and that the origin is up."],
  },
  UPSTREAM_TIMEOUT: {
    meaning: "The gate allowed the request, and the origin did not send the head of its answer in time.",
    action: ["Make the origin faster, or give the route a longer `timeout_ms`, at most 600,000."],
  },
  EVENT_CONFLICT: {
    meaning: "A usage event was sent before with the same `source` and `id` and with different content. `details` has its place in the batch. The other events of the batch are counted.",
    action: ["Give each event an `id` of its own.", "To correct usage, send a new event."],
  },
  USAGE_NOT_FOUND: {
    meaning: "The tenant or the metric of the report is unknown.",
    action: ["Check `tenant` (an id, not a slug) and `metric`."],
  },
  FORBIDDEN: {
    meaning: "The token is valid, and lacks the permission that the operation needs.",
    action: ["Use a token with the permission. The [security model](../../explanation/security#permissions) lists what each permission leads to.", "An operation that is for `OPERATOR_TOKEN` alone takes no other token."],
  },
  SLUG_TAKEN: {
    meaning: "Another tenant has this slug, or had it within the last 90 days.",
    action: ["Choose another slug. `details` may have more."],
  },
  DOMAIN_TAKEN: {
    meaning: "The domain belongs to another tenant.",
    action: ["The owner of the domain proves it: replace the TXT record of the other tenant by the new one. Then the domain moves."],
  },
  DATA_ROUTE_TAKEN: {
    meaning: "The data route belongs to another tenant, or belonged to one.",
    action: ["Choose another `name` or `shard`. Two tenants never share a place for data, except with the strategy `shared`."],
  },
  DOMAIN_UNPROVEN: {
    meaning: "The TXT record that proves the domain was not found.",
    action: ["Publish the record of `details`, wait until DNS has it, and verify again."],
  },
  CONFLICT: {
    meaning: "Another change came first.",
    action: ["Read the record again, decide anew, and send the change with the new `If-Match`."],
  },
  WRONG_STATUS: {
    meaning: "The status of the tenant does not allow the operation. For example, an active tenant is not reactivated.",
    action: ["Read the tenant's `status`. [Provisioning](../../how-to/provisioning#life-of-a-tenant) shows what leads where."],
  },
  HAS_CHILDREN: {
    meaning: "The tenant has sub-tenants.",
    action: ["Move or delete its sub-tenants first."],
  },
  TOO_MANY: {
    meaning: "A bound is reached: sub-tenants, API keys, licences, pending domains or others.",
    action: ["Delete what is not used any more. `details` and the [bounds](../bounds) say how many there may be.", "For sub-tenants: raise the allowance of the gauge that the catalog's `sub_tenants` names."],
  },
  PLAN_IN_USE: {
    meaning: "The catalog changes or removes a plan version that tenants have, or changes the terms of its limits.",
    action: ["Add a new version, such as `pro@3`, and [move the tenants](../../how-to/change-plans).", "When a change of limits is intended: `PUT /catalog?change_terms=true`."],
  },
  CATALOG_IN_USE: {
    meaning: "The catalog drops something that records name, or reserves the slug of a tenant. `details.tenants` lists the records.",
    action: ["Change those records first, or keep what they name."],
  },
  PROVISIONING_FAILED: {
    meaning: "The tenant could not be set up, and what was set up is removed. `details.problem` has the reason.",
    action: ["Repair the reason, and send the request with a new `Idempotency-Key`."],
  },
  PRECONDITION_FAILED: {
    meaning: "`If-Match` names another version: the record has changed since it was read, or it does not exist.",
    action: ["Read the record again, decide anew, and send the change with the new `ETag`."],
  },
  CONTROL_UNAVAILABLE: {
    meaning: "The database `CONTROL_DB` does not answer, or is missing in this deployment.",
    action: ["Wait and send the request again. Serving goes on with what the isolates hold.", "To use the control plane, bind a D1 database as `CONTROL_DB` and apply the migrations."],
  },
  NO_CATALOG: {
    meaning: "The control plane has no catalog yet.",
    action: ["Send a catalog by `PUT /catalog`, or a whole document by `POST /import`."],
  },
};
