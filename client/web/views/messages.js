// @ts-check
import { KeyedList, byId, oncePerFrame, setText } from "../dom.js";
import { counted } from "../format.js";
import { layOut, stillPending } from "../rows.js";
import { placeOf } from "../store.js";
import { look, messageRow } from "./message.js";
import { ReadMarks } from "./read-marks.js";

/** @import { App } from "../app.js" */
/** @import { Message } from "../types.js" */
/** @import { Row } from "../rows.js" */
/** @import { Change } from "../store.js" */

/** Messages in the page at most: as one reads on, those far away leave it. */
const MOST_SHOWN = 300;
const FIRST_SHOWN = 100;
const STEP = 60;
/** So near (px) to an end, more is put there. */
const NEAR_PX = 600;
/** So near (px) to the end counts as being there. */
const AT_END_PX = 48;

/** The messages of the room on screen: a window that slides over what the store has. */
export class MessagesView {
  #app;
  #scroller = byId("messages", HTMLElement);
  #jump = byId("jump", HTMLElement);
  #announcer = byId("announcer", HTMLElement);
  #marks;
  /** @type {WeakMap<HTMLElement, string>} */
  #looks = new WeakMap();
  /** @type {KeyedList<Row>} */
  #list;

  /** First and last seq in the window; an endless last one means that it follows the room's end. */
  #from = 0;
  #to = Infinity;
  /** Whether the end is, and is to stay, in view. */
  #stuck = true;
  /** Where the list stood after the last scrolling, ours or a person's. */
  #lastTop = 0;
  /** The divider stands after this seq. @type {number | null} */
  #newAfter = null;
  /** The last seq that was in view at the end. */
  #seen = 0;
  /** The room whose window this is; null until its messages are there. @type {string | null} */
  #shown = null;

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    this.#marks = new ReadMarks((room, seq) => app.chat.tellRead(room, seq));
    this.#list = new KeyedList(byId("message-list", HTMLElement), ({ key }) => key, (row, old) => this.#row(row, old));
    this.invalidate = oncePerFrame(() => this.#render());
    app.store.listen((change) => this.#onChange(change));
    this.#scroller.addEventListener("scroll", oncePerFrame(() => this.#onScroll()), { passive: true });
    byId("jump-button", HTMLButtonElement).addEventListener("click", () => {
      this.stick();
      this.#scroller.focus();
    });
    // The window, the composer or a font changed size: the end stays in view.
    new ResizeObserver(() => this.#settle()).observe(this.#scroller);
    addEventListener("focus", () => this.#mark());
    document.addEventListener("visibilitychange", () => this.#mark());
  }

  /** Render with the next frame. */
  invalidate = () => {};

  /** Go to the end and stay there. */
  stick() {
    this.#stuck = true;
    this.#to = Infinity;
    this.#from = 0;
    this.#newAfter = null;
    this.#app.store.pinned = null;
    this.invalidate();
  }

  /** @param {Change} change */
  #onChange({ kind, room, live }) {
    const { store } = this.#app;
    if (kind === "current" || kind === "me") this.#shown = null;
    if (live && room === store.current) {
      this.#announcer.append(announcement(live));
      while (this.#announcer.childElementCount > 10) this.#announcer.firstElementChild?.remove();
    }
    if (kind === "current" || kind === "me" || (room === store.current && kind !== "typing")) this.invalidate();
  }

  // ---- rendering

  #render() {
    const { store, outbox, sending, connection } = this.#app;
    const state = store.room(store.current);
    if (!state || state.rev === null) return this.#list.show([]);
    const opening = this.#shown !== state.info.room;
    if (opening) this.#open();
    else this.#mark();
    this.#divide();
    const { messages } = state;
    const shown = this.#window(messages);
    const entries = outbox?.entries(state.info.room) ?? [];
    const anchor = this.#stuck ? null : this.#anchor();
    this.#online = connection.isOpen;
    this.#title = state.info.title;
    const rows = layOut({
      messages: shown,
      pending: this.#to === Infinity ? stillPending(entries, sending, messages, store.me) : [],
      me: store.me,
      newAfter: this.#newAfter,
      fromStart: !state.more && shown[0] === messages[0],
    });
    this.#list.show(rows);
    if (opening) this.#showNew();
    else this.#settle(anchor);
    this.#showJump(messages);
    this.#mark();
    if (this.#scroller.scrollTop < NEAR_PX) this.#reach();
  }

  #online = false;
  #title = "";

  /** Another room comes on screen. */
  #open() {
    const { store } = this.#app;
    const state = store.room(store.current);
    if (!state) return;
    this.#list.show([]); // the same keys mean other messages there
    this.#shown = state.info.room;
    this.#from = 0;
    this.#to = Infinity;
    this.#stuck = true;
    this.#newAfter = null;
    this.#seen = state.info.read_seq;
  }

  /** What came while nobody looked stands below a divider, until something newer does. */
  #divide() {
    const { store } = this.#app;
    const state = store.room(this.#shown);
    if (!state || store.unread(state).count === 0) return;
    if (this.#newAfter === null || this.#newAfter < state.info.read_seq) this.#newAfter = state.info.read_seq;
  }

  /** Start reading where the new messages start, if they do not fit. */
  #showNew() {
    const divider = this.#list.get("new");
    const { scrollHeight, clientHeight } = this.#scroller;
    if (divider && scrollHeight - divider.offsetTop > clientHeight) {
      this.#stuck = false;
      this.#scroller.scrollTop = divider.offsetTop - clientHeight / 4;
    }
    this.#settle();
  }

  /** The messages inside the window, which is moved to where messages are. @param {Message[]} messages */
  #window(messages) {
    const last = this.#to === Infinity ? messages.length : placeOf(messages, this.#to + 1);
    let first = placeOf(messages, this.#from);
    if (this.#from === 0) first = Math.max(0, last - FIRST_SHOWN);
    else if (this.#stuck) first = Math.max(first, last - MOST_SHOWN);
    this.#from = messages[first]?.seq ?? 0;
    return messages.slice(first, last);
  }

  /**
   * @param {Row} row
   * @param {HTMLElement | null} old
   */
  #row(row, old) {
    const appearance = look(row, this.#online);
    if (old && this.#looks.get(old) === appearance) return old;
    const element = messageRow(row, {
      online: this.#online,
      title: this.#title,
      retry: (nonce) => this.#app.outbox?.retry(nonce),
      remove: (nonce) => this.#app.outbox?.remove(nonce),
    });
    this.#looks.set(element, appearance);
    return element;
  }

  // ---- scrolling

  /** The first message in view, and where it ends: that must not move when others come or go, or its heading does. */
  #anchor() {
    const top = this.#scroller.scrollTop;
    for (const element of byId("message-list", HTMLElement).children) {
      if (!(element instanceof HTMLElement) || element.dataset["seq"] === undefined) continue;
      const end = element.offsetTop + element.offsetHeight;
      if (end > top) return { seq: element.dataset["seq"], offset: end - top };
    }
    return null;
  }

  /** @param {{seq: string, offset: number} | null} [anchor] */
  #settle(anchor = null) {
    if (this.#stuck) {
      this.#scroller.scrollTop = this.#scroller.scrollHeight;
    } else if (anchor) {
      const element = this.#list.get(`m${anchor.seq}`);
      if (element) this.#scroller.scrollTop = element.offsetTop + element.offsetHeight - anchor.offset;
    }
    this.#lastTop = this.#scroller.scrollTop;
  }

  #onScroll() {
    if (this.#shown === null) return;
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const below = scrollHeight - clientHeight - scrollTop;
    const atEnd = this.#to === Infinity && below < AT_END_PX;
    // Only somebody who moves up leaves the end; otherwise what is below has grown, and is followed.
    const movedUp = scrollTop < this.#lastTop - 1;
    this.#stuck = atEnd || (this.#stuck && !movedUp);
    this.#lastTop = scrollTop;
    this.#app.store.pinned = this.#stuck ? null : this.#shown;
    if (scrollTop < NEAR_PX) this.#reach();
    else if (below < NEAR_PX && this.#to !== Infinity) this.#reachDown();
    const state = this.#app.store.room(this.#shown);
    if (state) this.#showJump(state.messages);
    this.#mark();
  }

  /** Put older messages above: those that are here, or those that the server has. */
  #reach() {
    const { store, chat } = this.#app;
    const state = store.room(this.#shown);
    if (!state) return;
    const first = placeOf(state.messages, this.#from);
    if (first > 0) {
      const from = Math.max(0, first - STEP);
      this.#from = state.messages[from]?.seq ?? 0;
      const last = state.messages[from + MOST_SHOWN - 1];
      if (!this.#stuck && last && last.seq < this.#to && last !== state.messages.at(-1)) this.#to = last.seq;
      this.invalidate();
    } else if (state.more) {
      // Not while it stands at the end: the first page fills the screen only when it is too short to scroll.
      const short = this.#scroller.scrollHeight <= this.#scroller.clientHeight + NEAR_PX;
      if (!this.#stuck || short) chat.older(state.info.room).catch((error) => this.#app.fail(error));
    }
  }

  /** Put newer messages below, and take as many away above. */
  #reachDown() {
    const state = this.#app.store.room(this.#shown);
    if (!state) return;
    const end = placeOf(state.messages, this.#to + 1) + STEP;
    this.#to = end >= state.messages.length ? Infinity : (state.messages[end - 1]?.seq ?? Infinity);
    this.#from = state.messages[Math.max(placeOf(state.messages, this.#from), end - MOST_SHOWN)]?.seq ?? this.#from;
    this.invalidate();
  }

  /** Offer a way to the end, and say what came there meanwhile. @param {Message[]} messages */
  #showJump(messages) {
    this.#jump.hidden = this.#stuck;
    if (this.#stuck) {
      this.#seen = messages.at(-1)?.seq ?? this.#seen;
      return;
    }
    const me = this.#app.store.me?.id;
    let count = 0;
    for (let i = placeOf(messages, this.#seen + 1); i < messages.length; i += 1) count += Number(messages[i]?.user.id !== me);
    setText(byId("jump-text", HTMLElement), count > 0 ? counted(count, "new message") : "Newest");
  }

  /** What is at the end, in view and looked at, is read. */
  #mark() {
    const { store } = this.#app;
    const state = store.room(this.#shown);
    const last = state?.messages.at(-1);
    const looking = document.visibilityState === "visible" && document.hasFocus();
    if (state && last && this.#stuck && looking && store.markRead(state.info.room, last.seq)) {
      this.#marks.mark(state.info.room, last.seq);
    }
  }
}

/** @param {Message} message */
function announcement({ user, text }) {
  const line = document.createElement("p");
  line.textContent = `${user.name}: ${text ?? ""}`;
  return line;
}
