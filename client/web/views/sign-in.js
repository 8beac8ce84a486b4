// @ts-check
import { byId, h, setText } from "../dom.js";
import { SessionError, explain } from "../errors.js";
import { enterAsGuest, logIn, register } from "../session.js";

/** @import { Local } from "../storage.js" */
/** @import { Me } from "../types.js" */
/** @typedef {"guest" | "register" | "login"} Mode */

const WORDS = {
  guest: { title: "Welcome", lead: "Pick a name and come in.", submit: "Come in", choice: "Come in with just a name" },
  register: {
    title: "Make an account",
    lead: "It keeps your name and your rooms, on every device.",
    submit: "Make the account",
    choice: "Make an account",
  },
  login: { title: "Welcome back", lead: "Log in with your account.", submit: "Log in", choice: "Log in" },
};
const NAME_AUTOCOMPLETE = { guest: "nickname", register: "username", login: "username" };
const PASSWORD_AUTOCOMPLETE = { guest: "current-password", register: "new-password", login: "current-password" };

/** Asks for a name; an account is the second choice on the same page. */
export class SignInDialog {
  #dialog = byId("sign-in", HTMLDialogElement);
  #name = byId("sign-in-name", HTMLInputElement);
  #password = byId("sign-in-password", HTMLInputElement);
  #submit = byId("sign-in-submit", HTMLButtonElement);
  #error = byId("sign-in-error", HTMLElement);
  /** @type {Mode} */
  #mode = "guest";
  /** Whether somebody is in already, and may go back to where they were. */
  #optional = false;
  /** @type {"asking" | "entering" | "entered"} */
  #stage = "asking";
  #onSignedIn;
  #local;

  /**
   * @param {() => void} onSignedIn
   * @param {Local} local
   */
  constructor(onSignedIn, local) {
    this.#onSignedIn = onSignedIn;
    this.#local = local;
    this.#dialog.addEventListener("cancel", (event) => {
      if (!this.#optional) event.preventDefault();
    });
    this.#dialog.addEventListener("keydown", (event) => {
      if (!this.#optional && event.key === "Escape") event.preventDefault();
    });
    byId("sign-in-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#enter();
    });
    for (const input of [this.#name, this.#password]) input.addEventListener("input", () => this.#blame(null));
    // Signed in in another tab: the cookie is this tab's too.
    local.watch("signed-in", () => {
      if (this.#dialog.open) onSignedIn();
    });
  }

  /** Ask until somebody is in. */
  open() {
    const asks = this.#dialog.open && !this.#optional;
    this.#optional = false;
    // An account that takes over a guest ends the guest's session a moment before its own begins.
    if (asks || this.#stage === "entering") return;
    this.#stage = "asking";
    this.#show("guest");
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#name.focus();
  }

  /** Offer a guest to stay: the account takes over the name, the rooms and what was said. @param {Me} me */
  keepName(me) {
    this.#optional = true;
    this.#stage = "asking";
    this.#show("register");
    this.#name.value = me.name;
    this.#dialog.showModal();
    this.#password.focus();
  }

  /**
   * Somebody is in; an offer that nobody has answered yet stays.
   *
   * @returns {boolean} whether the dialog was there and is closed now
   */
  close() {
    if (!this.#dialog.open || (this.#optional && this.#stage !== "entered")) return false;
    this.#dialog.close();
    this.#password.value = "";
    return true;
  }

  /** @param {Mode} mode */
  #show(mode) {
    this.#mode = mode;
    const words = WORDS[mode];
    setText(byId("sign-in-title", HTMLElement), words.title);
    setText(byId("sign-in-lead", HTMLElement), words.lead);
    setText(this.#submit, words.submit);
    byId("sign-in-password-field", HTMLElement).hidden = mode === "guest";
    this.#name.setAttribute("autocomplete", NAME_AUTOCOMPLETE[mode]);
    this.#password.setAttribute("autocomplete", PASSWORD_AUTOCOMPLETE[mode]);
    const others = /** @type {Mode[]} */ (["guest", "register", "login"]).filter((other) => other !== mode);
    const choices = others
      .filter((other) => !(this.#optional && other === "guest"))
      .map((other) => linkButton(WORDS[other].choice, () => this.#choose(other)));
    if (this.#optional) choices.push(linkButton("Not now", () => this.#dialog.close()));
    byId("sign-in-choices", HTMLElement).replaceChildren(...choices);
    this.#blame(null);
  }

  /** @param {Mode} mode */
  #choose(mode) {
    this.#show(mode);
    (mode === "guest" || this.#name.value === "" ? this.#name : this.#password).focus();
  }

  async #enter() {
    const name = this.#name.value.trim();
    const password = this.#password.value;
    if (name === "") return this.#blame(new SessionError("Write the name that others will see.", "name"));
    if (this.#mode !== "guest" && password === "") return this.#blame(new SessionError("Write your password.", "password"));
    this.#submit.disabled = true;
    this.#stage = "entering";
    try {
      if (this.#mode === "guest") await enterAsGuest(name);
      else if (this.#mode === "register") await register(name, password);
      else await logIn(name, password);
      this.#stage = "entered";
      this.#local.remember("signed-in", String(Date.now()));
      this.#onSignedIn();
    } catch (error) {
      this.#stage = "asking";
      this.#blame(error);
    } finally {
      this.#submit.disabled = false;
    }
  }

  /** Say what is wrong, beside the field where it is; null: nothing. @param {unknown} error */
  #blame(error) {
    const field = error instanceof SessionError ? error.field : null;
    const guilty = field === "password" && this.#mode === "guest" ? null : field;
    for (const [name, input] of /** @type {const} */ ([["name", this.#name], ["password", this.#password]])) {
      const text = guilty === name && error ? explain(error) : "";
      setText(byId(`sign-in-${name}-error`, HTMLElement), text);
      input.setAttribute("aria-invalid", String(text !== ""));
      if (text !== "") input.focus();
    }
    setText(this.#error, error && guilty === null ? explain(error) : "");
  }
}

/**
 * @param {string} text
 * @param {() => void} run
 */
const linkButton = (text, run) => h("button", { type: "button", class: "link-button", onclick: run }, text);
