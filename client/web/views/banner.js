// @ts-check
import { byId, setText } from "../dom.js";

/** @import { ConnectionState } from "../connection.js" */

/** Shows how the connection is, whenever it is not simply there. */
export class BannerView {
  #banner = byId("banner", HTMLElement);
  #text = byId("banner-text", HTMLElement);
  #countdown = byId("banner-countdown", HTMLElement);
  #now = byId("banner-now", HTMLButtonElement);
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  #wasOpen = false;

  /** @param {() => void} connectNow */
  constructor(connectNow) {
    this.#now.addEventListener("click", connectNow);
  }

  /** @param {ConnectionState} state */
  show(state) {
    clearInterval(this.#ticking);
    const hadFocus = document.activeElement === this.#now;
    const text = this.#words(state);
    this.#banner.hidden = text === "";
    this.#banner.dataset["phase"] = state.phase;
    setText(this.#text, text);
    setText(this.#countdown, "");
    this.#now.hidden = state.phase !== "waiting";
    if (state.phase === "open") this.#wasOpen = true;
    if (state.phase === "waiting") {
      const tick = () => {
        const seconds = Math.max(0, Math.ceil((state.until - Date.now()) / 1000));
        setText(this.#countdown, `Next try in ${seconds} s.`);
      };
      tick();
      this.#ticking = setInterval(tick, 500);
    }
    if (hadFocus && this.#now.hidden) document.getElementById("message-box")?.focus();
  }

  /** The countdown stands apart: a screen reader should not hear every second. @param {ConnectionState} state */
  #words(state) {
    switch (state.phase) {
      case "connecting":
        return this.#wasOpen ? "Reconnecting…" : "Connecting…";
      case "waiting":
        if (state.offline) return "You are offline. What you write is kept, and sent when you are back.";
        return "The connection is lost. What you write is kept, and sent when it is back.";
      case "refused":
        return `The server does not let you in${state.reason ? `: ${state.reason}` : ""}. Ask its operator.`;
      default:
        return "";
    }
  }
}
