// @ts-check
/** @import { Store } from "../store.js" */

/** The tab's title: what is unread in all rooms, and the room on screen. */
export class TitleView {
  #store;

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    store.listen(({ kind }) => {
      if (kind !== "typing" && kind !== "people") this.#render();
    });
  }

  #render() {
    const unread = this.#store.rooms.reduce((sum, state) => sum + this.#store.unread(state).count, 0);
    const room = this.#store.room(this.#store.current)?.info.title;
    const name = room ? `${room} · Switchboard` : "Switchboard";
    document.title = unread > 0 ? `(${unread > 99 ? "99+" : unread}) ${name}` : name;
  }
}
