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

/**
 * The server's words are written for people, so they are passed on; ours stand in where there are none.
 *
 * @param {Response} response
 */
async function refusal(response) {
  const { error } = await response.json().catch(() => ({}));
  const field = error?.field === "name" || error?.field === "password" ? error.field : null;
  const says = typeof error?.message === "string" ? error.message : "";
  switch (response.status) {
    case 401:
      return new SessionError(says || "This name and password do not belong together.", "password");
    case 409:
      return new SessionError(says || "This name is taken. Choose another one.", "name");
    default:
      return new SessionError(says || "The server cannot do this at the moment. Try again shortly.", field);
  }
}
