// Publication: what waits goes out, and how it stands.

import { setTimeout as pause } from "node:timers/promises";
import { parsed } from "../client.js";
import { EXIT, Failure } from "../failure.js";
import { flag } from "../options.js";

/** Turns in a row that publish nothing, before it is given up. */
const IDLE_TURNS = 3;
const PAUSE_MS = 500;

/** Publishes slice by slice until nothing waits. */
async function flush(client, all, bar) {
  const sum = { published: 0, mended: 0, waiting: Infinity };
  for (let idle = 0, total = 0, first = true; ; first = false) {
    const turn = await client.admin("POST", "/publications", { query: { all: first && all ? "true" : undefined } });
    const moved = turn.published > 0 || turn.waiting < sum.waiting;
    sum.published += turn.published;
    sum.mended += turn.mended;
    sum.waiting = turn.waiting;
    total = Math.max(total, turn.published + turn.waiting);
    bar.at(total - turn.waiting, total);
    if (!turn.waiting) return sum;
    idle = moved ? 0 : idle + 1;
    if (idle === IDLE_TURNS) throw new Failure("nothing more can be published: the log says why, and the clock tries again", { code: "NOT_PUBLISHED", details: sum });
    if (idle) await pause(PAUSE_MS);
  }
}

export const publish = {
  command: "publish",
  describe: "Publish what waits, until nothing does.",
  options: { all: flag("Publish everything anew, as after another key was put in.") },
  async run({ argv, client, out }) {
    const bar = out.progress("Publishing");
    let sum;
    try {
      sum = await flush(client, argv.all, bar);
    } finally {
      bar.end();
    }
    out.result(sum, () => out.line(`Published: ${sum.published}. Mended: ${sum.mended}. Waiting: ${sum.waiting}.`));
  },
};

export const status = {
  command: "status",
  describe: "Say whether the deployment serves, and what is not published yet.",
  async run({ client, out }) {
    const health = parsed((await client.send("GET", "/_gate/healthz")).text);
    const publication = await client.admin("GET", "/publications");
    const serves = health?.status === "ok";
    out.result({ health: health ?? null, publication }, () => {
      const { waiting, oldest_at: oldest, failures, key } = publication;
      out.members({ gate: health?.status ?? "no gate", catalog: health?.catalog, waiting, "oldest waits since": oldest, failures, "sealed by": key?.kid });
    });
    return serves ? EXIT.done : EXIT.no;
  },
};
