// Plans: a dry run of changes, and moving all tenants of a plan version.

import { impactRows } from "../compare.js";
import { catalogOf, lines } from "../documents.js";
import { EXIT, Failure, wrongUsage } from "../failure.js";
import { flag, given, many, reason, text } from "../options.js";
import { clipped } from "../output.js";
import { path } from "../client.js";

const PAGE = 500;
/** Maximum number of recorded questions in one request. */
const MAX_LOG = 1_000;
/** Maximum number of attempts in a row to run a slice that conflicts with other changes. */
const TRIES = 5;

function moves(pairs) {
  const plans = {};
  for (const pair of pairs) {
    const [from, to, ...rest] = pair.split("=");
    if (!from || !to || rest.length) throw wrongUsage(`\`${pair}\` is not from=to, such as pro@1=pro@2`);
    if (from in plans) throw wrongUsage(`\`${from}\` is moved twice`);
    plans[from] = to;
  }
  return plans;
}

/** Splits the log into slices for one request each; an empty log has one empty slice. */
function slices(log) {
  const parts = [];
  for (let start = 0; start === 0 || start < log.length; start += MAX_LOG) parts.push({ start, log: log.slice(start, start + MAX_LOG) });
  return parts;
}

/**
 * Compares page by page. The gates of a page know only the tenants of that page, so each page
 * evaluates the whole log for its own tenants.
 */
async function impact(client, question, log, bar) {
  const whole = { compared: 0, tenants: [], ...(log.length && { replayed: { asked: log.length, changed: {} } }) };
  let cursor;
  do {
    let page;
    for (const part of slices(log)) {
      const body = given({ ...question, cursor, limit: PAGE, log: part.log.length ? part.log : undefined });
      page = await client.admin("POST", "/catalog/impact", { body });
      for (const [index, shift] of Object.entries(page.replayed?.changed ?? {})) whole.replayed.changed[part.start + Number(index)] = shift;
    }
    whole.compared += page.compared;
    whole.tenants.push(...page.tenants);
    cursor = page.next_cursor ?? undefined;
    bar.at(whole.compared, whole.compared + (cursor ? PAGE : 0));
  } while (cursor);
  return whole;
}

const dryRun = {
  command: "dry-run",
  describe: "Show what tenants would gain or lose by another catalog or plan.",
  options: {
    catalog: text("A file with the other catalog."),
    move: many("A move between plan versions, as from=to; may be repeated."),
    log: text('A file with recorded questions to ask again, one {"at", "question"} a line.'),
  },
  async run({ argv, client, out }) {
    const question = given({ catalog: argv.catalog && catalogOf(argv.catalog), plans: argv.move && moves(argv.move) });
    if (!question.catalog && !question.plans) throw wrongUsage("a dry run needs --catalog or --move");
    const log = argv.log ? lines(argv.log) : [];
    const bar = out.progress("Comparing tenants");
    let found;
    try {
      found = await impact(client, question, log, bar);
    } finally {
      bar.end();
    }
    out.result(found, () => {
      out.table(["Tenant", "What", "Effect", "Before", "After"], impactRows(found.tenants, clipped), "No tenant gains or loses anything.");
      if (found.replayed) {
        out.line();
        const changed = Object.entries(found.replayed.changed);
        const rows = changed.map(([index, { effect, before, after }]) => [Number(index) + 1, effect, before, after]);
        out.table(["Question", "Effect", "Before", "After"], rows, "All recorded questions have the same answers as before.");
      }
      const replayed = found.replayed ? ` Questions replayed: ${found.replayed.asked}.` : "";
      out.line();
      out.line(`Tenants compared: ${found.compared}. Tenants affected: ${found.tenants.length}.${replayed}`);
    });
  },
};

/** Runs a job to its end. */
async function drive(client, job, bar) {
  let conflicts = 0;
  while (job.state === "running") {
    try {
      job = await client.admin("POST", path`/jobs/${job.id}/run`);
      conflicts = 0;
    } catch (error) {
      if (error instanceof Failure && error.exit === EXIT.unreachable) {
        error.hint = `The deployment continues the job ${job.id}: nothing is lost.`;
      }
      if (error.code !== "CONFLICT" || ++conflicts === TRIES) throw error;
    }
    bar.at(job.done + job.failed, job.total);
  }
  return job;
}

const move = {
  command: "move <from>",
  describe: "Move all tenants of a plan version to another.",
  positionals: { from: "The current plan version, such as pro@1." },
  options: {
    to: text("The new plan version.", { demandOption: true }),
    reason,
    wait: flag("Run the job to its end."),
  },
  async run({ argv, client, out }) {
    let job = await client.admin("POST", path`/plans/${argv.from}/move`, { body: given({ to: argv.to, reason: argv.reason }) });
    if (argv.wait) {
      const bar = out.progress("Moving tenants");
      try {
        job = await drive(client, job, bar);
      } finally {
        bar.end();
      }
    }
    const { id, state, total, done, failed } = job;
    out.result(job, () => out.members({ job: id, state, total, moved: done, failed }));
    if (failed) {
      const lists = `\`tenantgate job show ${id}\` lists them`;
      out.note(`Some tenants have agreements that do not fit the new plan and stay on the old one: ${lists}.`);
    }
    return failed ? EXIT.no : EXIT.done;
  },
};

export const group = { command: "plan", describe: "Preview changes of plans, and move tenants between plans.", commands: [dryRun, move] };
