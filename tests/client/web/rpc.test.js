import { DeadlineExceeded, Disconnected, RpcError } from "/web/errors.js";
import { Rpc } from "/web/rpc.js";
import { equal, ok, test } from "./harness.js";

function pair() {
  const sent = [];
  const heard = [];
  const rpc = new Rpc((text) => sent.push(JSON.parse(text)), (method, params) => heard.push([method, params]));
  return { rpc, sent, heard, answer: (message) => rpc.receive(JSON.stringify({ jsonrpc: "2.0", ...message })) };
}
const failure = (promise) => promise.then(() => null, (error) => error);

test("answers find their requests in any order", async () => {
  const { rpc, sent, answer } = pair();
  const calls = [rpc.call("one", { a: 1 }), rpc.call("two")];
  answer({ id: sent[1].id, result: "second" });
  answer({ id: sent[0].id, result: "first" });
  equal(await Promise.all(calls), ["first", "second"]);
  equal([sent[0].method, sent[0].params, sent[1].params], ["one", { a: 1 }, {}]);
});

test("an error has its code, its text and its data", async () => {
  const { rpc, sent, answer } = pair();
  const call = failure(rpc.call("x"));
  answer({ id: sent[0].id, error: { code: -32029, message: "slow down", data: { retry_after: 2.5 } } });
  const error = await call;
  ok(error instanceof RpcError, "an RpcError");
  equal([error.code, error.message, error.retryAfter], [-32029, "slow down", 2.5]);
});

test("a request that is not answered in time fails, and a late answer is ignored", async () => {
  const { rpc, sent, answer } = pair();
  const error = await failure(rpc.call("slow", {}, 0.001));
  ok(error instanceof DeadlineExceeded, "the deadline passed");
  answer({ id: sent[0].id, result: 1 });
});

test("closing fails what waits and what comes", async () => {
  const { rpc, sent } = pair();
  const waiting = failure(rpc.call("x"));
  rpc.close();
  ok((await waiting) instanceof Disconnected, "what waited");
  ok((await failure(rpc.call("y"))) instanceof Disconnected, "what came");
  rpc.notify("z", {});
  equal(sent.length, 1);
});

test("notifications arrive with their params", () => {
  const { heard, answer } = pair();
  answer({ method: "typing", params: { room: "lobby" } });
  equal(heard, [["typing", { room: "lobby" }]]);
});

test("what is not JSON-RPC is ignored", () => {
  const { rpc, heard } = pair();
  for (const text of ["", "{", "null", "[]", "17", '"x"', "{}", '{"id":99,"result":1}']) rpc.receive(text);
  equal(heard, []);
});
