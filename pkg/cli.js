#!/usr/bin/env node
// The operators' command line. Nothing else of the package imports it, or the libraries that it needs.

import { run } from "./cli/main.js";

process.exitCode = await run(process.argv.slice(2));
