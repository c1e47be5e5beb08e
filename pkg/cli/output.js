// What is printed: tables for people or JSON for machines on stdout, progress and errors on stderr.

import { writeFileSync } from "node:fs";
import { Presets, SingleBar } from "cli-progress";
import Table from "cli-table3";
import { masked, wrongUsage } from "./failure.js";

const BARE = {
  top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "",
  left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "  ",
};
const CLIPPED = 60;

// Names and reasons come from tenants: a terminal must not take them for orders, nor show them in another direction.
const ORDERS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A text that a terminal shows as it is. */
export const plain = (text) => text.replace(ORDERS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** A value in a cell. */
export function cell(value) {
  if (value === undefined || value === null) return "";
  return plain(typeof value === "string" ? value : JSON.stringify(value));
}

/** A value in a cell, cut where it is long. */
export function clipped(value) {
  const text = cell(value);
  return text.length > CLIPPED ? `${text.slice(0, CLIPPED - 1)}…` : text;
}

/** Where a command prints. */
export class Output {
  /** @param {{json?: boolean}} options `json`: nothing but JSON */
  constructor({ json = false } = {}) {
    this.json = json;
  }

  /** Prints what has come out: as JSON, or as `show` does for people. */
  result(value, show) {
    if (this.json) process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    else show();
  }

  /** A line for people; without a text, an empty one. */
  line(text = "") {
    process.stdout.write(`${plain(text)}\n`);
  }

  /** A text as it is. */
  raw(text) {
    process.stdout.write(text);
  }

  /** A table for people; `none`: what is said instead where it has no rows. */
  table(head, rows, none = "Nothing.") {
    if (!rows.length) return this.line(none);
    const table = new Table({ head, chars: BARE, style: { head: [], border: [], "padding-left": 0, "padding-right": 0 } });
    for (const row of rows) table.push(row.map((value) => (typeof value === "string" ? plain(value) : cell(value))));
    this.raw(`${table.toString().replace(/[ \t]+$/gm, "")}\n`);
  }

  /** A secret, for its holder to keep: it is shown this once. */
  secret(name, secret) {
    this.raw(`\n${name}, shown this once:\n\n  ${secret}\n`);
  }

  /** The members of an object, a line each. */
  members(object) {
    this.table(["Member", "Value"], Object.entries(object).filter(([, value]) => value !== undefined && value !== null));
  }

  /** A remark beside the result. */
  note(text) {
    if (!this.json) process.stderr.write(`${plain(masked(text))}\n`);
  }

  /** Writes a file, or to stdout where none is named. */
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
   * A progress bar, where somebody watches.
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

/** The problems of a document, by their paths. */
export const problemRows = (problems) => problems.map(({ path, found, expected }) => [path, found, expected]);

/** Prints why a command failed. */
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
