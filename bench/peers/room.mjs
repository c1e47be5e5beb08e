// A room outside Workers, as a peer: holds sockets and sends them what it gets by HTTP. Runs in Node
// with `ws`, or in Bun with its own server. Prints its port.

if (globalThis.Bun) {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      if (request.headers.get("upgrade")) return server.upgrade(request) ? undefined : new Response(null, { status: 400 });
      const { messages } = await request.json();
      for (const { data } of messages) server.publish("all", JSON.stringify({ data }));
      return new Response("{}");
    },
    websocket: { open: (socket) => socket.subscribe("all"), message() {} },
  });
  console.log(server.port);
} else {
  const { createServer } = await import("node:http");
  const { WebSocketServer } = await import("ws");
  const sockets = new WebSocketServer({ noServer: true });
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (data) => { text += data; });
    request.on("end", () => {
      for (const { data } of JSON.parse(text).messages) {
        const frame = JSON.stringify({ data });
        for (const socket of sockets.clients) socket.send(frame);
      }
      response.end("{}");
    });
  });
  server.on("upgrade", (request, socket, head) => sockets.handleUpgrade(request, socket, head, () => {}));
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}
