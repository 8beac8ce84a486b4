// @ts-check
import { attribute, byId } from "../dom.js";

/** @import { Store } from "../store.js" */
/** @typedef {"rooms" | "people"} Side */

/** Below these widths (see layout.css) a side pane is a drawer over the messages. */
const DRAWERS = { rooms: "(max-width: 719.98px)", people: "(max-width: 1079.98px)" };

/** The panes beside the messages: fixed where there is room, drawers elsewhere. */
export class Panes {
  #store;
  #panes = { rooms: byId("rooms-pane", HTMLElement), people: byId("people-pane", HTMLElement) };
  #toggles = { rooms: byId("rooms-toggle", HTMLButtonElement), people: byId("people-toggle", HTMLButtonElement) };
  #scrim = byId("scrim", HTMLElement);
  #main = byId("room-pane", HTMLElement);
  #media = { rooms: matchMedia(DRAWERS.rooms), people: matchMedia(DRAWERS.people) };
  /** The drawer that is open. @type {Side | null} */
  #drawer = null;
  /** In the wide layout the people may be put away. */
  #peopleShown = true;

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    for (const side of /** @type {Side[]} */ (["rooms", "people"])) {
      this.#toggles[side].addEventListener("click", () => this.#toggle(side));
      this.#media[side].addEventListener("change", () => this.#show(null));
    }
    byId("people-close", HTMLButtonElement).addEventListener("click", () => this.#show(null));
    this.#scrim.addEventListener("click", () => this.#show(null));
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#drawer !== null && !document.querySelector("dialog[open]")) this.#show(null);
    });
    // Following a link in the list is what the drawer was opened for, also when that room is on screen already.
    this.#panes.rooms.addEventListener("click", (event) => {
      if (event.target instanceof Element && event.target.closest("a")) this.#show(null);
    });
    store.listen(({ kind }) => {
      if (kind === "current") this.#drawer = null; // what it was opened for is done
      if (kind === "current" || kind === "rooms" || kind === "me") this.#apply();
    });
    this.#apply();
  }

  /** @param {Side} side */
  #toggle(side) {
    if (this.#media[side].matches) {
      this.#show(this.#drawer === side ? null : side);
    } else if (side === "people") {
      this.#peopleShown = !this.#peopleShown;
      this.#apply();
    }
  }

  /** @param {Side | null} drawer */
  #show(drawer) {
    const before = this.#drawer;
    this.#drawer = drawer;
    this.#apply();
    if (drawer !== null) {
      const pane = this.#panes[drawer];
      const first = pane.querySelector("a[tabindex='0']") ?? pane.querySelector("button");
      if (first instanceof HTMLElement) first.focus();
    } else if (before !== null) {
      this.#toggles[before].focus();
    }
  }

  #apply() {
    const inRoom = Boolean(this.#store.room(this.#store.current)?.info.role);
    for (const side of /** @type {Side[]} */ (["rooms", "people"])) {
      const isDrawer = this.#media[side].matches;
      const open = isDrawer ? this.#drawer === side : side === "rooms" || (this.#peopleShown && inRoom);
      this.#panes[side].classList.toggle("open", open);
      this.#panes[side].inert = !open;
      this.#toggles[side].setAttribute("aria-expanded", String(open));
    }
    byId("app", HTMLElement).classList.toggle("without-people", !this.#peopleShown || !inRoom);
    this.#scrim.hidden = this.#drawer === null;
    attribute(this.#main, "inert", this.#drawer === null ? null : "");
  }
}
