// Real origins behind the Worker: they serve what the gate has judged, whatever a client sends.
//
// Each attack of the table is sent twice: to the origin itself, where it must work, because the
// test would prove nothing otherwise; and through the gate, where it must fail.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { issueApiKey } from "../../pkg/node.js";
import { send } from "../support/send.mjs";
import { raw } from "../support/client.mjs";
import { worker } from "../support/harness.mjs";
import { serve } from "../support/server.mjs";
import { forms, origins } from "./origins.mjs";
import { rows, unharmed } from "./table.mjs";

const HOST = "acme.app.example.com";
const { key, record } = issueApiKey({ tenant: "t_acme" });
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "api_key" }] },
    routes: [{ path: "/", auth: "api_key" }, { path: "/public", auth: "none" }],
    plans: { "pro@1": {} },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
  api_keys: [record],
};

/** Starts the Worker before an origin. Requests reach the Worker as they are sent. */
async function gateBefore(upstream) {
  return worker({ seed, bindings: { UPSTREAM_URL: upstream }, direct: true });
}

const get = (url, path, headers = []) => send(url, { host: HOST, target: path, headers });
const attack = (url, { method, path, headers, host = HOST }) => send(url, { method, target: path, headers, host });
function parsed({ body }) {
  try {
    return JSON.parse(body);
  } catch {
    return {};
  }
}

/** What an origin took for the property that a row changes. */
function seen({ changes }, answer) {
  if (changes === "upgrade") return answer.status === 101 ? "h2c" : "HTTP/1.1";
  if (changes === "path") return parsed(answer).said;
  return parsed(answer)[changes];
}

/** Checks that the origin served what the gate judged, or that the gate refused the request. */
function assertJudged(row, answer, upstream) {
  const { said, method, path, scheme, host, tenant, proxy, error } = parsed(answer);
  assert.doesNotMatch(answer.body, /ADMIN/);
  assert.notEqual(answer.status, 101);
  if (answer.status >= 400 && error?.code) return;
  const note = `${answer.status} ${answer.body.slice(0, 300)}`;
  // The origin received the request as the gate judged it, and refused it.
  if (said === "NOTHING" && path === undefined) return;
  assert.equal(said, "PUBLIC", note);
  assert.equal(method, row.request.method, note);
  assert.equal(path, row.request.path.split("?")[0], note);
  assert([undefined, "http"].includes(scheme), note);
  assert([HOST, new URL(upstream).host].includes(host), note);
  assert.equal(tenant, "t_acme", note);
  assert.equal(proxy ?? undefined, undefined, note);
}

for (const [name, start] of Object.entries(origins)) {
  describe(name, () => {
    let origin, gate;
    before(async () => {
      origin = await start();
      gate = await gateBefore(origin.url);
    });
    after(async () => {
      await gate?.stop();
      await origin?.stop();
    });

    test(`${name}: the gate opens /public to everyone and /admin only to an API key`, async () => {
      for (const url of [origin.url, gate.url]) {
        const { said, method, path } = parsed(await get(url, "/public/a/b"));
        assert.deepEqual({ said, method, path }, { said: "PUBLIC", method: "GET", path: "/public/a/b" });
      }
      assert.equal(parsed(await get(origin.url, "/admin")).said, "ADMIN");
      assert.equal((await get(gate.url, "/admin")).status, 401);
      assert.equal(parsed(await get(gate.url, "/admin", [["X-API-Key", key]])).said, "ADMIN");
    });

    for (const row of rows.filter((entry) => entry.origins.includes(name))) {
      test(`${row.changes} attack fails: ${row.name} on ${row.request.path}`, async () => {
        const expected = row.changes === "path" ? "ADMIN" : row.to;
        assert.equal(seen(row, await attack(origin.url, row.request)), expected, "the attack does not work on the origin itself");
        assertJudged(row, await attack(gate.url, row.request), origin.url);
      });
    }
  });
}

test("every attack affects an installed origin, and names only known origins", () => {
  const idle = rows.filter((row) => !row.origins.some((name) => name in origins)).map(({ name }) => name);
  assert.deepEqual(idle, []);
  assert.deepEqual(rows.flatMap((row) => row.origins).filter((name) => !(name in origins) && name !== "PHP"), []);
});

