import { Disconnected, RpcError } from "/web/errors.js";
import { Outbox } from "/web/outbox.js";
import { Local } from "/web/storage.js";
import { equal, ok, test, until } from "./harness.js";

/** A server that answers when it is told to. */
function server() {
  const received = [];
  const acknowledged = [];
  const send = (entry) =>
    new Promise((resolve, reject) => {
      received.push({ entry, accept: () => resolve({ seq: 1, rev: 1, sent_at: "" }), refuse: reject });
    });
  return { received, acknowledged, send };
}

function outbox(peer, user = 1) {
  return new Outbox(user, new Local(), {
    send: peer.send,
    onAcknowledged: (entry) => peer.acknowledged.push(entry.text),
    onChange: () => {},
  });
}
const texts = (box) => box.entries("lobby").map(({ text }) => text);
const wire = (peer) => peer.received.map(({ entry }) => entry.text);

test("messages go out one after the other, in the order written, each removed when acknowledged", async () => {
  const peer = server();
  const box = outbox(peer);
  for (const text of ["a", "b", "c"]) box.add("lobby", text);
  box.resume();
  await until(() => peer.received.length === 1);
  equal(texts(box), ["a", "b", "c"]);
  for (let i = 0; i < 3; i += 1) {
    await until(() => peer.received.length === i + 1);
    peer.received[i].accept();
  }
  await until(() => box.size === 0);
  equal([wire(peer), peer.acknowledged], [["a", "b", "c"], ["a", "b", "c"]]);
});

test("nothing goes out before resume, nor after pause", async () => {
  const peer = server();
  const box = outbox(peer);
  box.add("lobby", "a");
  box.add("lobby", "b");
  equal(wire(peer), []);
  box.resume();
  await until(() => peer.received.length === 1);
  box.pause();
  peer.received[0].refuse(new Disconnected());
  box.add("lobby", "c");
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  equal([wire(peer), texts(box)], [["a"], ["a", "b", "c"]]);
});

test("what was not acknowledged is sent again after a reload, with the same nonce", async () => {
  const first = server();
  const before = outbox(first);
  before.add("lobby", "a");
  before.resume();
  await until(() => first.received.length === 1);
  before.close();
  first.received[0].refuse(new Disconnected());
  const second = server();
  const after = outbox(second);
  equal(texts(after), ["a"]);
  after.resume();
  await until(() => second.received.length === 1);
  equal(second.received[0].entry.nonce, first.received[0].entry.nonce);
});

test("a lost connection keeps the message at the front", async () => {
  const peer = server();
  const box = outbox(peer);
  box.add("lobby", "a");
  box.add("lobby", "b");
  box.resume();
  await until(() => peer.received.length === 1);
  peer.received[0].refuse(new Disconnected());
  box.pause();
  box.resume();
  await until(() => peer.received.length === 2);
  equal(wire(peer), ["a", "a"]);
  equal(peer.received[0].entry.nonce, peer.received[1].entry.nonce);
});

test("too many requests: it waits as long as it is told, then sends the same again", async () => {
  const peer = server();
  const box = outbox(peer);
  box.add("lobby", "a");
  box.add("lobby", "b");
  box.resume();
  await until(() => peer.received.length === 1);
  const told = performance.now();
  peer.received[0].refuse(new RpcError(-32029, "slow", { retry_after: 0.05 }));
  await until(() => peer.received.length === 2);
  ok(performance.now() - told >= 49, "not earlier");
  equal(wire(peer), ["a", "a"]);
});

test("a definite refusal marks the message and lets the next one go", async () => {
  const peer = server();
  const box = outbox(peer);
  box.add("lobby", "a");
  box.add("lobby", "b");
  box.resume();
  await until(() => peer.received.length === 1);
  peer.received[0].refuse(new RpcError(-32003, "no"));
  await until(() => peer.received.length === 2);
  equal(wire(peer), ["a", "b"]);
  ok(box.entries("lobby")[0].failed, "it says why");
});

test("a failed message is sent again on request, with the same nonce, or deleted", async () => {
  const peer = server();
  const box = outbox(peer);
  box.add("lobby", "a");
  box.resume();
  await until(() => peer.received.length === 1);
  peer.received[0].refuse(new RpcError(-32003, "no"));
  await until(() => box.entries("lobby")[0].failed);
  const { nonce } = box.entries("lobby")[0];
  box.retry(nonce);
  await until(() => peer.received.length === 2);
  equal(peer.received[1].entry.nonce, nonce);
  peer.received[1].refuse(new RpcError(-32003, "no"));
  await until(() => box.entries("lobby")[0].failed);
  box.remove(nonce);
  equal([texts(box), outbox(server()).size], [[], 0]);
});

test("two tabs send in one order, and nothing twice", async () => {
  const peer = server();
  const [one, two] = [outbox(peer), outbox(peer)];
  one.add("lobby", "a");
  two.resume(); // knows nothing of "a" yet: storage events do not reach the page that caused them
  one.resume();
  await until(() => peer.received.length === 1);
  one.add("lobby", "b");
  dispatchEvent(new StorageEvent("storage", { key: "switchboard.outbox.1.x" }));
  peer.received[0].accept();
  await until(() => peer.received.length === 2);
  peer.received[1].accept();
  await until(() => one.size === 0);
  dispatchEvent(new StorageEvent("storage", { key: "switchboard.outbox.1.x" }));
  await navigator.locks.request("switchboard.outbox.1", () => {});
  equal([wire(peer), two.size], [["a", "b"], 0]);
});

test("each person has an outbox", () => {
  outbox(server(), 1).add("lobby", "mine");
  equal(texts(outbox(server(), 2)), []);
  equal(texts(outbox(server(), 1)), ["mine"]);
});

test("rubbish in the storage is no message", () => {
  localStorage.setItem("switchboard.outbox.1.000.x", "{");
  localStorage.setItem("switchboard.outbox.1.001.y", "17");
  equal(outbox(server()).size, 0);
});

test("logging out forgets everything", () => {
  const box = outbox(server());
  box.add("lobby", "a");
  box.clear();
  equal([box.size, Object.keys(localStorage).length], [0, 0]);
});
