// @ts-check
import { byId, oncePerFrame, setText } from "../dom.js";
import { length, typingText } from "../format.js";

/** @import { App } from "../app.js" */

/** "Is typing" is said at most this often. */
const TYPING_EVERY_MS = 3000;
/** The server passes on one sign of it in this time; an earlier one would be lost. */
const TYPING_AGAIN_MS = 1000;
/** The counter appears when this part of the limit is left. */
const COUNTER_FROM = 0.1;

/** The box to write in. What is begun stays with its room, over a reload too. */
export class ComposerView {
  #app;
  #form = byId("composer", HTMLFormElement);
  #box = byId("message-box", HTMLTextAreaElement);
  #send = byId("send", HTMLButtonElement);
  #counter = byId("counter", HTMLElement);
  #typing = byId("typing", HTMLElement);
  /** The room and the person whose draft is in the box. @type {string | null} */
  #room = null;
  /** @type {number | null} */
  #user = null;
  #saidTyping = 0;
  /** Whether the box is to have the focus when it is shown. */
  #wanted = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typingTimer;

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    this.#box.addEventListener("input", () => this.#onInput());
    this.#box.addEventListener("keydown", (event) => this.#onKey(event));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    const refresh = oncePerFrame(() => this.#refresh());
    app.store.listen(({ kind, room }) => {
      if (kind === "typing" && room === app.store.current) this.#showTyping();
      else if (kind === "current" || kind === "me" || kind === "rooms") refresh();
    });
    addEventListener("resize", () => this.#grow());
    // Another tab may have sent or changed the draft.
    app.local.watch("draft.", () => {
      if (document.activeElement !== this.#box) this.#load();
    });
    this.#refresh();
  }

  /** Put the cursor into the box, as soon as it is there. */
  focus() {
    this.#wanted = true;
    this.#focusWhenShown();
  }

  #focusWhenShown() {
    if (!this.#wanted || this.#form.hidden) return;
    this.#wanted = false;
    this.#box.focus();
  }

  /** Another room or person: put the draft of this one into the box. */
  #refresh() {
    const { store } = this.#app;
    const state = store.room(store.current);
    const title = state?.info.title ?? "";
    this.#box.placeholder = `Message ${title}`;
    setText(byId("message-label", HTMLElement), `Message to ${title}`);
    const user = store.me?.id ?? null;
    if (store.current === this.#room && user === this.#user && state?.info.role) return this.#measure();
    this.#room = state?.info.role ? store.current : null;
    this.#user = user;
    this.#saidTyping = 0;
    this.#load();
    this.#showTyping();
    // Where a keyboard is at hand, writing may start at once; on a phone it would cover half the room.
    const free = document.activeElement === document.body || document.activeElement?.closest("#rooms-scroll");
    this.#wanted ||= Boolean(free) && matchMedia("(hover: hover) and (pointer: fine)").matches;
    if (this.#room !== null) this.#focusWhenShown();
  }

  #load() {
    if (this.#room !== null && this.#user !== null) this.#box.value = this.#app.drafts.get(this.#user, this.#room);
    this.#measure();
  }

  #onInput() {
    this.#measure();
    if (this.#room === null || this.#user === null) return;
    this.#app.drafts.set(this.#user, this.#room, this.#box.value);
    const now = Date.now();
    if (this.#box.value.trim() !== "" && now - this.#saidTyping > TYPING_EVERY_MS) {
      this.#saidTyping = now;
      this.#app.chat.typing(this.#room);
    }
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    // While a word is being composed (Japanese, Chinese, ...), Enter chooses it. Safari says so by keyCode 229.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.#box.value.replace(/^\s*\n/, "").trimEnd();
    if (this.#room === null || this.#user === null || text.trim() === "" || this.#left() < 0) return;
    if (!this.#app.send(this.#room, text)) return;
    this.#box.value = "";
    this.#app.drafts.set(this.#user, this.#room, "");
    this.#saidTyping = Date.now() - TYPING_EVERY_MS + TYPING_AGAIN_MS;
    this.#measure();
    this.#box.focus();
  }

  /** How many characters are left. */
  #left() {
    const limit = this.#app.store.messageChars;
    return limit === 0 ? Infinity : limit - length(this.#box.value.trimEnd());
  }

  #measure() {
    const left = this.#left();
    const near = left < this.#app.store.messageChars * COUNTER_FROM;
    setText(this.#counter, !near ? "" : left < 0 ? `${-left} characters too many` : `${left} characters left`);
    this.#counter.classList.toggle("over", left < 0);
    this.#box.setAttribute("aria-invalid", String(left < 0));
    this.#send.disabled = left < 0 || this.#box.value.trim() === "";
    this.#grow();
  }

  #grow() {
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight}px`;
  }

  #showTyping() {
    clearTimeout(this.#typingTimer);
    const { users, until } = this.#app.store.typing(this.#app.store.current);
    setText(this.#typing, typingText(users.map(({ name }) => isolate(name))));
    if (until !== null) this.#typingTimer = setTimeout(() => this.#showTyping(), until - Date.now() + 50);
  }
}

/** Isolate a name inside a sentence (U+2068, U+2069), as `<bdi>` does for elements. @param {string} name */
const isolate = (name) => `\u2068${name}\u2069`;
