// Long runs, such as moves of all tenants of a plan.

import { path } from "../client.js";
import { EXIT } from "../failure.js";
import { more, paging } from "../options.js";

const id = { job: "The job's id." };
const row = ({ id: job, kind, state, total, done, failed, created_at: at, question }) => [job, kind, question?.from, question?.to, state, total, done, failed, at];

const list = {
  command: "list",
  describe: "List long runs, the latest first.",
  options: paging,
  async run({ argv, client, out }) {
    const page = await client.list("/jobs", argv);
    out.result(page, () => {
      out.table(["Id", "Kind", "From", "To", "State", "Tenants", "Done", "Failed", "Begun"], page.items.map(row), "No jobs.");
      more(out, page);
    });
  },
};

function show(out, job) {
  const { id, kind, state, total, done, failed, failures = [] } = job;
  out.members({ job: id, kind, state, tenants: total, done, failed });
  if (!failures.length) return;
  out.line();
  const rows = failures.flatMap(({ tenant, problems }) => problems.map(({ path: place, found, expected }) => [tenant, place, found, expected]));
  out.table(["Tenant", "Where", "Found", "Expected"], rows);
  more(out, job);
}

const get = {
  command: "show <job>",
  describe: "Show how far a long run has come, and which tenants it has left as they were.",
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
  describe: "Let a long run go on now, for a slice.",
  positionals: id,
  async run({ argv, client, out }) {
    const job = await client.admin("POST", path`/jobs/${argv.job}/run`);
    out.result(job, () => show(out, job));
  },
};

export const group = { command: "job", describe: "Long runs.", commands: [list, get, run] };
