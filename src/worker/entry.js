// The handlers of the complete Worker: a plain object, so that the runtime builds no object for a
// request.

import { fetch, scheduled } from "./index.js";
import { ready } from "./instance.js";

export default {
  fetch(request, env, context) {
    ready();
    const answer = fetch(request, env, context);
    // Started work comes to its end even if the client leaves: other requests may wait for it, and
    // an origin is not interrupted.
    if (answer instanceof Promise) context.waitUntil(answer);
    return answer;
  },
  scheduled(_, env, context) {
    ready();
    return scheduled(env, context);
  },
};
