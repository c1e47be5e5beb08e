// The sockets of tenants, for code on the server: messages to them, and who is connected. Asks a
// deployment by HTTP, or by RPC through a service binding.

import { Deployment } from "./deployment.js";
import { ConfigurationError, DocumentError, GateFailedError, InputError, TenantgateError } from "./errors.js";
import { options as known, text } from "./input.js";

/** What the store asks, by HTTP. */
const byHttp = (deployment) => {
  const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined)).toString();
  const call = async (...args) => (await deployment.call(...args)).body;
  return {
    publishMessages: (body) => call("POST", "/_gate/v1/messages", body),
    listConnections: (tenant, cursor) => call("GET", `/_gate/v1/connections?${query({ tenant, cursor })}`),
    closeConnection: (tenant, id) => call("DELETE", `/_gate/v1/connections?${query({ tenant, id })}`),
    presence: (tenant, channel) => call("GET", `/_gate/v1/presence?${query({ tenant, channel })}`),
  };
};

/** The same by RPC. Errors of the gate arrive as values, since RPC keeps only their text. */
const byRpc = (service) => {
  const call = (name) => async (...args) => {
    let answer;
    try {
      answer = await service[name](...args);
    } catch (error) {
      throw new GateFailedError("the gate could not be reached: the service binding must name the entrypoint `TenantGate`", error, 503);
    }
    const { error } = Object(answer);
    if (!error) return answer;
    if (Array.isArray(error.details?.problems)) throw new DocumentError(error.details.problems);
    throw new TenantgateError(error.code, error.message, error);
  };
  return {
    publishMessages: call("publishMessages"), listConnections: call("listConnections"), closeConnection: call("closeConnection"), presence: call("presence"),
  };
};

const named = (value, what) => {
  if (typeof value !== "string" || value === "") throw new InputError(`${what} must be a non-empty text`);
  return value;
};

class ConnectionStore {
  #gate;

  /** `gate`: returns what the store asks; called when it is used first. */
  constructor(gate) {
    this.#gate = gate;
  }

  async sendToTenant(domainName, stage, tenantId, data, options) {
    const { channel, descendants = false } = known(options, ["channel", "descendants"], "`sendToTenant`");
    return this.#send(tenantId, [{ data, ...(channel !== undefined && { channel: named(channel, "`channel`") }) }], descendants);
  }

  async sendToUser(domainName, stage, tenantId, userId, data) {
    return this.#send(tenantId, [{ data, user: named(userId, "`userId`") }], false);
  }

  async publish(tenantId, messages, options) {
    const { descendants = false } = known(options, ["descendants"], "`publish`");
    if (!Array.isArray(messages)) throw new InputError("`messages` must be a list of `{ data, channel?, user? }`");
    return this.#send(tenantId, messages, descendants);
  }

  async getByTenant(tenantId) {
    const all = [];
    let cursor;
    do {
      const page = await this.#gate().listConnections(named(tenantId, "`tenantId`"), cursor);
      all.push(...page.connections);
      ({ cursor } = page);
    } while (cursor);
    return all;
  }

  async presence(tenantId, channel) {
    return this.#gate().presence(named(tenantId, "`tenantId`"), named(channel, "`channel`"));
  }

  async close(tenantId, connectionId) {
    const { closed } = await this.#gate().closeConnection(named(tenantId, "`tenantId`"), named(connectionId, "`connectionId`"));
    return closed;
  }

  #send(tenantId, messages, descendants) {
    const plain = messages.map((message) => ({ ...message, data: jsonOf(message?.data) }));
    return this.#gate().publishMessages({ tenant: named(tenantId, "`tenantId`"), messages: plain, descendants });
  }
}

/** Data as JSON has it. What JSON leaves out would be missing where it arrives. */
function jsonOf(data) {
  const json = text({ data });
  if (!("data" in JSON.parse(json))) throw new InputError("`data` must be something that JSON can express, such as null");
  return JSON.parse(json).data;
}

export function createConnectionStore(options) {
  const given = known(options, ["url", "token", "fetch", "service", "timeoutMs"], "`createConnectionStore`");
  const isRpc = Object.hasOwn(given, "service") && !Object.hasOwn(given, "token");
  if (isRpc && typeof given.service?.publishMessages !== "function") {
    throw new InputError("`service` is not a binding to the entrypoint `TenantGate`: check the binding's name");
  }
  const { url = Object.hasOwn(given, "service") ? "https://gate" : undefined, timeoutMs = 5_000 } = given;
  const gate = isRpc ? byRpc(given.service) : byHttp(new Deployment({ ...given, url, timeoutMs }));
  return new ConnectionStore(() => gate);
}

/** The store of the runtime's own settings, which `find` returns when it is used first. */
export function defaultStore(find) {
  let gate;
  return new ConnectionStore(() => {
    if (gate === undefined) {
      const { missing, service, ...deployment } = find();
      if (missing) throw new ConfigurationError(missing);
      gate = service ? byRpc(service) : byHttp(new Deployment({ ...deployment, timeoutMs: 5_000 }));
    }
    return gate;
  });
}
