// Data that a hostile tenant publishes does not fill isolates, which have 128 MB of memory each.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bomb } from "./bomb.mjs";
import { ask, burst } from "../support/client.mjs";
import { peak } from "./measure.mjs";
import { sleep } from "../support/wait.mjs";
import { measurable, world } from "../support/world.mjs";

const ISOLATES = 16;
/** The most by which one isolate's memory may grow, from idle to flooded. */
const MEMORY_MB = 64;
const TEAMS = 40;
const LIMIT = 20;

// 60 KB of small objects, which are many times larger once they are parsed.
const metadata = { a: Array.from({ length: 7_500 }, () => ({ a: 1 })) };

describe(`memory of ${ISOLATES} isolates`, { skip: !measurable && "memory is read from /proc" }, () => {
  let gate, evil;
  const send = (isolate, slug, path, headers) =>
    ask(gate.urls[isolate], path, { headers: { host: `${slug}.app.example.com`, ...headers } });
  const everywhere = (one) => burst(ISOLATES, one);
  const victims = () => everywhere((isolate) => send(isolate, "victim", "/open"));

  before(async () => {
    evil = await bomb(["t_mallory"]);
    gate = await world({
      isolates: ISOLATES,
      seed: {
        catalog: {
          version: 1,
          resolution: { strategies: [{ strategy: "jwt" }, { strategy: "subdomain", base_domains: ["app.example.com"] }] },
          issuers: { mallory: evil.entry },
          limits: { month: { kind: "quota", period: "month", default: LIMIT } },
          routes: [{ path: "/open", auth: "none" }, { path: "/metered", auth: "none", limits: { month: 1 } }],
          plans: { "pro@1": {} },
        },
        tenants: [
          { id: "t_victim", slug: "victim", plan: "pro@1" },
          { id: "t_mallory", slug: "mallory", plan: "pro@1" },
          ...Array.from({ length: TEAMS }, (_, i) => ({ id: `t_team_${i}`, slug: `team-${i}`, parent: "t_mallory", metadata })),
        ],
      },
    });
    // Every isolate has compiled the catalog and caches the victim.
    for (let i = 0; i < 5; i++) await victims();
  });
  after(async () => {
    await gate?.stop();
    await evil?.stop();
  });

  /** Fails if a flood makes the isolates large, or if one does not serve the victim afterwards. */
  async function assertSmall(t, flood) {
    const { memoryMb } = gate.usage();
    const [answers, mostMb] = await peak(gate, flood());
    const grown = (mostMb - memoryMb) / ISOLATES;
    t.diagnostic(`${answers.length} requests: ${memoryMb.toFixed(0)} → ${mostMb.toFixed(0)} MB, ${grown.toFixed(1)} MB for each isolate`);
    assert(answers.every(({ status }) => Number.isInteger(status)), "every request is answered");
    assert(grown < MEMORY_MB, `an isolate grows by ${grown.toFixed(0)} MB`);
    for (const { status } of await victims()) assert.equal(status, 200);
  }

  test("sub-tenants with large metadata do not fill an isolate's memory", async (t) => {
    await assertSmall(t, async () => {
      const answers = [];
      for (let i = 0; i < TEAMS; i++) answers.push(...await everywhere((isolate) => send(isolate, `team-${i}`, "/open")));
      return answers;
    });
  });

  test("issuer keys that unpack to 100 MB do not fill an isolate's memory", async (t) => {
    await assertSmall(t, async () => {
      const answers = [];
      for (let i = 0; i < 2; i++) {
        const headers = { authorization: `Bearer ${evil.token("t_mallory", `k${i}`)}` };
        answers.push(...await everywhere((isolate) => send(isolate, "mallory", "/open", headers)));
        await sleep(200);
      }
      return answers;
    });
  });

  test("after floods of memory, the victim's limit holds over all isolates", async () => {
    const answers = (await burst(4, () => everywhere((isolate) => send(isolate, "victim", "/metered")))).flat();
    const served = answers.filter(({ status }) => status === 200).length;
    assert(served <= LIMIT && served > 0, `${served} of ${answers.length} are served`);
  });
});
