// Express, with what is often put in front of its routes.

import express from "express";

const served = (said) => (request, response) => response.json({
  said, method: request.method, path: request.path, scheme: request.protocol, host: request.host, tenant: request.get("x-tenant-id"),
});

/** `before`: middleware; `trusts`: whether `X-Forwarded-*` are believed. */
function app(before, trusts = false) {
  const own = express();
  own.set("trust proxy", trusts);
  own.use(...before);
  own.all("/admin", served("ADMIN"));
  own.all(["/public", "/public/*rest"], served("PUBLIC"));
  own.use((request, response) => response.status(404).json({ said: "NOTHING", method: request.method, path: request.path }));
  return own;
}

// The package `method-override`, with each of the places that its documentation names.
export const overrides = (methodOverride) =>
  app(["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"].map((name) => methodOverride(name)));

// Where a platform rewrites every path to one function, the function's file takes the path from a header.
const REWRITTEN = [
  "x-matched-path", "x-invoke-path", "x-original-url", "x-original-uri", "x-ms-original-url", "x-rewrite-url", "x-envoy-original-path",
  "x-forwarded-uri", "x-forwarded-url", "x-forwarded-path", "x-real-path",
];
export const rewritten = () => app([(request, _, next) => {
  const name = REWRITTEN.find((header) => request.headers[header]);
  if (name) request.url = request.headers[name];
  next();
}]);

// The whole URL put together, as Koa's `ctx.URL` and Astro's adapter for Node do, and its path taken.
export const absolute = () => app([(request, _, next) => {
  const port = request.get("x-forwarded-port");
  request.url = new URL(`${request.protocol}://${request.host}${port ? `:${port}` : ""}${request.originalUrl}`).pathname;
  next();
}], true);
