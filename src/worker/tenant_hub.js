// The Durable Object of a tenant's sockets: a plain class, so that the runtime builds no object for
// an event.

import { TenantHub as Hub } from "./index.js";
import { ofInstance } from "./instance.js";
import { Lobby } from "./lobby.js";

/**
 * A tenant's hub. After a trap its sockets stay, and what it knows of them is read again. An object
 * with the name of a lobby is that instead.
 */
export class TenantHub {
  #state;
  #env;
  #current;
  #lobby;
  #sockets;
  #maxMessage;

  constructor(state, env) {
    this.#state = state;
    this.#env = env;
    this.#current = ofInstance(() => {
      const hub = new Hub(state, env, this.#sockets);
      this.#sockets = hub.sockets;
      this.#maxMessage = hub.maxMessage;
      return hub;
    });
  }

  async fetch(request) {
    const body = request.method === "POST" ? await request.text() : "";
    const about = decodeURIComponent(request.headers.get("x-hub") ?? "");
    const { pathname } = new URL(request.url);
    if (pathname !== "/wait") return this.#current().ask(pathname, about, body);
    this.#lobby ??= new Lobby(this.#state, this.#env);
    return this.#lobby.open(about);
  }

  webSocketMessage(socket, message) {
    const hub = this.#current();
    const number = this.#sockets.number(socket);
    if (number === 0) return;
    if (typeof message === "string" && message.length <= this.#maxMessage) return hub.message(number, message);
    hub.refuse(number, message.length);
  }

  webSocketClose(socket) {
    const hub = this.#current();
    const number = this.#sockets.number(socket);
    this.#sockets.ended(socket);
    if (number !== 0) hub.closed(number);
  }

  webSocketError(socket) {
    this.webSocketClose(socket);
  }

  alarm() {
    return this.#current().alarm();
  }
}
