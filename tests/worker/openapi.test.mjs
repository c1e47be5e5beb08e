// The API is what its description says: schemathesis derives good and bad requests of every kind
// from it, and checks the responses.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { schemathesis } from "../../scripts/setup.mjs";
import { OPERATOR, worker } from "../support/harness.mjs";

const tool = schemathesis();
const EXAMPLES = process.env.SCHEMATHESIS_EXAMPLES ?? "12";

test("the endpoints respond to valid and invalid requests as their description says", async () => {
  const gate = await worker({ control: true });
  after(() => gate.stop());
  const { status } = await gate.admin("PUT", "/catalog", {
    version: 1, resolution: { strategies: [{ strategy: "header" }] }, features: { sso: {} }, limits: { month: { kind: "quota", period: "month" } },
    plans: { "pro@1": { limits: { month: 10 } } },
  });
  assert.equal(status, 200);
  await gate.admin("POST", "/tenants", { name: "Acme", plan: "pro@1" });
  const folder = await mkdtemp(join(tmpdir(), "tenantgate-"));
  after(() => rm(folder, { recursive: true, force: true }));
  const args = [
    "run", `${gate.url}_gate/openapi.json`, "--url", gate.url.origin, "--header", `Authorization: Bearer ${OPERATOR}`,
    "--max-examples", EXAMPLES, "--generation-deterministic", "--workers", "1", "--request-timeout", "20", "--no-color",
    "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection,unsupported_method,ignored_auth,missing_required_header",
    // A catalog that the tool makes up would replace the one that all other operations depend on.
    "--exclude-operation-id", "putCatalog", "--exclude-operation-id", "import",
  ];
  const { code, stdout } = await new Promise((resolve) => {
    execFile(tool, args, { cwd: folder, maxBuffer: 64 << 20 }, (error, stdout) => resolve({ code: error?.code ?? 0, stdout }));
  });
  assert.equal(code, 0, stdout.slice(-20_000));
});
