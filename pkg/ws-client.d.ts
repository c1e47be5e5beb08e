import type { TenantgateError } from "./errors.js";

/** A position in the order of a tenant's messages. */
export interface Position {
  epoch: string;
  seq: number;
}

/** A message. `from` is the user who sent it; none: the operator's code. */
export interface Message<T = unknown> {
  seq: number;
  data: T;
  channel?: string;
  from?: string;
}

/** The events of a socket, with what listeners receive. */
export interface SocketEvents<T = unknown> {
  /** A message, in order, each once. */
  message: Message<T>;
  /** A connection is open. */
  open: { connectionId: string; userId: string | null; tenantId: string };
  /** A connection has closed. The socket opens another one, unless `end` follows. */
  close: { code: number; reason: string; error: TenantgateError | Error | null };
  /** Users have joined or left a channel. */
  presence: { channel: string; joined?: string[]; left?: string[] };
  /** Something about the tenant or the catalog has changed, for example a feature. */
  changed: object;
  /** Messages were missed that the gate no longer has: read the state again. */
  gap: { since: Position; now: Position };
  /** The connection may no longer read a channel. */
  unsubscribed: { channel: string; error: { code: string; message?: string } };
  /** The socket is not opened again. */
  end: TenantgateError;
}

/** The options of `connect`. */
export interface SocketOptions {
  /** A token of the tenant, or an API key; or a function that returns a fresh one. */
  token: string | (() => string | Promise<string>);
  /** Channels to subscribe to. */
  channels?: string[];
  /** The position to go on from. */
  since?: Position | null;
  /** The class of sockets. Default: the runtime's own. */
  WebSocket?: any;
}

/**
 * Opens a socket of a tenant. It reconnects by itself, and then receives what it has missed.
 * @param url a host of the tenant, such as `wss://acme.app.example.com`
 * @example
 * const socket = connect("wss://acme.app.example.com", { token: async () => "…" });
 * socket.on("message", ({ data }) => console.log(data));
 * await socket.subscribe("orders", ({ data, from }) => console.log(from, data));
 */
export function connect<T = unknown>(url: string | URL, options: SocketOptions): TenantSocket<T>;

/**
 * A socket of a tenant.
 * @example
 * const socket = new TenantSocket("wss://acme.app.example.com", { token: "…" });
 * await socket.ready();
 * const number = await socket.broadcast({ text: "Hello!" });
 * socket.close();
 */
export class TenantSocket<T = unknown> {
  constructor(url: string | URL, options: SocketOptions);
  /** The position of the last message seen: pass it as `since` to go on from there later. */
  readonly position: Position | null;
  readonly isOpen: boolean;
  /** Calls `listener` for each event. Returns a function that ends that. */
  on<E extends keyof SocketEvents<T>>(event: E, listener: (detail: SocketEvents<T>[E]) => void): () => void;
  /** Resolves once the socket is open. Rejects if it ends before. */
  ready(): Promise<void>;
  /** Subscribes to a channel, also after each reconnection. */
  subscribe<D = T>(channel: string, handler?: (message: Message<D>) => void, options?: { presence?: boolean }): Promise<{
    channel: string;
    seq: number;
    users?: string[];
    total?: number;
  }>;
  unsubscribe(channel: string): Promise<void>;
  /** Publishes to a channel. Resolves to the number of the message. */
  publish(channel: string, data: unknown): Promise<number>;
  /** Sends to all connections of the tenant. Resolves to the number of the message. */
  broadcast(data: unknown): Promise<number>;
  /** Sends to a user of the tenant. Resolves to the number of the message. */
  send(to: string, data: unknown): Promise<number>;
  /** The users in a channel. */
  presence(channel: string): Promise<{ users: string[]; total: number }>;
  /** Closes the socket for good. */
  close(): void;
}
