// @ts-check
import { byId, setText } from "../dom.js";
import { dressAvatar } from "./avatar.js";

/** @import { App } from "../app.js" */

/** Who is here, and the way out. */
export class AccountView {
  /** @param {App} app */
  constructor({ store, logOutDialog }) {
    const footer = byId("account", HTMLElement);
    const render = () => {
      footer.classList.toggle("unknown", store.me === null);
      if (store.me === null) return;
      dressAvatar(byId("account-avatar", HTMLElement), store.me);
      setText(byId("account-name", HTMLElement), store.me.name);
      setText(byId("account-role", HTMLElement), store.me.role);
    };
    store.listen(({ kind }) => {
      if (kind === "me") render();
    });
    byId("log-out", HTMLButtonElement).addEventListener("click", () => {
      if (store.me) logOutDialog.open(store.me);
    });
    render();
  }
}
