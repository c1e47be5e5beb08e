// Shows the tenant's features, follows their changes, and calls a route that needs a feature.

import { FeatureClient, init } from "tenantgate/client";

const { tenant = "acme", gate = "8787" } = Object.fromEntries(new URLSearchParams(location.search));
const origin = `http://${tenant}.localhost:${gate}`;
const element = (id) => document.getElementById(id);

await init();
const features = new FeatureClient({ url: `${origin}/_gate/v1/features`, context: { targeting_key: "user-1" } });
features.addEventListener("change", show);
await features.ready;
show();

function show() {
  element("tenant").textContent = `${features.tenant.slug}, ${features.tenant.plan}`;
  element("upload").textContent = features.get("max_upload_mb").value;
  element("editor").hidden = !features.enabled("new-editor");
}

// What a page hides is not forbidden: the gate decides the call.
element("call").addEventListener("click", async () => {
  const response = await fetch(`${origin}/api/webhooks`);
  const { code, error } = await response.json();
  element("outcome").textContent = `${response.status} ${error?.code ?? code}`;
});
