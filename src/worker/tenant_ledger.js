// The Durable Object: a plain class, so that the runtime builds no object for a message.

import { TenantLedger as Ledger } from "./index.js";
import { generation, ready } from "./instance.js";

/** A family's ledger. After a trap its state is read from storage again. */
export class TenantLedger {
  #state;
  #env;
  #ledger;
  #generation;

  constructor(state, env) {
    this.#state = state;
    this.#env = env;
    this.#current();
  }

  #current() {
    ready();
    if (this.#generation !== generation) {
      this.#ledger = new Ledger(this.#state, this.#env);
      this.#generation = generation;
    }
    return this.#ledger;
  }

  fetch(request) {
    return this.#current().fetch(request);
  }

  alarm() {
    return this.#current().alarm();
  }
}
