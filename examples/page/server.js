// Serves the page and the package's files. The page calls the gate itself: the catalog's CORS policy
// allows the page's origin.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };
const PACKAGE = dirname(fileURLToPath(import.meta.resolve("tenantgate/package.json")));

/**
 * Returns the file of a path. The path cannot leave its folder: `URL` has resolved dot segments, and
 * nothing is decoded.
 */
function fileOf(pathname) {
  const [, inPackage] = /^\/tenantgate(\/.*)/.exec(pathname) ?? [];
  return inPackage ? join(PACKAGE, inPackage) : join(import.meta.dirname, pathname === "/" ? "index.html" : pathname);
}

const server = createServer(async (request, response) => {
  const file = fileOf(new URL(request.url, "http://localhost").pathname);
  try {
    const body = await readFile(file);
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
server.listen(Number(process.env.PORT ?? 5173), "127.0.0.1", () => {
  console.log(`listening on http://localhost:${server.address().port}`);
});
