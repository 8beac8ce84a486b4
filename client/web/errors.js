// @ts-check

/** The server answered a request with a JSON-RPC error. */
export class RpcError extends Error {
  static NOT_LOGGED_IN = -32001;
  static NOT_ALLOWED = -32003;
  static NOT_FOUND = -32004;
  static CONFLICT = -32009;
  static TOO_MANY_REQUESTS = -32029;
  static UNAVAILABLE = -32050;
  static INTERNAL = -32603;

  /**
   * @param {number} code
   * @param {string} message
   * @param {{[key: string]: unknown}} [data]
   */
  constructor(code, message, data = {}) {
    super(message);
    this.name = "RpcError";
    this.code = code;
    this.data = data;
  }

  /** Seconds to wait before trying again, for TOO_MANY_REQUESTS. */
  get retryAfter() {
    const seconds = Number(this.data["retry_after"]);
    return Number.isFinite(seconds) && seconds > 0 ? seconds : 1;
  }
}

/** The socket is gone, or was never there: nobody knows whether the request was carried out. */
export class Disconnected extends Error {
  constructor() {
    super("The connection is down.");
    this.name = "Disconnected";
  }
}

/** The server did not answer a request in time. */
export class DeadlineExceeded extends Disconnected {
  /** @param {string} method */
  constructor(method) {
    super();
    this.name = "DeadlineExceeded";
    this.message = `The server did not answer ${method} in time.`;
  }
}

/** The server refused to let somebody in (HTTP under /auth). */
export class SessionError extends Error {
  /**
   * @param {string} message
   * @param {"name" | "password" | null} field the field to blame, where there is one
   */
  constructor(message, field = null) {
    super(message);
    this.name = "SessionError";
    this.field = field;
  }
}

/**
 * Say an error to a person: what happened, and what to do next.
 *
 * @param {unknown} error
 */
export function explain(error) {
  if (error instanceof Disconnected) return "The server cannot be reached right now. Try again in a moment.";
  if (error instanceof SessionError) return error.message;
  if (!(error instanceof RpcError)) return "Something went wrong in this page. Reload it and try again.";
  switch (error.code) {
    case RpcError.NOT_LOGGED_IN:
      return "You are logged out. Reload the page and come in again.";
    case RpcError.NOT_ALLOWED:
      return "You are not allowed to do this here.";
    case RpcError.NOT_FOUND:
      return "It is not there any more.";
    case RpcError.CONFLICT:
      return "This name is taken. Choose another one.";
    case RpcError.TOO_MANY_REQUESTS:
      return `That was a little fast. Try again in ${Math.ceil(error.retryAfter)} s.`;
    case RpcError.UNAVAILABLE:
      return "The server cannot do this at the moment. Try again shortly.";
    case RpcError.INTERNAL:
      return `The server failed (incident ${String(error.data["incident"] ?? "unknown")}). Try again, or tell the operator.`;
    default:
      return `The server said no: ${error.message}`;
  }
}
