// One flag engine in its own process: checks that the engine evaluates correctly, warms up, then
// runs the rounds that the parent requests and reports the nanoseconds of a call.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";

const COUNTRY = "NL";
const FLAGS = 64;
const USERS = 1000;
const ROUND_MS = 60;

// Every second flag is rolled out to half of the users in the country; the others are on for all
// users in the country. `one` evaluates the first flag.
const flags = Array.from({ length: FLAGS }, (_, i) => ({ key: i === 0 ? "checkout" : `flag-${i}`, rollout: i % 2 === 0 }));
const users = Array.from({ length: USERS }, (_, i) => ({ id: `user-${i}`, country: COUNTRY }));
const stranger = { id: "stranger", country: "DE" };

const { open } = await import(`./engines/${process.argv[2]}.mjs`);
const { name, ...evaluate } = await open({ users: [...users, stranger], country: COUNTRY, flags });

/** The number of flags that are on, over `n` calls. Only results that are promises are awaited. */
const sums = {
  async one(n) {
    let on = 0;
    for (let i = 0; i < n; i++) {
      const answer = evaluate.one(i % USERS);
      on += (answer instanceof Promise ? await answer : answer) ? 1 : 0;
    }
    return on;
  },
  async all(n) {
    let on = 0;
    for (let i = 0; i < n; i++) {
      const answer = evaluate.all(i % USERS);
      on += answer instanceof Promise ? await answer : answer;
    }
    return on;
  },
};

const between = (low, value, high, what) => assert(value > low && value < high, `${name}: ${what}: ${value}, expected ${low} to ${high}`);
between(400, await sums.one(USERS), 600, `the number of ${USERS} users for whom the flag is on`);
between(44, (await sums.all(USERS)) / USERS, 52, `the average number of ${FLAGS} flags that are on for a user`);
assert.equal(await evaluate.one(USERS), false, `${name}: the flag is on in another country`);
assert.equal(await evaluate.all(USERS), 0, `${name}: flags are on in another country`);

async function time(work, n) {
  const begun = performance.now();
  await sums[work](n);
  return ((performance.now() - begun) * 1e6) / n;
}

/**
 * The number of calls that fill a round. Doubles it until it suffices, which also warms up the
 * engine.
 */
async function size(work) {
  let n = 1;
  while ((await time(work, n)) * n < ROUND_MS * 1e6) n *= 2;
  return n;
}

const version = () => JSON.parse(readFileSync(resolve(import.meta.dirname, "../node_modules", name, "package.json"), "utf8")).version;

process.on("message", async ({ work, n }) => process.send(await time(work, n)));
// Some clients have timers that would keep this process alive after its parent has ended.
process.on("disconnect", () => process.exit());
process.send({ name: name === "tenantgate" ? name : `${name} ${version()}`, sizes: { one: await size("one"), all: await size("all") } });
