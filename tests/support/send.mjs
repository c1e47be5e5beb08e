// Sends requests as an attacker would: any host, any path, any header, as they are written.

import http from "node:http";
import https from "node:https";

/**
 * Sends one request without normalisation.
 * @param {string} url of the deployment
 * @param {{
 *   method?: string, target?: string, host?: string, headers?: [string, string][], body?: string,
 * }} request `target`: path and query, or any other text for the request line
 * @returns {Promise<{status: number, headers: Record<string, string>, body: string}>} status 0: the
 *   request was not accepted
 */
export function send(url, { method = "GET", target = "/", host, headers = [], body } = {}) {
  const { protocol, hostname, port, host: own } = new URL(url);
  const client = protocol === "https:" ? https : http;
  const pairs = [...(host === null ? [] : [["Host", host ?? own]]), ...headers, ["Connection", "close"]];
  return new Promise((resolve) => {
    const options = { hostname, port, method, path: target, setHost: false, servername: hostname.replace(/^\[|\]$/g, ""), rejectUnauthorized: true };
    const none = (error) => resolve({ status: 0, headers: {}, body: String(error.message) });
    let request;
    try {
      // Names and values alternate: the only form in which a name may occur twice.
      request = client.request({ ...options, headers: pairs.flat() }, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", none);
        response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() }));
      });
    } catch (error) {
      return none(error);
    }
    request.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: 101, headers: response.headers, body: "" });
    });
    request.on("error", none);
    request.setTimeout(30_000, () => request.destroy(new Error("no answer within 30 s")));
    request.end(body);
  });
}
