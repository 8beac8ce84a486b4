// node socket.io.mjs ROLE PORT: socket.io over WebSocket only, with what its documentation says about performance.
import { createServer } from "node:http";
import { Server } from "socket.io";

const [role, port] = process.argv.slice(2);
const http = createServer();
const server = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
  pingInterval: 300_000, // longer than any measurement: the load generator knows nothing of Engine.IO's pings
});

// The documentation's advice about memory: let go of the handshake's request.
server.engine.on("connection", (connection) => {
  connection.request = null;
});

server.on("connection", (client) => {
  client.on("m", (text) => {
    if (role === "topic") server.emit("m", text);
    else client.emit("m", text);
  });
});

http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
