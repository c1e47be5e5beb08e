// What the tools for data access have in common: their options, and the SQL that is known to be
// harmless.

import { InputError, TenantScopeError } from "./errors.js";
import { options as known, textual } from "./input.js";

/** The beginning of raw SQL that somebody has reviewed. */
export const REVIEWED = "/* reviewed */";

/** Functions that read nothing but their arguments. A database has others that run SQL. */
export const FUNCTIONS = [
  "abs", "any", "array_agg", "array_length", "avg", "bool_and", "bool_or", "ceil", "char_length", "coalesce", "concat", "concat_ws", "count", "cume_dist",
  "date", "date_part", "date_trunc", "datetime", "dense_rank", "every", "exp", "first_value", "floor", "format", "gen_random_uuid", "greatest",
  "group_concat", "ifnull", "iif", "instr", "json_agg", "json_array", "json_array_length", "json_build_array", "json_build_object", "json_extract",
  "json_group_array", "json_group_object", "json_object", "json_object_agg", "jsonb_agg", "jsonb_array_length", "jsonb_build_array",
  "jsonb_build_object", "jsonb_object_agg", "julianday", "lag", "last_value", "lead", "least", "left", "length", "ln", "log", "lower", "lpad", "ltrim",
  "max", "md5", "min", "mod", "now", "nth_value", "ntile", "nullif", "octet_length", "percent_rank", "position", "power", "random", "rank", "regexp_replace",
  "repeat", "replace", "reverse", "right", "round", "row_number", "rpad", "rtrim", "sign", "split_part", "sqrt", "strftime", "string_agg", "strpos",
  "substr", "substring", "sum", "time", "to_char", "to_date", "to_json", "to_jsonb", "to_timestamp", "total", "trim", "trunc", "unixepoch", "upper",
];

export const refused = (sentence) => new TenantScopeError(sentence);

/**
 * Whether a text without literals is one expression, which cannot change what stands beside it: it
 * closes only what it has opened, and no comma outside parentheses begins another expression.
 */
export function isOneExpression(text) {
  let depth = 0;
  for (const [character] of text.matchAll(/[()[\],]/g)) {
    if (character === "(" || character === "[") depth++;
    else if (character === "," ? depth === 0 : --depth < 0) return false;
  }
  return depth === 0;
}

/** Refuses reviewed SQL that would change the query around it. */
export function checkReviewed(text) {
  const own = text.replace(REVIEWED, "").replace(/'(?:[^']|'')*'|"(?:[^"]|"")*"/g, "");
  if (/--|\/\*|;|['"]/.test(own) || !isOneExpression(own)) {
    throw refused("reviewed SQL within a query must be one expression, without comments and `;`: what stands beside it keeps the query within the tenant");
  }
}

/**
 * Checks the options of a tool. `named`: its option with the names of what has rows of tenants.
 */
export function scopeOptions(options, named, what) {
  const given = known(options, ["tenant", named, "shared", "functions", "column"], what);
  const { tenant, [named]: scoped, shared = [], functions = [], column = "tenant_id" } = given;
  if (textual(tenant, "`tenant`") === "") throw new InputError("`tenant` must be the tenant's id");
  for (const [name, list] of [[named, scoped], ["shared", shared], ["functions", functions]]) {
    if (!Array.isArray(list) || list.some((one) => typeof one !== "string")) throw new InputError(`\`${name}\` must be a list of names`);
  }
  if (textual(column, "`column`") === "") throw new InputError("`column` must be a name");
  return { tenant, [named]: scoped, shared, functions, column };
}
