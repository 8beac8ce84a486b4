// @ts-check
import { dayKey, dayLabel } from "./format.js";

/** @import { Entry } from "./outbox.js" */
/** @import { Me, Message } from "./types.js" */

/** Messages of one person this close together share one heading. */
const GROUP_MS = 5 * 60 * 1000;

/**
 * A row of the message list. `head`: first of a group, with the author and the time. `tail`: last of one.
 *
 * @typedef {{kind: "start", key: string}
 *   | {kind: "day", key: string, label: string}
 *   | {kind: "new", key: string}
 *   | {kind: "message", key: string, message: Message, at: Date, own: boolean, head: boolean}
 *   | {kind: "pending", key: string, entry: Entry, at: Date, own: true, head: boolean}} Row
 *
 * @typedef {object} Sheet
 * @property {Message[]} messages the stretch to show
 * @property {Entry[]} pending messages of ours that are not acknowledged
 * @property {Me | null} me
 * @property {number | null} newAfter the divider stands after this seq; null: no divider
 * @property {boolean} fromStart whether the first message is the room's first
 * @property {Date} [now]
 */

/**
 * Lay out messages as rows: days, groups, the divider before what is new.
 *
 * @param {Sheet} sheet
 * @returns {Row[]}
 */
export function layOut({ messages, pending, me, newAfter, fromStart, now = new Date() }) {
  /** @type {Row[]} */
  const rows = fromStart ? [{ kind: "start", key: "start" }] : [];
  let day = "";
  let author = 0;
  let last = 0;
  let divided = newAfter === null;

  /**
   * @param {Date} at
   * @param {number} by
   * @param {boolean} [isNew] whether the divider comes before it
   */
  const opensGroup = (at, by, isNew = false) => {
    const key = dayKey(at);
    const newDay = key !== day;
    if (newDay) rows.push({ kind: "day", key: `day-${key}`, label: dayLabel(at, now) });
    if (isNew) rows.push({ kind: "new", key: "new" });
    const head = newDay || isNew || by !== author || at.getTime() - last > GROUP_MS;
    day = key;
    author = by;
    last = at.getTime();
    return head;
  };

  for (const message of messages) {
    const at = new Date(message.sent_at);
    const own = message.user.id === me?.id;
    const isNew = !divided && message.seq > (newAfter ?? 0) && !own;
    divided ||= isNew;
    const head = opensGroup(at, message.user.id, isNew);
    rows.push({ kind: "message", key: `m${message.seq}`, message, at, own, head });
  }
  for (const entry of pending) {
    const at = new Date(entry.time);
    const head = opensGroup(at, me?.id ?? 0);
    rows.push({ kind: "pending", key: `p${entry.nonce}`, entry, at, own: true, head });
  }
  return rows;
}

/**
 * Leave out the entry that is on the wire and already back as an event: it would stand there twice for a moment.
 *
 * @param {Entry[]} entries
 * @param {{nonce: string, after: number} | null} sending what is on the wire, and the room's rev when it went out
 * @param {Message[]} messages
 * @param {Me | null} me
 */
export function stillPending(entries, sending, messages, me) {
  return entries.filter((entry) => {
    if (sending === null || entry.nonce !== sending.nonce) return true;
    const last = messages.findLast((message) => message.user.id === me?.id);
    return !(last && last.seq > sending.after && last.text === entry.text);
  });
}
