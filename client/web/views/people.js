// @ts-check
import { KeyedList, bdi, byId, h, oncePerFrame, setText } from "../dom.js";
import { avatar } from "./avatar.js";

/** @import { Store } from "../store.js" */
/** @import { User } from "../types.js" */

/** More names than this nobody reads; the rest is a number. */
const MOST_SHOWN = 200;

/** Who is in the room now. */
export class PeopleView {
  #store;
  #list;

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    /** @type {KeyedList<User | {id: number, rest: number}>} */
    this.#list = new KeyedList(
      byId("people-list", HTMLElement),
      ({ id }) => String(id),
      (user, old) => ("rest" in user ? h("li", { class: "hint" }, `and ${user.rest} more`) : (old ?? this.#item(user))),
    );
    const render = oncePerFrame(() => this.#render());
    store.listen(({ kind, room }) => {
      if (kind === "current" || kind === "me" || (room === store.current && kind !== "typing")) render();
    });
  }

  #render() {
    const state = this.#store.room(this.#store.current);
    const people = [...(state?.present.values() ?? [])];
    const me = this.#store.me?.id;
    people.sort((a, b) => Number(b.id === me) - Number(a.id === me) || a.name.localeCompare(b.name));
    const shown = people.slice(0, MOST_SHOWN);
    const rest = people.length - shown.length;
    this.#list.show(rest > 0 ? [...shown, { id: 0, rest }] : shown);
    setText(byId("people-title", HTMLElement), people.length > 0 ? `People here (${people.length})` : "People here");
  }

  /** @param {User} user */
  #item(user) {
    const you = user.id === this.#store.me?.id ? h("span", { class: "you" }, "you") : null;
    return h("li", { class: "person" }, avatar(user), bdi(user.name, "person-name"), you);
  }
}
