// Next.js as functions of a platform start it: the platform has done the routing, and says in headers what came of it.

const { createServer } = require("node:http");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

process.env.NODE_ENV = "production";
const { default: NextServer } = require("next/dist/server/next-server");
const { config } = JSON.parse(readFileSync(join(__dirname, ".next/required-server-files.json"), "utf8"));
const port = Number(process.env.PORT);
const server = new NextServer({ conf: config, dir: __dirname, minimalMode: true, customServer: false, hostname: "127.0.0.1", port });
createServer(server.getRequestHandler()).listen(port, "127.0.0.1");
