// node ws.mjs ROLE PORT: ws as its README says, without compression.
import { WebSocketServer } from "ws";

const [role, port] = process.argv.slice(2);
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), backlog: 4096, perMessageDeflate: false });

server.on("connection", (client) => {
  client.on("message", (data, isBinary) => {
    if (role === "topic") {
      for (const other of server.clients) other.send(data, { binary: isBinary });
    } else {
      client.send(data, { binary: isBinary });
    }
  });
});
