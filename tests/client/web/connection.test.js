import { Connection } from "/web/connection.js";
import { DeadlineExceeded } from "/web/errors.js";
import { equal, ok, test, until } from "./harness.js";

const RECONNECT = { min_seconds: 0.001, max_seconds: 0.002 };

/** Stands in for the network: a test plays the server. */
class Socket {
  static made = [];
  constructor(url) {
    this.url = url;
    this.sent = [];
    this.closed = false;
    Socket.made.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
  }
  say(message) {
    this.onmessage({ data: JSON.stringify({ jsonrpc: "2.0", ...message }) });
  }
  welcome() {
    this.say({ method: "welcome", params: { user: { id: 1, name: "Ann", role: "guest" }, reconnect: RECONNECT } });
  }
}

function connection() {
  globalThis.WebSocket = Socket;
  Socket.made = [];
  const states = [];
  const made = new Connection("ws://server/chat", {
    onState: (state) => states.push(state.phase),
    onWelcome: () => {},
    onNotification: () => {},
    probe: async () => made.call("probe", {}, 0.001),
  });
  made.connect();
  return { made, states };
}
const last = () => Socket.made.at(-1);

test("it is open when the welcome has come, not before", () => {
  const { made, states } = connection();
  ok(!made.isOpen, "the socket alone is not enough");
  last().welcome();
  equal(states, ["connecting", "open"]);
});

test("every close code below 4400, and 4429, is followed by another attempt", async () => {
  for (const code of [1000, 1001, 1006, 1011, 1012, 4008]) {
    connection();
    last().welcome();
    last().onclose({ code, reason: "" });
    await until(() => Socket.made.length === 2);
  }
  const { made } = connection();
  last().welcome();
  last().onclose({ code: 4429, reason: "" });
  equal(made.state.phase, "waiting");
});

test("4401 asks for a name; other final codes say why; neither comes back by itself", () => {
  const { made } = connection();
  last().welcome();
  last().onclose({ code: 4401, reason: "" });
  equal(made.state, { phase: "signed-out" });
  const other = connection();
  last().welcome();
  last().onclose({ code: 4403, reason: "banned" });
  equal(other.made.state, { phase: "refused", code: 4403, reason: "banned" });
});

test("what was asked fails when the socket closes, and what comes later goes to the new one", async () => {
  const { made } = connection();
  last().welcome();
  const asked = made.call("x").then(() => "answered", (error) => error.name);
  last().onclose({ code: 1006, reason: "" });
  equal(await asked, "Disconnected");
  equal(await made.call("y").catch((error) => error.name), "Disconnected");
  await until(() => Socket.made.length === 2);
  last().welcome();
  const again = made.call("z");
  last().say({ id: last().sent[0].id, result: 3 });
  equal(await again, 3);
});

test("a request that is not answered in time replaces the socket", async () => {
  const { made } = connection();
  last().welcome();
  const dead = last();
  const error = await made.call("x", {}, 0.001).catch((reason) => reason);
  ok(error instanceof DeadlineExceeded, "the deadline");
  ok(dead.closed && dead.onmessage === null, "the dead one is let go");
  await until(() => Socket.made.length === 2);
});

test("coming online ends the wait at once", async () => {
  const { made } = connection();
  last().onclose({ code: 1006, reason: "" }); // no welcome yet, so the default of half a second counts
  equal([made.state.phase, Socket.made.length], ["waiting", 1]);
  dispatchEvent(new Event("online"));
  equal([made.state.phase, Socket.made.length], ["connecting", 2]);
});

test("going offline asks a silent socket for a sign of life, and replaces it when none comes", async () => {
  connection();
  last().welcome();
  const dead = last();
  dispatchEvent(new Event("offline"));
  equal(dead.sent.map(({ method }) => method), ["probe"]);
  await until(() => Socket.made.length === 2);
  ok(dead.closed, "the dead one is let go");
});
