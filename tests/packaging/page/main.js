// A page as an application would have it: the features of its tenant, by way of OpenFeature, shown again whenever they change.
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { FeatureClient, init } from "tenantgate/client";
import { TenantgateWebProvider } from "tenantgate/openfeature/web";

await init();
const client = new FeatureClient();
const flags = OpenFeature.getClient();
const events = [];

function show() {
  document.querySelector("#status").textContent = flags.providerStatus;
  document.querySelector("#features").textContent = JSON.stringify({
    editor: flags.getBooleanValue("editor", false),
    checkout: flags.getStringValue("checkout", "none"),
    webhooks: flags.getBooleanValue("webhooks", false),
    seats: flags.getNumberValue("seats", 0),
  });
}

for (const event of Object.values(ProviderEvents)) {
  OpenFeature.addHandler(event, ({ flagsChanged } = {}) => {
    events.push([event, flagsChanged]);
    show();
  });
}
await OpenFeature.setProviderAndWait(new TenantgateWebProvider(client), { targetingKey: "user-1", country: "DE" });
show();
// What a test asks the page.
globalThis.app = { OpenFeature, client, events, flags, show };
