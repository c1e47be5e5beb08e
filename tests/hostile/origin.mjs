// An origin that counts the calls of each tenant, and how many of them overlap.

import { createServer } from "node:http";

/** Shorter overlaps do not count, because the gate learns of the end of a call a little later. */
const BLUR_MS = 100;

/**
 * Starts an origin. The query of a request says how to answer it: `take_ms`, `status`.
 * `calls(slug, path)` returns the calls of a tenant, `most(slug, path)` the number that overlapped.
 */
export async function origin() {
  const calls = [];
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://origin");
    const call = { slug: request.headers["x-tenant-slug"], path: pathname, begun: performance.now(), ended: Infinity };
    calls.push(call);
    request.on("error", () => {}).resume();
    response.on("close", () => { call.ended = performance.now(); });
    const answer = () => {
      response.writeHead(Number(searchParams.get("status") ?? 200), { "content-type": "text/plain" });
      response.end("origin");
    };
    // The work begins once the whole request has arrived.
    request.on("end", () => setTimeout(answer, Number(searchParams.get("take_ms") ?? 0)));
  });
  server.keepAliveTimeout = 60_000;
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const of = (slug, path) => calls.filter((call) => call.slug === slug && call.path === path);
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    calls: of,
    most: (slug, path) => overlap(of(slug, path).map(({ begun, ended }) => [begun, ended - BLUR_MS])),
    stop: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }),
  };
}

/** The largest number of intervals that overlap. */
function overlap(intervals) {
  const turns = intervals.filter(([begun, ended]) => ended > begun).flatMap(([begun, ended]) => [[begun, 1], [ended, -1]]);
  let [now, most] = [0, 0];
  for (const [, step] of turns.sort(([a, x], [b, y]) => a - b || x - y)) most = Math.max(most, now += step);
  return most;
}
