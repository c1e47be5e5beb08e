// Output: tables for people or JSON for programs on stdout; progress and errors on stderr.

import { writeFileSync } from "node:fs";
import { Presets, SingleBar } from "cli-progress";
import Table from "cli-table3";
import { masked, wrongUsage } from "./failure.js";

const BARE = {
  top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "",
  left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "  ",
};
const CLIPPED = 60;

// Names and reasons come from tenants. They must not contain control sequences of the terminal, or
// change the direction of text.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Escapes control characters, so that a terminal shows the text unchanged. */
export const plain = (text) => text.replace(CONTROLS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** The text of a value in a table. */
export function cell(value) {
  if (value === undefined || value === null) return "";
  return plain(typeof value === "string" ? value : JSON.stringify(value));
}

/** The text of a value in a table, cut to `CLIPPED` characters. */
export function clipped(value) {
  const text = cell(value);
  return text.length > CLIPPED ? `${text.slice(0, CLIPPED - 1)}…` : text;
}

/** The output of a command. */
export class Output {
  /** @param {{json?: boolean}} options `json`: print JSON only */
  constructor({ json = false } = {}) {
    this.json = json;
  }

  /** Prints the result: as JSON, or with `show` for people. */
  result(value, show) {
    if (this.json) process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    else show();
  }

  /** Prints a line. */
  line(text = "") {
    process.stdout.write(`${plain(text)}\n`);
  }

  /** Prints lines. */
  lines(texts) {
    for (const text of texts) this.line(text);
  }

  /** Prints a text unchanged. */
  raw(text) {
    process.stdout.write(text);
  }

  /** Prints a table, or the text `none` if it has no rows. */
  table(head, rows, none = "No entries.") {
    if (!rows.length) return this.line(none);
    const table = new Table({ head, chars: BARE, style: { head: [], border: [], "padding-left": 0, "padding-right": 0 } });
    for (const row of rows) table.push(row.map((value) => (typeof value === "string" ? plain(value) : cell(value))));
    this.raw(`${table.toString().replace(/[ \t]+$/gm, "")}\n`);
  }

  /** Prints a secret, which cannot be printed again. */
  secret(name, secret) {
    this.raw(`\n${name}, shown only once:\n\n  ${secret}\n`);
  }

  /** Prints the members of an object, one a line. */
  members(object) {
    this.table(["Member", "Value"], Object.entries(object).filter(([, value]) => value !== undefined && value !== null));
  }

  /** Prints a note for people to stderr. */
  note(text) {
    if (!this.json) process.stderr.write(`${plain(masked(text))}\n`);
  }

  /** Writes a text to a file, or to stdout if `name` is undefined. */
  file(name, text) {
    if (name === undefined) return this.raw(text);
    try {
      writeFileSync(name, text);
    } catch (error) {
      throw wrongUsage(`\`${name}\` cannot be written: ${error.code}`);
    }
    return this.result({ file: name }, () => this.note(`Written to ${name}.`));
  }

  /**
   * A progress bar, if stderr is a terminal.
   * @returns {{at: (done: number, total: number) => void, end: () => void}}
   */
  progress(label) {
    if (this.json || !process.stderr.isTTY) return { at() {}, end() {} };
    const options = { stream: process.stderr, format: `${label} {bar} {value}/{total}`, clearOnComplete: true, hideCursor: true };
    const bar = new SingleBar(options, Presets.shades_classic);
    return {
      at(done, total) {
        if (!bar.isActive) bar.start(total, done);
        bar.setTotal(total);
        bar.update(done);
      },
      end() {
        bar.stop();
      },
    };
  }
}

/** The rows of a table of problems. */
export const problemRows = (problems) => problems.map(({ path, found, expected }) => [path, found, expected]);

/** Prints the failure of a command. */
export function report(failure, json) {
  const { error } = failure;
  if (json) {
    process.stderr.write(`${masked(JSON.stringify({ error }, null, 2))}\n`);
    return;
  }
  const { problems, ...details } = error.details ?? {};
  const lines = [`${error.code}: ${error.message}`];
  for (const { path, found, expected } of problems ?? []) lines.push(`  ${path}: found ${found}, expected ${expected}`);
  for (const [name, value] of Object.entries(details)) lines.push(`  ${name}: ${cell(value)}`);
  if (error.hint) lines.push(error.hint);
  process.stderr.write(`${lines.map((line) => plain(masked(line))).join("\n")}\n`);
}
