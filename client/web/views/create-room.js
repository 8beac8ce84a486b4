// @ts-check
import { byId, setText } from "../dom.js";
import { RpcError, explain } from "../errors.js";
import { slug } from "../format.js";
import { goTo } from "../router.js";
import { closable } from "./dialog.js";

/** @import { App } from "../app.js" */

/** Asks how a new room is called; its short name comes from the title. */
export class CreateRoomDialog {
  #dialog = byId("create-room", HTMLDialogElement);
  #form = byId("create-room-form", HTMLFormElement);
  #title = byId("new-room-title", HTMLInputElement);
  #topic = byId("new-room-topic", HTMLInputElement);
  #error = byId("new-room-error", HTMLElement);
  #submit = byId("create-room-submit", HTMLButtonElement);
  #app;

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    closable(this.#dialog);
    byId("create-room-open", HTMLButtonElement).addEventListener("click", () => this.open());
    this.#title.addEventListener("input", () => {
      this.#blame("");
      this.#hint();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#create();
    });
  }

  open() {
    this.#form.reset();
    this.#blame("");
    this.#hint();
    this.#dialog.showModal();
    this.#title.focus();
  }

  #hint() {
    const name = slug(this.#title.value);
    setText(byId("new-room-name-hint", HTMLElement), name ? `Its address ends in #${name}` : "");
  }

  /** @param {string} text */
  #blame(text) {
    setText(this.#error, text);
    this.#title.setAttribute("aria-invalid", String(text !== ""));
    if (text !== "") this.#title.focus();
  }

  async #create() {
    const title = this.#title.value.trim();
    if (title === "") return this.#blame("Give the room a name.");
    const room = slug(title) || `room-${Math.random().toString(36).slice(2, 8)}`;
    const visibility = String(new FormData(this.#form).get("visibility"));
    this.#submit.disabled = true;
    try {
      await this.#app.chat.create({ room, title, topic: this.#topic.value.trim(), visibility });
      this.#dialog.close();
      goTo(room);
      this.#app.composer.focus();
    } catch (error) {
      const taken = error instanceof RpcError && error.code === RpcError.CONFLICT;
      this.#blame(taken ? "There is a room of this name already. Choose another one." : explain(error));
    } finally {
      this.#submit.disabled = false;
    }
  }
}
