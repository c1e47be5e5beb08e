/** A message to sockets. Without `channel` and `user` it is for all connections of the tenant. */
export interface OutgoingMessage {
  data: unknown;
  channel?: string;
  user?: string;
}

/** The position after messages that were sent; with `descendants` the tenants that received them. */
export interface Published {
  epoch?: string;
  seq?: number;
  tenants?: string[];
  failed?: string[];
}

/** A connection of a tenant. */
export interface Connection {
  connectionId: string;
  userId: string | null;
  connectedAt: string;
  channels: string[];
}

/** The sockets of tenants: messages to them, and who is connected. */
export interface ConnectionStore {
  /**
   * Sends `data` to all connections of a tenant, or to those of a channel. `domainName` and `stage`
   * are not read: the deployment is the one that the store was made for.
   */
  sendToTenant(
    domainName: string | undefined, stage: string | undefined, tenantId: string, data: unknown,
    options?: { channel?: string; descendants?: boolean },
  ): Promise<Published>;
  /** Sends `data` to the connections of a user. */
  sendToUser(domainName: string | undefined, stage: string | undefined, tenantId: string, userId: string, data: unknown): Promise<Published>;
  /** Sends several messages in this order, at most 100. */
  publish(tenantId: string, messages: OutgoingMessage[], options?: { descendants?: boolean }): Promise<Published>;
  /** Lists the connections of a tenant. */
  getByTenant(tenantId: string): Promise<Connection[]>;
  /** Lists the users in a channel, at most 200, and how many there are. */
  presence(tenantId: string, channel: string): Promise<{ channel: string; users: string[]; total: number }>;
  /** Closes a connection. Returns whether there was one. */
  close(tenantId: string, connectionId: string): Promise<boolean>;
}

/**
 * The sockets of the deployment that the environment variables TENANTGATE_URL and TENANTGATE_TOKEN
 * name; in a Worker those of the gate behind the service binding `GATE`.
 * @example
 * await connectionStore.sendToTenant("api.example.com", "prod", "t_acme", { text: "Hello!" });
 * const connections = await connectionStore.getByTenant("t_acme");
 */
export const connectionStore: ConnectionStore;

/**
 * The sockets of another deployment: by HTTP with `url` and `token`, by RPC with `service`.
 * @example
 * const store = createConnectionStore({ url: "https://gate.example.com", token: "…" });
 * await store.sendToUser(undefined, undefined, "t_acme", "user-1", { text: "Your export is ready." });
 */
export function createConnectionStore(options: {
  url?: string;
  token?: string;
  fetch?: typeof fetch;
  service?: any;
  timeoutMs?: number;
}): ConnectionStore;
