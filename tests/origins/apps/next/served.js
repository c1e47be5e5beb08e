/** A handler of each method that says what was served. */
export function served(said, path) {
  const handler = async (request, { params }) => Response.json({
    said, method: request.method, path: [path, ...((await params)?.rest ?? [])].join("/"),
    host: request.headers.get("host"), tenant: request.headers.get("x-tenant-id"),
  });
  return { GET: handler, POST: handler, PUT: handler, PATCH: handler, DELETE: handler };
}
