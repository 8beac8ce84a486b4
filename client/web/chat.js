// @ts-check
import { PROBE_SECONDS } from "./connection.js";
import { Disconnected, RpcError } from "./errors.js";

/** @import { Connection } from "./connection.js" */
/** @import { Store } from "./store.js" */
/** @import { HistoryResult, JoinResult, Message, Room, SendResult } from "./types.js" */

/** Joins on the wire at the same time when a connection opens. */
const JOINS_AT_ONCE = 8;
const UNAVAILABLE_WAIT_SECONDS = 2;
const HISTORY_PAGE = 50;

/** Keeps the store true to the server: joins, catches up, fills gaps; and asks the server for what people want. */
export class Chat {
  #store;
  #connection;
  /** Joins on their way, by room. @type {Map<string, Promise<void>>} */
  #joining = new Map();
  /** Events that came while their room's join was on its way. @type {Map<string, {rev: number, message: Message}[]>} */
  #held = new Map();
  /** Rooms whose older messages are being fetched. @type {Set<string>} */
  #fetching = new Set();

  /** @type {(text: string, level: string) => void} */
  onNotice = () => {};

  /**
   * @param {Store} store
   * @param {Connection} connection
   */
  constructor(store, connection) {
    this.#store = store;
    this.#connection = connection;
  }

  /** A connection is open: learn the rooms, and join or resume every one that we are a member of. */
  async catchUp() {
    this.#joining.clear();
    this.#held.clear();
    const { rooms } = /** @type {{rooms: Room[]}} */ (await this.#insist("rooms.list"));
    this.#store.setRooms(rooms);
    const mine = this.#store.rooms.filter(({ info }) => info.role !== null).map(({ info }) => info.room);
    mine.sort((a, b) => Number(b === this.#store.current) - Number(a === this.#store.current));
    const workers = Array.from({ length: JOINS_AT_ONCE }, async () => {
      for (let room = mine.shift(); room !== undefined; room = mine.shift()) await this.#sync(room);
    });
    await Promise.all(workers);
  }

  /** Ask something cheap, to see whether the server is there; the counts of the rooms come with it. */
  async probe() {
    const result = await this.#connection.call("rooms.list", {}, PROBE_SECONDS);
    this.#store.setRooms(/** @type {{rooms: Room[]}} */ (result).rooms);
  }

  /**
   * Take in a notification.
   *
   * @param {string} method
   * @param {any} params
   */
  handle(method, params) {
    switch (method) {
      case "message":
        return this.#message(params);
      case "presence":
        return this.#store.applyPresence(params.room, params.joined ?? [], params.left ?? [], params.present);
      case "typing":
        return this.#store.applyTyping(params.room, params.user);
      case "read":
        return void this.#store.markRead(params.room, params.seq);
      case "room":
        return this.#roomChanged(params);
      case "notice":
        return this.onNotice(String(params.text), String(params.level));
    }
  }

  /** @param {{room: string, rev: number, message: Message}} event */
  #message({ room, rev, message }) {
    const held = this.#held.get(room);
    if (held) held.push({ rev, message });
    else if (this.#store.applyMessage(room, rev, message) === "gap") void this.#sync(room);
  }

  /** @param {Partial<Room> & {room: string}} room */
  #roomChanged(room) {
    this.#store.mergeRoom(room);
    const state = this.#store.room(room.room);
    if (state && state.info.role !== null && state.rev === null) void this.#sync(room.room); // joined elsewhere
  }

  // ---- joining

  /**
   * Join a room, or catch up in it from the last event seen. One at a time per room.
   *
   * @param {string} room
   * @returns {Promise<void>}
   */
  #join(room) {
    const running = this.#joining.get(room);
    if (running) return running;
    /** @type {{rev: number, message: Message}[]} */
    const held = [];
    this.#held.set(room, held);
    const join = this.#joinOnce(room).finally(() => {
      if (this.#joining.get(room) === join) this.#joining.delete(room);
      if (this.#held.get(room) === held) this.#held.delete(room);
    });
    this.#joining.set(room, join);
    return join.then(() => {
      const outcomes = held.map(({ rev, message }) => this.#store.applyMessage(room, rev, message));
      return outcomes.includes("gap") ? this.#join(room) : undefined;
    });
  }

  /** @param {string} room */
  async #joinOnce(room) {
    const state = this.#store.room(room);
    const after = state?.rev ?? null;
    const read = state?.info.read_seq ?? 0;
    const result = /** @type {JoinResult} */ (
      await this.#insist("rooms.join", after === null ? { room } : { room, after })
    );
    this.#store.applyJoin(result, after);
    if (result.room.read_seq < read) this.tellRead(room, read); // read while the server was away
  }

  /** Join in the background: what cannot be joined any more is no member's room. @param {string} room */
  async #sync(room) {
    try {
      await this.#join(room);
    } catch (error) {
      if (error instanceof Disconnected) return; // the next connection starts over
      if (!(error instanceof RpcError)) throw error;
      this.#store.leave(room);
    }
  }

