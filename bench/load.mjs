// Load on a Worker over raw sockets: throughput, latency, and CPU time of its process.

import { connect } from "node:net";
import { readdirSync, readFileSync } from "node:fs";
import { median } from "./measure.mjs";

/** A `GET` as text. */
export const get = (path, headers = {}) => {
  const lines = Object.entries({ Host: "acme.app.example.com", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
};

/**
 * One connection. `send` writes a request and calls back with the whole response; it must not be
 * called again before that.
 */
function connection(port, fail) {
  let [text, answered] = ["", () => {}];
  const socket = connect(port, "127.0.0.1");
  socket.setNoDelay(true).setEncoding("latin1").on("error", fail).on("data", (chunk) => {
    text += chunk;
    const head = text.indexOf("\r\n\r\n");
    if (head < 0) return;
    const length = /\r\ncontent-length: (\d+)/i.exec(text);
    if (length ? text.length < head + 4 + Number(length[1]) : !text.endsWith("\r\n0\r\n\r\n")) return;
    const whole = text;
    text = "";
    answered(whole);
  });
  return {
    send(request, then) {
      answered = then;
      socket.write(request);
    },
    close: () => socket.destroy(),
  };
}

/**
 * Requests per second over `connections` connections, with one request in flight on each.
 * `request` is a text, or a function that makes one. Every response must contain `expected`.
 */
export function load({ port, request, expected = "HTTP/1.1 200", connections = 16 }, ms) {
  const next = typeof request === "function" ? request : () => request;
  return new Promise((done, fail) => {
    let count = 0;
    const all = Array.from({ length: connections }, () => {
      const one = connection(port, fail);
      const ask = () => one.send(next(), (response) => {
        if (!response.includes(expected)) return fail(new Error(`${port}: ${response.slice(0, 600)}`));
        count++;
        ask();
      });
      ask();
      return one;
    });
    const begun = performance.now();
    setTimeout(() => {
      all.forEach((one) => one.close());
      done((count * 1000) / (performance.now() - begun));
    }, ms);
  });
}

/**
 * Milliseconds from the moment at which each request was due until its response, sorted. Requests
 * are due `rate` times a second, whether or not earlier ones have been answered.
 */
export function latencies({ port, request, expected = "HTTP/1.1 200", connections = 64 }, rate, ms) {
  return new Promise((done, fail) => {
    const times = [];
    const due = [];
    const idle = Array.from({ length: connections }, () => connection(port, fail));
    const all = [...idle];
    const assign = () => {
      while (due.length && idle.length) {
        const [one, at] = [idle.pop(), due.shift()];
        one.send(request, (response) => {
          if (!response.includes(expected)) return fail(new Error(`${port}: ${response.slice(0, 600)}`));
          times.push(performance.now() - at);
          idle.push(one);
          assign();
        });
      }
    };
    const begun = performance.now();
    let made = 0;
    // Timers are too coarse for single requests, so each tick adds those that have become due.
    const clock = setInterval(() => {
      const now = performance.now();
      for (; begun + (made * 1000) / rate <= now; made++) due.push(begun + (made * 1000) / rate);
      assign();
      if (now - begun < ms) return;
      clearInterval(clock);
      setTimeout(() => {
        all.forEach((one) => one.close());
        done(times.sort((a, b) => a - b));
      }, 200);
    }, 1);
  });
}

/** CPU milliseconds that the threads of a process have used. NaN without `/proc`. */
export function cpu(pid) {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const ns = threads.map((thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]));
    return ns.reduce((sum, one) => sum + one, 0) / 1e6;
  } catch {
    return NaN;
  }
}

/**
 * Measures contenders in many short slices and in changing order, so that other load on the machine
 * affects all of them. Returns for each its median requests per second, its CPU microseconds per
 * request, and its slices.
 */
export async function turns(contenders, { pid, slices = Number(process.env.SLICES ?? 40), ms = 300 } = {}) {
  const names = Object.keys(contenders);
  for (const name of names) await load(contenders[name], 1_000);
  const results = Object.fromEntries(names.map((name) => [name, { rates: [], cpuMs: 0, count: 0 }]));
  for (let slice = 0; slice < slices; slice++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + slice) % names.length];
      const before = cpu(pid);
      const rate = await load(contenders[name], ms);
      results[name].rates.push(rate);
      results[name].cpuMs += cpu(pid) - before;
      results[name].count += (rate * ms) / 1_000;
    }
  }
  for (const one of Object.values(results)) {
    one.rate = median([...one.rates]);
    one.cpuUs = Number.isNaN(one.cpuMs) ? null : (one.cpuMs * 1_000) / one.count;
  }
  return results;
}

/** The median ratio of two contenders' slices. */
export const ratio = (one, other) => median(one.rates.map((rate, i) => rate / other.rates[i]));