describe("requests that reach the origin", () => {
  let origin, gate, got;
  before(async () => {
    origin = await serve((request, response) => {
      got.push({ method: request.method, url: request.url, headers: request.headers });
      request.resume().on("end", () => response.end("ok"));
    });
    gate = await gateBefore(origin.url);
  });
  after(async () => {
    await gate?.stop();
    await origin?.stop();
  });

  for (const [about, headers] of Object.entries(unharmed)) {
    for (const [name, value] of Object.entries(headers)) {
      test(`the header ${name} reaches the origin unchanged`, async () => {
        got = [];
        const method = about === "of bodies" ? "POST" : name.startsWith("access-control") ? "OPTIONS" : "GET";
        const length = method === "POST" ? [["Content-Length", "2"]] : [];
        const body = method === "POST" ? "[]" : undefined;
        const answer = await send(gate.url, { host: HOST, target: "/public", method, headers: [[name, value], ...length], body });
        assert.equal(answer.status, 200, answer.body);
        assert.equal(got[0].headers[name], value);
      });
    }
  }

  test("queries and cookies that look like attacks reach the origin unchanged", async () => {
    got = [];
    const path = "/public?path=/admin&url=http%3A%2F%2Fx%2Fadmin&method=DELETE&x-original-url=/admin&SCRIPT_NAME=/public";
    await get(gate.url, path, [["Cookie", "SCRIPT_NAME=/public; x-original-url=/admin"]]);
    assert.equal(got[0].url, path);
    assert.equal(got[0].headers.cookie, "SCRIPT_NAME=/public; x-original-url=/admin");
  });

  // workerd ensures this.
  test("a client cannot remove headers of the gate by naming them in `Connection`", async () => {
    got = [];
    const connection = [["Connection", "X-Tenant-Id, X-Tenant-Plan, Content-Type"], ["Keep-Alive", "timeout=5"], ["TE", "trailers"]];
    await get(gate.url, "/public", connection);
    const [{ headers }] = got;
    assert.equal(headers["x-tenant-id"], "t_acme");
    assert.equal(headers["x-tenant-plan"], "pro@1");
    for (const name of ["te", "keep-alive"]) assert.equal(headers[name], undefined, name);
    assert.doesNotMatch(headers.connection ?? "", /tenant|content/i);
  });

  const lines = (method, more, body = "") =>
    [`${method} /public HTTP/1.1`, `Host: ${HOST}`, "Connection: close", ...more, "", body].join("\r\n");
  const inner = `GET /admin HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
  const framed = {
    "a chunked body with a content length": lines("POST", ["Transfer-Encoding: chunked", "Content-Length: 4"], `0\r\n\r\n${inner}`),
    "two content lengths": lines("POST", ["Content-Length: 0", `Content-Length: ${inner.length}`], inner),
    "a content length with a sign": lines("POST", [`Content-Length: +${inner.length}`], inner),
    "an unknown transfer encoding": lines("POST", ["Transfer-Encoding: xchunked", `Content-Length: ${inner.length}`], inner),
    "two transfer encodings": lines("POST", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], `0\r\n\r\n${inner}`),
    "a space before the colon": lines("POST", ["Transfer-Encoding : chunked", `Content-Length: ${inner.length}`], `0\r\n\r\n${inner}`),
    "underscores in header names": lines("POST", ["Transfer_Encoding: chunked", "Content_Length: 0", `Content-Length: ${inner.length}`], inner),
    "a GET with a body": lines("GET", [`Content-Length: ${inner.length}`], inner),
    "a folded header": lines("GET", ["X-A: b", " SCRIPT_NAME: /public"]),
    "a bare carriage return": lines("GET", ["X-A: b\rSCRIPT_NAME: /public"]),
    "a bare line feed": lines("GET", ["X-A: b\nSCRIPT_NAME: /public"]),
    "a NUL in a header": lines("GET", ["X-A: b\0SCRIPT_NAME: /public"]),
    "a header without a name": lines("GET", [": /public"]),
  };
  for (const [name, text] of Object.entries(framed)) {
    test(`an ambiguous request reaches the origin as at most one request: ${name}`, async () => {
      got = [];
      await raw(gate.url, text, 2_000);
      for (const { url, headers } of got) {
        assert.equal(url, "/public");
        assert(!Object.keys(headers).some((found) => /script|transfer_|content_/i.test(found)), JSON.stringify(headers));
      }
      assert(got.length <= 1, JSON.stringify(got));
    });
  }
});

// The gate does not read bodies, so it cannot know. With such an origin, a route that is open for
// POST is open for every method that the origin makes of POST.
test("a method in the body of a form reaches the origin unseen by the gate", async () => {
  const origin = await forms();
  const gate = await gateBefore(origin.url);
  after(async () => {
    await gate.stop();
    await origin.stop();
  });
  const body = "_method=DELETE";
  const headers = [["Content-Type", "application/x-www-form-urlencoded"], ["Content-Length", String(body.length)]];
  for (const url of [origin.url, gate.url]) {
    assert.equal(parsed(await send(url, { method: "POST", target: "/public", host: HOST, headers, body })).method, "DELETE");
  }
});
