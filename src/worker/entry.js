// The Worker's entry: a plain handler, which the runtime calls without building an object for every request.
// The generated entry stays behind it, with its recovery from traps.

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
