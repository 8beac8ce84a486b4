import { layOut, stillPending } from "/web/rows.js";
import { equal, test } from "./harness.js";

const ann = { id: 1, name: "Ann", role: "guest" };
const ben = { id: 2, name: "Ben" };
const at = (day, hour, minute) => new Date(2026, 2, day, hour, minute).toISOString();
const message = (seq, user, sent_at) => ({ room: "lobby", seq, rev: seq, user, text: `text ${seq}`, sent_at });
const entry = (nonce, text) => ({ room: "lobby", nonce, text, time: new Date(2026, 2, 2, 9, 10).getTime() });
const sheet = (more) => ({
  messages: [], pending: [], me: ann, newAfter: null, fromStart: false, now: new Date(2026, 2, 2, 12), ...more,
});
const shape = (rows) => rows.map((row) => (row.kind === "message" || row.kind === "pending" ? `${row.key}${row.head ? "^" : ""}` : row.kind));

test("messages of one person within a few minutes share a heading", () => {
  const messages = [
    message(1, ben, at(2, 9, 0)), message(2, ben, at(2, 9, 2)), message(3, ben, at(2, 9, 30)),
    message(4, ann, at(2, 9, 30)), message(5, ben, at(2, 9, 31)),
  ];
  equal(shape(layOut(sheet({ messages }))), ["day", "m1^", "m2", "m3^", "m4^", "m5^"]);
});

test("each day has one line before it", () => {
  const messages = [message(1, ben, at(1, 23, 59)), message(2, ben, at(2, 0, 1)), message(3, ben, at(2, 0, 2))];
  const rows = layOut(sheet({ messages }));
  equal(shape(rows), ["day", "m1^", "day", "m2^", "m3"]);
  equal(rows.filter(({ kind }) => kind === "day").map(({ label }) => label), ["Yesterday", "Today"]);
});

test("the divider stands before the first message of somebody else that is new", () => {
  const messages = [message(1, ben, at(2, 9, 0)), message(2, ann, at(2, 9, 1)), message(3, ben, at(2, 9, 1)), message(4, ben, at(2, 9, 1))];
  equal(shape(layOut(sheet({ messages, newAfter: 1 }))), ["day", "m1^", "m2^", "new", "m3^", "m4"]);
  equal(shape(layOut(sheet({ messages, newAfter: 4 }))), ["day", "m1^", "m2^", "m3^", "m4"]);
  equal(shape(layOut(sheet({ messages, newAfter: 0 }))), ["day", "new", "m1^", "m2^", "m3^", "m4"]);
});

test("what is not acknowledged stands last", () => {
  const messages = [message(1, ann, at(2, 9, 9))];
  equal(shape(layOut(sheet({ messages, pending: [entry("a", "x"), entry("b", "y")] }))), ["day", "m1^", "pa", "pb"]);
});

test("the beginning of the room is marked only where it is", () => {
  const messages = [message(1, ben, at(2, 9, 0))];
  equal(shape(layOut(sheet({ messages, fromStart: true }))), ["start", "day", "m1^"]);
});

test("a message on the wire whose event came first does not stand there twice", () => {
  const entries = [entry("a", "text 5"), entry("b", "text 5")];
  const sending = { nonce: "a", after: 4 };
  const nonces = (messages, on) => stillPending(entries, on, messages, ann).map(({ nonce }) => nonce);
  equal(nonces([message(5, ann, at(2, 9, 0))], sending), ["b"]);
  equal(nonces([message(5, ben, at(2, 9, 0))], sending), ["a", "b"]);
  equal(nonces([message(5, ann, at(2, 9, 0))], { nonce: "a", after: 5 }), ["a", "b"]);
  equal(nonces([message(5, ann, at(2, 9, 0))], null), ["a", "b"]);
});
