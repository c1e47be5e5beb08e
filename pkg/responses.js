// Responses on their way out: marked, and watched until they have ended.

/** The response with more headers; a socket is handed on as it is. */
export function withHeaders(response, headers) {
  const entries = Object.entries(headers).filter(([name]) => !response.headers.has(name));
  if (entries.length === 0 || response.status === 101 || response.webSocket) return response;
  const marked = new Response(response.body, response);
  for (const [name, value] of entries) marked.headers.set(name, value);
  return marked;
}

/** The response to a request; once it has ended, or nobody reads it any more, so has what it held. */
export function finished({ method }, response, done) {
  if (done.length === 0) return response;
  // What becomes of that changes nothing for whoever asked.
  const end = () => Promise.all(done.map(async (one) => one())).catch(() => {});
  if (method === "HEAD" || response.body === null || response.status === 101 || response.webSocket) {
    end();
    return response;
  }
  const reader = response.body.getReader();
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { value, done: over } = await reader.read();
        if (!over) return controller.enqueue(value);
        await end();
        controller.close();
      } catch (error) {
        await end();
        controller.error(error);
      }
    },
    async cancel(reason) {
      await Promise.all([reader.cancel(reason), end()]);
    },
  });
  return new Response(body, response);
}
