#!/usr/bin/env node
// The operators' command line. No other part of the package imports it or its dependencies.

import { run } from "./cli/main.js";

process.exitCode = await run(process.argv.slice(2));
