// @ts-check
import { bdi, byId, h, oncePerFrame, setText } from "../dom.js";
import { counted } from "../format.js";
import { icon } from "../icons.js";

/** @import { App } from "../app.js" */
/** @import { RoomState } from "../store.js" */

/** The frame around the messages: the heading, and what stands there when there are none to show. */
export class RoomView {
  #app;
  #title = byId("room-title", HTMLElement);
  #topic = byId("room-topic", HTMLElement);
  #empty = byId("empty", HTMLElement);
  /** What the empty state says at the moment, so that it is built once. */
  #said = "";

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    const render = oncePerFrame(() => this.#render());
    app.store.listen(({ kind }) => {
      if (kind !== "typing") render();
    });
    byId("leave-room", HTMLButtonElement).addEventListener("click", () => {
      if (app.store.current !== null) void app.leave(app.store.current);
    });
    byId("skip", HTMLButtonElement).addEventListener("click", () => {
      const box = byId("message-box", HTMLTextAreaElement);
      (box.offsetParent ? box : byId("room-pane", HTMLElement).querySelector("button"))?.focus();
    });
  }

  #render() {
    const { store } = this.#app;
    const state = store.room(store.current);
    const member = Boolean(state?.info.role);
    setText(this.#title, state?.info.title ?? "Rooms");
    setText(this.#topic, state?.info.topic ?? "");
    byId("messages", HTMLElement).hidden = !member;
    byId("composer", HTMLElement).hidden = !member;
    this.#peopleButton(state);
    this.#empty.hidden = member || !store.ready;
    if (!this.#empty.hidden) this.#sayEmpty(state);
  }

  /** @param {RoomState | undefined} state */
  #peopleButton(state) {
    const button = byId("people-toggle", HTMLButtonElement);
    button.hidden = !state?.info.role;
    const count = state?.info.present ?? 0;
    setText(byId("people-toggle-count", HTMLElement), String(count));
    const label = `People: ${count} here`;
    button.setAttribute("aria-label", label);
    button.title = label;
  }

  /** @param {RoomState | undefined} state */
  #sayEmpty(state) {
    const { store } = this.#app;
    const open = store.rooms.filter(({ info }) => info.role === null && info.visibility === "public");
    const facts = state ? [state.info] : [store.current, store.rooms.length, open.map(({ info }) => info)];
    const said = JSON.stringify(facts);
    if (said === this.#said) return;
    this.#said = said;
    this.#empty.replaceChildren(...(state ? this.#invitation(state) : this.#home(open)));
  }

  /** A room that is not ours yet. @param {RoomState} state */
  #invitation({ info }) {
    const here = info.present > 0 ? `${counted(info.present, "person is", "people are")} here now.` : "Nobody is here right now.";
    return [
      h("span", { class: "empty-sign" }, icon("hash")),
      h("h2", {}, bdi(info.title)),
      info.topic ? h("p", { dir: "auto" }, info.topic) : null,
      h("p", { class: "muted" }, here),
      h("button", { type: "button", class: "button primary", onclick: () => void this.#app.join(info.room) }, "Join this room"),
    ].filter((node) => node !== null);
  }

  /** No room is chosen, or none of that name is there. @param {RoomState[]} open */
  #home(open) {
    const { store, createRoom } = this.#app;
    const [heading, text] =
      store.current !== null
        ? ["This room is not here", `There is no room #${store.current}, or it is private and you are not in it.`]
        : store.rooms.length === 0
          ? ["It is quiet here", "There is no room yet. Make the first one, and send its address to the others."]
          : open.length > 0
            ? ["Where to?", "Look into a room, or make one of your own."]
            : ["Good to see you", "Choose a room on the left, or make a new one."];
    const cards = open.map(({ info }) =>
      h(
        "li",
        {},
        h("a", { class: "card", href: `#${info.room}` },
          h("span", { class: "card-sign" }, icon("hash")),
          h("span", { class: "card-text" }, bdi(info.title, "card-title"), info.topic ? bdi(info.topic, "card-topic") : null),
          h("span", { class: "card-count" }, info.present > 0 ? `${info.present} here` : ""),
        ),
      ),
    );
    return [
      h("h2", {}, heading),
      h("p", { class: "muted" }, text),
      cards.length > 0 ? h("ul", { class: "cards" }, ...cards) : null,
      h(
        "button",
        { type: "button", class: store.rooms.length === 0 ? "button primary" : "button", onclick: () => createRoom.open() },
        icon("plus"),
        "New room",
      ),
    ].filter((node) => node !== null);
  }
}
