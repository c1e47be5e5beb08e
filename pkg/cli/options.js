// Options that commands share, and the parsing of their values.

import { wrongUsage } from "./failure.js";

/** The last value of an option that may have been repeated. */
const last = (value) => (Array.isArray(value) ? value.at(-1) : value);

/** An option with a text. */
export const text = (describe, more = {}) => ({ type: "string", requiresArg: true, describe, coerce: last, ...more });

/** An option without a value. */
export const flag = (describe) => ({ type: "boolean", describe, coerce: last });

/** An option with a whole number. */
export const whole = (describe, more = {}) => text(describe, {
  ...more,
  coerce(value) {
    const given = last(value);
    if (given === undefined) return undefined;
    if (!/^\d{1,15}$/.test(given)) throw wrongUsage(`\`${given}\` is not a whole number`);
    return Number(given);
  },
});

/** An option with a comma-separated list; may be repeated. */
export const list = (describe, more = {}) => text(describe, {
  ...more,
  coerce(value) {
    if (value === undefined) return undefined;
    return [value].flat().flatMap((part) => part.split(",")).map((part) => part.trim()).filter(Boolean);
  },
});

/** An option with a text; may be repeated. */
export const many = (describe, more = {}) => text(describe, {
  ...more,
  coerce: (value) => (value === undefined ? undefined : [value].flat()),
});

export const reason = text("The reason, for the audit trail.");

/** The options for paging through a list. */
export const paging = {
  limit: whole("The maximum number of entries on a page, 1 to 1000.", { conflicts: "all" }),
  cursor: text("The cursor that the previous page printed."),
  all: flag("Show all pages."),
};

/** The members that are not undefined. */
export const given = (members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

/** Prints a note if a list has another page. */
export function more(out, { next_cursor: cursor }) {
  if (cursor) out.note(`There are more: use --all or --cursor ${cursor}.`);
}
