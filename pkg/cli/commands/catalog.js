// Reads and replaces the catalog, and kills features.

import { path } from "../client.js";
import { catalogOf } from "../documents.js";
import { wrongUsage } from "../failure.js";
import { flag, given, reason, text } from "../options.js";

const get = {
  command: "get",
  describe: "Print the catalog, or write it to a file.",
  options: { output: text("The file to write to.", { alias: "o" }) },
  async run({ argv, client, out }) {
    const catalog = await client.admin("GET", "/catalog");
    out.file(argv.output, `${JSON.stringify(catalog, null, 2)}\n`);
  },
};

const put = {
  command: "put <file>",
  describe: "Replace the catalog with the one in a file.",
  positionals: { file: "A file with a catalog or a seed." },
  options: { "if-match": flag("Replace it only if its version still is the file's `version`.") },
  async run({ argv, client, out }) {
    const catalog = catalogOf(argv.file);
    if (argv.ifMatch && !Number.isInteger(catalog.version)) throw wrongUsage(`\`${argv.file}\` has no \`version\` for --if-match`);
    const headers = argv.ifMatch ? { "if-match": `"${catalog.version}"` } : {};
    const kept = await client.admin("PUT", "/catalog", { body: catalog, headers });
    out.result(kept, () => out.line(`The catalog is at version ${kept.version}.`));
  },
};

/**
 * A command that kills a feature, or ends its kill. `done`: the rest of the sentence that it
 * prints.
 */
const switching = (verb, describe, done) => ({
  command: `${verb} <key>`,
  describe,
  positionals: { key: "The feature's key." },
  options: { reason },
  async run({ argv, client, out }) {
    const catalog = await client.admin("POST", `${path`/features/${argv.key}`}/${verb}`, { body: given({ reason: argv.reason }) });
    out.result({ feature: argv.key, kill: catalog.features[argv.key].kill, version: catalog.version }, () =>
      out.line(`${argv.key} ${done}. The catalog is at version ${catalog.version}.`));
  },
});

export const group = { command: "catalog", describe: "Read and replace the catalog.", commands: [get, put] };

export const features = {
  command: "feature",
  describe: "Switch features off in an incident.",
  commands: [
    switching("kill", "Switch a feature off for all tenants.", "is off for all tenants"),
    switching("revive", "End the kill of a feature.", "is no longer killed"),
  ],
};
