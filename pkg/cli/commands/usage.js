// Usage of tenants.

import { text } from "../options.js";

export const usage = {
  command: "usage <tenant>",
  describe: "Show a tenant's usage; needs the operator token.",
  positionals: { tenant: "The tenant's id." },
  options: { metric: text("Show only this metric."), at: text("A time in the period to show (RFC 3339); default now.") },
  async run({ argv, client, out }) {
    const { tenant, metric, at } = argv;
    const used = await client.json("GET", "/_gate/v1/usage", { query: { tenant, metric, at } });
    out.result(used, () => {
      const rows = used.usage.map((one) => [one.metric, one.aggregation, one.value, one.unit, one.starts_at, one.ends_at]);
      out.table(["Metric", "Aggregation", "Value", "Unit", "From", "To"], rows, "No metrics.");
      if (used.quotas?.length) {
        const quotas = used.quotas.map((one) => [
          one.key, one.used, one.limit ?? "unlimited", one.overage || undefined, one.starts_at, one.ends_at,
        ]);
        out.line();
        out.table(["Quota", "Used", "Limit", "Overage", "From", "To"], quotas);
      }
      const days = used.usage.flatMap((one) => one.days.map((day) => [one.metric, day.date, day.value]));
      if (!days.length) return;
      out.line();
      out.table(["Metric", "Day", "Value"], days);
    });
  },
};
