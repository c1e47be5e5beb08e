// The files of a new project: those in `templates`. `init` writes what does not exist yet.

import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { version } from "./client.js";

const PLACE = fileURLToPath(new URL("../templates", import.meta.url));

/**
 * Each template: what it is for, and what it needs besides: packages, tools, scripts, and files out
 * of git. In an existing project, the configuration needs `main`, or the Worker needs the lines of
 * `needed`; with `own`, in place of the template's Worker.
 */
export const TEMPLATES = {
  gateway: { about: "a gateway before an origin", needs: {}, main: "src/index.ts" },
  hono: {
    about: "an application with Hono and the gate in one Worker", needs: { hono: "^4.0.0" }, own: true,
    needed: [
      'import { gateway, onError, scheduled, TenantLedger, tenants } from "tenantgate/worker";', 'app.all("/_gate/*", gateway());', "app.use(tenants());",
      "app.onError(onError);", "export default { fetch: app.fetch, scheduled };", "export { TenantLedger };",
    ],
  },
  next: {
    about: "Next.js on Workers, by OpenNext",
    needs: { next: "^15.5.0", react: "^19.0.0", "react-dom": "^19.0.0" },
    tools: { "@opennextjs/cloudflare": "^1.20.0", "@types/node": ">=22", "@types/react": "^19.0.0" },
    scripts: {
      build: "next build", dev: "opennextjs-cloudflare build --skipWranglerConfigCheck && tenantgate dev",
      deploy: "opennextjs-cloudflare build --skipWranglerConfigCheck && tenantgate deploy",
    },
    ignored: [".next", ".open-next", "next-env.d.ts"],
    main: "worker.ts",
  },
  worker: {
    about: "a Worker without a framework", needs: {}, own: true,
    needed: [
      'import gateway, { TenantLedger, withTenant } from "tenantgate/worker";', "const served = withTenant((request, env, ctx, { tenant }) => …);",
      "// in `fetch`:", 'if (new URL(request.url).pathname.startsWith("/_gate/")) return gateway.fetch(request, env, ctx);', "return served(request, env, ctx);",
      "// beside it:", "scheduled: gateway.scheduled", "export { TenantLedger };",
    ],
  },
};

/**
 * The files of a project, by their paths. `existing`: the project has a Worker, so the template's is
 * left out.
 */
export function files(name, template, existing) {
  const found = { ".dev.vars": `OPERATOR_TOKEN=${randomBytes(16).toString("hex")}\n` };
  for (const folder of existing && TEMPLATES[template].own ? ["common"] : ["common", template]) {
    const from = join(PLACE, folder);
    for (const path of readdirSync(from, { recursive: true })) {
      if (extname(path) !== "") found[path.replaceAll("\\", "/")] = readFileSync(join(from, path), "utf8").replaceAll("{{name}}", name);
    }
  }
  return found;
}

/** What `package.json` needs. */
export const manifest = (template) => ({
  scripts: { dev: "tenantgate dev", deploy: "tenantgate deploy", test: "vitest run", ...TEMPLATES[template].scripts },
  dependencies: { tenantgate: `^${version}`, ...TEMPLATES[template].needs },
  devDependencies: { "@cloudflare/workers-types": "^5.0.0", typescript: ">=5", vitest: ">=3", wrangler: "^4.60.0", ...TEMPLATES[template].tools },
});
