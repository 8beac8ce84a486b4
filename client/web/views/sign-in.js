// @ts-check
import { byId, h, setText } from "../dom.js";
import { SessionError, explain } from "../errors.js";
import { enterAsGuest, logIn, register } from "../session.js";

/** @import { Local } from "../storage.js" */
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

/** Asks for a name; an account is the second choice on the same page. Stays until somebody is in. */
export class SignInDialog {
  #dialog = byId("sign-in", HTMLDialogElement);
  #name = byId("sign-in-name", HTMLInputElement);
  #password = byId("sign-in-password", HTMLInputElement);
  #submit = byId("sign-in-submit", HTMLButtonElement);
  #error = byId("sign-in-error", HTMLElement);
  /** @type {Mode} */
  #mode = "guest";
  #onSignedIn;
  #local;

  /**
   * @param {() => void} onSignedIn
   * @param {Local} local
   */
  constructor(onSignedIn, local) {
    this.#onSignedIn = onSignedIn;
    this.#local = local;
    // Nobody is in yet, so there is nothing behind it to go back to.
    this.#dialog.addEventListener("cancel", (event) => event.preventDefault());
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.preventDefault();
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

  open() {
    if (this.#dialog.open) return;
    this.#show("guest");
    this.#dialog.showModal();
    this.#name.focus();
  }

  close() {
    if (!this.#dialog.open) return;
    this.#dialog.close();
    this.#password.value = "";
    document.getElementById("message-box")?.focus();
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
    byId("sign-in-choices", HTMLElement).replaceChildren(
      ...others.map((other) =>
        h("button", { type: "button", class: "link-button", onclick: () => this.#choose(other) }, WORDS[other].choice),
      ),
    );
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
    try {
      if (this.#mode === "guest") await enterAsGuest(name);
      else if (this.#mode === "register") await register(name, password);
      else await logIn(name, password);
      this.#local.set("signed-in", String(Date.now()));
      this.#onSignedIn();
    } catch (error) {
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
