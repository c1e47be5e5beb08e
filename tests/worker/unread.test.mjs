// Clients of a lobby that do not read: they are disconnected, and cost others of the same lobby
// nothing.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { OPERATOR, worker } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { connect } from "../support/sockets.mjs";
import { until } from "../support/wait.mjs";

const idp = await issuer({ label: "unread" });
after(() => idp.stop());
const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "jwt" }], central_hosts: ["ws.example.com"] },
  issuers: { main: idp.entry },
  realtime: {},
  plans: { "pro@1": {} },
};
const gate = await worker({ seed: { catalog, tenants: ["stuck", "other"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })) }, direct: true });
after(() => gate.stop());

async function admitted(tenant) {
  const client = connect(gate, { host: "ws.example.com" });
  await until(() => client.socket.readyState === 1);
  client.send({ action: "auth", token: await idp.sign(tenant) });
  assert.equal((await client.next("auth")).success, true);
  return client;
}
const operator = async (path, init) => {
  const response = await fetch(new URL(path, gate.urls[0]), { ...init, headers: { authorization: `Bearer ${OPERATOR}` } });
  return response.json();
};
const publish = (tenant, messages) => operator("/_gate/v1/messages", { method: "POST", body: JSON.stringify({ tenant, messages }) });
const connected = async (tenant) => (await operator(`/_gate/v1/connections?tenant=${tenant}`)).connections.length;

test("clients that never read are disconnected, and others of the lobby see nothing of them", { timeout: 120_000 }, async () => {
  const stuck = [];
  for (let n = 0; n < 12; n++) stuck.push(await admitted("t_stuck"));
  for (const client of stuck) client.socket.pause();
  const others = [];
  for (let n = 0; n < 4; n++) others.push(await admitted("t_other"));
  const begun = Date.now();
  // 25 MB to each of those that do not read.
  for (let n = 0; n < 28; n++) await publish("t_stuck", Array.from({ length: 30 }, () => ({ data: "x".repeat(30_000) })));
  await publish("t_other", [{ data: "first" }]);
  await until(async () => (await connected("t_stuck")) === 0, "the clients that do not read are disconnected", { ms: 60_000, everyMs: 500 });
  assert(Date.now() - begun < 60_000);
  await publish("t_other", [{ data: "second" }]);
  await until(() => others.every((client) => client.messages.length === 2));
  assert.deepEqual(others.map(({ closed }) => closed), others.map(() => null));
  for (const client of stuck) client.socket.resume();
  for (const client of stuck) assert.deepEqual(await client.ended(), { code: 4408, reason: "REQUEST_TIMEOUT" });
  // They may return.
  (await admitted("t_stuck")).close();
  for (const client of others) client.close();
});
