// Measures functions in turns, so that other load on the machine affects all of them, and reports
// medians.

/** The median. Sorts the numbers. */
export const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Nanoseconds per call of each contender: a function that does its work `n` times. */
export function compare(contenders, { rounds = 15, roundMs = 60 } = {}) {
  const sizes = {};
  for (const [name, run] of Object.entries(contenders)) {
    let n = 64;
    for (let ms = 0; ms < roundMs; n *= 2) {
      const begun = performance.now();
      run(n);
      ms = performance.now() - begun;
    }
    sizes[name] = n / 2;
  }
  const samples = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(contenders)) {
      const begun = performance.now();
      run(sizes[name]);
      samples[name].push(((performance.now() - begun) * 1e6) / sizes[name]);
    }
  }
  return Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, median(values)]));
}
