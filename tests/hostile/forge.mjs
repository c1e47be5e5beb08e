// Forged credentials that look valid.

import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import * as jose from "jose";

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** A made-up secret with the right checksum. Prefixes: `tg_tick_`, `tg_lice_`, `tg_admn_`. */
export function secret(prefix) {
  const body = prefix + [...randomBytes(48)].map((byte) => DIGITS[byte % 62]).join("");
  let rest = crc32(body);
  let checksum = "";
  for (let i = 0; i < 6; i++) [checksum, rest] = [DIGITS[rest % 62] + checksum, Math.floor(rest / 62)];
  return body + checksum;
}

/** Distinct tokens of an issuer for a tenant, with its public `kid`, signed with another key. */
export async function tokens(source, tenant, count) {
  const { privateKey } = await jose.generateKeyPair(source.entry.algorithms[0]);
  return Promise.all(Array.from({ length: count }, (_, i) => source.sign(tenant, { sub: `user-${i}` }, { key: privateKey })));
}
