// Jobs: long runs in the control plane, such as moving all tenants of a plan.

import { path } from "../client.js";
import { EXIT } from "../failure.js";
import { listing } from "../listing.js";
import { more, paging } from "../options.js";

const id = { job: "The job's id." };

const list = listing({
  command: "list",
  describe: "List jobs, latest first.",
  at: () => "/jobs",
  head: ["Id", "Kind", "From", "To", "State", "Tenants", "Done", "Failed", "Started"],
  row: ({ id: job, kind, state, total, done, failed, created_at: at, question }) => [
    job, kind, question?.from, question?.to, state, total, done, failed, at,
  ],
  none: "No jobs.",
});

function show(out, job) {
  const { id, kind, state, total, done, failed, failures = [] } = job;
  out.members({ job: id, kind, state, tenants: total, done, failed });
  if (!failures.length) return;
  out.line();
  const rows = failures.flatMap(({ tenant, problems }) =>
    problems.map(({ path: place, found, expected }) => [tenant, place, found, expected]));
  out.table(["Tenant", "Where", "Found", "Expected"], rows);
  more(out, job);
}

const get = {
  command: "show <job>",
  describe: "Show a job's progress, and the tenants that it could not change.",
  positionals: id,
  options: { limit: paging.limit, cursor: paging.cursor },
  async run({ argv, client, out }) {
    const { limit, cursor } = argv;
    const job = await client.admin("GET", path`/jobs/${argv.job}`, { query: { limit, cursor } });
    out.result(job, () => show(out, job));
    return job.failed ? EXIT.no : EXIT.done;
  },
};

const run = {
  command: "run <job>",
  describe: "Run the next slice of a job now.",
  positionals: id,
  async run({ argv, client, out }) {
    const job = await client.admin("POST", path`/jobs/${argv.job}/run`);
    out.result(job, () => show(out, job));
  },
};

export const group = { command: "job", describe: "List, show and run jobs.", commands: [list, get, run] };
