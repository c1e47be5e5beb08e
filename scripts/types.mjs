// TypeScript types of the catalog and of tenants, from their JSON Schemas: `pkg/documents.d.ts`.
// Usage: node scripts/types.mjs

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compile } from "json-schema-to-typescript";
import { root } from "./setup.mjs";

const FILE = join(root, "pkg/documents.d.ts");
const BANNER = "// Written by `node scripts/types.mjs` from the JSON Schemas in `schema`.\n";
/** Sentences of the compiler about the place of a definition in the schema. */
const PLACES = /^\s*\*\s*\n(?=\s*\* This interface was referenced)|^\s*\* This interface was referenced[^\n]*\n\s*\* via [^\n]*\n/gm;

/** Keywords that give a value a type. A member without any of them may have any type. */
const TYPED = ["type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"];

/** The schema, with `unknown` for members of any type, which the compiler takes for objects. */
function withUnknown(schema) {
  if (typeof schema !== "object" || schema === null) return schema;
  if (Array.isArray(schema)) return schema.map(withUnknown);
  const all = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, withUnknown(value)]));
  for (const [name, member] of Object.entries(schema.properties ?? {})) {
    if (!TYPED.some((keyword) => Object.hasOwn(Object(member), keyword))) all.properties[name] = { ...Object(member), tsType: "unknown" };
  }
  return all;
}

/** The text of the types. */
export async function documentTypes() {
  const schema = (name) => {
    const { $defs, $schema, ...document } = JSON.parse(readFileSync(join(root, "pkg/schema", `${name}.json`), "utf8"));
    return { $defs, document };
  };
  const [catalog, tenant] = [schema("catalog"), schema("tenant")];
  const all = {
    $defs: { ...catalog.$defs, ...tenant.$defs, CatalogDocument: { ...catalog.document, title: "CatalogDocument" }, TenantDocument: { ...tenant.document, title: "TenantDocument" } },
    properties: { catalog: { $ref: "#/$defs/CatalogDocument" }, tenant: { $ref: "#/$defs/TenantDocument" } },
    additionalProperties: false,
  };
  const text = await compile(withUnknown(all), "Documents", { bannerComment: BANNER, style: { printWidth: 120 } });
  const own = text.replaceAll(PLACES, "").replaceAll(/^\s*\*\s*\n(?=\s*\*\/)/gm, "").replaceAll(/\/\*\*\s*\*\/\n/g, "");
  // Only the two documents are the package's; the parts of the one are reached through it.
  const exported = new Set(["CatalogDocument", "TenantDocument"]);
  const declared = own.replaceAll(/^export (interface|type) (\w+)/gm, (whole, kind, name) => (exported.has(name) ? whole : `${kind} ${name}`));
  return `${declared.replace(/^interface Documents \{[^]*?^\}\n/m, "").trimEnd()}\n\nexport {};\n`;
}

if (process.argv[1] === import.meta.filename) writeFileSync(FILE, await documentTypes());
