// Modules on a disk, for the entries for Node.

import { readFileSync } from "node:fs";
import { load } from "./load.js";

/** What `init` does in Node: where the module was found by itself there is nothing to wait for. */
export const loadFrom = async (part, source) => load(part, String(source).startsWith("file:") && !part.loaded() ? readFileSync(new URL(source)) : source);
