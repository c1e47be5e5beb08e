// Issues an API key. Prints the key, only once, and the record to publish.
// Usage: npm run key -- --tenant t_acme [--scopes api.read,api.write] [--environment test]
// [--expires-at TIME] [--name TEXT]

import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildNpm } from "./build.mjs";
import { fail, root, setup } from "./setup.mjs";

const USAGE = "Usage: npm run key -- --tenant ID [--scopes A,B] [--environment live|test] [--expires-at RFC3339] [--name TEXT]";
const { tenant, scopes, environment, "expires-at": expires_at, name } = options();
if (!tenant) fail(`--tenant is missing: it is the id of the tenant that the API key belongs to. ${USAGE}`);
if (!existsSync(join(root, "pkg/dist"))) {
  setup({ tools: ["wasm-bindgen"] });
  buildNpm({ quick: true });
}

const { issueApiKey } = await import("../pkg/node.js");
const { key, record } = issue();
const put = `npx wrangler kv key put --binding SNAPSHOTS 'key:${record.id}' ${quoted(JSON.stringify(record))}`;
console.log(`\nThe key for its holder. It is stored nowhere and cannot be shown again:\n\n  ${key}\n`);
console.log(`The record for \`api_keys\` in your document:\n\n  ${JSON.stringify(record)}\n`);
console.log(`Or the command that writes it to KV, where it takes effect within a minute:\n\n  ${put}\n`);

/** Quotes a text for a shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function options() {
  const text = { type: "string" };
  try {
    return parseArgs({ options: { tenant: text, scopes: text, environment: text, "expires-at": text, name: text } }).values;
  } catch (error) {
    return fail(`${error.message}. ${USAGE}`);
  }
}

function issue() {
  try {
    return issueApiKey({ tenant, environment, scopes: scopes?.split(",").map((scope) => scope.trim()), expires_at, name });
  } catch (error) {
    return fail(`${error.message}\n${USAGE}`);
  }
}
