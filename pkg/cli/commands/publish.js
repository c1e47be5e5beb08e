// Publication of snapshots to KV, and the status of the deployment.

import { setTimeout as pause } from "node:timers/promises";
import { parsed } from "../client.js";
import { EXIT, Failure } from "../failure.js";
import { flag } from "../options.js";

/** Maximum number of turns in a row that publish nothing. */
const IDLE_TURNS = 3;
const PAUSE_MS = 500;

/** Publishes slice by slice until no publication is waiting. */
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
    if (idle === IDLE_TURNS) {
      const message = "the remaining publications failed: the log has the reason, and the deployment will retry them";
      throw new Failure(message, { code: "NOT_PUBLISHED", details: sum });
    }
    if (idle) await pause(PAUSE_MS);
  }
}

export const publish = {
  command: "publish",
  describe: "Publish all waiting snapshots.",
  options: { all: flag("Publish all snapshots again, for instance after SNAPSHOT_KEY was replaced.") },
  async run({ argv, client, out }) {
    const bar = out.progress("Publishing");
    let sum;
    try {
      sum = await flush(client, argv.all, bar);
    } finally {
      bar.end();
    }
    out.result(sum, () => out.line(`Published: ${sum.published}. Repaired: ${sum.mended}. Waiting: ${sum.waiting}.`));
  },
};

export const status = {
  command: "status",
  describe: "Show whether the deployment is healthy, and how many publications are waiting.",
  async run({ client, out }) {
    const health = parsed((await client.send("GET", "/_gate/healthz")).text);
    const publication = await client.admin("GET", "/publications");
    const serves = health?.status === "ok";
    out.result({ health: health ?? null, publication }, () => {
      const { waiting, oldest_at: oldest, failures, key } = publication;
      out.members({
        gate: health?.status ?? "not a gate", catalog: health?.catalog, waiting, "oldest waiting since": oldest, failures,
        "sealed with": key?.kid,
      });
    });
    return serves ? EXIT.done : EXIT.no;
  },
};
