// The book that `scripts/docs.mjs` builds from `docs/` into `www/docs/`. It asks no other host for anything.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vitepress";

const docs = join(import.meta.dirname, "..");

/** The title of a page: its first heading. */
const title = (path) => /^# (.*)$/m.exec(readFileSync(join(docs, `${path}.md`), "utf8"))[1].replaceAll("`", "");

/** Entries of the sidebar, each with the title of its page. */
const entries = (folder, names) => names.map((name) => ({ text: title(`${folder}/${name}`), link: `/${folder}/${name}` }));

/** All pages of a folder but its index, in the order of their names. */
const folder = (path) => readdirSync(join(docs, path)).filter((name) => name.endsWith(".md") && name !== "index.md").sort().map((name) => name.slice(0, -3));

const HOW_TO = {
  "Who is asking": ["resolve-tenants", "custom-domains", "issuers", "api-keys", "cors"],
  "What a tenant has": ["features", "contracts-and-trials", "sub-tenants", "licences"],
  "What is left": ["limits", "usage", "circuit-breakers"],
  "Use it from": ["protect-an-origin", "in-your-worker", "javascript", "pages", "realtime", "openfeature", "rust", "data"],
  "Run it": ["deploy", "going-live", "provisioning", "change-plans", "operate", "move-tenants", "attack"],
};
const REFERENCE = ["catalog", "tenant", "api-key", "decide", "limits", "credentials", "endpoints", "sockets", "origin", "configuration", "cli", "npm", "bounds"];
const EXPLANATION = ["decision", "tenants", "ledger", "snapshots", "control-plane", "security", "adapters", "distance", "realtime"];

/** The sidebar. It has one long list at most, `open`, since every page holds all of its sidebar. */
function sidebar(open) {
  const list = (text, path) => ({ text, link: `/${path}/`, ...(open === path && { items: entries(path, folder(path)) }) });
  return [
    { text: "Tutorial", items: [{ text: "Your first tenant", link: "/tutorial/" }] },
    {
      text: "How-to guides",
      items: Object.entries(HOW_TO).map(([text, names]) => ({ text, collapsed: true, items: entries("how-to", names) })),
    },
    { text: "Reference", items: [...entries("reference", REFERENCE), list("Admin API", "reference/api"), list("Codes", "reference/errors")] },
    { text: "Explanation", items: [...entries("explanation", EXPLANATION), list("Decisions", "decisions"), { text: "Glossary", link: "/glossary" }] },
  ];
}

const LISTS = ["reference/api", "reference/errors", "decisions"];

// Pages have no scripts of their own, so that a content security policy need not allow any.
const BOOT = /<script id="check-[^>]*>(.*?)<\/script>\s*/gs;
let boot = "";

export default defineConfig({
  title: "tenantgate",
  description: "Which tenant is this, what may it use, how much is left.",
  lang: "en",
  base: "/_gate/docs/",
  outDir: "../www/docs",
  cacheDir: "../build/docs-cache",
  srcExclude: ["reference/generated/**"],
  // A host that serves `page.html` for `page`, as Cloudflare does, needs no redirect then.
  cleanUrls: true,
  ignoreDeadLinks: false,
  metaChunk: true,
  // Drawings are files, as scripts are.
  vite: { build: { assetsInlineLimit: 0 } },
  head: [["link", { rel: "icon", href: "data:," }]],
  transformHtml(html) {
    boot ||= [...html.matchAll(BOOT)].map(([, code]) => code).join("\n");
    return html.replaceAll(BOOT, "").replace("</head>", '  <script src="/_gate/docs/boot.js"></script>\n  </head>');
  },
  buildEnd: ({ outDir }) => writeFileSync(join(outDir, "boot.js"), `${boot}\n`),
  // Braces in examples are text, not Vue's.
  markdown: { theme: { light: "github-light", dark: "github-dark" }, config: (md) => verbatim(md) },
  themeConfig: {
    outline: [2, 3],
    sidebar: { ...Object.fromEntries(LISTS.map((path) => [`/${path}/`, sidebar(path)])), "/": sidebar() },
    nav: [
      { text: "Tutorial", link: "/tutorial/" },
      { text: "How-to", link: "/how-to/", activeMatch: "/how-to/" },
      { text: "Reference", link: "/reference/", activeMatch: "/reference/" },
      { text: "Explanation", link: "/explanation/", activeMatch: "/explanation/" },
    ],
    search: { provider: "local" },
  },
});

/** Text in backquotes may hold `{{`. */
function verbatim(md) {
  const inline = md.renderer.rules.code_inline;
  md.renderer.rules.code_inline = (...args) => inline(...args).replace(/^<code/, "<code v-pre");
}
