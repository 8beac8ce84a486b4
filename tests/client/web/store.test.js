import { Store } from "/web/store.js";
import { equal, ok, test } from "./harness.js";

const ann = { id: 1, name: "Ann" };
const ben = { id: 2, name: "Ben" };
const room = (more = {}) => ({
  room: "lobby", title: "Lobby", topic: "", visibility: "public", present: 1, last_rev: 0, read_seq: 0, role: "member", ...more,
});
const message = (seq, more = {}) => ({
  room: "lobby", seq, rev: seq, user: ben, text: `text ${seq}`, sent_at: "2026-03-01T10:00:00Z", ...more,
});
const range = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => message(first + i));
const joined = (messages, last_rev, more = {}) => ({ room: room({ last_rev }), present: [ann, ben], messages, last_rev, complete: true, ...more });

function store() {
  const made = new Store();
  made.setMe({ ...ann, role: "guest" });
  made.setRooms([room()]);
  return made;
}
const seqs = (made) => made.room("lobby").messages.map(({ seq }) => seq);

test("events in order are taken in, each once", () => {
  const made = store();
  made.applyJoin(joined(range(1, 2), 2), null);
  equal(made.applyMessage("lobby", 3, message(3)), "applied");
  equal(made.applyMessage("lobby", 3, message(3)), "known");
  equal(made.applyMessage("lobby", 1, message(1)), "known");
  equal(seqs(made), [1, 2, 3]);
});

test("a jump of rev is noticed and nothing after it is taken in", () => {
  const made = store();
  made.applyJoin(joined(range(1, 2), 2), null);
  equal(made.applyMessage("lobby", 4, message(4)), "gap");
  equal([seqs(made), made.room("lobby").rev], [[1, 2], 2]);
});

test("catching up adds what changed since, and goes on from there", () => {
  const made = store();
  made.applyJoin(joined(range(1, 2), 2), null);
  made.applyJoin(joined([message(4), message(1, { rev: 5, text: "better" })], 5), 2);
  equal(seqs(made), [1, 2, 4]);
  equal(made.room("lobby").messages[0].text, "better");
  equal(made.applyMessage("lobby", 6, message(6)), "applied");
});

test("an incomplete catch-up drops what was there", () => {
  const made = store();
  made.applyJoin(joined(range(1, 2), 2), null);
  made.applyJoin(joined(range(90, 92), 92, { complete: false }), 2);
  equal(seqs(made), [90, 91, 92]);
  ok(made.room("lobby").more, "older ones can be asked for");
});

test("an edit of a message that is not here is left to history", () => {
  const made = store();
  made.applyJoin(joined(range(50, 52), 52), null);
  equal(made.applyMessage("lobby", 53, message(3, { rev: 53 })), "applied");
  equal(seqs(made), [50, 51, 52]);
});

test("an older version of a message never replaces a newer one", () => {
  const made = store();
  made.applyJoin(joined([message(1), message(2, { rev: 3, text: "new" })], 3), null);
  made.acknowledge("lobby", "old", { seq: 2, rev: 2, sent_at: "2026-03-01T10:00:00Z" });
  equal(made.room("lobby").messages[1].text, "new");
});

test("an acknowledged message is shown at its place, and its event adds nothing", () => {
  const made = store();
  made.applyJoin(joined(range(1, 2), 2), null);
  made.acknowledge("lobby", "mine", { seq: 4, rev: 4, sent_at: "2026-03-01T10:00:00Z" });
  equal([seqs(made), made.room("lobby").rev], [[1, 2, 4], 2]);
  equal(made.applyMessage("lobby", 3, message(3)), "applied");
  equal(made.applyMessage("lobby", 4, message(4, { user: ann, text: "mine" })), "applied");
  equal(seqs(made), [1, 2, 3, 4]);
});

test("older pages go before what is there, without repeats", () => {
  const made = store();
  made.applyJoin(joined(range(11, 13), 13), null);
  made.prepend("lobby", range(8, 11), false);
  equal([seqs(made), made.room("lobby").more], [[8, 9, 10, 11, 12, 13], false]);
});

