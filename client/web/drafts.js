// @ts-check
/** @import { Local } from "./storage.js" */

/** What somebody has begun to write, per room, across reloads. */
export class Drafts {
  #local;

  /** @param {Local} local */
  constructor(local) {
    this.#local = local;
  }

  /**
   * @param {number} user
   * @param {string} room
   */
  get(user, room) {
    return this.#local.get(`draft.${user}.${room}`) ?? "";
  }

  /**
   * @param {number} user
   * @param {string} room
   * @param {string} text
   */
  set(user, room, text) {
    const key = `draft.${user}.${room}`;
    if (text === "") this.#local.remove(key);
    else this.#local.remember(key, text);
  }

  /** @param {number} user */
  clear(user) {
    for (const key of this.#local.keys(`draft.${user}.`)) this.#local.remove(key);
  }
}
