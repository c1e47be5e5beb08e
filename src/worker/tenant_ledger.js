// The Durable Object: a plain class, so that the runtime builds no object for a message.

import { TenantLedger as Ledger } from "./index.js";
import { ofInstance } from "./instance.js";

/** A family's ledger. After a trap its state is read from storage again. */
export class TenantLedger {
  #current;

  constructor(state, env) {
    this.#current = ofInstance(() => new Ledger(state, env));
    this.#current();
  }

  fetch(request) {
    return this.#current().fetch(request);
  }

  alarm() {
    return this.#current().alarm();
  }
}
