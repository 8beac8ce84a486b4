// @ts-check
import { DeadlineExceeded, Disconnected, RpcError } from "./errors.js";

const DEADLINE_SECONDS = 15;

/**
 * @typedef {object} Pending
 * @property {(result: unknown) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {ReturnType<typeof setTimeout>} timer
 */

/** JSON-RPC 2.0 over one socket: requests with a deadline each, and notifications both ways. */
export class Rpc {
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  #lastId = 0;
  #closed = false;
  #send;
  #onNotification;

  /**
   * @param {(text: string) => void} send writes one text frame
   * @param {(method: string, params: unknown) => void} onNotification
   */
  constructor(send, onNotification) {
    this.#send = send;
    this.#onNotification = onNotification;
  }

  /**
   * Ask, and wait for the answer.
   *
   * @param {string} method
   * @param {object} [params]
   * @param {number} [seconds] the deadline
   * @returns {Promise<unknown>} rejects with RpcError, DeadlineExceeded or Disconnected
   */
  call(method, params = {}, seconds = DEADLINE_SECONDS) {
    if (this.#closed) return Promise.reject(new Disconnected());
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new DeadlineExceeded(method));
      }, seconds * 1000);
      this.#pending.set(id, { resolve, reject, timer });
      this.#send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }

  /**
   * Say something that needs no answer; lost without a trace when the socket is down.
   *
   * @param {string} method
   * @param {object} params
   */
  notify(method, params) {
    if (!this.#closed) this.#send(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }

  /**
   * Take in one text frame. What is not JSON-RPC is ignored.
   *
   * @param {string} text
   */
  receive(text) {
    const message = parse(text);
    if (message === null) return;
    if (typeof message.method === "string") {
      this.#onNotification(message.method, message.params);
      return;
    }
    const pending = this.#pending.get(Number(message.id));
    if (!pending) return;
    this.#pending.delete(Number(message.id));
    clearTimeout(pending.timer);
    if (message.error) {
      const { code, message: text, data } = message.error;
      pending.reject(new RpcError(Number(code), String(text), data ?? {}));
    } else {
      pending.resolve(message.result);
    }
  }

  /** Fail what still waits for an answer, and everything asked from now on. */
  close() {
    this.#closed = true;
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(new Disconnected());
    }
    this.#pending.clear();
  }
}

/**
 * @param {string} text
 * @returns {{method?: unknown, params?: unknown, id?: unknown, result?: unknown, error?: any} | null}
 */
function parse(text) {
  try {
    const message = JSON.parse(text);
    return typeof message === "object" ? message : null;
  } catch {
    return null;
  }
}
