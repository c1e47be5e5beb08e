// Commands without a deployment: check and compare documents.

import { differences, impactRows, impacts } from "../compare.js";
import { examine, good } from "../documents.js";
import { EXIT, wrongUsage } from "../failure.js";
import { clipped, problemRows } from "../output.js";

const count = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;

const validate = {
  command: "validate <file>",
  describe: "Check a seed or a catalog, and show every problem with its JSON path.",
  positionals: { file: "A file with a seed or a catalog, as JSON." },
  run({ argv, out }) {
    const { seed, value, problems } = examine(argv.file);
    const kind = seed ? "seed" : "catalog";
    const valid = problems.length === 0;
    out.result({ valid, kind, problems }, () => {
      if (!valid) return out.table(["Path", "Found", "Expected"], problemRows(problems));
      const { version } = seed ? value.catalog : value;
      const parts = seed ? `, ${count(value.tenants.length, "tenant")}, ${count(value.api_keys?.length ?? 0, "API key")}` : "";
      return out.line(`Valid: catalog version ${version}${parts}.`);
    });
    return valid ? EXIT.done : EXIT.no;
  },
};

const diff = {
  command: "diff <old> <new>",
  describe: "Compare two documents, and show what each tenant of a seed would gain or lose.",
  positionals: { old: "A file with a seed or a catalog.", new: "Another file of the same kind." },
  run({ argv, out }) {
    const [before, after] = [good(argv.old), good(argv.new)];
    if (before.seed !== after.seed) throw wrongUsage("a seed and a catalog cannot be compared");
    const changes = differences(before.value, after.value);
    const tenants = before.seed ? impacts(before.value, after.value) : [];
    out.result({ changes, ...(before.seed && { tenants }) }, () => {
      const rows = changes.map(({ path, before, after }) => [path, clipped(before), clipped(after)]);
      out.table(["Path", "Before", "After"], rows, "No differences.");
      if (!before.seed || !changes.length) return;
      out.line();
      out.table(["Tenant", "What", "Effect", "Before", "After"], impactRows(tenants, clipped), "No tenant gains or loses anything.");
    });
  },
};

export const commands = [validate, diff];
