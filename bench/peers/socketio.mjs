// A socket.io server that lets clients recover what they have missed. It keeps messages in memory,
// as socket.io does by default. Takes a port as its argument, by default a free one, and prints it.

import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer((request, response) => {
  let text = "";
  request.on("data", (data) => { text += data; });
  request.on("end", () => {
    for (const { data } of JSON.parse(text).messages) io.emit("message", data);
    response.end("{}");
  });
});
const io = new Server(server, { connectionStateRecovery: {}, transports: ["websocket"] });
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(server.address().port));
