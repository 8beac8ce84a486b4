// @ts-check
import { Disconnected, RpcError, explain } from "./errors.js";

/** @import { SendResult } from "./types.js" */
/** @import { Local } from "./storage.js" */

const UNAVAILABLE_WAIT_SECONDS = 2;
const TIME_DIGITS = 15;

/**
 * A message on its way.
 *
 * @typedef {object} Entry
 * @property {string} room
 * @property {string} text
 * @property {string} nonce makes repeats harmless: the server answers the same nonce with the first result
 * @property {number} time when it was written, in ms; entries go out in this order
 * @property {string} [failed] why the server refused it; waits for a person to decide
 *
 * @typedef {object} Handlers
 * @property {(entry: Entry) => Promise<SendResult>} send
 * @property {(entry: Entry, result: SendResult) => void} onAcknowledged
 * @property {() => void} onChange
 */

/**
 * Messages that are not acknowledged yet. They survive a reload, go out in the order written, one after the
 * other, and leave only after the server's acknowledgement.
 *
 * Every entry has a storage key of its own, so tabs never overwrite each other's. All tabs see the same entries;
 * a lock that the browser shares among them lets one tab at a time send.
 */
export class Outbox {
  #prefix;
  #lockName;
  #local;
  #handlers;
  /** @type {Entry[]} */
  #entries = [];
  /** Aborts what belongs to the present connection. @type {AbortController | null} */
  #online = null;
  #pumping = false;
  #closed = new AbortController();

  /**
   * @param {number} userId whose messages; each user of this browser has an outbox
   * @param {Local} local
   * @param {Handlers} handlers
   */
  constructor(userId, local, handlers) {
    this.#prefix = `outbox.${userId}.`;
    this.#lockName = `switchboard.outbox.${userId}`;
    this.#local = local;
    this.#handlers = handlers;
    this.#read();
    local.watch(this.#prefix, () => this.#refresh(), this.#closed.signal);
  }

  /**
   * The entries of a room, in the order written.
   *
   * @param {string} room
   */
  entries(room) {
    return this.#entries.filter((entry) => entry.room === room);
  }

  get size() {
    return this.#entries.length;
  }

  /**
   * Take in a message.
   *
   * @param {string} room
   * @param {string} text
   * @throws {DOMException} the browser's storage is full
   */
  add(room, text) {
    const last = this.#entries.at(-1)?.time ?? 0;
    const entry = { room, text, nonce: makeNonce(), time: Math.max(Date.now(), last + 1) };
    this.#write(entry);
    this.#refresh();
  }

  /**
   * Send a failed entry again, with the same nonce.
   *
   * @param {string} nonce
   */
  retry(nonce) {
    const entry = this.#entries.find((candidate) => candidate.nonce === nonce);
    if (!entry) return;
    const { failed: _, ...fresh } = entry;
    this.#write(fresh);
    this.#refresh();
  }

  /** @param {string} nonce */
  remove(nonce) {
    const entry = this.#entries.find((candidate) => candidate.nonce === nonce);
    if (entry) this.#local.remove(this.#key(entry));
    this.#refresh();
  }

  /** Forget everything: the person logs out. */
  clear() {
    for (const entry of this.#entries) this.#local.remove(this.#key(entry));
    this.#refresh();
  }

  /** The server can be reached: send what is there and what comes. */
  resume() {
    this.#online?.abort();
    this.#online = new AbortController();
    void this.#pump();
  }

  /** The server is gone: keep everything until `resume`. */
  pause() {
    this.#online?.abort();
    this.#online = null;
  }

  /** Let go of the storage; another outbox takes over. */
  close() {
    this.pause();
    this.#closed.abort();
  }

  /** @param {Entry} entry */
  #key(entry) {
    return `${this.#prefix}${String(entry.time).padStart(TIME_DIGITS, "0")}.${entry.nonce}`;
  }

  /** @param {Entry} entry */
  #write(entry) {
    this.#local.set(this.#key(entry), JSON.stringify(entry));
  }

  #read() {
    this.#entries = this.#local.keys(this.#prefix).flatMap((key) => {
      const entry = parseEntry(this.#local.get(key));
      return entry ? [entry] : [];
    });
  }

  #refresh() {
    this.#read();
    this.#handlers.onChange();
    void this.#pump();
  }

  #next() {
    return this.#entries.find((entry) => entry.failed === undefined);
  }

  /** Send one entry after the other while there is a connection and something to send. */
  async #pump() {
    const online = this.#online;
    if (this.#pumping || online === null || this.#next() === undefined) return;
    this.#pumping = true;
    try {
      await withLock(this.#lockName, online.signal, async () => {
        this.#read(); // another tab may have sent some while we waited for the lock
        for (let entry = this.#next(); entry && !online.signal.aborted; entry = this.#next()) {
          await this.#deliver(entry, online);
        }
      });
    } finally {
      this.#pumping = false;
    }
    // A new connection, or an entry that came as the lock was let go.
    if (this.#online !== null && (this.#online !== online || !online.signal.aborted)) void this.#pump();
  }

  /**
   * @param {Entry} entry
   * @param {AbortController} online
   */
  async #deliver(entry, online) {
    try {
      const result = await this.#handlers.send(entry);
      this.#handlers.onAcknowledged(entry, result);
      this.remove(entry.nonce);
    } catch (error) {
      if (error instanceof Disconnected) online.abort();
      else await this.#refused(entry, error, online.signal);
    }
  }

  /**
   * Wait where waiting helps; otherwise mark the entry, so that those behind it can go.
   *
   * @param {Entry} entry
   * @param {unknown} error
   * @param {AbortSignal} signal
   */
  async #refused(entry, error, signal) {
    const code = error instanceof RpcError ? error.code : null;
    if (error instanceof RpcError && code === RpcError.TOO_MANY_REQUESTS) {
      await pause(error.retryAfter, signal);
    } else if (code === RpcError.UNAVAILABLE || code === RpcError.NOT_LOGGED_IN) {
      await pause(UNAVAILABLE_WAIT_SECONDS, signal);
    } else {
      if (!(error instanceof RpcError)) console.error(error);
      this.#write({ ...entry, failed: explain(error) });
      this.#refresh();
    }
  }
}

/** A random name for one message. `crypto.randomUUID` exists on secure pages only; a LAN without TLS is not one. */
function makeNonce() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string | null} text
 * @returns {Entry | null}
 */
function parseEntry(text) {
  try {
    const entry = JSON.parse(text ?? "null");
    return entry && typeof entry.nonce === "string" && typeof entry.text === "string" ? entry : null;
  } catch {
    return null;
  }
}

/**
 * Run `work` in one tab at a time. Where the browser has no locks (pages without TLS) it runs at once: the nonce
 * keeps that harmless.
 *
 * @param {string} name
 * @param {AbortSignal} signal stops waiting for the lock
 * @param {() => Promise<void>} work
 */
async function withLock(name, signal, work) {
  if (!navigator.locks) return work();
  try {
    await navigator.locks.request(name, { signal }, work);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/**
 * Wait, or less when the signal comes.
 *
 * @param {number} seconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(seconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", done);
  });
}
