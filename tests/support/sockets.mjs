// Clients of the realtime endpoint over real TCP, with `ws`.

import { WebSocket } from "ws";
import { until } from "./wait.mjs";

/**
 * Connects to a gate that was started with `direct: true`. `token`: a credential in the header;
 * `protocols`: subprotocols; `query`: text after `?`.
 */
export function connect(gate, { host = "acme.app.example.com", token, headers, protocols = [], query = "", url = gate.urls[0] } = {}) {
  const address = new URL(`/_gate/v1/connect${query && `?${query}`}`, url);
  address.protocol = "ws:";
  const socket = new WebSocket(address, protocols, {
    headers: { host, ...(token && { authorization: `Bearer ${token}` }), ...headers },
    perMessageDeflate: true,
  });
  const client = {
    socket,
    /** What was received, parsed. */
    frames: [],
    /** The HTTP response to a refused upgrade. */
    refused: null,
    /** `{ code, reason }` once it is closed. */
    closed: null,
    send: (message) => socket.send(typeof message === "string" ? message : JSON.stringify(message)),
    close: () => socket.close(),
    /** Messages, those in packs included. */
    get messages() {
      return client.frames.flatMap((frame) => (frame.action === "messages" ? frame.messages : frame.action === "message" ? [frame] : []));
    },
    /** The next frame of an action, from the first one that has not been asked for. */
    async next(action) {
      let found;
      await until(() => {
        const index = client.frames.findIndex((frame, i) => i >= client.read && frame.action === action);
        if (index >= 0) {
          client.read = index + 1;
          found = client.frames[index];
        } else if (client.closed) throw new Error(`closed before \`${action}\`: ${JSON.stringify(client.closed)}`);
        return found !== undefined;
      });
      return found;
    },
    read: 0,
    /** Waits for the end: how it was closed, or the status of a refusal. */
    async ended() {
      await until(() => client.closed !== null || client.refused !== null);
      return client.closed ?? client.refused;
    },
    /** Sends an action, and waits for its reply. */
    async ask(message) {
      const id = ++client.asked;
      client.send({ ...message, id });
      let found;
      await until(() => {
        found = client.frames.find((frame) => frame.id === id);
        return found !== undefined || client.closed !== null;
      });
      return found;
    },
    asked: 0,
  };
  socket.on("message", (data, binary) => client.frames.push(binary ? { action: "binary", data } : JSON.parse(data.toString())));
  // The runtime may keep the connection open after both sides have closed the socket.
  socket.on("open", () => socket._receiver.on("conclude", (code, reason) => {
    client.closed ??= { code, reason: reason.toString() };
    setTimeout(() => socket.terminate(), 100);
  }));
  socket.on("close", (code, reason) => { client.closed ??= { code, reason: reason.toString() }; });
  socket.on("error", () => {});
  socket.on("unexpected-response", (_, response) => {
    let text = "";
    response.on("data", (chunk) => { text += chunk; });
    response.on("end", () => { client.refused = { status: response.statusCode, headers: response.headers, body: /json/.test(response.headers["content-type"]) ? JSON.parse(text) : text }; });
  });
  return client;
}

/** Connects, and waits until the client is admitted. */
export async function admitted(gate, options) {
  const client = connect(gate, options);
  const greeting = await client.next("auth");
  if (!greeting.success) throw new Error(JSON.stringify(greeting));
  return Object.assign(client, { greeting });
}
