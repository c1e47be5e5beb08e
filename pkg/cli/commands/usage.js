// What tenants have used.

import { text } from "../options.js";

export const usage = {
  command: "usage <tenant>",
  describe: "Show what a tenant has used; needs the operator's token.",
  positionals: { tenant: "The tenant's id." },
  options: { metric: text("This metric only."), at: text("The period of this time (RFC 3339); by default of now.") },
  async run({ argv, client, out }) {
    const { tenant, metric, at } = argv;
    const used = await client.json("GET", "/_gate/v1/usage", { query: { tenant, metric, at } });
    out.result(used, () => {
      const rows = used.usage.map((one) => [one.metric, one.aggregation, one.value, one.unit, one.starts_at, one.ends_at]);
      out.table(["Metric", "Aggregation", "Value", "Unit", "From", "To"], rows, "No metrics.");
      if (used.quotas?.length) {
        const quotas = used.quotas.map((one) => [one.key, one.used, one.limit ?? "unlimited", one.overage || undefined, one.starts_at, one.ends_at]);
        out.line();
        out.table(["Quota", "Used", "Limit", "Beyond it", "From", "To"], quotas);
      }
      const days = used.usage.flatMap((one) => one.days.map((day) => [one.metric, day.date, day.value]));
      if (!days.length) return;
      out.line();
      out.table(["Metric", "Day", "Value"], days);
    });
  },
};
