// Verifies signatures by RSA and ECDSA with the platform's cryptography, which is many times faster
// than WebAssembly.

const hash = (bits) => ({ hash: `SHA-${bits}` });
const ALGORITHMS = Object.fromEntries([
  ...[256, 384, 512].map((bits) => [`RS${bits}`, { name: "RSASSA-PKCS1-v1_5", ...hash(bits) }]),
  // The salt is as long as the digest (RFC 7518 §3.5).
  ...[256, 384, 512].map((bits) => [`PS${bits}`, { name: "RSA-PSS", saltLength: bits / 8, ...hash(bits) }]),
  ...[256, 384].map((bits) => [`ES${bits}`, { name: "ECDSA", namedCurve: `P-${bits}`, ...hash(bits) }]),
]);

/** Imported keys, by their texts. Only keys of issuers are imported. */
const imported = new Map();
const MAX_KEYS = 200;

function keyOf(name, jwk) {
  const text = `${name} ${jwk}`;
  let key = imported.get(text);
  if (!key) {
    if (imported.size >= MAX_KEYS) imported.clear();
    key = crypto.subtle.importKey("jwk", JSON.parse(jwk), ALGORITHMS[name], false, ["verify"]);
    imported.set(text, key);
  }
  return key;
}

const encoder = new TextEncoder();

const fromBase64Url = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

/**
 * Whether a signature is valid. `text` has one line for each of: the algorithm, the key as a JWK,
 * the signed text, the signature as base64url. A key that the platform rejects verifies nothing.
 */
export async function verifySignature(text) {
  const [name, jwk, message, signature] = text.split("\n");
  try {
    return await crypto.subtle.verify(ALGORITHMS[name], await keyOf(name, jwk), fromBase64Url(signature), encoder.encode(message));
  } catch (error) {
    console.error(`a key for ${name} could not be used: ${error.message}`);
    return false;
  }
}
