// The Worker's entry point: a plain handler, so that the runtime builds no object for every
// request. It calls the generated entry point, which recovers from traps.

import Entrypoint, { TenantLedger } from "./index.js";

let handle;
let turn;

export default {
  fetch(request, env, ctx) {
    handle ??= new Entrypoint(ctx, env).fetch;
    return handle.call({ env, ctx }, request);
  },
  scheduled(_, env, ctx) {
    turn ??= new Entrypoint(ctx, env).scheduled;
    return turn.call({ env, ctx }, env, ctx);
  },
};

export { TenantLedger };
