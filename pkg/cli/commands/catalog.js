// The catalog, and features that are switched off for everybody.

import { path } from "../client.js";
import { catalogOf } from "../documents.js";
import { wrongUsage } from "../failure.js";
import { flag, given, reason, text } from "../options.js";

const get = {
  command: "get",
  describe: "Print the catalog, or write it to a file.",
  options: { output: text("The file to write.", { alias: "o" }) },
  async run({ argv, client, out }) {
    const catalog = await client.admin("GET", "/catalog");
    out.file(argv.output, `${JSON.stringify(catalog, null, 2)}\n`);
  },
};

const put = {
  command: "put <file>",
  describe: "Replace the catalog by that of a file.",
  positionals: { file: "A catalog, or a seed document with one." },
  options: { "if-match": flag("Only if the catalog is still at the version that the file says.") },
  async run({ argv, client, out }) {
    const catalog = catalogOf(argv.file);
    if (argv.ifMatch && !Number.isInteger(catalog.version)) throw wrongUsage(`\`${argv.file}\` says no \`version\` to match`);
    const headers = argv.ifMatch ? { "if-match": `"${catalog.version}"` } : {};
    const kept = await client.admin("PUT", "/catalog", { body: catalog, headers });
    out.result(kept, () => out.line(`The catalog is at version ${kept.version}.`));
  },
};

const switching = (verb, describe, said) => ({
  command: `${verb} <key>`,
  describe,
  positionals: { key: "The feature's key." },
  options: { reason },
  async run({ argv, client, out }) {
    const catalog = await client.admin("POST", `${path`/features/${argv.key}`}/${verb}`, { body: given({ reason: argv.reason }) });
    out.result({ feature: argv.key, kill: catalog.features[argv.key].kill, version: catalog.version }, () =>
      out.line(`${argv.key} ${said}. The catalog is at version ${catalog.version}.`));
  },
});

export const group = { command: "catalog", describe: "Read and replace the catalog.", commands: [get, put] };

export const features = {
  command: "feature",
  describe: "Switch features off in an incident.",
  commands: [
    switching("kill", "Switch a feature off for everybody.", "is off for everybody"),
    switching("revive", "End a kill.", "is no longer killed"),
  ],
};
