// @ts-check
import { h } from "../dom.js";
import { hue, initials } from "../format.js";

/** @import { User } from "../types.js" */

/**
 * Put a person's letters and colour on an element.
 *
 * @param {HTMLElement} element
 * @param {User} user
 */
export function dressAvatar(element, user) {
  element.textContent = initials(user.name);
  element.style.setProperty("--hue", String(hue(user.id)));
}

/**
 * A round sign for a person. Decorative: the name stands beside it.
 *
 * @param {User} user
 */
export function avatar(user) {
  const element = h("span", { class: "avatar", "aria-hidden": "true" });
  dressAvatar(element, user);
  return element;
}
