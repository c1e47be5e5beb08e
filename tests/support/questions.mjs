// Decisions over `/_gate/v1/decide`.

/**
 * Asks a gate for decisions. `take`, `reserve` and `settle` return the decision as one line: the
 * code, the state of a reservation, and the used units of each limit.
 */
export const questions = (gate) => {
  const ask = async (tenant, limits, more) => (await gate.decide({ tenant, limits, ...more })).body;
  const say = async (...question) => {
    const { code, hold, repeated, lapsed, limits } = await ask(...question);
    return [code, ...(hold ? ["held"] : []), ...(repeated ? ["repeated"] : []), ...(lapsed ? ["lapsed"] : []), ...limits.map(({ used }) => used)].join(" ");
  };
  return {
    ask,
    take: say,
    reserve: (tenant, id, limits, for_ms = 60_000) => say(tenant, limits, { reserve: { id, for_ms } }),
    settle: (tenant, id, limits) => say(tenant, limits, { settle: id }),
    used: async (tenant, limit) => (await ask(tenant, { [limit]: 0 })).limits[0].used,
  };
};