test("what is not said of a room stays as it was", () => {
  const made = store();
  made.mergeRoom(room({ role: "owner", read_seq: 7 }));
  made.mergeRoom({ room: "lobby", title: "Hall", present: 5 });
  const { title, role, read_seq, present } = made.room("lobby").info;
  equal({ title, role, read_seq, present }, { title: "Hall", role: "owner", read_seq: 7, present: 5 });
});

test("a read mark never goes back", () => {
  const made = store();
  ok(made.markRead("lobby", 5), "5 is news");
  ok(!made.markRead("lobby", 4), "4 is none");
  made.mergeRoom(room({ read_seq: 3 }));
  equal(made.room("lobby").info.read_seq, 5);
});

test("unread is what others wrote since; it says when there may be more", () => {
  const made = store();
  const all = range(1, 5);
  all[3] = message(4, { user: ann });
  made.applyJoin({ ...joined(all, 5), room: room({ read_seq: 2 }) }, null);
  equal(made.unread(made.room("lobby")), { count: 2, more: false });
  const other = store();
  other.applyJoin(joined(range(51, 53), 53), null);
  equal(other.unread(other.room("lobby")), { count: 3, more: true });
});

test("leaving forgets the inside of a room, and joining learns it anew", () => {
  const made = store();
  made.applyJoin(joined(range(1, 2), 2), null);
  made.leave("lobby");
  const { info, rev, messages } = made.room("lobby");
  equal([info.role, rev, messages], [null, null, []]);
  equal(made.applyMessage("lobby", 3, message(3)), "known");
  made.applyJoin(joined(range(1, 3), 3), null);
  equal([seqs(made), made.room("lobby").info.role], [[1, 2, 3], "member"]);
});

test("rooms that are not in the list any more are gone", () => {
  const made = store();
  made.setRooms([room({ room: "other" })]);
  equal(made.rooms.map(({ info }) => info.room), ["other"]);
});

test("another person finds nothing of the one before", () => {
  const made = store();
  made.applyJoin(joined(range(1, 2), 2), null);
  made.setMe({ ...ben, role: "guest" });
  equal([made.rooms, made.ready], [[], false]);
});

test("presence joins and leaves", () => {
  const made = store();
  made.applyJoin(joined([], 0), null);
  made.applyPresence("lobby", [{ id: 3, name: "Cy" }], [ben], 2);
  equal([...made.room("lobby").present.keys()], [1, 3]);
  equal(made.room("lobby").info.present, 2);
});

test("typing ends by itself, and with the message", () => {
  const made = store();
  made.applyJoin(joined([], 0), null);
  made.applyTyping("lobby", ben, 1000);
  equal(made.typing("lobby", 2000).users, [ben]);
  equal(made.typing("lobby", 60_000), { users: [], until: null });
  made.applyMessage("lobby", 1, message(1));
  equal(made.typing("lobby", 2000).users, []);
});

test("one's own typing is not news", () => {
  const made = store();
  made.applyTyping("lobby", ann, 1000);
  equal(made.typing("lobby", 1001).users, []);
});

test("a long room keeps its end, unless it is being read above", () => {
  const made = store();
  made.applyJoin(joined([], 0), null);
  for (const next of range(1, 2000)) made.applyMessage("lobby", next.rev, next);
  ok(seqs(made).length < 1000, "bounded");
  equal([seqs(made).at(-1), made.room("lobby").more], [2000, true]);
  made.pinned = "lobby";
  const before = seqs(made)[0];
  for (const next of range(2001, 4000)) made.applyMessage("lobby", next.rev, next);
  equal(seqs(made)[0], before);
});

test("only new messages of others are announced as live", () => {
  const made = store();
  made.applyJoin(joined(range(1, 1), 1), null);
  const live = [];
  made.listen((change) => change.live && live.push(change.live.seq));
  made.applyMessage("lobby", 2, message(2));
  made.applyMessage("lobby", 3, message(3, { user: ann }));
  made.applyMessage("lobby", 4, message(2, { rev: 4 }));
  equal(live, [2]);
});
