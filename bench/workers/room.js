// A room as one would write it by hand: an object that holds sockets and sends them what it gets.

export class Room {
  constructor(state) {
    this.state = state;
  }

  async fetch(request) {
    if (request.headers.get("upgrade") === "websocket") {
      const { 0: client, 1: server } = new WebSocketPair();
      this.state.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    const { messages } = await request.json();
    const sockets = this.state.getWebSockets();
    for (const { data } of messages) {
      const frame = JSON.stringify({ data });
      for (const socket of sockets) socket.send(frame);
    }
    return Response.json({ sent: messages.length });
  }

  webSocketMessage(socket, message) {
    const { action, id } = JSON.parse(message);
    socket.send(JSON.stringify({ action, success: true, id }));
  }
}

export default {
  fetch: (request, env) => env.Room.get(env.Room.idFromName(new URL(request.url).pathname)).fetch(request),
};
