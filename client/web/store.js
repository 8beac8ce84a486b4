// @ts-check
/** @import { JoinResult, Me, Message, Room, User } from "./types.js" */

/** Messages kept of a room that nobody looks at, and of one that is read at its end. */
const KEPT_MESSAGES = 500;
const KEPT_SLACK = 250;
/** How long "is typing" lasts without another sign of it. */
const TYPING_MS = 6000;

/**
 * @typedef {object} RoomState
 * @property {Room} info
 * @property {number | null} rev the last event seen; null when this page has not joined the room
 * @property {Message[]} messages a stretch of the room up to its end, by seq
 * @property {boolean} more whether the server has older ones
 * @property {Map<number, User>} present
 * @property {Map<number, {user: User, until: number}>} typing
 *
 * What changed, for the views. `live` is a new message by somebody else that has just arrived.
 * @typedef {{kind: "me" | "rooms" | "messages" | "people" | "typing" | "current", room: string | null, live?: Message}} Change
 */

/** What is known about rooms, messages and people. Knows neither the page nor the network. */
export class Store {
  /** @type {Me | null} */
  me = null;
  messageChars = 4000;
  /** The room on screen. @type {string | null} */
  current = null;
  /** A room that is being read above its end: nothing is dropped from it. @type {string | null} */
  pinned = null;
  /** Whether the list of rooms has ever arrived. */
  ready = false;

  /** @type {Map<string, RoomState>} */
  #rooms = new Map();
  /** @type {Set<(change: Change) => void>} */
  #listeners = new Set();

  /** @param {(change: Change) => void} listener */
  listen(listener) {
    this.#listeners.add(listener);
  }

  /** @param {Change} change */
  #tell(change) {
    for (const listener of this.#listeners) listener(change);
  }

  // ---- who and where

  /**
   * Take in who we are. Somebody else's rooms are forgotten.
   *
   * @param {Me | null} me
   */
  setMe(me) {
    if (this.me?.id !== me?.id) {
      this.#rooms.clear();
      this.ready = false;
    }
    this.me = me;
    this.#tell({ kind: "me", room: null });
  }

  /** @param {string | null} room */
  setCurrent(room) {
    if (room === this.current) return;
    this.current = room;
    this.pinned = null;
    this.#tell({ kind: "current", room });
  }

  // ---- rooms

  /** Every known room, by title. */
  get rooms() {
    return [...this.#rooms.values()].sort((a, b) => a.info.title.localeCompare(b.info.title));
  }

  /** @param {string | null} room */
  room(room) {
    return room === null ? undefined : this.#rooms.get(room);
  }

  /**
   * Take in the whole list; rooms that are not in it are gone.
   *
   * @param {Room[]} rooms
   */
  setRooms(rooms) {
    const names = new Set(rooms.map(({ room }) => room));
    for (const name of this.#rooms.keys()) if (!names.has(name)) this.#rooms.delete(name);
    for (const room of rooms) this.#merge(room);
    this.ready = true;
    this.#tell({ kind: "rooms", room: null });
  }

  /**
   * Take in what is said of one room; what is not said stays as it was.
   *
   * @param {Partial<Room> & {room: string}} room
   */
  mergeRoom(room) {
    this.#merge(room);
    this.#tell({ kind: "rooms", room: room.room });
  }

  /**
   * @param {Partial<Room> & {room: string}} news
   * @returns {RoomState}
   */
  #merge(news) {
    let state = this.#rooms.get(news.room);
    if (!state) {
      const info = /** @type {Room} */ ({
        room: news.room, title: news.room, topic: "", visibility: "public", present: 0, last_rev: 0, read_seq: 0, role: null,
      });
      state = { info, rev: null, messages: [], more: false, present: new Map(), typing: new Map() };
      this.#rooms.set(news.room, state);
    }
    const { info } = state;
    const said = Object.fromEntries(Object.entries(news).filter(([, value]) => value !== undefined));
    const merged = { ...info, ...said };
    merged.title ||= info.room;
    merged.read_seq = Math.max(info.read_seq, merged.read_seq ?? 0);
    state.info = merged;
    if (merged.role === null) this.#empty(state);
    return state;
  }

  /** The room is left: what was known of its inside is not kept up any more. @param {RoomState} state */
  #empty(state) {
    state.rev = null;
    state.messages = [];
    state.more = false;
    state.present.clear();
    state.typing.clear();
  }

  /** @param {string} room */
  leave(room) {
    const state = this.#rooms.get(room);
    if (!state) return;
    const present = state.present.has(this.me?.id ?? 0) ? state.info.present - 1 : state.info.present;
    state.info = { ...state.info, role: null, present: Math.max(0, present) };
    this.#empty(state);
    this.#tell({ kind: "rooms", room });
    this.#tell({ kind: "messages", room });
    this.#tell({ kind: "people", room });
  }

  // ---- messages

  /**
   * Take in the answer of `rooms.join`.
   *
   * @param {JoinResult} result
   * @param {number | null} after the rev that was asked from; null: everything anew
   */
  applyJoin(result, after) {
    const state = this.#merge(result.room);
    state.info.role ??= "member";
    if (after === null || !result.complete) {
      state.messages = [];
      for (const message of result.messages) this.#put(state, message, true);
      state.more = (state.messages[0]?.seq ?? 1) > 1;
    } else {
      for (const message of result.messages) this.#put(state, message, false);
    }
    state.rev = result.last_rev;
    state.present = new Map(result.present.map((user) => [user.id, user]));
    state.typing.clear();
    this.#trim(state);
    const room = state.info.room;
    this.#tell({ kind: "rooms", room });
    this.#tell({ kind: "messages", room });
    this.#tell({ kind: "people", room });
  }

