// Chromium, driven by Playwright.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { browser, root } from "../../scripts/setup.mjs";

/** Starts Chromium with the options of `webdriver.json`, as the Rust tests start it. */
export function chrome() {
  const { args } = JSON.parse(readFileSync(join(root, "webdriver.json"), "utf8"))["goog:chromeOptions"];
  return chromium.launch({ executablePath: browser().chromium, args });
}
