// Responses on their way out: marked, and watched until they have ended.

const isSocket = (response) => response.status === 101 || Boolean(response.webSocket);

/** The response with more headers; a socket is handed on as it is. */
export function withHeaders(response, headers) {
  const entries = Object.entries(headers).filter(([name]) => !response.headers.has(name));
  if (entries.length === 0 || isSocket(response)) return response;
  const marked = new Response(response.body, response);
  for (const [name, value] of entries) marked.headers.set(name, value);
  return marked;
}

/**
 * Does what is to be done once a response has ended; what becomes of that changes nothing for whoever asked. `waitUntil`: keeps the
 * runtime from ending before it is done, where there is such a thing.
 */
export async function ended(done, waitUntil) {
  const all = Promise.all(done.map(async (one) => one())).then(() => {}, () => {});
  waitUntil?.(all);
  await all;
}

/** The response to a request; once it has ended, or nobody reads it any more, so has what it held. */
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
