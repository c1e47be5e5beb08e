// What origins do that are not at hand here, each in one line. Names are read as lighttpd, and of most characters PHP, hand them on: what
// is neither letter nor digit is `_`, and of two that are the same then the last one counts.

/** The path is taken from it. */
const PATHS = {
  X_ORIGINAL_URL: "IIS with URL Rewrite, Symfony before 4.1.3, SilverStripe",
  X_REWRITE_URL: "IIS with ISAPI_Rewrite, Zend, Yii 1, Joomla extensions",
  X_WAWS_UNENCODED_URL: "Azure App Service", X_MS_ORIGINAL_URL: "Nitro on Azure Static Web Apps",
  X_ASTRO_PATH: "Astro on Vercel, formerly",
  X_ORIGINAL_URI: "functions behind nginx", X_FORWARDED_URI: "functions behind Traefik and Caddy",
  X_REPLACED_PATH: "behind Traefik's ReplacePath",
  X_HTTP_PATH_OVERRIDE: "in lists of such headers", X_OVERRIDE_URL: "in lists of such headers", X_REQUEST_URI: "in lists of such headers",
};
/** It is taken away from the path. */
const PREFIXES = {
  X_SCRIPT_NAME: "Radicale, Tandoor, pgAdmin", X_FORWARDED_PREFIX: "Spring's ForwardedHeaderFilter",
  X_FORWARDED_CONTEXT: "services behind Apache Knox",
  X_PROXYCONTEXTPATH: "Apache NiFi", X_ROOT_PATH: "FastAPI's `root_path`, from a header",
};
const METHODS = ["X_HTTP_METHOD_OVERRIDE", "X_HTTP_METHOD", "X_METHOD_OVERRIDE"];

export function others(request, response) {
  const variables = {};
  const { rawHeaders } = request;
  for (let i = 0; i < rawHeaders.length; i += 2) variables[rawHeaders[i].toUpperCase().replace(/[^A-Z0-9]/g, "_")] = rawHeaders[i + 1];
  const first = (names) => names.map((name) => variables[name]).find(Boolean);
  const url = new URL(first(Object.keys(PATHS)) ?? request.url, "http://origin");
  const prefix = first(Object.keys(PREFIXES));
  const path = prefix && url.pathname.startsWith(prefix) ? url.pathname.slice(prefix.length) : url.pathname;
  const method = first(METHODS) ?? url.searchParams.get("_method") ?? request.method;
  const said = path === "/admin" ? "ADMIN" : /^\/public(\/|$)/.test(path) ? "PUBLIC" : "NOTHING";
  response.setHeader("content-type", "application/json");
  const scheme = variables.FRONT_END_HTTPS === "on" || variables.X_URL_SCHEME === "https" ? "https" : "http";
  const { host } = request.headers;
  response.end(JSON.stringify({ said, method, path, scheme, host, tenant: variables.X_TENANT_ID, proxy: variables.PROXY }));
}
