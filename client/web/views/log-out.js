// @ts-check
import { byId, setText } from "../dom.js";
import { closable } from "./dialog.js";

/** @import { Me } from "../types.js" */

const FOR_GUESTS =
  "You are here as a guest, and a guest cannot come back. To stay, choose “Keep this name” instead.";
const FOR_MEMBERS = "What this browser has kept for you is removed: drafts, and messages that are not sent yet.";

/** Asks before the way out is taken. */
export class LogOutDialog {
  #dialog = byId("log-out-dialog", HTMLDialogElement);

  /** @param {() => void} logOut */
  constructor(logOut) {
    closable(this.#dialog);
    byId("log-out-confirm", HTMLButtonElement).addEventListener("click", logOut);
  }

  /** @param {Me} me */
  open(me) {
    setText(byId("log-out-text", HTMLElement), me.role === "guest" ? FOR_GUESTS : FOR_MEMBERS);
    this.#dialog.showModal();
  }
}
