// A Worker of a user's own with the gate inside (`tenantgate/worker`), as tests run it in place of
// the gateway: `TENANTGATE_GATE=embedded` has the harness use it.
//
// It answers the decision API by `edgeGate`, and any other request as an application would: by the
// decision, or by the error of the denial. A question about a request goes the quick way.

import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { buildSync } from "esbuild";

const root = join(import.meta.dirname, "../..");

const APP = `
import handler, { DocumentError, edgeGate, TenantLedger } from "./worker.js";
import { replyTo, denial } from "./denials.js";
import { ANSWER } from "./questions.js";
export { TenantLedger };

/** Members of a question that \`decide\` takes. */
const FACTS = new Set(["method", "host", "path", "query", "headers", "custom", "context", "features"]);

async function answer(gate, question) {
  const quick = Object.keys(question).every((name) => FACTS.has(name));
  const { headers: { "www-authenticate": _, ...headers }, decision } = await (quick ? gate[ANSWER]({ host: "", ...question }, {}) : gate.ask(question));
  return Response.json(decision, { headers });
}

export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    const gate = edgeGate(env, ctx);
    if (pathname === "/_gate/v1/decide" && request.headers.get("authorization") === \`Bearer \${env.OPERATOR_TOKEN}\`) {
      try {
        return await answer(gate, await request.json());
      } catch (error) {
        if (!(error instanceof DocumentError)) throw error;
        const { message, problems } = error;
        return Response.json({ error: { code: "BAD_REQUEST", message, details: { problems } } }, { status: 400 });
      }
    }
    if (pathname.startsWith("/_gate/")) return handler.fetch(request, env, ctx);
    // The gateway refuses it by itself: an echo would show a caller what it cannot read.
    if (request.method === "TRACE") return new Response(null, { status: 405 });
    const { headers, decision } = await gate[ANSWER](request, {});
    // What an application says for whom it serves the request, to that caller alone.
    if (decision.allowed) return Response.json({ snapshot: {}, ...decision }, { headers: { ...headers, "cache-control": "private, no-store" } });
    const reply = replyTo(denial(decision, headers), request.headers.get("accept"));
    return new Response(reply.body, { status: reply.status, headers: reply.headers });
  },
  scheduled: handler.scheduled,
};
`;

/** Bundles a Worker's source, which imports the package's files as `./NAME.js`, into a folder. */
export function bundle(folder, contents) {
  mkdirSync(folder, { recursive: true });
  const stdin = { contents, resolveDir: join(root, "pkg") };
  const output = { outfile: join(folder, "entry.js"), loader: { ".wasm": "copy" }, assetNames: "[name]" };
  buildSync({ stdin, ...output, bundle: true, external: ["cloudflare:*"], format: "esm", logLevel: "warning" });
  return folder;
}

/** The folder of the Worker with the gate inside, relative to the project. Files run at once have one each. */
export function embedded() {
  const folder = join("build/embedded", basename(process.argv[1], ".test.mjs"));
  bundle(join(root, folder), APP);
  return folder;
}