  /**
   * Take in a `message` event.
   *
   * @param {string} room
   * @param {number} rev
   * @param {Message} message
   * @returns {"applied" | "known" | "gap"} `gap`: events in between are missing, so it was not taken in
   */
  applyMessage(room, rev, message) {
    const state = this.#rooms.get(room);
    if (!state || state.rev === null || rev <= state.rev) return "known";
    if (rev !== state.rev + 1) return "gap";
    state.rev = rev;
    state.info.last_rev = Math.max(state.info.last_rev, rev);
    this.#put(state, message, false);
    state.typing.delete(message.user.id);
    this.#trim(state);
    const live = message.seq === rev && message.user.id !== this.me?.id ? { live: message } : {};
    this.#tell({ kind: "messages", room, ...live });
    this.#tell({ kind: "typing", room });
    return "applied";
  }

  /**
   * Show our own message as soon as it is acknowledged; its event comes at its place in the order.
   *
   * @param {string} room
   * @param {string} text
   * @param {{seq: number, rev: number, sent_at: string}} result
   */
  acknowledge(room, text, { seq, rev, sent_at }) {
    const state = this.#rooms.get(room);
    if (!state || state.rev === null || this.me === null) return;
    const user = { id: this.me.id, name: this.me.name };
    this.#put(state, { room, seq, rev, user, text, sent_at }, false);
    this.#tell({ kind: "messages", room });
  }

  /**
   * Take in a page of `messages.history`.
   *
   * @param {string} room
   * @param {Message[]} messages oldest first
   * @param {boolean} more
   */
  prepend(room, messages, more) {
    const state = this.#rooms.get(room);
    if (!state) return;
    state.more = more;
    const oldest = state.messages[0]?.seq ?? Infinity;
    state.messages = [...messages.filter(({ seq }) => seq < oldest), ...state.messages];
    this.#tell({ kind: "messages", room });
  }

  /**
   * Put a message at its place. An older version never replaces a newer one.
   *
   * @param {RoomState} state
   * @param {Message} message
   * @param {boolean} anywhere whether it may come before the oldest one here; otherwise such a one is left to history
   */
  #put(state, message, anywhere) {
    const { messages } = state;
    const place = placeOf(messages, message.seq);
    const there = messages[place];
    if (there?.seq === message.seq) {
      if (there.rev <= message.rev) messages[place] = message;
    } else if (place > 0 || anywhere || !state.more) {
      messages.splice(place, 0, message);
    }
  }

  /** @param {RoomState} state */
  #trim(state) {
    if (state.info.room === this.pinned || state.messages.length <= KEPT_MESSAGES + KEPT_SLACK) return;
    state.messages = state.messages.slice(-KEPT_MESSAGES);
    state.more = true;
  }

  // ---- reading

  /**
   * @param {string} room
   * @param {number} seq
   * @returns {boolean} whether this is news
   */
  markRead(room, seq) {
    const state = this.#rooms.get(room);
    if (!state || seq <= state.info.read_seq) return false;
    state.info = { ...state.info, read_seq: seq };
    this.#tell({ kind: "rooms", room });
    return true;
  }

  /**
   * Count what others wrote since this account read.
   *
   * @param {RoomState} state
   * @returns {{count: number, more: boolean}} `more`: there may be more than the counted ones
   */
  unread({ info, messages, more, rev }) {
    if (rev === null) return { count: 0, more: false };
    let count = 0;
    let i = messages.length - 1;
    for (; i >= 0; i -= 1) {
      const message = messages[i];
      if (!message || message.seq <= info.read_seq) break;
      if (message.user.id !== this.me?.id && !message.deleted) count += 1;
    }
    return { count, more: i < 0 && more && count > 0 };
  }

  // ---- people

  /**
   * @param {string} room
   * @param {User[]} joined
   * @param {User[]} left
   * @param {number} present
   */
  applyPresence(room, joined, left, present) {
    const state = this.#rooms.get(room);
    if (!state) return;
    for (const user of joined) state.present.set(user.id, user);
    for (const user of left) {
      state.present.delete(user.id);
      state.typing.delete(user.id);
    }
    state.info = { ...state.info, present };
    this.#tell({ kind: "people", room });
    this.#tell({ kind: "rooms", room });
  }

  /**
   * @param {string} room
   * @param {User} user
   * @param {number} [now]
   */
  applyTyping(room, user, now = Date.now()) {
    const state = this.#rooms.get(room);
    if (!state || user.id === this.me?.id) return;
    state.typing.set(user.id, { user, until: now + TYPING_MS });
    this.#tell({ kind: "typing", room });
  }

  /**
   * Who is typing, and when (ms) this should be asked again; null when nobody is.
   *
   * @param {string | null} room
   * @param {number} [now]
   */
  typing(room, now = Date.now()) {
    const typing = [...(this.room(room)?.typing.values() ?? [])].filter(({ until }) => until > now);
    const until = typing.length > 0 ? Math.min(...typing.map(({ until }) => until)) : null;
    return { users: typing.map(({ user }) => user), until };
  }
}

/**
 * The index of `seq`, or where it belongs.
 *
 * @param {Message[]} messages
 * @param {number} seq
 */
export function placeOf(messages, seq) {
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((messages[middle]?.seq ?? Infinity) < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}
