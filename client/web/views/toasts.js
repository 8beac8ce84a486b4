// @ts-check
import { h } from "../dom.js";
import { icon } from "../icons.js";

const SHORT_SECONDS = 6;
const LONG_SECONDS = 12;
const MOST_TOASTS = 3;

/** @typedef {{label: string, run: () => void}} Action */

/** Short notices at the edge: they go by themselves, but not while somebody points at or focuses them. */
export class Toasts {
  #parent;

  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.#parent = parent;
  }

  /**
   * @param {string} text
   * @param {Action} [action]
   */
  show(text, action) {
    this.#add(text, "status", SHORT_SECONDS, action);
  }

  /** Say what went wrong and what to do. @param {string} text */
  alert(text) {
    for (const other of this.#parent.children) if (other.getAttribute("data-text") === text) other.remove();
    this.#add(text, "alert", LONG_SECONDS);
  }

  /**
   * @param {string} text
   * @param {"status" | "alert"} role
   * @param {number} seconds
   * @param {Action} [action]
   */
  #add(text, role, seconds, action) {
    const act = () => {
      toast.remove();
      action?.run();
    };
    const toast = h(
      "div",
      { class: `toast ${role}`, role, "data-text": text },
      h("p", { dir: "auto" }, text),
      action ? h("button", { type: "button", class: "link-button", onclick: act }, action.label) : null,
      h("button", { type: "button", class: "icon-button", "aria-label": "Dismiss", onclick: () => toast.remove() }, icon("close")),
    );
    const leave = () => {
      if (toast.matches(":hover, :focus-within")) setTimeout(leave, 1000);
      else toast.remove();
    };
    setTimeout(leave, seconds * 1000);
    this.#parent.append(toast);
    while (this.#parent.children.length > MOST_TOASTS) this.#parent.firstElementChild?.remove();
  }
}
