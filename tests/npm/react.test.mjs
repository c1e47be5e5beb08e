// Features in React: rendered on the server, and in a page that follows changes.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { JSDOM } from "jsdom";
import { act, createElement } from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { FeatureProvider, useFeature } from "../../pkg/react.js";
import { Gate } from "../../pkg/node.js";

const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "header" }] },
  features: { beta: { default: true }, theme: { type: "string", default: "dark" } },
  plans: { "pro@1": {} },
};
const features = new Gate(catalog, [{ id: "t_acme", slug: "acme", plan: "pro@1" }]).features("t_acme").toJSON();

const App = () => `${useFeature("theme", "light")} ${useFeature("beta", false)} ${useFeature("unknown", 7)} ${useFeature("theme", 1)}`;
const tree = (props) => createElement(FeatureProvider, props, createElement(App));

/** A client as `useFeature` uses it; `set` changes a feature as the gate would. */
class Client extends EventTarget {
  #answers = null;
  ready = new Promise((resolve) => { this.start = (answers) => { this.#answers = answers; resolve(); }; });
  get(key) {
    if (this.#answers === null) throw new Error("no snapshot");
    return this.#answers[key] ?? { value: false, tier: "unknown" };
  }
  set(key, value) {
    this.#answers = { ...this.#answers, [key]: { value, tier: "plan" } };
    this.dispatchEvent(new CustomEvent("change", { detail: { changed: [key] } }));
  }
}

test("the server renders the features that it has evaluated, and fallbacks for the others", () => {
  assert.equal(renderToString(tree({ features })), "dark true 7 1");
  assert.equal(renderToString(tree({ features: JSON.parse(JSON.stringify(features)) })), "dark true 7 1");
  assert.equal(renderToString(tree({})), "light false 7 1");
  assert.throws(() => renderToString(createElement(App)), { code: "MISCONFIGURED" });
});

test("a page starts with the server's features, and follows the client's changes", async (t) => {
  const { window } = new JSDOM("<div id=root></div>");
  const before = { window: globalThis.window, document: globalThis.document };
  t.after(() => Object.assign(globalThis, before, { IS_REACT_ACT_ENVIRONMENT: undefined }));
  Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
  const place = window.document.getElementById("root");
  const client = new Client();
  place.innerHTML = renderToString(tree({ features, client }));
  const root = await act(() => hydrateRoot(place, tree({ features, client })));
  assert.equal(place.textContent, "dark true 7 1");
  await act(async () => client.start({ theme: { value: "blue", tier: "plan" }, beta: { value: true, tier: "plan" } }));
  assert.equal(place.textContent, "blue true 7 1");
  await act(() => client.set("beta", false));
  assert.equal(place.textContent, "blue false 7 1");
  await act(() => root.unmount());
  client.set("theme", "red");
  assert.equal(place.textContent, "");
});

test("`require` works, and a page without a server waits with fallbacks", async (t) => {
  assert.equal(typeof createRequire(import.meta.url)("../../pkg/cjs/react.js").useFeature, "function");
  const { window } = new JSDOM("<div id=root></div>");
  const before = { window: globalThis.window, document: globalThis.document };
  t.after(() => Object.assign(globalThis, before, { IS_REACT_ACT_ENVIRONMENT: undefined }));
  Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
  const place = window.document.getElementById("root");
  const client = new Client();
  const root = createRoot(place);
  await act(() => root.render(tree({ client })));
  assert.equal(place.textContent, "light false 7 1");
  await act(async () => client.start({ theme: { value: "dark", tier: "plan" } }));
  assert.equal(place.textContent, "dark false 7 1");
  await act(() => root.unmount());
});
