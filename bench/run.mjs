// Runs all benchmarks and prints one table. Usage: npm run bench [-- --json FILE]

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { cold } from "./cold.mjs";
import { decision } from "./decision.mjs";
import { distance } from "./distance.mjs";
import { embedded } from "./embedded.mjs";
import { control } from "./control.mjs";
import { credentials } from "./credentials.mjs";
import { hot } from "./hot.mjs";
import { ledger } from "./ledger.mjs";
import { machine } from "./disk.mjs";
import { compile, growth } from "./growth.mjs";
import { memory } from "./memory.mjs";
import { realtime } from "./realtime.mjs";
import { size } from "./size.mjs";
import { tokens } from "./tokens.mjs";
import { worker } from "./worker.mjs";

const { values } = parseArgs({ options: { json: { type: "string" } } });
const rows = [
  ...machine(), ...(await decision()), ...(await cold()), ...memory(), ...(await credentials()), ...compile(), ...growth(), ...size(),
  ...(await worker()), ...(await embedded()), ...(await tokens()), ...(await ledger()), ...(await hot()), ...(await realtime()), ...(await control()), ...(await distance()),
];

const short = (number) => (number === null ? "" : number >= 100 ? Math.round(number).toLocaleString("en") : number.toPrecision(3));
const met = (ok) => (ok === null ? "" : ok ? "yes" : "no");
console.table(rows.map(({ name, value, unit, peer, ratio, target, ok }) => ({
  what: name, value: short(value), unit, peer: short(peer), ratio: short(ratio), target: target ?? "", met: met(ok),
})));
if (values.json) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`);
process.exit(0);
