// Hono, with its own helper for methods.

import { Hono } from "hono";
import { methodOverride } from "hono/method-override";

export function hono() {
  const app = new Hono();
  app.use(methodOverride({ app, header: "X-HTTP-Method-Override" }));
  app.use(methodOverride({ app, header: "X-Method" }));
  app.use(methodOverride({ app, query: "_method" }));
  const served = (said) => (c) => c.json({
    said, method: c.req.method, path: c.req.path, scheme: new URL(c.req.url).protocol.slice(0, -1),
    host: c.req.header("host"), tenant: c.req.header("x-tenant-id"),
  });
  app.all("/admin", served("ADMIN")).all("/public", served("PUBLIC")).all("/public/*", served("PUBLIC"));
  return app;
}

/** The same, with the method in the body of a form, as the helper does where nothing is said. */
export function honoForms() {
  const app = new Hono();
  app.use(methodOverride({ app }));
  app.all("/public", (c) => c.json({ said: "PUBLIC", method: c.req.method, path: c.req.path }));
  return app;
}