  /**
   * Ask again while the server says that it will be able to answer later.
   *
   * @param {string} method
   * @param {object} [params]
   */
  async #insist(method, params) {
    for (;;) {
      try {
        return await this.#connection.call(method, params);
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        const wait = error.code === RpcError.TOO_MANY_REQUESTS ? error.retryAfter : UNAVAILABLE_WAIT_SECONDS;
        if (error.code !== RpcError.TOO_MANY_REQUESTS && error.code !== RpcError.UNAVAILABLE) throw error;
        await new Promise((resolve) => setTimeout(resolve, wait * 1000));
      }
    }
  }

  // ---- what people want

  /** Become a member: what was said before is no news. @param {string} room */
  async join(room) {
    await this.#join(room);
    const last = this.#store.room(room)?.messages.at(-1);
    if (last && this.#store.markRead(room, last.seq)) this.tellRead(room, last.seq);
  }

  /** @param {{room: string, title: string, topic: string, visibility: string}} wish */
  async create(wish) {
    const room = /** @type {Room} */ (await this.#connection.call("rooms.create", wish));
    this.#store.mergeRoom(room);
    await this.#join(room.room);
  }

  /** @param {string} room */
  async leave(room) {
    await this.#connection.call("rooms.leave", { room });
    this.#store.leave(room);
  }

  /**
   * @param {{room: string, text: string, nonce: string}} message
   * @returns {Promise<SendResult>}
   */
  async send({ room, text, nonce }) {
    return /** @type {SendResult} */ (await this.#connection.call("messages.send", { room, text, nonce }));
  }

  /**
   * Fetch the page before the oldest message here.
   *
   * @param {string} room
   */
  async older(room) {
    const state = this.#store.room(room);
    const oldest = state?.messages[0]?.seq;
    if (!state?.more || oldest === undefined || this.#fetching.has(room)) return;
    this.#fetching.add(room);
    try {
      const params = { room, before: oldest, limit: HISTORY_PAGE };
      const page = /** @type {HistoryResult} */ (await this.#connection.call("messages.history", params));
      // What it had may have been dropped meanwhile; then this page does not fit any more.
      if (this.#store.room(room)?.messages[0]?.seq === oldest) this.#store.prepend(room, page.messages, page.more);
    } finally {
      this.#fetching.delete(room);
    }
  }

  /**
   * Tell the account's other devices that everything up to `seq` has been read.
   *
   * @param {string} room
   * @param {number} seq
   */
  tellRead(room, seq) {
    this.#connection.call("read", { room, seq }).catch((error) => {
      // It is remembered here, and said again at the next join.
      if (!(error instanceof Disconnected) && !(error instanceof RpcError)) throw error;
    });
  }

  /** @param {string} room */
  typing(room) {
    this.#connection.notify("typing", { room });
  }
}

