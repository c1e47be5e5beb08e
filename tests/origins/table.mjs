// Headers and parameters that make an origin serve something other than what the gate has judged,
// and the origins that they affect. Also headers that are common and must reach the origin
// unchanged.

/**
 * The attacks. `changes`: the property of the request that the origin mistakes: `path` (it answers
 * `ADMIN` then), `method`, `scheme`, `host`, `tenant`, `proxy` (the one for its own requests), or
 * the protocol (`upgrade`). `to`: the value that it takes instead. `request`: what is sent.
 * `origins`: those that it affects without the gate. PHP counts if it is installed.
 */
export const rows = [];

/** Adds rows: a header, its value, and the origins; several headers are a list of pairs. */
function group(changes, to, request, entries) {
  for (const [header, value, origins, more = {}] of entries) {
    const headers = Array.isArray(header) ? header : header === null ? [] : [[header, value]];
    const { name = headers.map((pair) => pair.join(": ")).join(", "), ...rest } = more;
    rows.push({ name, changes, to, request: { method: "GET", path: "/public", ...request, ...rest, headers }, origins });
  }
}

const PLAIN = ["gunicorn", "gunicorn, which believes every address", "gunicorn, snippets", "gunicorn, ProxyFix", "gunicorn, Django"];
const REWRITTEN = "Express, rewritten";

// The origin takes the value for its mount point and removes it from the path: `/public/admin`
// becomes `/admin`.
group("path", "/admin", { path: "/public/admin" }, [
  ["SCRIPT_NAME", "/public", PLAIN],
  ["script_name", "/public", PLAIN],
  [[["Script_Name", "/public"]], null, PLAIN],
  ["X-Script-Name", "/public", ["gunicorn, snippets", "wsgiref, snippets", "others"]],
  ["X_Script_Name", "/public", ["wsgiref, snippets", "others"]],
  ["X.Script.Name", "/public", ["others"]],
  ["X!Script~Name", "/public", ["others"]],
  ["X-Forwarded-Prefix", "/public", ["gunicorn, snippets", "wsgiref, snippets", "uvicorn, FastAPI", "others"]],
  ["X_Forwarded_Prefix", "/public", ["wsgiref, snippets", "others"]],
  ["X-Forwarded-Path", "/public", ["gunicorn, snippets", "wsgiref, snippets"]],
  ["X-Base-Path", "/public", ["gunicorn, snippets", "wsgiref, snippets"]],
  ["X-Ingress-Path", "/public", ["gunicorn, snippets", "wsgiref, snippets", "uvicorn, FastAPI"]],
  ["X-Root-Path", "/public", ["uvicorn, FastAPI", "others"]],
  ["X-Forwarded-Context", "/public", ["others"]],
  ["X-ProxyContextPath", "/public", ["others"]],
  ["Daphne-Root-Path", "/public", ["daphne, FastAPI", "daphne, Django"]],
  ["daphne-root-path", "%2Fpublic", ["daphne, FastAPI", "daphne, Django"]],
]);

// The origin puts the value before the path.
group("path", "/admin/public", {}, [
  ["X-Vhm-Root", "/admin", ["waitress, Pyramid"]],
  ["X-Vhm-Root", "admin", ["waitress, Pyramid"]],
]);

// The origin takes the value for the path.
group("path", "/admin", {}, [
  ...["X-Original-URL", "X-Rewrite-URL"].map((header) => [header, "/admin", [REWRITTEN, "others", "PHP"]]),
  ["X-Matched-Path", "/admin", [REWRITTEN]],
  ["X-MS-Original-URL", "http://x/admin", ["others"]],
  ["X-MS-Original-URL", "/admin", [REWRITTEN, "others"]],
  ...["X-Original-URI", "X-Forwarded-Uri"].map((header) => [header, "/admin", [REWRITTEN, "others"]]),
  ...["X-Envoy-Original-Path", "X-Forwarded-Path", "X-Forwarded-Url", "X-Invoke-Path", "X-Real-Path"]
    .map((header) => [header, "/admin", [REWRITTEN]]),
  ...["X-WAWS-Unencoded-URL", "X-Astro-Path", "X-Replaced-Path", "X-HTTP-Path-Override", "X-Override-URL", "X-Request-Uri"]
    .map((header) => [header, "/admin", ["others"]]),
  ["X_Original_URL", "/admin", ["others", "PHP"]],
  ["X.Rewrite.URL", "/admin", ["others", "PHP"]],
  ["X^Rewrite`URL", "/admin", ["others"]],
  ["X#Request$Uri", "/admin", ["others"]],
  [[["X-Rewrite-Url", "/public"], ["x-rewrite_url", "/admin"]], null, ["others", "PHP"]],
]);
// Another handler serves the request, or a handler is skipped. The path is the requested one.
group("path", "/admin", {}, [["x-matched-path", "/admin", ["Next.js, functions"]]]);
group("path", "/public/guarded", { path: "/public/guarded" }, [
  ["X-Middleware-Subrequest", Array(5).fill("middleware").join(":"), ["Next.js"]],
]);

