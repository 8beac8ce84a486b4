// @ts-check
import { byId, setText } from "../dom.js";
import { dressAvatar } from "./avatar.js";

/** @import { App } from "../app.js" */

/** Who is here, and the way out. */
export class AccountView {
  /** @param {App} app */
  constructor({ store, logOutDialog, signIn }) {
    const footer = byId("account", HTMLElement);
    const keep = byId("keep-name", HTMLButtonElement);
    const render = () => {
      footer.classList.toggle("unknown", store.me === null);
      if (store.me === null) return;
      dressAvatar(byId("account-avatar", HTMLElement), store.me);
      setText(byId("account-name", HTMLElement), store.me.name);
      const guest = store.me.role === "guest";
      setText(byId("account-role", HTMLElement), guest ? "" : store.me.role);
      keep.hidden = !guest;
    };
    store.listen(({ kind }) => {
      if (kind === "me") render();
    });
    byId("log-out", HTMLButtonElement).addEventListener("click", () => {
      if (store.me) logOutDialog.open(store.me);
    });
    keep.addEventListener("click", () => {
      if (store.me) signIn.keepName(store.me);
    });
    render();
  }
}
