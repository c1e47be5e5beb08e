// HTTP servers and ports on this machine.

import { createServer } from "node:http";

/**
 * Serves `answer(request, response)` on a free port.
 * `stop()` ends open connections too.
 */
export async function serve(answer) {
  const http = createServer(answer);
  await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
  const { port } = http.address();
  const stop = () => (http.closeAllConnections(), new Promise((closed) => http.close(closed)));
  return { http, port, url: `http://127.0.0.1:${port}`, stop };
}

/**
 * A port that was free a moment ago, for programs that need a given port. Test files that run at
 * the same time get different ports, because the operating system hands out free ports in turn.
 */
export async function freePort() {
  const { port, stop } = await serve(() => {});
  await stop();
  return port;
}