// The origin builds a URL from the value and takes the path of that URL.
group("path", "/admin", {}, [
  ["X-Forwarded-Proto", "http://x/admin?", ["Express, the whole URL"]],
  ["X-Forwarded-Port", "80/admin?", ["Express, the whole URL"]],
]);

group("method", "DELETE", { method: "POST" }, [
  ["X-HTTP-Method-Override", "DELETE", [
    "Express, method-override", "Hono", "gunicorn, snippets", "wsgiref, snippets", "others", "PHP",
  ]],
  ["X_HTTP_Method_Override", "DELETE", ["wsgiref, snippets", "others", "PHP"]],
  ["X.HTTP.Method.Override", "DELETE", ["others", "PHP"]],
  [[["X-HTTP-Method-Override", "DELETE"], ["x-http-method-override", "PUT"]], null, ["Express, method-override"]],
  ["X-HTTP-Method", "DELETE", ["Express, method-override", "others"]],
  ["X-Method-Override", "DELETE", ["Express, method-override", "others"]],
  ["X-Method", "DELETE", ["Hono"]],
  [null, null, ["Express, method-override", "Hono", "others", "PHP"], { path: "/public?_method=DELETE", name: "?_method=DELETE" }],
  [null, null, ["Express, method-override", "Hono", "others", "PHP"], {
    path: "/public?a=1&%5Fmethod=DELETE", name: "?a=1&%5Fmethod=DELETE",
  }],
]);

group("scheme", "https", {}, [
  ["X-Forwarded-Proto", "https", ["gunicorn", "gunicorn, ProxyFix", "uvicorn, FastAPI", "Express, the whole URL"]],
  ["X-Forwarded-Protocol", "ssl", ["gunicorn"]],
  ["X-Forwarded-Ssl", "on", ["gunicorn"]],
  ["X-Scheme", "https", ["gunicorn, snippets", "wsgiref, snippets"]],
  ["X-Url-Scheme", "https", ["others"]],
  ["Front-End-Https", "on", ["others"]],
]);

group("host", "victim.example.com", {}, [
  ["X-Forwarded-Host", "victim.example.com", ["gunicorn, ProxyFix", "gunicorn, Django", "daphne, Django", "Express, the whole URL"]],
  ["Host", "victim.example.com", ["gunicorn", "others", "Hono"], { host: null, name: "Host" }],
]);
group("host", "acme.app.example.com:1234", {}, [["X-Forwarded-Port", "1234", ["gunicorn, ProxyFix"]]]);

group("tenant", "t_victim", {}, [
  ["X-Tenant-Id", "t_victim", ["gunicorn", "daphne, Django", "Hono", "Next.js", "others", "PHP"]],
  ["X_TENANT_ID", "t_victim", ["wsgiref, snippets", "others", "PHP"]],
  ["X.Tenant-Id", "t_victim", ["others", "PHP"]],
  ["x*tenant+id", "t_victim", ["others"]],
  // A proxy drops the headers that `Connection` names: the gate's header would be dropped, and the
  // header that names the victim would stay.
  [[["Connection", "X-Tenant-Id"], ["X_Tenant_Id", "t_victim"]], null, ["wsgiref, snippets", "others"]],
]);

// CGI programs send their own requests through this proxy (httpoxy).
group("proxy", "http://evil.example.com", {}, [
  ["Proxy", "http://evil.example.com", ["gunicorn", "wsgiref, snippets", "waitress, Pyramid"]],
]);

// After the upgrade, requests follow that the gate does not judge.
group("upgrade", "h2c", {}, [
  [
    [["Connection", "Upgrade, HTTP2-Settings"], ["Upgrade", "h2c"], ["HTTP2-Settings", "AAMAAABkAAQAAP__"]], null,
    ["hypercorn, FastAPI"],
  ],
]);

