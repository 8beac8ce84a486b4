// @ts-check
import { Backoff } from "./backoff.js";
import { DeadlineExceeded, Disconnected } from "./errors.js";
import { Rpc } from "./rpc.js";

/** @import { Welcome } from "./types.js" */

/** From opening the socket to `welcome`. */
const WELCOME_SECONDS = 10;
/** A connection that lasted this long was a good one: the next failure starts the backoff anew. */
const STEADY_SECONDS = 10;
/** After a sleep or a change of network, a silent socket has this long to prove that it lives. */
export const PROBE_SECONDS = 5;
/** A socket heard from this recently needs no proof. */
const FRESH_SECONDS = 20;
/** Used until the first `welcome` says otherwise. */
const DEFAULT_RECONNECT = { min_seconds: 0.5, max_seconds: 30 };

const NOT_LOGGED_IN = 4401;
const TOO_MANY_REQUESTS = 4429;
const FIRST_FINAL_CODE = 4400;

/**
 * `idle` (not started), `connecting`, `open` (welcome received), `waiting` (until the time `until`,
 * in ms; `offline` when the device says that it has no network), `signed-out`, `refused` (a close code that
 * forbids coming back).
 *
 * @typedef {{phase: "idle" | "connecting" | "open" | "signed-out"}
 *   | {phase: "waiting", until: number, offline: boolean}
 *   | {phase: "refused", code: number, reason: string}} ConnectionState
 *
 * @typedef {object} Handlers
 * @property {(state: ConnectionState) => void} onState
 * @property {(welcome: Welcome) => void} onWelcome
 * @property {(method: string, params: unknown) => void} onNotification
 * @property {() => Promise<unknown>} probe asks the server something cheap
 */

/** One lasting conversation with a service, over as many sockets as it takes. */
export class Connection {
  /** @type {ConnectionState} */
  state = { phase: "idle" };

  #url;
  #handlers;
  #backoff = new Backoff();
  #reconnect = DEFAULT_RECONNECT;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Rpc | null} */
  #rpc = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #openedAt = 0;
  #heardAt = 0;

  /**
   * @param {string} url
   * @param {Handlers} handlers
   */
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    addEventListener("online", () => this.wake());
    addEventListener("offline", () => this.wake(true));
    // The browser may keep a page that was left; its socket is dead when it is shown again.
    addEventListener("pageshow", () => this.wake());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.wake();
    });
  }

  get isOpen() {
    return this.state.phase === "open";
  }

  /** Connect now, whatever the backoff says. */
  connect() {
    this.#release();
    this.#enter({ phase: "connecting" });
    const socket = new WebSocket(this.#url);
    const rpc = new Rpc((text) => socket.send(text), (method, params) => this.#notified(method, params));
    this.#socket = socket;
    this.#rpc = rpc;
    this.#timer = setTimeout(() => this.#lost(1006, ""), WELCOME_SECONDS * 1000);
    socket.onmessage = ({ data }) => {
      this.#heardAt = performance.now();
      rpc.receive(String(data));
    };
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
  }

  /**
   * Ask the server. A missed deadline means that the socket is dead, whatever it says: it is replaced.
   *
   * @param {string} method
   * @param {object} [params]
   * @param {number} [seconds]
   * @returns {Promise<unknown>}
   */
  async call(method, params, seconds) {
    const rpc = this.#rpc;
    if (rpc === null || !this.isOpen) throw new Disconnected();
    try {
      return await rpc.call(method, params, seconds);
    } catch (error) {
      if (error instanceof DeadlineExceeded && rpc === this.#rpc) this.#lost(1006, "");
      throw error;
    }
  }

  /**
   * @param {string} method
   * @param {object} params
   */
  notify(method, params) {
    if (this.isOpen) this.#rpc?.notify(method, params);
  }

  /**
   * Something changed around us (network, visibility): do not wait for timers to notice.
   *
   * @param {boolean} [suspicious] whether even a socket that was heard from just now needs to prove that it lives
   */
  wake(suspicious = false) {
    if (this.state.phase === "waiting") {
      if (navigator.onLine) this.connect();
      else this.#enter({ ...this.state, offline: true });
    } else if (this.isOpen && (suspicious || performance.now() - this.#heardAt > FRESH_SECONDS * 1000)) {
      this.#probe();
    }
  }

  async #probe() {
    try {
      await this.#handlers.probe();
    } catch (error) {
      // A missed deadline has replaced the socket already; any other answer is a sign of life.
      if (!(error instanceof Error)) throw error;
    }
  }

  /**
   * @param {string} method
   * @param {unknown} params
   */
  #notified(method, params) {
    if (method !== "welcome") {
      if (this.isOpen) this.#handlers.onNotification(method, params);
      return;
    }
    const welcome = /** @type {Welcome} */ (params);
    clearTimeout(this.#timer);
    this.#openedAt = performance.now();
    this.#reconnect = welcome.reconnect ?? DEFAULT_RECONNECT;
    this.#enter({ phase: "open" });
    this.#handlers.onWelcome(welcome);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    if (this.isOpen && performance.now() - this.#openedAt > STEADY_SECONDS * 1000) this.#backoff.reset();
    this.#release();
    if (code === NOT_LOGGED_IN) {
      this.#enter({ phase: "signed-out" });
    } else if (code >= FIRST_FINAL_CODE && code !== TOO_MANY_REQUESTS) {
      this.#enter({ phase: "refused", code, reason });
    } else {
      const { min_seconds: min, max_seconds: max } = this.#reconnect;
      const wait = code === TOO_MANY_REQUESTS ? max : this.#backoff.next(min, max);
      this.#timer = setTimeout(() => this.connect(), wait * 1000);
      this.#enter({ phase: "waiting", until: Date.now() + wait * 1000, offline: !navigator.onLine });
    }
  }

  /** Let go of the socket. A dead one may take a minute to notice; its late events are nobody's. */
  #release() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
    }
    const rpc = this.#rpc;
    this.#rpc = null;
    rpc?.close();
  }

  /** @param {ConnectionState} state */
  #enter(state) {
    this.state = state;
    this.#handlers.onState(state);
  }
}
