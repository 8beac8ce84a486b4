// @ts-check
import { Disconnected, SessionError } from "./errors.js";

/** Who we are travels in a cookie that scripts cannot see; `welcome` on the socket says the name. */

/** @param {string} name */
export const enterAsGuest = (name) => post("guest", { name });

/**
 * @param {string} name
 * @param {string} password
 */
export const register = (name, password) => post("register", { name, password });

/**
 * @param {string} name
 * @param {string} password
 */
export const logIn = (name, password) => post("login", { name, password });

export const logOut = () => post("logout", {});

/**
 * @param {string} action
 * @param {object} body
 * @throws {SessionError} the server said no
 * @throws {Disconnected} the server cannot be reached
 */
async function post(action, body) {
  const response = await fetch(`auth/${action}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }).catch(() => {
    throw new Disconnected();
  });
  if (!response.ok) throw await refusal(response);
}

/** @param {Response} response */
async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const detail = typeof body.error === "string" ? body.error : "";
  const field = body.field === "name" || body.field === "password" ? body.field : null;
  switch (response.status) {
    case 401:
      return new SessionError("This name and password do not belong together. Check both and try again.", "password");
    case 403:
      return new SessionError(detail || "This is not allowed here. Ask the operator for a way in.");
    case 409:
      return new SessionError("This name is taken. Choose another one, or log in if it is yours.", "name");
    case 422:
      return new SessionError(detail || "The server does not accept this. Change it and try again.", field);
    case 429: {
      const seconds = Number(response.headers.get("Retry-After")) || 60;
      return new SessionError(`Too many attempts. Try again in ${seconds} s.`);
    }
    default:
      return new SessionError("The server cannot do this at the moment. Try again shortly.");
  }
}