/** Headers that must reach the origin unchanged, by group. */
export const unharmed = {
  "of requests": {
    accept: "text/html, application/json;q=0.9", "accept-language": "de, en;q=0.5", "accept-charset": "utf-8", "user-agent": "curl/8.5.0",
    referer: "https://acme.app.example.com/a?b=/c", origin: "https://acme.app.example.com", cookie: "a=/b; c=d",
    authorization: "Basic YTpi", "if-match": '"a"', "if-none-match": '"b"', "if-modified-since": "Sat, 01 Nov 2025 00:00:00 GMT",
    "if-unmodified-since": "Sat, 01 Nov 2025 00:00:00 GMT", "if-range": '"c"', range: "bytes=0-9", prefer: "return=minimal",
    priority: "u=1, i", "cache-control": "no-cache", dnt: "1", "save-data": "on", from: "a@example.com", "last-event-id": "7",
    "idempotency-key": "k-1", "max-forwards": "9", via: "1.1 proxy.example.com", "upgrade-insecure-requests": "1",
  },
  "of browsers": {
    "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-user": "?1",
    "sec-ch-ua": '"Chromium";v="140"', "sec-ch-ua-mobile": "?0", "sec-ch-ua-platform": '"Linux"', "sec-gpc": "1",
    "sec-purpose": "prefetch", "service-worker-navigation-preload": "true", "x-requested-with": "XMLHttpRequest", "x-csrf-token": "t",
    "x-xsrf-token": "t",
  },
  "of bodies": {
    "content-type": "application/json", "content-encoding": "identity", "content-language": "de",
    "content-disposition": 'attachment; filename="a/b.txt"', "content-location": "/public/other", "content-digest": "sha-256=:AAAA:",
    digest: "SHA-256=AAAA", "content-md5": "AAAA", "content-range": "bytes 0-1/2", "x-file-name": "a.txt", slug: "a-title",
    "if-schedule-tag-match": '"a"',
  },
  "of traces": {
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=b", baggage: "route=/a", "x-request-id": "r-1",
    "x-correlation-id": "c-1", "x-amzn-trace-id": "Root=1-a-b", "x-b3-traceid": "80f198ee56343ba8", b3: "0",
    "x-cloud-trace-context": "a/1;o=1", "sentry-trace": "a-b-1", "x-datadog-trace-id": "1", "uber-trace-id": "a:b:0:1",
  },
  "of applications": {
    "x-api-version": "2", "x-custom-thing": "/anything?at=all", "x-client-version": "1.2.3", "x-device-id": "d", "x-locale": "de",
    "x-timezone": "Europe/Berlin", "x-page": "2", "x-feature-preview": "a", "x-amz-date": "20261101T000000Z",
    "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-target": "Service.Action", soapaction: '"urn:a"', "grpc-timeout": "1S",
    "x-grpc-web": "1", "apollo-require-preflight": "true", "x-apollo-operation-name": "Q", "tus-resumable": "1.0.0", "upload-length": "9",
    "upload-offset": "0", "upload-metadata": "a Yg==", depth: "1", overwrite: "F", "git-protocol": "version=2", "odata-version": "4.0",
    "x-http-accept": "a", "x-total-count": "1",
  },
  "of hooks": {
    "stripe-signature": "t=1,v1=a", "x-hub-signature-256": "sha256=a", "x-github-event": "push", "x-github-delivery": "d",
    "x-github-hook-id": "1", "x-shopify-topic": "orders/create", "x-shopify-hmac-sha256": "a", "x-slack-signature": "v0=a",
    "x-slack-request-timestamp": "1", "x-twilio-signature": "a", "svix-id": "m", "svix-signature": "v1,a", "webhook-id": "m",
    "webhook-timestamp": "1", "webhook-signature": "v1,a", "paypal-transmission-id": "p", "x-amz-sns-message-type": "Notification",
    "x-amz-sns-topic-arn": "arn:a", "x-zm-signature": "a", "x-line-signature": "a", "x-gitlab-event": "Push Hook", "x-gitlab-token": "t",
    "x-goog-channel-id": "c", "x-wc-webhook-topic": "order.created", "ce-id": "1", "ce-source": "/a", "ce-type": "t",
    "ce-specversion": "1.0", "x-square-hmacsha256-signature": "a", "x-mailgun-signature": "a", "typeform-signature": "a",
    "x-hubspot-signature-v3": "a", "x-intercom-signature": "a", "x-event-key": "repo:push",
  },
  "of pages": {
    "hx-request": "true", "hx-target": "a", "hx-trigger": "b", "hx-boosted": "true", "turbo-frame": "a", "x-inertia": "true",
    "x-inertia-version": "1", "x-inertia-partial-component": "A/B", "x-livewire": "true", "x-pjax": "true",
    "x-remix-reload-document": "yes", rsc: "1", "next-router-state-tree": "%5B%22%22%5D", "next-router-prefetch": "1",
    "next-action": "a1", "x-nextjs-data": "1", "x-sveltekit-action": "true", "x-alpine-request": "true", "up-target": ".a",
    "x-up-version": "3",
  },
  // The names contain a word for a path, a method, a host or a scheme.
  loose: {
    "hx-current-url": "https://acme.app.example.com/public", "next-url": "/public", "paypal-cert-url": "https://api.paypal.com/cert",
    "x-goog-resource-uri": "https://www.googleapis.com/a", "x-shopify-shop-domain": "a.myshopify.com",
    "dropbox-api-path-root": '{".tag": "home"}', "access-control-request-method": "DELETE", "access-control-request-headers": "x-a",
    "x-github-hook-installation-target-id": "1", "x-inertia-partial-data": "a", "x-wc-webhook-source": "https://shop.example.com/",
    "x-goog-upload-protocol": "resumable", "sec-websocket-protocol": "chat", "x-rapidapi-proxy-secret": "s",
    "x-rapidapi-host": "a.p.rapidapi.com", "x-request-start": "t=1", "x-request-uuid": "u", "x-hook-uuid": "u",
    "x-goog-upload-header-content-type": "image/png", "x-ms-client-request-id": "u", "x-amz-meta-original-name": "a.txt",
  },
};
