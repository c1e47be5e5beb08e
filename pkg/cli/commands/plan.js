// Plans: what a change would mean before it is made, and moving all tenants of a plan version.

import { impactRows } from "../compare.js";
import { catalogOf, lines } from "../documents.js";
import { EXIT, Failure, wrongUsage } from "../failure.js";
import { flag, given, many, reason, text } from "../options.js";
import { clipped } from "../output.js";
import { path } from "../client.js";

const PAGE = 500;
/** Recorded questions of one request. */
const MAX_LOG = 1_000;
/** So often in a row a slice is tried again that somebody else's change has overtaken. */
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

/** The log in the slices that one request takes; without a log, one slice of nothing. */
function slices(log) {
  const parts = [];
  for (let start = 0; start === 0 || start < log.length; start += MAX_LOG) parts.push({ start, log: log.slice(start, start + MAX_LOG) });
  return parts;
}

/** Asks page by page: the gates of a page know its tenants only, so each page answers the whole log for its own. */
async function impact(client, question, log, bar) {
  const whole = { compared: 0, tenants: [], ...(log.length && { replayed: { asked: log.length, changed: {} } }) };
  let cursor;
  do {
    let page;
    for (const part of slices(log)) {
      page = await client.admin("POST", "/catalog/impact", { body: given({ ...question, cursor, limit: PAGE, log: part.log.length ? part.log : undefined }) });
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
  describe: "Say who would gain or lose what by another catalog, or by moves between plans.",
  options: {
    catalog: text("The catalog that would be: a file."),
    move: many("Plan versions that tenants would have instead of theirs, as from=to; may be repeated."),
    log: text('Recorded questions to ask again: a file with a line {"at", "question"} for each.'),
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
        const rows = Object.entries(found.replayed.changed).map(([index, { effect, before, after }]) => [Number(index) + 1, effect, before, after]);
        out.table(["Question", "Effect", "Before", "After"], rows, "Every recorded question is answered as before.");
      }
      out.line();
      out.line(`Compared: ${found.compared}. Affected: ${found.tenants.length}.${found.replayed ? ` Asked again: ${found.replayed.asked}.` : ""}`);
    });
  },
};

/** Runs a job to its end. */
async function drive(client, job, bar) {
  let overtaken = 0;
  while (job.state === "running") {
    try {
      job = await client.admin("POST", path`/jobs/${job.id}/run`);
      overtaken = 0;
    } catch (error) {
      if (error instanceof Failure && error.exit === EXIT.unreachable) error.hint = `The job ${job.id} goes on by itself: nothing is lost.`;
      if (error.code !== "CONFLICT" || ++overtaken === TRIES) throw error;
    }
    bar.at(job.done + job.failed, job.total);
  }
  return job;
}

const move = {
  command: "move <from>",
  describe: "Move all tenants of a plan version to another.",
  positionals: { from: "The plan version that they have, such as pro@1." },
  options: {
    to: text("The plan version that they get.", { demandOption: true }),
    reason,
    wait: flag("Drive the job to its end."),
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
    if (failed) out.note("Those that failed have agreements that do not fit the new plan, and stay on the old one; the log says why.");
    return failed ? EXIT.no : EXIT.done;
  },
};

export const group = { command: "plan", describe: "Try changes of plans, and move tenants between them.", commands: [dryRun, move] };
