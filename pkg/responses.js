// Outgoing responses: adds headers, and runs callbacks when a response has ended.

const isSocket = (response) => response.status === 101 || Boolean(response.webSocket);

/**
 * Adds the headers that a response lacks, to the response itself if it lets its headers change.
 * Returns a WebSocket response unchanged.
 */
export function withHeaders(response, headers) {
  const names = Object.keys(headers);
  if (names.length === 0 || isSocket(response)) return response;
  const own = response.headers;
  const lacking = names.filter((name) => !own.has(name));
  try {
    for (const name of lacking) own.set(name, headers[name]);
    return response;
  } catch {
    // The headers of what `fetch` returns do not change; those of a copy do.
    const marked = new Response(response.body, response);
    for (const name of lacking) marked.headers.set(name, headers[name]);
    return marked;
  }
}

/**
 * Runs the callbacks of a response that has ended. Their failures do not affect the response.
 * `waitUntil`: keeps the runtime alive until they have finished, if the runtime has such a
 * function.
 */
export async function ended(done, waitUntil) {
  const all = Promise.all(done.map(async (one) => one())).then(() => {}, () => {});
  waitUntil?.(all);
  await all;
}

/** Returns a response that runs the callbacks once it has ended or its reader has cancelled it. */
export async function finished({ method }, response, done, waitUntil) {
  if (done.length === 0) return response;
  if (method === "HEAD" || response.body === null || isSocket(response)) {
    await ended(done, waitUntil);
    return response;
  }
  const reader = response.body.getReader();
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { value, done: over } = await reader.read();
        if (!over) return controller.enqueue(value);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
      await ended(done, waitUntil);
    },
    async cancel(reason) {
      await Promise.all([reader.cancel(reason), ended(done, waitUntil)]);
    },
  });
  return new Response(body, response);
}
