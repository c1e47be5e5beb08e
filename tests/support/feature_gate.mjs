// A catalog with a feature that depends on a number, a tenant, and a request to a gate with both.

export const catalog = {
  version: 2,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }] },
  features: { f: { rules: [{ name: "r", when: [{ attribute: "n", op: "gt", value: 1.5 }], value: true }] } },
  routes: [{ path: "/f", feature: "f" }],
  plans: { "p@1": {} },
};
export const tenant = { id: "t", slug: "t", plan: "p@1", epoch: 2 };
export const ask = (gate, more) => gate.decide({ host: "t.app.example.com", ...more }, { now: 0 });
