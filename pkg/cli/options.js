// Options that several commands have, and how their values are read.

import { wrongUsage } from "./failure.js";

/** The last of what was given: an option that is repeated is a list. */
const last = (value) => (Array.isArray(value) ? value.at(-1) : value);

/** A text. */
export const text = (describe, more = {}) => ({ type: "string", requiresArg: true, describe, coerce: last, ...more });

/** A switch. */
export const flag = (describe) => ({ type: "boolean", describe, coerce: last });

/** A whole number. */
export const whole = (describe, more = {}) => text(describe, {
  ...more,
  coerce(value) {
    const given = last(value);
    if (given === undefined) return undefined;
    if (!/^\d{1,15}$/.test(given)) throw wrongUsage(`\`${given}\` is no whole number`);
    return Number(given);
  },
});

/** A list, with commas between. */
export const list = (describe, more = {}) => text(describe, {
  ...more,
  coerce: (value) => (value === undefined ? undefined : [value].flat().flatMap((part) => part.split(",")).map((part) => part.trim()).filter(Boolean)),
});

/** Texts, each with an option of its own. */
export const many = (describe, more = {}) => text(describe, { ...more, coerce: (value) => (value === undefined ? undefined : [value].flat()) });

export const reason = text("Why, for the audit trail.");

/** What pages through a list. */
export const paging = {
  limit: whole("Show at most so many, 1 to 1000.", { conflicts: "all" }),
  cursor: text("Go on where the page before has ended."),
  all: flag("Show every page."),
};

/** A member of a body only where it was given. */
export const given = (members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

/** Says that a list goes on. */
export function more(out, { next_cursor: cursor }) {
  if (cursor) out.note(`There are more: --all, or --cursor ${cursor}.`);
}
