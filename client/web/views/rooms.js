// @ts-check
import { KeyedList, attribute, bdi, byId, h, oncePerFrame, setText } from "../dom.js";
import { badge, counted } from "../format.js";
import { icon } from "../icons.js";

/** @import { App } from "../app.js" */
/** @import { RoomState, Store } from "../store.js" */

/** The list of rooms: mine, and the ones that may be joined. One stop for Tab; arrow keys move inside. */
export class RoomsView {
  #store;
  #scroll = byId("rooms-scroll", HTMLElement);
  #mine = new KeyedList(byId("my-rooms-list", HTMLElement), roomKey, (state, old) => this.#item(state, old));
  #others = new KeyedList(byId("more-rooms-list", HTMLElement), roomKey, (state, old) => this.#item(state, old));
  /** The link that Tab reaches. @type {string | null} */
  #roving = null;

  /** @param {App} app */
  constructor({ store }) {
    this.#store = store;
    const render = oncePerFrame(() => this.#render());
    store.listen(({ kind }) => {
      if (kind === "current") this.#roving = store.current;
      if (kind !== "typing") render();
    });
    this.#scroll.addEventListener("keydown", (event) => this.#onKey(event));
    this.#scroll.addEventListener("focusin", ({ target }) => {
      if (target instanceof HTMLElement && target.dataset["room"]) this.#rove(target.dataset["room"]);
    });
    this.#render();
  }

  #render() {
    const rooms = this.#store.rooms;
    const mine = rooms.filter(({ info }) => info.role !== null);
    const others = rooms.filter(({ info }) => info.role === null);
    this.#mine.show(mine);
    this.#others.show(others);
    byId("my-rooms", HTMLElement).hidden = mine.length === 0;
    byId("more-rooms", HTMLElement).hidden = others.length === 0;
    byId("no-rooms", HTMLElement).hidden = !this.#store.ready || rooms.length > 0;
    byId("rooms-toggle-dot", HTMLElement).hidden = !mine.some(
      (state) => state.info.room !== this.#store.current && this.#store.unread(state).count > 0,
    );
    this.#rove(this.#roving);
  }

  /**
   * @param {RoomState} state
   * @param {HTMLElement | null} old
   */
  #item(state, old) {
    const { info } = state;
    const item = old ?? newItem(info.room);
    const link = /** @type {HTMLAnchorElement} */ (item.firstElementChild);
    const [sign, name, here, unread] = /** @type {HTMLElement[]} */ ([...link.children]);
    const news = this.#store.unread(state);
    if (sign && sign.dataset["for"] !== info.visibility) {
      sign.dataset["for"] = info.visibility;
      sign.replaceChildren(icon(info.visibility === "public" ? "hash" : "lock"));
    }
    if (name) setText(name, info.title);
    if (here) {
      here.hidden = info.present === 0;
      setText(/** @type {HTMLElement} */ (here.lastElementChild), String(info.present));
      here.title = `${counted(info.present, "person", "people")} here now`;
    }
    if (unread) {
      setText(unread, news.count > 0 ? badge(news) : "");
      unread.hidden = news.count === 0;
    }
    link.classList.toggle("unread", news.count > 0);
    link.setAttribute("aria-label", label(state, news));
    attribute(link, "aria-current", info.room === this.#store.current ? "page" : null);
    return item;
  }

  #links() {
    return /** @type {HTMLAnchorElement[]} */ ([...this.#scroll.querySelectorAll("a[data-room]")]);
  }

  /** Make one link the stop for Tab. @param {string | null} room */
  #rove(room) {
    const links = this.#links();
    const stop = links.find((link) => link.dataset["room"] === room) ?? links[0];
    this.#roving = room;
    for (const link of links) link.tabIndex = link === stop ? 0 : -1;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const links = this.#links();
    const here = links.indexOf(/** @type {HTMLAnchorElement} */ (document.activeElement));
    if (here < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const targets = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: links.length - 1 };
    const target = links[targets[/** @type {keyof typeof targets} */ (event.key)] ?? -1];
    if (!target) return;
    event.preventDefault();
    target.focus();
  }
}

/** @param {RoomState} state */
const roomKey = ({ info }) => info.room;

/** @param {string} room */
function newItem(room) {
  const parts = [
    h("span", { class: "room-sign" }),
    bdi("", "room-name"),
    h("span", { class: "room-present" }, icon("person"), h("span")),
    h("span", { class: "room-unread", hidden: true }),
  ];
  return h("li", {}, h("a", { href: `#${room}`, class: "room-link", "data-room": room, tabindex: -1 }, ...parts));
}

/**
 * @param {RoomState} state
 * @param {ReturnType<Store["unread"]>} news
 */
function label({ info }, news) {
  const parts = [info.title];
  if (info.visibility !== "public") parts.push(info.visibility);
  if (info.present > 0) parts.push(`${info.present} here`);
  if (news.count > 0) parts.push(`${badge(news)} unread`);
  return parts.join(", ");
}
