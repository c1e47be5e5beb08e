// Clients over real connections: those that ask and wait, and those that leave or dawdle.

import http from "node:http";
import net from "node:net";
import { sleep } from "./wait.mjs";

/** Milliseconds after which a request without a response counts as hanging. */
export const PATIENCE_MS = 12_000;

const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });

/**
 * Sends a request and reads the whole response. `status` is "hung" if it takes over `patienceMs`,
 * "failed" if the connection broke, and "left" if the client went away itself, after `leaveMs`.
 */
export function ask(url, path, { method = "GET", headers = {}, body, leaveMs, patienceMs = PATIENCE_MS } = {}) {
  return new Promise((resolve) => {
    const begun = performance.now();
    let timer;
    const done = (status, more) => {
      clearTimeout(timer);
      resolve({ status, ms: performance.now() - begun, headers: {}, text: "", ...more });
    };
    const request = http.request(new URL(path, url), { method, agent, headers: { host: "app.example.com", ...headers } });
    request.on("error", () => done("failed"));
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => { text += chunk; }).on("error", () => done("failed"));
      response.on("end", () => done(response.statusCode, { headers: response.headers, text }));
    });
    timer = setTimeout(() => {
      done(leaveMs === undefined ? "hung" : "left");
      // Resets the connection: a client that only ends its side may still wait for the response.
      request.socket?.resetAndDestroy();
      request.destroy();
    }, leaveMs ?? patienceMs);
    request.end(body);
  });
}

/** The error code of a response, if it has one. */
export function code({ text }) {
  try {
    return JSON.parse(text).error?.code;
  } catch {
    return undefined;
  }
}

/** Calls `one` `count` times at once. Returns all results. */
export const burst = (count, one) => Promise.all(Array.from({ length: count }, (_, i) => one(i)));

/** Calls `one` at a steady pace, whether or not earlier calls have ended. Returns all results. */
export async function pace(perSecond, ms, one) {
  const answers = [];
  for (const begun = performance.now(); ;) {
    const elapsed = performance.now() - begun;
    while (answers.length < (Math.min(elapsed, ms) / 1000) * perSecond) answers.push(one(answers.length));
    if (elapsed >= ms) return Promise.all(answers);
    await sleep(10);
  }
}

/** Sends text as it is over a new connection. Returns what arrives until the server closes it. */
export function raw(url, text, patienceMs = PATIENCE_MS) {
  return new Promise((resolve) => {
    let answer = "";
    const socket = net.connect(url.port, url.hostname, () => socket.write(text));
    const timer = setTimeout(() => socket.destroy(), patienceMs);
    socket.on("data", (data) => { answer += data; }).on("error", () => {});
    socket.on("close", () => { clearTimeout(timer); resolve(answer); });
  });
}

/**
 * Begins an upload of `length` bytes, sends one byte every `everyMs`, and leaves after `ms`.
 * `status` is "open" if there was no response.
 */
export function dawdle(url, path, { host = "app.example.com", headers = {}, length = 60_000, everyMs = 1_000, ms }) {
  return new Promise((resolve) => {
    let answer = "";
    const lines = [`POST ${path} HTTP/1.1`, `Host: ${host}`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
    const socket = net.connect(url.port, url.hostname, () => socket.write(`${lines.join("\r\n")}\r\nContent-Length: ${length}\r\n\r\n`));
    const drip = setInterval(() => socket.writable && socket.write("x"), everyMs);
    const end = setTimeout(() => socket.destroy(), ms);
    socket.on("data", (data) => { answer += data; }).on("error", () => {});
    socket.on("close", () => {
      clearInterval(drip);
      clearTimeout(end);
      resolve({ status: Number(answer.split(" ")[1]) || "open" });
    });
  });
}
